"""TF1 checkpoints of ResNets that are no part of a detector: ImageNet classifiers, and SimCLR's release.

| file | names of the backbone | images |
|---|---|---|
| classifier of the TPU reference code | `conv2d/kernel`, `batch_normalization/gamma`, ... | as train.py has them |
| SimCLR, version 1 or 2 | the same below `base_model/` | in [0, 1], not normalised |

Both number their layers in the order of the authors' detection code, a projection before the convolutions of its block,
and compute the same function as ResNets of the family `original`: strides are in the 3 x 3 convolutions ("v1.5") and
padded evenly, projections have the stride and no pooling. A classifier below `resnet50/` has the names of the detection
code, so it needs nothing from here.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence

import tensorflow as tf

from official_selftrain.checkpoints import normalization as norm
from official_selftrain.checkpoints import tf1, tf1_names
from official_selftrain.core import errors
from official_selftrain.modeling.original import resnet

# Of batch norm, in the code of both sources.
EPSILON, MOMENTUM = 1e-5, 0.9

_STEM = 'conv2d/kernel'
_STEM_SHAPE = [7, 7, 3, 64]
# Of the detection code; checkpoints with it are read by `tf1_names` as they are.
_AUTHORS_SCOPE = r'resnet\d+/'
# Convolutions in the trunk by depth: three in each bottleneck, one projection in each of four groups, and the stem. The
# depth counts the classifier in, and not the projections.
_DEPTHS = {depth + 3: depth for depth in (50, 101, 152, 200)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
  """A kind of checkpoints.

  Attributes:
    title: what a checkpoint is, for messages.
    scope: before the names of all variables of the backbone; empty or with a slash at its end.
    left_out: patterns of names that no backbone needs, and what they are.
    normalization: of images, with which the weights were trained.
  """

  title: str
  scope: str
  left_out: tuple[tuple[str, str], ...]
  normalization: norm.Normalization


CLASSIFIER = Source(
  title='a ResNet classifier',
  scope='',
  left_out=(('dense/(kernel|bias)', "the backbone's ImageNet classifier"),),
  normalization=norm.OURS,
)
SIMCLR = Source(
  title='a ResNet of SimCLR',
  scope='base_model/',
  left_out=(
    ('head_contrastive/.*', 'the projection head'),
    ('head_supervised/.*', 'the classifier on top'),
    ('ema_model/.*', 'a moving average of the network'),
  ),
  normalization=norm.Normalization((0.0,) * 3, (255.0,) * 3),
)
SOURCES = (CLASSIFIER, SIMCLR)


def find(checkpoint: str) -> Source | None:
  """The kind of a checkpoint, whose prefix is given; None for everything that is not one of `SOURCES`."""
  shapes = _shapes(checkpoint)
  return next((source for source in SOURCES if source.scope + _STEM in shapes), None)


def check_scope(network: tf.keras.Model, checkpoint: str) -> None:
  """Refuses ResNets below a scope whose weights may expect other images.

  Args:
    network: a backbone; only for a ResNet is anything checked.
    checkpoint: prefix of a TF1 or TF2 checkpoint, not of one of `SOURCES`.

  Raises:
    DataError: the scope is not that of the authors' detection code.
  """
  if not isinstance(network, resnet.ResNet):
    return
  for name, shape in _shapes(checkpoint).items():
    scope = name.removesuffix(_STEM)
    if scope != name and shape[:3] == _STEM_SHAPE[:3] and not re.fullmatch(_AUTHORS_SCOPE, scope):
      raise errors.DataError(
        f'{checkpoint} has {name}: ResNets are known without a scope, below base_model/ (SimCLR) and below resnet50/ '
        'and the like; what others expect of images is not.'
      )


def _shapes(checkpoint: str) -> Mapping[str, list[int]]:
  shapes: Mapping[str, list[int]] = tf.train.load_checkpoint(checkpoint).get_variable_to_shape_map()
  return shapes


def assign(
  network: tf.keras.Model, source: Source, checkpoint: str, use_averages: bool = False
) -> tf1.Accounting:
  """Gives a backbone its values from a checkpoint, so that it takes images as train.py normalises them.

  Args:
    network: a ResNet of the family `original`.
    source: see `find`.
    checkpoint: prefix of the TF1 checkpoint.
    use_averages: see `tf1.assign`.

  Returns:
    What became of every value, with notes on normalisation and batch norm.

  Raises:
    DataError: see `tf1.assign`; or the network cannot compute what the weights were trained for. Nothing has been
      assigned then.
  """
  if not isinstance(network, resnet.ResNet):
    raise errors.DataError(
      f'{checkpoint} is {source.title}: set task.model.family to original and task.model.backbone.type to resnet. '
      'ResNets of the Model Garden pad strides in another way, so they compute something else.'
    )
  _check_kind(network, source, checkpoint)
  layers = list(tf1_names.backbone(network))
  named = tf1_names.of_layers(
    (source.scope + re.sub(_AUTHORS_SCOPE, '', scope, count=1), layer) for scope, layer in layers
  )
  accounting = tf1.assign(named, checkpoint, use_averages=use_averages, left_out=source.left_out)
  stem = norm.Stem(*(layer for _, layer in layers[:2]))
  if not source.normalization.is_same(norm.OURS):
    norm.fold(stem, source.normalization, norm.OURS)
  return dataclasses.replace(accounting, notes=_notes(source, stem))


def _check_kind(network: resnet.ResNet, source: Source, checkpoint: str) -> None:
  """Raises DataError for another stem, width, depth or activation than the network has."""
  shapes = _shapes(checkpoint)
  stem = source.scope + _STEM
  if list(shapes[stem]) != _STEM_SHAPE:
    raise errors.DataError(
      f'{checkpoint} has {stem} {list(shapes[stem])}, and the network {_STEM_SHAPE}: wider ResNets (2x, 4x), selective '
      'kernels (sk1), and the stems of ResNet-D and for CIFAR cannot be imported.'
    )
  depth = _depth(list(shapes), source)
  if depth and depth != network._model_id:
    raise errors.DataError(
      f'{checkpoint} is ResNet-{depth}: set task.model.backbone.resnet.model_id to {depth}.'
    )
  if network._activation != 'relu':
    raise errors.DataError(
      f'{checkpoint} is {source.title}: task.model.norm_activation.activation is {network._activation!r}, and it was '
      'trained with relu.'
    )


def _depth(names: Sequence[str], source: Source) -> int:
  """The depth that the number of convolutions tells, or 0 if none has that many."""
  pattern = re.escape(source.scope) + r'conv2d(_\d+)?/kernel'
  return _DEPTHS.get(sum(bool(re.fullmatch(pattern, name)) for name in names), 0)


def _notes(source: Source, stem: norm.Stem) -> tuple[str, ...]:
  images = f'normalisation of images: {norm.describe(source.normalization, norm.OURS)}'
  batch_norm = f'batch norm: trained with epsilon {EPSILON:g} and momentum {MOMENTUM:g}'
  if stem.norm.epsilon != EPSILON:
    batch_norm += (
      f'; task.model.norm_activation.norm_epsilon is {stem.norm.epsilon:g}, and the same function needs '
      f'{EPSILON:g}'
    )
  return images, batch_norm
