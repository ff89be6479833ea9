"""From a record to an image and a class mask; one way for human and pseudo labels.

The Model Garden's segmentation parser has no augmentation but flip and jitter, which it draws alike for both streams
and every run, and its decoder silently turns a PNG with a palette into the brightness of its colours.
"""

import contextlib
from collections.abc import Callable

import tensorflow as tf

from official_selftrain.augment import build
from official_selftrain.configs import segmentation as segmentation_configs
from official_selftrain.core import keys
from official_selftrain.dataloaders import parsing
from official_selftrain.ops import images
from official_selftrain.ops import masks as mask_ops

Example = parsing.Example
Labels = parsing.Labels

# Starts of messages; what was found follows.
FORMAT_MESSAGE = (
  f'{keys.SEGMENTATION_MASK} must be a PNG with 8 bits of grey per pixel, which are class ids (a palette would be read '
  'as the brightness of its colours); bit depth and colour type found:'
)
SIZE_MESSAGE = (
  f'{keys.SEGMENTATION_MASK} must have the size of its image; height and width of both:'
)
MISSING_MESSAGE = f'{keys.SEGMENTATION_MASK} is missing'

# Places in a PNG file, which begins with its header.
_PNG_DEPTH_AND_TYPE = 24
_EIGHT_BITS_OF_GREY = b'\x08\x00'


def class_message(num_classes: int) -> str:
  """Start of the message for a mask value that is not a class of the model."""
  return (
    f'{keys.SEGMENTATION_MASK} has values that are neither a class, 0..{num_classes - 1} (task.model.num_classes is '
    f'{num_classes}), nor {keys.IGNORE_LABEL} for ignored pixels; values found:'
  )


def parse_record(serialized: tf.Tensor) -> Example:
  """`image/encoded`, `image/source_id` and the encoded mask of a record, string scalars; '' where one is missing."""
  names = (keys.IMAGE_ENCODED, keys.SOURCE_ID, keys.SEGMENTATION_MASK)
  spec = {name: tf.io.FixedLenFeature([], tf.string, default_value='') for name in names}
  return tf.io.parse_single_example(serialized, spec)


def decode_image(encoded: tf.Tensor) -> tf.Tensor:
  """Pixels of an encoded JPEG or PNG image, uint8 [h, w, 3]."""
  image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
  return tf.ensure_shape(image, [None, None, 3])


def decoder(num_classes: int) -> Callable[[tf.Tensor], Example]:
  """Decoder of labelled records.

  Args:
    num_classes: the model's, with the background as class 0.

  Returns:
    A function from a serialized record to `image` uint8 [h, w, 3] and `semantic_mask` uint8 [h, w, 1]. Its graph fails
    with one of the messages above when the mask is missing, no grey PNG, of another size, or has other values.
  """

  return lambda serialized: checked(decode(serialized), num_classes)


def decode(serialized: tf.Tensor) -> Example:
  """Decodes a labelled record for `checked`.

  Args:
    serialized: the record, string scalar.

  Returns:
    `image` uint8 [h, w, 3], `semantic_mask` uint8 [h', w', 1], empty where there is none, and the start of the encoded
    mask. Its graph fails only when image or mask cannot be decoded.
  """
  record = parse_record(serialized)
  encoded = record[keys.SEGMENTATION_MASK]
  mask = tf.cond(
    tf.equal(encoded, ''),
    lambda: tf.zeros([0, 0, 1], tf.uint8),
    lambda: tf.io.decode_png(encoded, channels=1),
  )
  return {
    'image': decode_image(record[keys.IMAGE_ENCODED]),
    keys.SEMANTIC_MASK: tf.ensure_shape(mask, [None, None, 1]),
    keys.SEGMENTATION_MASK: encoded,
  }


def checked(example: Example, num_classes: int) -> Example:
  """The example of `decode` as `decoder` returns it; its graph fails when the mask is not as described there."""
  image, mask, encoded = (
    example[name] for name in ('image', keys.SEMANTIC_MASK, keys.SEGMENTATION_MASK)
  )
  with _checks([tf.debugging.Assert(tf.not_equal(encoded, ''), [MISSING_MESSAGE])]):
    header = tf.strings.substr(encoded, _PNG_DEPTH_AND_TYPE, 2)
  sizes = [tf.shape(image)[:2], tf.shape(mask)[:2]]
  is_class = tf.logical_or(mask < num_classes, mask == keys.IGNORE_LABEL)
  with _checks(
    [tf.debugging.Assert(tf.equal(header, _EIGHT_BITS_OF_GREY), [FORMAT_MESSAGE, header])]
  ):
    fits = tf.reduce_all(tf.equal(*sizes))
  with _checks(
    [
      tf.debugging.Assert(fits, [SIZE_MESSAGE, *sizes]),
      tf.debugging.Assert(tf.reduce_all(is_class), [class_message(num_classes)]),
    ]
  ):
    return {'image': tf.identity(image), keys.SEMANTIC_MASK: tf.identity(mask)}


def check_record(serialized: tf.Tensor, num_classes: int) -> None:
  """Eagerly looks for anything in one record that `decoder` would reject.

  Raises:
    ValueError: the mask is missing, no grey PNG, of another size than the image, or has values that are no class.
    tf.errors.OpError: the record, image or mask cannot be decoded.
  """
  record = parse_record(serialized)
  encoded = record[keys.SEGMENTATION_MASK].numpy()
  if not encoded:
    raise ValueError(MISSING_MESSAGE)
  header = encoded[_PNG_DEPTH_AND_TYPE : _PNG_DEPTH_AND_TYPE + 2]
  if encoded.startswith(b'\x89PNG') and header != _EIGHT_BITS_OF_GREY:
    raise ValueError(f'{FORMAT_MESSAGE} {header[0]}, {header[1]}')
  image = decode_image(record[keys.IMAGE_ENCODED])
  mask = tf.io.decode_png(encoded, channels=1).numpy()
  if image.shape[:2] != mask.shape[:2]:
    raise ValueError(f'{SIZE_MESSAGE} {list(image.shape[:2])}, {list(mask.shape[:2])}')
  values = sorted(set(mask.ravel().tolist()))
  outside = [value for value in values if value >= num_classes and value != keys.IGNORE_LABEL]
  if outside:
    raise ValueError(f'{class_message(num_classes)} {outside}')


class TrainingParser(parsing.TrainingParser):
  """Maps a decoded example with a seed to `(image, labels)`.

  The image is in `params.dtype`. Labels are `masks` uint8 [height, width, 1], 255 where pixels are ignored: outside
  the image, below the cut, or because nobody labelled them.
  """

  def __init__(
    self, model: segmentation_configs.SegmentationModel, params: segmentation_configs.DataConfig
  ):
    """Builds the parser.

    Args:
      model: `task.model`.
      params: `task.train_data` or `task.pseudo_data`.
    """
    size = segmentation_configs.image_size(params, model)
    super().__init__(build.mixers(params.augmentation))
    self.weak = build.weak(params.augmentation, size, params.aug_rand_hflip)
    self._dtype = params.dtype
    self._augment = build.build(
      params.augmentation,
      size,
      jitter=(params.aug_scale_min, params.aug_scale_max),
      flip=params.aug_rand_hflip,
    )

  def augment(self, example: Example) -> Example:
    """See `parsing.TrainingParser`."""
    return self._augment(example)

  def targets(self, example: Example) -> tuple[tf.Tensor, Labels]:
    """See `parsing.TrainingParser`."""
    return tf.cast(example['image'], self._dtype), {'masks': example[keys.SEMANTIC_MASK]}


def evaluation_parser(
  model: segmentation_configs.SegmentationModel, params: segmentation_configs.DataConfig
) -> Callable[[Example], tuple[tf.Tensor, Labels]]:
  """Parser of validation images.

  Args:
    model: `task.model`.
    params: `task.validation_data`.

  Returns:
    A function from a decoded example to the image, normalised and fitted into the frame, and labels: `masks` uint8
    [height, width, 1] on the frame, 255 outside the image; `image_info` float32 [4, 2], see `ops.masks.fit_image`;
    `image_id` int64, a fingerprint of the pixels, which identifies images without relying on `image/source_id`; and
    with `evaluate_native` the mask at its own size, `native_masks` uint8 [h, w, 1].
  """
  size = segmentation_configs.image_size(params, model)

  def parse(example: Example) -> tuple[tf.Tensor, Labels]:
    image, info = mask_ops.fit_image(images.normalize(example['image']), size, params.at_own_size)
    mask = example[keys.SEMANTIC_MASK]
    labels = {'masks': mask_ops.fit_mask(mask, info, size), 'image_info': info}
    labels[keys.IMAGE_ID] = image_id(example['image'])
    if params.evaluate_native:
      labels['native_masks'] = mask
    return tf.cast(image, params.dtype), labels

  return parse


def image_id(image: tf.Tensor) -> tf.Tensor:
  """A fingerprint of the pixels of a decoded image, uint8 [h, w, 3]: int64 scalar."""
  return tf.bitcast(tf.fingerprint(tf.reshape(image, [1, -1]))[0], tf.int64)


def batch_of_sizes(dataset: tf.data.Dataset, size: int, drop_remainder: bool) -> tf.data.Dataset:
  """Batches examples of an `evaluation_parser`; masks at their own size are padded with 255 to the largest."""

  def _padding(name: str, spec: tf.TensorSpec) -> tf.Tensor:
    return tf.constant(keys.IGNORE_LABEL if name.endswith('masks') else 0, spec.dtype)

  image, labels = dataset.element_spec
  padding = (_padding('', image), {name: _padding(name, spec) for name, spec in labels.items()})
  return dataset.padded_batch(size, padding_values=padding, drop_remainder=drop_remainder)


def inference_preprocessor(
  size: tuple[int, int], at_own_size: bool = False
) -> Callable[[tf.Tensor], Example]:
  """Preprocessing of an encoded image for labelling and pictures.

  Args:
    size: height and width of the frame that images are fitted into.
    at_own_size: see `ops.masks.fit_image`.

  Returns:
    A function from encoded image bytes (string scalar) to `image` float32 [height, width, 3], normalised and padded,
    `image_info` float32 [4, 2], and the original `image/height` and `image/width`, int64.
  """

  def preprocess(encoded: tf.Tensor) -> Example:
    image, info = mask_ops.fit_image(images.normalize(decode_image(encoded)), size, at_own_size)
    height, width = tf.unstack(tf.cast(info[0], tf.int64))
    return {
      'image': image,
      'image_info': info,
      keys.IMAGE_HEIGHT: height,
      keys.IMAGE_WIDTH: width,
    }

  return preprocess


def _checks(assertions: list[tf.Operation | None]) -> contextlib.AbstractContextManager[object]:
  """Ops built inside wait for the assertions; in eager mode these have raised already and are None."""
  return tf.control_dependencies([each for each in assertions if each is not None])
