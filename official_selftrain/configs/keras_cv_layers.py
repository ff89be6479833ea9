"""keras-cv's layers of augmentation as settings: which there are, their arguments, and the labels that they can move.

A layer is written as in Python, `RandomFlip(mode='horizontal', rate=0.5)`. Nothing here imports keras-cv, which takes
seconds; a test compares the table with keras-cv.
"""

import ast
import dataclasses
import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, Union

from official_selftrain.core import errors

# What moves with an image: nothing (whole images with one class, views), boxes, masks.
Label = Literal['boxes', 'masks']

_GEOMETRY = ('ShearX_BBox', 'ShearY_BBox', 'TranslateX_BBox', 'TranslateY_BBox')


@dataclasses.dataclass(frozen=True)
class Layer:
  """What a layer of keras-cv takes, and what it does here.

  Attributes:
    arguments: that may be given.
    labels: which labels it moves.
    ops: those of ours that do the same to an image: excluding one excludes the layer.
    num_images: how many images it mixes.
  """

  arguments: tuple[str, ...] = ()
  labels: frozenset[Label] = frozenset(('boxes', 'masks'))
  ops: tuple[str, ...] = ()
  num_images: int = 1


_NO_LABELS: frozenset[Label] = frozenset()
_BOXES: frozenset[Label] = frozenset(('boxes',))
_MASKS: frozenset[Label] = frozenset(('masks',))
_FILL = ('fill_mode', 'fill_value')

LAYERS: Mapping[str, Layer] = {
  'AugMix': Layer(
    ('severity', 'num_chains', 'chain_depth', 'alpha'),
    _NO_LABELS,
    ('AutoContrast', 'Equalize', 'Posterize', 'Rotate_BBox', 'Solarize', *_GEOMETRY),
  ),
  'AutoContrast': Layer(ops=('AutoContrast',)),
  'ChannelShuffle': Layer(('groups',)),
  'CutMix': Layer(('alpha',), _MASKS, num_images=2),
  'Equalization': Layer(('bins',), ops=('Equalize',)),
  'Grayscale': Layer(ops=('Color',)),
  'GridMask': Layer(('ratio_factor', 'rotation_factor', *_FILL), ops=('Cutout',)),
  'JitteredResize': Layer(('target_size', 'scale_factor', 'crop_size', 'interpolation')),
  'MixUp': Layer(('alpha',), _BOXES, num_images=2),
  'Mosaic': Layer(('offset',), num_images=4),
  'Posterization': Layer(('bits',), ops=('Posterize',)),
  'RandAugment': Layer(
    ('augmentations_per_image', 'magnitude', 'magnitude_stddev', 'rate', 'geometric'),
    ops=('AutoContrast', 'Equalize', 'Solarize', 'Color', 'Contrast', 'Brightness', *_GEOMETRY),
  ),
  'RandomApply': Layer(('layer', 'rate')),
  'RandomAspectRatio': Layer(('factor', 'interpolation'), _BOXES),
  'RandomAugmentationPipeline': Layer(('layers', 'augmentations_per_image', 'rate')),
  'RandomBrightness': Layer(('factor',), ops=('Brightness',)),
  'RandomChannelShift': Layer(('factor',)),
  'RandomChoice': Layer(('layers',)),
  'RandomColorDegeneration': Layer(('factor',), ops=('Color',)),
  'RandomColorJitter': Layer(
    ('brightness_factor', 'contrast_factor', 'saturation_factor', 'hue_factor'),
    ops=('Brightness', 'Contrast', 'Color'),
  ),
  'RandomContrast': Layer(('factor',), ops=('Contrast',)),
  'RandomCrop': Layer(('height', 'width'), _BOXES),
  'RandomCropAndResize': Layer(
    ('target_size', 'crop_area_factor', 'aspect_ratio_factor', 'interpolation')
  ),
  'RandomCutout': Layer(('height_factor', 'width_factor', *_FILL), ops=('Cutout',)),
  'RandomFlip': Layer(('mode', 'rate'), ops=('Flip',)),
  'RandomGaussianBlur': Layer(('kernel_size', 'factor')),
  'RandomHue': Layer(('factor',)),
  'RandomJpegQuality': Layer(('factor',)),
  'RandomRotation': Layer(('factor', 'interpolation', *_FILL), ops=('Rotate_BBox',)),
  'RandomSaturation': Layer(('factor',), ops=('Color',)),
  'RandomSharpness': Layer(('factor',), ops=('Sharpness',)),
  'RandomShear': Layer(
    ('x_factor', 'y_factor', 'interpolation', *_FILL), ops=('ShearX_BBox', 'ShearY_BBox')
  ),
  'RandomTranslation': Layer(
    ('height_factor', 'width_factor', 'interpolation', *_FILL),
    ops=('TranslateX_BBox', 'TranslateY_BBox'),
  ),
  'RandomZoom': Layer(('height_factor', 'width_factor', 'interpolation', *_FILL), _MASKS),
  'Resizing': Layer(
    ('height', 'width', 'interpolation', 'crop_to_aspect_ratio', 'pad_to_aspect_ratio')
  ),
  'Solarization': Layer(('addition_factor', 'threshold_factor'), ops=('Solarize', 'SolarizeAdd')),
}

# Layers that keras-cv has and that cannot be used, and why.
REFUSED: Mapping[str, str] = {
  'FourierMix': 'it blends the classes of whole images, and no stream has blended classes',
  'RepeatedAugmentation': 'it makes several images of one, and a stream has one example per image',
  'Rescaling': 'images are normalised after the policy, and the layers expect 0 to 255',
}

# Distributions that arguments may be drawn from, of `keras_cv.core`.
SAMPLERS: Mapping[str, tuple[str, ...]] = {
  'ConstantFactorSampler': ('value',),
  'NormalFactorSampler': ('mean', 'stddev', 'min_value', 'max_value'),
  'UniformFactorSampler': ('lower', 'upper'),
}

# Arguments that layers have and that follow from something else.
OWN_ARGUMENTS: Mapping[str, str] = {
  'auto_vectorize': 'a layer sees one image at a time',
  'batchwise': 'a layer sees one image at a time',
  'bounding_box_format': 'it is that of the examples',
  'channels': 'images have 3',
  'dtype': 'it is float32',
  'name': 'layers are told apart by their places',
  'output_channels': 'images have 3',
  'seed': 'draws follow from the seed of the example',
  'segmentation_classes': 'masks are moved as they are',
  'value_range': 'it is (0, 255)',
}

# Layers that hold others, and the argument that holds them.
_HOLDERS = {
  'RandomApply': 'layer',
  'RandomAugmentationPipeline': 'layers',
  'RandomChoice': 'layers',
}
# Ways to fill that show objects where there is no box.
_FILLS_WITH_OBJECTS = ('nearest', 'reflect', 'wrap')
_PACKAGES = ('keras_cv.layers.', 'keras_cv.core.', 'layers.', 'core.')

Value = Union[None, bool, int, float, str, 'Call', tuple['Value', ...]]


@dataclasses.dataclass(frozen=True)
class Call:
  """A layer, or a distribution, with its arguments by name; lists have become tuples."""

  name: str
  arguments: Mapping[str, Value] = dataclasses.field(default_factory=dict)

  @property
  def layer(self) -> Layer:
    """What is known of the layer."""
    return LAYERS[self.name]

  def held(self) -> tuple['Call', ...]:
    """The layers that this one holds."""
    held = self.arguments.get(_HOLDERS.get(self.name, ''))
    calls = held if isinstance(held, tuple) else (held,)
    return tuple(each for each in calls if isinstance(each, Call))


def parse(text: str, where: str) -> Call:
  """Reads one layer.

  Args:
    text: such as `RandomShear(x_factor=0.3)`; a layer that takes others has them as arguments, in brackets where they
      are several.
    where: dotted name of the setting, for messages.

  Raises:
    ConfigError: it is no call, there is no such layer or argument, or a value is neither a plain value nor a layer.
  """
  try:
    node = ast.parse(text.strip(), mode='eval').body
  except SyntaxError:
    raise _not_a_call(text, where) from None
  if isinstance(node, ast.Name | ast.Attribute):
    node = ast.Call(node, [], [])
  if not isinstance(node, ast.Call):
    raise _not_a_call(text, where)
  call = _call(node, where)
  if call.name in SAMPLERS:
    raise errors.ConfigError(f'{where}: {call.name} is no layer; it is a value of an argument.')
  _check_held(call, where)
  return call


def check_labels(calls: Sequence[Call], labels: Sequence[Label], where: str) -> None:
  """Raises ConfigError where a layer cannot move a kind of label.

  Args:
    calls: the layers of a policy.
    labels: which an example has, in addition to a class.
    where: dotted name of the setting.
  """
  for call in _all(calls):
    for label in labels:
      if label not in call.layer.labels:
        others = ', '.join(name for name, each in LAYERS.items() if label in each.labels)
        ours = ' mixup_probability and mosaic_probability can.' if call.layer.num_images > 1 else ''
        raise errors.ConfigError(
          f"{where}: keras-cv's {call.name} cannot move {label}.{ours} Layers that can: {others}."
        )
    if 'boxes' not in labels:
      continue
    if call.name == 'Resizing' and not call.arguments.get('pad_to_aspect_ratio'):
      raise errors.ConfigError(
        f"{where}: keras-cv's Resizing moves boxes only with pad_to_aspect_ratio=True."
      )
    fill = call.arguments.get('fill_mode')
    if fill in _FILLS_WITH_OBJECTS:
      raise errors.ConfigError(
        f'{where}: {call.name} with fill_mode={fill!r} shows objects where there are no boxes; it must be '
        "'constant', which is what the policy takes."
      )


def labels_of(call: Call) -> frozenset[Label]:
  """The labels that a layer moves, and all layers in it."""
  return frozenset.intersection(*(each.layer.labels for each in _all([call])))


def check_excluded(calls: Sequence[Call], excluded: Sequence[str], where: str) -> None:
  """Raises ConfigError where a layer does what an excluded op does; `where` is the dotted name of the layers."""
  for call in _all(calls):
    ops = call.layer.ops
    if call.name == 'RandAugment' and call.arguments.get('geometric') is False:
      ops = tuple(op for op in ops if op not in _GEOMETRY)
    found = [op for op in excluded if op in ops]
    if found:
      raise errors.ConfigError(
        f'{where}: {call.name} does what {found[0]} does, which exclude_ops excludes because it would change what the '
        'labels mean.'
      )


def mixing(calls: Sequence[Call]) -> tuple[Call, ...]:
  """The layers that mix several images."""
  return tuple(call for call in calls if call.layer.num_images > 1)


def check_order(calls: Sequence[Call], where: str) -> None:
  """Raises ConfigError where a layer for one image follows one that mixes; `where` names the setting."""
  mixes = False
  for call in calls:
    if mixes and call.layer.num_images == 1:
      raise errors.ConfigError(
        f'{where}: {call.name} follows a layer that mixes images; those come last, after all others.'
      )
    mixes = mixes or call.layer.num_images > 1


def preset(name: str, jitter: tuple[float, float], flip_probability: float) -> list[str]:
  """The layers that come nearest to one of the paper's policies.

  keras-cv has no AutoAugment: S2 and S3 draw two of the ops of version v0. Its RandAugment has no rotation, cut-out or
  sharpness; a magnitude of 0.3 gives the shear that level 10 stands for.

  Args:
    name: `S1` to `S4`.
    jitter: smallest and largest factor of the jittered resize.
    flip_probability: chance of mirroring; 0 leaves the layer out.
  """
  drawn = {
    'S1': [],
    'S2': [_V0],
    'S3': [_V0],
    'S4': ['RandAugment(augmentations_per_image=1, magnitude=0.3, magnitude_stddev=0.0, rate=1.0)'],
  }[name]
  flip = [f"RandomFlip(mode='horizontal', rate={flip_probability!r})"] if flip_probability else []
  jittered = f'JitteredResize(scale_factor=({jitter[0]!r}, {jitter[1]!r}))'
  # A jittered resize starts from the size that an image has.
  return [*drawn, *flip, 'Resizing(pad_to_aspect_ratio=True)', jittered]


_V0 = (
  'RandomAugmentationPipeline(augmentations_per_image=2, rate=0.6, layers=['
  'RandomTranslation(height_factor=0.0, width_factor=0.3), RandomTranslation(height_factor=0.3, width_factor=0.0), '
  'RandomShear(x_factor=0.3), RandomShear(y_factor=0.3), RandomRotation(factor=0.0833), Equalization(), '
  'RandomColorDegeneration(factor=0.5), RandomSharpness(factor=0.5), '
  'RandomCutout(height_factor=0.25, width_factor=0.25)])'
)


def _not_a_call(text: str, where: str) -> errors.ConfigError:
  return errors.ConfigError(
    f"{where}: expected a layer such as RandomFlip(mode='horizontal', rate=0.5), got {text!r}."
  )


def _call(node: ast.Call, where: str) -> Call:
  name = ast.unparse(node.func)
  for package in _PACKAGES:
    name = name.removeprefix(package)
  if name in REFUSED:
    raise errors.ConfigError(f"{where}: keras-cv's {name} cannot be used here: {REFUSED[name]}.")
  known = {**{each: layer.arguments for each, layer in LAYERS.items()}, **SAMPLERS}
  if name not in known:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f'did you mean {close[0]}? ' if close else ''
    raise errors.ConfigError(
      f'{where}: keras-cv has no layer {name!r} for images; {hint}There are {", ".join(LAYERS)}.'
    )
  if node.args:
    raise errors.ConfigError(f'{where}: {name}: write arguments by name, such as factor=0.5.')
  arguments: dict[str, Value] = {}
  for keyword in node.keywords:
    argument = keyword.arg or '**'
    value = _value(keyword.value, f'{where}: {name}({argument}=...)')
    if argument in OWN_ARGUMENTS:
      if argument == 'value_range' and value == (0, 255):
        continue
      raise errors.ConfigError(
        f'{where}: {name}: {argument} is not for you to set: {OWN_ARGUMENTS[argument]}.'
      )
    if argument not in known[name]:
      allowed = ', '.join(known[name]) or 'none'
      raise errors.ConfigError(f'{where}: {name} has no argument {argument!r}; it has {allowed}.')
    arguments[argument] = value
  return Call(name, arguments)


def _value(node: ast.expr, where: str) -> Value:
  if isinstance(node, ast.Call):
    return _call(node, where)
  if isinstance(node, ast.List | ast.Tuple):
    return tuple(_value(each, where) for each in node.elts)
  try:
    value = ast.literal_eval(node)
  except ValueError:
    value = ...
  if value is not None and not isinstance(value, bool | int | float | str):
    raise errors.ConfigError(
      f'{where}: expected a number, text, bool, None, a layer, or several of them in brackets, got {ast.unparse(node)}.'
    )
  return value


def _check_held(call: Call, where: str) -> None:
  """Refuses layers in the places of other values, and other values in the places of layers."""
  for name, value in call.arguments.items():
    values = value if isinstance(value, tuple) else (value,)
    calls = [each for each in values if isinstance(each, Call)]
    layers = [each for each in calls if each.name in LAYERS]
    if name == _HOLDERS.get(call.name):
      single = name == 'layer'
      if len(layers) != len(values) or not layers or isinstance(value, tuple) == single:
        wanted = 'a layer' if single else 'layers in brackets'
        raise errors.ConfigError(f'{where}: {call.name}: {name} must be {wanted}.')
      for layer in layers:
        if layer.layer.num_images > 1:
          raise errors.ConfigError(
            f'{where}: {layer.name} mixes images; it must be a layer of its own, not one in {call.name}.'
          )
        _check_held(layer, where)
    elif layers or (calls and isinstance(value, tuple)):
      raise errors.ConfigError(f'{where}: {call.name}: {name} takes no layer.')
  holder = _HOLDERS.get(call.name)
  if holder and holder not in call.arguments:
    raise errors.ConfigError(f'{where}: {call.name} needs the argument {holder}.')


def _all(calls: Sequence[Call]) -> Iterator[Call]:
  """The layers and those in them."""
  for call in calls:
    yield call
    yield from _all(call.held())
