"""Builds keras-cv's layers so that they follow a seed, and move boxes and masks as their images.

A layer that keras-cv built becomes an instance of a subclass made here: it draws from `keras_cv_random.Draws`, and the
few methods that are wrong for our examples are replaced. Layers inside layers are treated likewise.
"""

import contextlib
import inspect
import types
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from official_selftrain.augment import keras_cv_random
from official_selftrain.configs import keras_cv_layers as configs
from official_selftrain.core import errors

# Relative to the image; with pixels, `RandomCropAndResize` takes the size of the image before it for that after it.
BOX_FORMAT = 'rel_yxyx'
IMAGES, BOXES, MASKS = 'images', 'bounding_boxes', 'segmentation_masks'

# Tensors in lists and dictionaries.
Nest = Any

# A layer of keras-cv: Keras has no types.
if TYPE_CHECKING:
  _Layer = Any
else:
  _Layer = object


def build(
  call: configs.Call,
  output_size: tuple[int, int],
  draws: keras_cv_random.Draws,
  where: str,
  salt: int,
) -> Any:
  """One layer.

  Args:
    call: which, and its arguments; sizes that are missing are the output's, and `fill_mode` is `constant`.
    output_size: height and width of the policy's result.
    draws: where it draws from.
    where: dotted name of the setting, for messages.
    salt: its place among the layers of the policy.

  Returns:
    A Keras layer that maps a dictionary of `images` float32 [h, w, 3] in 0..255, optional `bounding_boxes` (`boxes`
    float32 [n, 4], yxyx in [0, 1], and `classes` float32 [n]) and `segmentation_masks` float32 [h, w, c], 0 where
    nothing is known, to such a dictionary; dense, whatever keras-cv makes of it.

  Raises:
    ConfigError: keras-cv refuses the arguments.
  """
  with _float32():
    layer = _made(call, output_size, where)
  _seed(layer, draws, _Counter(salt))
  return layer


@contextlib.contextmanager
def _float32() -> Iterator[None]:
  """Layers made inside compute in float32, whatever the model does."""
  mixed = tf.keras.mixed_precision
  before = mixed.global_policy()
  mixed.set_global_policy('float32')
  try:
    yield
  finally:
    mixed.set_global_policy(before)


def _made(call: configs.Call, output_size: tuple[int, int], where: str) -> Any:
  import keras_cv  # Takes seconds.

  package = keras_cv.core if call.name in configs.SAMPLERS else keras_cv.layers
  kind = getattr(package, call.name)
  arguments: dict[str, Any] = {
    name: _value(value, output_size, where) for name, value in call.arguments.items()
  }
  parameters = inspect.signature(kind).parameters
  height, width = output_size
  own = {
    'value_range': (0, 255),
    'output_channels': 3,
    'fill_mode': 'constant',
    'target_size': output_size,
    'height': height,
    'width': width,
    'bounding_box_format': BOX_FORMAT,
  }
  if call.name == 'Resizing' and not arguments.get('pad_to_aspect_ratio'):
    own.pop('bounding_box_format')  # Refused there.
  arguments = {**{name: own[name] for name in parameters if name in own}, **arguments}
  try:
    layer = kind(**arguments)
  except (TypeError, ValueError, NotImplementedError) as error:
    raise errors.ConfigError(
      f'{where}: keras-cv refuses {call.name}: {errors.first_line(error)}'
    ) from None
  if call.name == 'RandAugment':
    for inner in layer.layers:
      for name in ('bounding_box_format', 'fill_mode'):
        if hasattr(inner, name):
          setattr(inner, name, own[name])
  return layer


def _value(value: configs.Value, output_size: tuple[int, int], where: str) -> Any:
  if isinstance(value, configs.Call):
    return _made(value, output_size, where)
  if isinstance(value, tuple):
    made = [_value(each, output_size, where) for each in value]
    return made if any(isinstance(each, configs.Call) for each in value) else tuple(made)
  return value


class _Counter:
  """Numbers in a row; and what has a number already."""

  def __init__(self, first: int):
    self.next = first * 1000
    self.seen: set[int] = set()


def _seed(item: _Layer, draws: keras_cv_random.Draws, counter: _Counter) -> None:
  """Makes a layer or a distribution of keras-cv, and all those in it, draw from `draws`."""
  if isinstance(item, dict):
    item = list(item.values())
  if isinstance(item, list | tuple):
    for each in item:
      _seed(each, draws, counter)
    return
  if id(item) in counter.seen or not type(item).__module__.startswith('keras_cv.'):
    return
  is_layer = isinstance(item, tf.keras.layers.Layer)
  if not is_layer and not callable(item):
    return
  counter.seen.add(id(item))
  inner = list(vars(item).values())
  # Keras would track what is set in the ordinary way.
  object.__setattr__(item, '__class__', _seeded_class(type(item), draws, is_layer))
  if is_layer:
    counter.next += 1
    object.__setattr__(item, '_random_generator', draws)
    object.__setattr__(item, 'draws_salt', counter.next)
  _seed(inner, draws, counter)


def _seeded_class(kind: type, draws: keras_cv_random.Draws, is_layer: bool) -> type:
  """The class with bare random numbers from `draws`, and with what is corrected here."""
  # From the base to the class itself, so that a method that is overridden is not put back.
  copies: dict[str, Any] = {}
  for base in reversed(kind.__mro__):
    if not base.__module__.startswith('keras_cv.'):
      continue
    for name, member in vars(base).items():
      if isinstance(member, types.FunctionType) and name != '__init__':
        copy = keras_cv_random.rebound(member, draws)
        copies[name] = member if copy is None else copy
  copies = {name: copy for name, copy in copies.items() if getattr(kind, name, None) is not copy}
  for name in _NEEDS_AUTOGRAPH.get(kind.__name__, ()):
    copies[name] = tf.autograph.to_graph(getattr(kind, name))
  seeded = type(kind.__name__, (kind,), {**copies, 'draws': draws, '__module__': __name__})
  if not is_layer:
    return seeded
  corrections = _CORRECTIONS.get(kind.__name__, ())
  return type(kind.__name__, (_Seeded, *corrections, seeded), {'__module__': __name__})


class _Seeded(_Layer):
  """A layer with a scope of draws of its own, and dense results."""

  def __call__(self, inputs: Nest, *args: object, **kwargs: object) -> Any:
    with self.draws.scope(self.draws_salt):
      outputs = super().__call__(inputs, *args, **kwargs)
    if not isinstance(inputs, dict) or inputs[IMAGES].shape.rank != 3:
      return outputs
    return {name: _plain(name, outputs[name], inputs[name]) for name in inputs}


def _plain(name: str, value: Nest, before: Nest) -> Any:
  if name == BOXES:
    boxes, classes = (_dense(value[part]) for part in ('boxes', 'classes'))
    return {'boxes': tf.reshape(boxes, [-1, 4]), 'classes': tf.reshape(classes, [-1])}
  return tf.ensure_shape(tf.cast(_dense(value), tf.float32), [None, None, before.shape[-1]])


def _dense(value: Nest) -> tf.Tensor:
  return value.to_tensor() if isinstance(value, tf.RaggedTensor) else value


class _MaskFill(_Layer):
  """Masks are 0 in uncovered areas, whatever the image is."""

  def augment_segmentation_masks(
    self, segmentation_masks: tf.Tensor, *args: object, **kwargs: object
  ) -> Any:
    with _changed(self, fill_mode='constant', fill_value=0.0):
      return super().augment_segmentation_masks(segmentation_masks, *args, **kwargs)


class _Rotation(_Layer):
  """Masks are sampled at the nearest pixel; keras-cv's way needs a channel for each class."""

  def augment_segmentation_masks(
    self, segmentation_masks: tf.Tensor, transformations: Nest, **_: object
  ) -> Any:
    with _changed(self, fill_mode='constant', fill_value=0.0, interpolation='nearest'):
      return self._rotate_images(segmentation_masks, transformations)


class _Shear(_Layer):
  """keras-cv shears boxes in shares of height and width, which is right for square images only."""

  def augment_bounding_boxes(
    self,
    bounding_boxes: Nest,
    transformations: Nest,
    images: tf.Tensor | None = None,
    **kwargs: object,
  ) -> Any:
    size = tf.cast(tf.shape(images)[1:3], tf.float32)
    ratio = size[0] / size[1]
    x, y = transformations['shear_x'], transformations['shear_y']
    in_shares = {
      'shear_x': None if x is None else x * ratio,
      'shear_y': None if y is None else y / ratio,
    }
    return super().augment_bounding_boxes(
      bounding_boxes, transformations=in_shares, images=images, **kwargs
    )


class _JpegQuality(_Layer):
  """keras-cv compresses what it takes for an image in 0..1."""

  def augment_image(self, image: tf.Tensor, *args: object, **kwargs: object) -> Any:
    return 255.0 * super().augment_image(image / 255.0, *args, **kwargs)


class _ChannelShuffle(_Layer):
  """keras-cv needs to know the size of the image."""

  def augment_images(self, images: tf.Tensor, transformations: Nest, **_: object) -> Any:
    if self.groups == 1:
      return images
    return tf.gather(images, transformations[0], axis=-1)


class _AugMix(_Layer):
  """Draws in each turn of its loops anew."""

  def _loop_on_width(
    self, image: tf.Tensor, weights: tf.Tensor, curr_chain: tf.Tensor, result: tf.Tensor
  ) -> Any:
    with self.draws.scope(tf.reshape(curr_chain, [])):
      return super()._loop_on_width(image, weights, curr_chain, result)

  def _loop_on_depth(self, depth_level: tf.Tensor, image_aug: tf.Tensor) -> Any:
    with self.draws.scope(tf.reshape(depth_level, [])):
      depth, image = super()._loop_on_depth(depth_level, image_aug)
    return depth, tf.ensure_shape(image, image_aug.shape)


def _scoped(name: str, salt: int) -> Callable[..., Any]:
  """A method of `AugMix` with draws of its own, because only one of several branches runs."""

  def method(self: _Layer, image: tf.Tensor) -> Any:
    with self.draws.scope(salt):
      return getattr(super(_AugMix, self), name)(image)

  return method


for _salt, _name in enumerate(
  ('posterize', 'rotate', 'solarize', 'shear_x', 'shear_y', 'translate_x', 'translate_y')
):
  setattr(_AugMix, f'_{_name}', _scoped(f'_{_name}', _salt))


@contextlib.contextmanager
def _changed(layer: _Layer, **attributes: object) -> Iterator[None]:
  """Other values of attributes for a while."""
  before = {name: getattr(layer, name) for name in attributes}
  try:
    for name, value in attributes.items():
      object.__setattr__(layer, name, value)
    yield
  finally:
    for name, value in before.items():
      object.__setattr__(layer, name, value)


_CORRECTIONS: dict[str, tuple[type, ...]] = {
  'AugMix': (_AugMix,),
  'ChannelShuffle': (_ChannelShuffle,),
  'RandomJpegQuality': (_JpegQuality,),
  'RandomRotation': (_Rotation,),
  'RandomShear': (_Shear, _MaskFill),
  'RandomTranslation': (_MaskFill,),
  'RandomZoom': (_MaskFill,),
}
# Methods with conditions on tensors; policies run without AutoGraph.
_NEEDS_AUTOGRAPH = {'Equalization': ('equalize_channel',), 'RandomApply': ('_augment',)}
