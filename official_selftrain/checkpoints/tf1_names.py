"""Names of our models' variables in the authors' TF1 checkpoints.

TF1 names are scope and leaf, such as `spinenet/sub_policy3/scale_permuted_block_5/conv2d_1/kernel`. Leaves are those of
Keras; scopes follow from the order in which the TF1 code makes its layers, which this module knows for each network.
Layers without a name are numbered per scope, convolutions and batch norms each on their own.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import tensorflow as tf
from official.vision.modeling.backbones import spinenet as stock_spinenet
from official.vision.modeling.decoders import nasfpn
from official.vision.modeling.layers import nn_blocks

from official_selftrain.core import errors
from official_selftrain.modeling.original import efficientnet, resnet, segmentation_head, spinenet

# A Keras layer; private parts of the Model Garden's are read here.
Layer = Any
Named = Iterator[tuple[str, Layer]]

_CONV, _NORM = tf.keras.layers.Conv2D, tf.keras.layers.BatchNormalization


def variables(model: tf.keras.Model) -> dict[str, tf.Variable]:
  """The variables of a model of the family `original` by their TF1 names.

  Args:
    model: a `RetinaNetModel` or `SegmentationModel`.

  Returns:
    Every variable once, in no particular order.

  Raises:
    DataError: a variable of the model has no TF1 name, which means that it is of another family.
  """
  head, decoder = model.head, model.decoder
  parts = [backbone(model.backbone)]
  if decoder:
    parts.append(_nasfpn(decoder) if isinstance(decoder, nasfpn.NASFPN) else _fpn(decoder))
  is_segmentation = isinstance(head, segmentation_head.SegmentationHead)
  parts.append(_segmentation_head(head) if is_segmentation else _retinanet_head(head))
  named = {name: value for part in parts for name, value in of_layers(part).items()}
  known = {value.ref() for value in named.values()}
  unknown = [value.name for value in model.variables if value.ref() not in known]
  if unknown:
    raise errors.DataError(
      f'{len(unknown)} variables of the model have no TF1 name, the first is {unknown[0]}: the family must be '
      "'original' and the network one of the authors'."
    )
  return named


def backbone(network: tf.keras.Model) -> Named:
  """TF1 scopes and layers of a backbone of the family `original`."""
  kinds = {
    spinenet.SpineNet: _spinenet,
    resnet.ResNet: _resnet,
    efficientnet.EfficientNet: _efficientnet,
  }
  if type(network) not in kinds:
    raise errors.DataError(
      f'{type(network).__name__} is not a backbone of the authors; set task.model.family to original.'
    )
  return kinds[type(network)](network)


def of_layers(layers: Iterable[tuple[str, Layer]]) -> dict[str, tf.Variable]:
  """Variables of named layers by TF1 name."""
  return {
    f'{scope}/{variable.name.split("/")[-1].split(":")[0]}': variable
    for scope, layer in layers
    for variable in layer.variables
  }


def _made_in_order(model: tf.keras.Model, kind: type) -> list[Layer]:
  """Layers of a kind in the order in which they were made: Keras numbers them, over all models of a process."""
  found = [layer for layer in model.layers if isinstance(layer, kind)]
  return sorted(found, key=lambda layer: int((re.findall(r'_(\d+)$', layer.name) or ['0'])[0]))


def _numbered(scope: str, pairs: Iterable[tuple[Layer, Layer]], first: int = 0) -> Named:
  """Convolutions with their batch norms, numbered from `first`."""
  for number, (conv, norm) in enumerate(pairs, first):
    yield f'{scope}/conv2d{_suffix(number)}', conv
    yield f'{scope}/batch_normalization{_suffix(number)}', norm


def _block_pairs(blocks: Iterable[Any]) -> list[tuple[Layer, Layer]]:
  """Convolutions with their batch norms of residual and bottleneck blocks, a projection first."""
  pairs = []
  for block in blocks:
    numbers = range(1, 4 if isinstance(block, nn_blocks.BottleneckBlock) else 3)
    if block._use_projection:
      pairs.append((block._shortcut, block._norm0))
    pairs += [(getattr(block, f'_conv{n}'), getattr(block, f'_norm{n}')) for n in numbers]
  return pairs


def _resnet(network: resnet.ResNet) -> Named:
  stem = [(network.get_layer('stem_conv'), network.get_layer('stem_norm'))]
  blocks = _block_pairs(_made_in_order(network, nn_blocks.BottleneckBlock))
  yield from _numbered(f'resnet{network._model_id}', stem + blocks)


def _spinenet(network: spinenet.SpineNet) -> Named:
  plain = iter(zip(_made_in_order(network, _CONV), _made_in_order(network, _NORM), strict=True))
  of_kind = {
    'bottleneck': iter(_made_in_order(network, nn_blocks.BottleneckBlock)),
    'residual': iter(_made_in_order(network, nn_blocks.ResidualBlock)),
  }
  repeats = network._block_repeats

  def group(kind: str) -> list[tuple[Layer, Layer]]:
    return _block_pairs(next(of_kind[kind]) for _ in range(repeats))

  stem = [next(plain), *group('bottleneck'), *group('bottleneck')]
  yield from _numbered('spinenet', stem)
  levels = [2, 2]
  for index, spec in enumerate(stock_spinenet.SPINENET_BLOCK_SPECS[: spinenet.NUM_BLOCKS]):
    level, kind, parents, _ = spec
    policy = f'spinenet/sub_policy{index}'
    for number, parent in enumerate(parents):
      count = 3 if levels[parent] < level else 2
      scope = f'{policy}/resample_with_alpha_resample_{index}_{number}'
      yield from _numbered(scope, [next(plain) for _ in range(count)])
    yield from _numbered(f'{policy}/scale_permuted_block_{index + 2}', group(kind))
    levels.append(level)
  yield from _numbered('spinenet', plain, first=len(stem))


def _efficientnet(network: efficientnet.EfficientNet) -> Named:
  root = f'efficientnet-{network._model_id}'
  convs, norms = _made_in_order(network, _CONV), _made_in_order(network, _NORM)
  ends = zip(('stem', 'head'), convs, norms, strict=True)
  for scope, conv, norm in ends:
    yield f'{root}/{scope}/conv2d', conv
    yield f'{root}/{scope}/tpu_batch_normalization', norm
  for block in _made_in_order(network, nn_blocks.InvertedBottleneckBlock):
    scope = f'{root}/{block.name}'
    expands = block._expand_ratio > 1
    convs = [block._conv0, block._conv2] if expands else [block._conv2]
    norms = [block._norm0] if expands else []
    for number, conv in enumerate(convs):
      yield f'{scope}/conv2d{_suffix(number)}', conv
    for number, norm in enumerate([*norms, block._norm1, block._norm2]):
      yield f'{scope}/tpu_batch_normalization{_suffix(number)}', norm
    yield f'{scope}/depthwise_conv2d', block._conv1
    yield f'{scope}/se/conv2d', block._squeeze_excitation._se_reduce
    yield f'{scope}/se/conv2d_1', block._squeeze_excitation._se_expand


def _suffix(number: int) -> str:
  return f'_{number}' if number else ''


_FPN_SCOPES = (
  (r'lateral_(\d)', r'fpn/l\1'),
  (r'post_hoc_(\d)', r'fpn/post_hoc_d\1'),
  (r'coarser_(\d)', r'fpn/p\1'),
  (r'norm_(\d)', r'fpn/p\1-bn'),
)


def _fpn(network: tf.keras.Model) -> Named:
  for layer in network.layers:
    for pattern, scope in _FPN_SCOPES:
      if re.fullmatch(pattern, layer.name):
        yield re.sub(pattern, scope, layer.name), layer


def _nasfpn(network: Any) -> Named:
  """Three lateral convolutions, then seven nodes per cell; nodes 0 to 4 of a cell are its inputs."""
  kind = network._conv_op
  pairs = zip(_made_in_order(network, kind), _made_in_order(network, _NORM), strict=True)
  for level in (3, 4, 5):
    conv, norm = next(pairs)
    yield f'resample_l{level}/{"separable_" if _is_separable(kind) else ""}conv2d', conv
    yield f'resample_l{level}/bn', norm
  nodes = len(network._block_specs)
  for number, (conv, norm) in enumerate(pairs):
    cell, node = divmod(number, nodes)
    scope = f'fpn_cells/cell_{cell}/sub_policy{node}/op_after_combine{node + 5}'
    yield f'{scope}/conv', conv
    yield f'{scope}/bn', norm


def _is_separable(kind: type) -> bool:
  return issubclass(kind, tf.keras.layers.SeparableConv2D)


def _segmentation_head(head: segmentation_head.SegmentationHead) -> Named:
  for number, (conv, norm) in enumerate(zip(head.convs, head.norms, strict=True)):
    yield f'segmentation/conv-{number}', conv
    yield f'segmentation/conv-{number}-bn', norm
  yield 'segmentation/conv2d', head.classifier


def _retinanet_head(head: Any) -> Named:
  lowest = head._config_dict['min_level']
  nets: Sequence[tuple[str, Any, Any, Layer]] = (
    ('class', head._cls_convs, head._cls_norms, head._classifier),
    ('box', head._box_convs, head._box_norms, head._box_regressor),
  )
  for kind, convs, norms, predictor in nets:
    scope = f'retinanet/{kind}_net/{kind}'
    yield f'{scope}-predict', predictor
    for number, conv in enumerate(convs):
      yield f'{scope}-{number}', conv
      for level, of_level in enumerate(norms, lowest):
        yield f'{scope}-{number}-{level}', of_level[number]
