"""Backbones with ImageNet weights from files of other libraries.

| format | file | weights | family of the same function |
|---|---|---|---|
| `keras` | .h5 of `tf.keras.applications` | EfficientNet-B0 to B7 | `original` |
| `pytorch` | .npz of a state dict | EfficientNet-Lite0 | `model_garden`, without squeeze-excitation, relu6 |

Both were trained with TensorFlow's 'same' padding and batch norm epsilon 1e-3, which both families of ours have. The
Model Garden's EfficientNet cannot be Keras's: its configuration does not set the activation inside of
squeeze-excitation, which stays relu where Keras has swish.
"""

import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from official.vision.ops import preprocess_ops

from official_selftrain.checkpoints import efficientnet_names, foreign, write
from official_selftrain.checkpoints import normalization as norm
from official_selftrain.configs import families as family_configs
from official_selftrain.configs import segmentation
from official_selftrain.core import errors, files
from official_selftrain.modeling import families

_SHOWN = 20
_KERAS_NORMALIZATION = r'normalization(_\d+)?/'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Format:
  """A kind of weight files.

  Attributes:
    name: the value of `--format`.
    model_ids: of the networks whose files it reads.
    family: of our networks, the one that computes the same function.
    not_others: why other families do not, for an error.
    settings: of `task.model`, without family and model id, nested; the function depends on them.
    read: from a path to arrays by name.
    targets: from our network to the places of arrays, by name.
    left_out: pattern of names that no backbone needs, and what they are.
    normalization: from arrays to what the weights expect of images.
  """

  name: str
  model_ids: tuple[str, ...]
  family: family_configs.Family
  not_others: str
  settings: Mapping[str, Any]
  read: Callable[[str], dict[str, np.ndarray]]
  targets: Callable[[tf.keras.Model], dict[str, efficientnet_names.Target]]
  left_out: tuple[tuple[str, str], ...]
  normalization: Callable[[foreign.Arrays], norm.Normalization]


def _keras_normalization(arrays: foreign.Arrays) -> norm.Normalization:
  """What the network's own first layers do.

  They scale to [0, 1], subtract the mean and divide by the root of the variance. The files of Keras Applications hold
  the deviation where the variance belongs, and with weights='imagenet' the network divides by its root once more
  (tensorflow#49930), so that the weights see images divided by the deviation, as they were trained.
  """
  found = {
    name.split('/')[-1]: array
    for name, array in arrays.items()
    if re.match(_KERAS_NORMALIZATION, name)
  }
  if not {'mean', 'variance'} <= set(found) or {found['mean'].shape, found['variance'].shape} != {
    (3,)
  }:
    raise errors.DataError(
      'The file has no mean and variance of three channels (normalization/mean, normalization/variance): it is not of '
      'an EfficientNet of tf.keras.applications, which normalise images themselves.'
    )
  variance = found['variance'].astype(np.float64)
  is_deviation = np.allclose(variance, preprocess_ops.STDDEV_NORM, rtol=1e-5, atol=0)
  std = variance if is_deviation else np.sqrt(variance)
  return norm.Normalization(_channels(255 * found['mean'].astype(np.float64)), _channels(255 * std))


def _channels(values: np.ndarray) -> norm.Channels:
  red, green, blue = map(float, values)
  return red, green, blue


def _lite_normalization(arrays: foreign.Arrays) -> norm.Normalization:
  del arrays  # A state dict does not say it; all Lite networks were trained with this.
  return norm.Normalization((127.0,) * 3, (128.0,) * 3)


KERAS = Format(
  name='keras',
  model_ids=tuple(f'b{number}' for number in range(8)),
  family=family_configs.ORIGINAL,
  not_others='inside of squeeze-excitation these weights need swish, and the Model Garden has relu',
  settings={},
  read=foreign.read_h5,
  targets=efficientnet_names.keras,
  left_out=(
    (_KERAS_NORMALIZATION + '(mean|variance|count)', 'the input normalisation'),
    (r'predictions/(kernel|bias)', 'the classifier'),
  ),
  normalization=_keras_normalization,
)
PYTORCH = Format(
  name='pytorch',
  model_ids=('b0',),
  family=family_configs.MODEL_GARDEN,
  not_others='EfficientNet-Lite has relu6 and no squeeze-excitation, and that family has both fixed otherwise',
  settings={
    'backbone': {'efficientnet': {'se_ratio': 0.0}},
    'norm_activation': {'activation': 'relu6', 'norm_epsilon': 0.001},
  },
  read=foreign.read_npz,
  targets=efficientnet_names.pytorch,
  left_out=(
    (r'_fc\.(weight|bias)', 'the classifier'),
    (r'.*\.num_batches_tracked', 'counters of batch norm'),
  ),
  normalization=_lite_normalization,
)
FORMATS = {each.name: each for each in (KERAS, PYTORCH)}


@dataclasses.dataclass(frozen=True)
class Accounting:
  """An account of every array of a file.

  Attributes:
    used: names whose values variables of the backbone have now; there is one for each variable.
    left_out: names that no backbone needs, by what they are.
    num_values: numbers in the used ones.
  """

  used: tuple[str, ...]
  left_out: Mapping[str, tuple[str, ...]]
  num_values: int

  def text(self) -> str:
    """One line for the console."""
    line = f'{len(self.used)} arrays used ({self.num_values:,} values), '
    count = sum(map(len, self.left_out.values()))
    kinds = [f'{kind} ({_first(names, 4)})' for kind, names in self.left_out.items()]
    return line + (f'{count} left out: {"; ".join(kinds)}' if kinds else 'none left out')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Imported:
  """What became of a file; `import.json` has all of it.

  Attributes:
    source: the file, or where its weights are from.
    sha256: digest of the file.
    format: the value of `--format`.
    model_id: of the network.
    accounting: of every array.
    source_normalization: of images, with which the weights were trained.
    normalization: of images, which the written backbone expects.
    settings: what has to be set below `task.model`, nested.
  """

  source: str
  sha256: str
  format: str
  model_id: str
  accounting: Accounting
  source_normalization: norm.Normalization
  normalization: norm.Normalization
  settings: Mapping[str, Any]


def check(kind: Format, model_id: str, family: str) -> None:
  """Refuses combinations that would not compute what the weights were trained for.

  Args:
    kind: of the file.
    model_id: of the network.
    family: one of `configs.families.FAMILIES`, or empty for the right one.

  Raises:
    ConfigError: another family or model id.
  """
  if model_id not in kind.model_ids:
    raise errors.ConfigError(
      f'--model_id={model_id}: --format={kind.name} reads {", ".join(kind.model_ids)}.'
    )
  if family and family != kind.family.name:
    raise errors.ConfigError(
      f'--family={family} would not compute the same function with --format={kind.name}: {kind.not_others}. Leave the '
      f'flag out or use --family={kind.family.name}.'
    )


def settings(kind: Format, model_id: str) -> dict[str, Any]:
  """What has to be set below `task.model` for the backbone to compute the weights' function, nested."""
  backbone: dict[str, Any] = {'type': 'efficientnet', 'efficientnet': {'model_id': model_id}}
  backbone['efficientnet'] |= kind.settings.get('backbone', {}).get('efficientnet', {})
  return {**kind.settings, 'family': kind.family.name, 'backbone': backbone}


def override(values: Mapping[str, Any], prefix: str) -> list[str]:
  """Nested settings as items of `--params_override`."""
  items = []
  for name, value in values.items():
    dotted = f'{prefix}.{name}'
    items += override(value, dotted) if isinstance(value, Mapping) else [f'{dotted}={value}']
  return items


def build(kind: Format, model_id: str) -> tf.keras.Model:
  """Our backbone for a format, with random weights, by the way that `task.build_model` takes.

  Args:
    kind: of the file.
    model_id: one of the format's.

  Returns:
    A model from float32 [batch, h, w, 3] to features float32 [batch, h / 2^l, w / 2^l, channels] of levels l from '2'
    to '5', and '6': the last convolution before the classifier, of the size of level 5.
  """
  model = segmentation.SegmentationModel()
  model.override(settings(kind, model_id))
  specs = tf.keras.layers.InputSpec(shape=[None, None, None, 3])
  return families.of(model).backbone(specs, model, None)


def assign(
  network: tf.keras.Model, arrays: foreign.Arrays, kind: Format, source: str
) -> Accounting:
  """Gives a backbone its values from a file.

  Args:
    network: see `build`.
    arrays: of the file.
    kind: of the file.
    source: the file's name, for errors.

  Returns:
    What became of every array.

  Raises:
    DataError: the file lacks an array of a variable, holds one that is neither a variable's nor known to be of no use,
      or one has another shape, is not of floating point or holds NaN or infinity. Nothing has been assigned then.
  """
  targets = kind.targets(network)
  covered = {target.variable.ref() for target in targets.values()}
  assert covered == {variable.ref() for variable in network.variables}
  left_out: dict[str, list[str]] = {}
  useful = dict(arrays)
  for name in sorted(arrays):
    what = next((what for pattern, what in kind.left_out if re.fullmatch(pattern, name)), '')
    if what:
      left_out.setdefault(what, []).append(name)
      del useful[name]
  _check_fit(targets, useful, f'{source} does not fit --format={kind.name}')
  for name, target in targets.items():
    target.assign(useful[name])
  return Accounting(
    used=tuple(targets),
    left_out={what: tuple(names) for what, names in left_out.items()},
    num_values=sum(useful[name].size for name in targets),
  )


def _check_fit(
  targets: Mapping[str, efficientnet_names.Target], arrays: foreign.Arrays, complaint: str
) -> None:
  """Raises DataError unless there is a sound array for each target, and no other."""
  both = [name for name in targets if name in arrays]
  differing = [
    f'{name}: {list(arrays[name].shape)} in the file, {targets[name].shape_in_file()} expected'
    for name in both
    if list(arrays[name].shape) != targets[name].shape_in_file()
  ]
  missing = [f'missing in the file: {name}' for name in sorted(set(targets) - set(arrays))]
  unknown = [f'only in the file: {name}' for name in sorted(set(arrays) - set(targets))]
  unsound = [
    f'{name}: holds NaN, infinity or no floating-point numbers ({arrays[name].dtype})'
    for name in both
    if arrays[name].dtype.kind != 'f' or not np.isfinite(arrays[name]).all()
  ]
  problems = [*differing, *unsound, *missing, *unknown]
  if problems:
    raise errors.DataError(
      f'{complaint} and --model_id: {len(missing)} arrays are missing, {len(unknown)} are of another network, '
      f'{len(differing)} differ in shape, {len(unsound)} hold no numbers.\n  '
      + _first(problems, _SHOWN, '\n  ')
    )


def _first(names: Iterable[str], limit: int, separator: str = ', ') -> str:
  """The first of some names, and how many more there are."""
  everything = list(names)
  rest = [f'and {len(everything) - limit} more'] if len(everything) > limit else []
  return separator.join([*everything[:limit], *rest])


def import_backbone(
  path: str,
  kind: Format,
  model_id: str,
  directory: str,
  keep_normalization: bool = False,
  source: str = '',
) -> Imported:
  """Writes a checkpoint of a backbone with the weights of a file.

  Args:
    path: the file.
    kind: of the file.
    model_id: of its network, one that the format reads.
    directory: where `ckpt-0`, with the item `backbone`, the state file `checkpoint` and `import.json` go.
    keep_normalization: leave the backbone with the input normalisation of the file, where it is not ours; otherwise it
      is folded into the stem, see `normalization.fold`.
    source: where the file is from, for the report; empty for its path.

  Returns:
    What became of the file.

  Raises:
    DataError: see `foreign` and `assign`. Nothing has been written then.
  """
  arrays = kind.read(path)
  network = build(kind, model_id)
  accounting = assign(network, arrays, kind, path)
  trained_with = kind.normalization(arrays)
  if not keep_normalization and not trained_with.is_same(norm.OURS):
    norm.fold(efficientnet_names.stem(network), trained_with, norm.OURS)
  imported = Imported(
    source=source or path,
    sha256=files.sha256(path),
    format=kind.name,
    model_id=model_id,
    accounting=accounting,
    source_normalization=trained_with,
    normalization=trained_with if keep_normalization else norm.OURS,
    settings=settings(kind, model_id),
  )
  step = tf.Variable(0, dtype=tf.int64)
  saved = tf.train.Checkpoint(global_step=step, backbone=network)
  tf.train.CheckpointManager(saved, directory, max_to_keep=None).save(checkpoint_number=0)
  files.write_json(os.path.join(directory, write.REPORT_FILE), dataclasses.asdict(imported))
  return imported
