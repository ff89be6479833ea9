"""Images and labels for a contact sheet, from image files and from TFRecords of the Model Garden's format."""

import itertools
import os
from collections.abc import Iterator
from typing import Literal, NamedTuple

import tensorflow as tf

from official_selftrain.augment import examples
from official_selftrain.core import errors, keys

Labels = Literal['boxes', 'masks', 'both', 'none']

# First bytes of the formats that TensorFlow decodes: JPEG, PNG, GIF, BMP.
_IMAGE_STARTS = (b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n', b'GIF8', b'BM')
_IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.gif', '.bmp')
_RECORD_MARK = '.tfrecord'

_BOX_SIDES = (keys.BOX_YMIN, keys.BOX_XMIN, keys.BOX_YMAX, keys.BOX_XMAX)


class Input(NamedTuple):
  """An image with its labels.

  Attributes:
    name: for captions: name of the file, and number of the record in it.
    example: an example as in `examples`, but without the seed; boxes normalised to [0, 1].
  """

  name: str
  example: examples.Example


def read(
  pattern: str, limit: int, labels: Labels | None = None, with_instances: bool = False
) -> list[Input]:
  """Reads the first images that a path names.

  The content of a file decides what it is, not its name.

  Args:
    pattern: an image file, a TFRecord file, a glob of such files, or a folder with images or else with files whose
      names contain `.tfrecord`.
    limit: how many images to read at most.
    labels: which labels to keep; None keeps those that are there.
    with_instances: whether to read the masks of single objects too, if there are any.

  Returns:
    At least one image, in the order of file names and records. If one has boxes, images without objects
    get an empty list of boxes.

  Raises:
    DataError: a file is missing, cannot be read or decoded, or none of the images has the labels that are wanted.
  """
  found: list[Input] = []
  for path in _paths(pattern):
    found += itertools.islice(_inputs(path, with_instances), limit - len(found))
    if len(found) == limit:
      break
  if not found:
    raise errors.DataError(f'--input: there is no record in {pattern}.')
  for index, (name, example) in enumerate(found):
    has_boxes = (other for _, other in found if keys.GROUNDTRUTH_BOXES in other)
    if keys.GROUNDTRUTH_BOXES not in example and (other := next(has_boxes, None)):
      found[index] = Input(name, {**example, **_no_boxes(other, example['image'])})
  if labels is not None:
    found = [Input(name, _with_labels(example, labels)) for name, example in found]
    for wanted, key, feature in (
      ('boxes', keys.GROUNDTRUTH_BOXES, 'image/object/bbox/* and image/object/class/label'),
      ('masks', keys.SEMANTIC_MASK, keys.SEGMENTATION_MASK),
    ):
      if labels in (wanted, 'both') and not any(key in example for _, example in found):
        raise errors.DataError(
          f'--labels={labels}: {pattern} has no {wanted} in its first {len(found)} image(s). They are read from '
          f'TFRecords with {feature}.'
        )
  return found


def _with_labels(example: examples.Example, labels: Labels) -> examples.Example:
  def is_wanted(key: str) -> bool:
    if key.startswith('groundtruth_'):
      return labels in ('boxes', 'both')
    return key != keys.SEMANTIC_MASK or labels in ('masks', 'both')

  return {key: value for key, value in example.items() if is_wanted(key)}


def _no_boxes(other: examples.Example, image: tf.Tensor) -> examples.Example:
  """Entries per box as `other` has them, for an image that has no boxes."""
  empty = {key: value[:0] for key, value in other.items() if key.startswith('groundtruth_')}
  if keys.GROUNDTRUTH_INSTANCE_MASKS in empty:
    empty[keys.GROUNDTRUTH_INSTANCE_MASKS] = tf.zeros([0, *image.shape[:2]], tf.uint8)
  return empty


def _paths(pattern: str) -> list[str]:
  """The files that a path, a folder or a glob names."""
  if tf.io.gfile.isdir(pattern):
    names = sorted(tf.io.gfile.listdir(pattern))
    chosen = [name for name in names if name.lower().endswith(_IMAGE_SUFFIXES)]
    chosen = chosen or [name for name in names if _RECORD_MARK in name]
    if not chosen:
      raise errors.DataError(
        f'--input: the folder {pattern} holds no image ({", ".join(_IMAGE_SUFFIXES)}) and no *{_RECORD_MARK}* file.'
      )
    return [os.path.join(pattern, name) for name in chosen]
  if tf.io.gfile.exists(pattern):
    return [pattern]
  paths = sorted(path for path in tf.io.gfile.glob(pattern) if not tf.io.gfile.isdir(path))
  if not paths:
    raise errors.DataError(f'--input: {pattern} does not exist and matches no file.')
  return paths


def _inputs(path: str, with_instances: bool) -> Iterator[Input]:
  """The images of one file."""
  name = os.path.basename(path)
  try:
    with tf.io.gfile.GFile(path, 'rb') as stream:
      is_image = stream.read(8).startswith(_IMAGE_STARTS)
  except tf.errors.OpError as error:
    raise errors.DataError(f'--input: cannot read {path}: {error.message}') from None
  if is_image:
    yield Input(name, {'image': _decoded(tf.io.read_file(path), 3, path)})
    return
  records = iter(tf.data.TFRecordDataset(path))
  for index in itertools.count():
    try:
      record = next(records)
    except StopIteration:
      return
    except tf.errors.DataLossError:
      if not index:
        raise errors.DataError(
          f'--input: {path} is neither an image (JPEG, PNG, GIF, BMP) nor a TFRecord file.'
        ) from None
      raise errors.DataError(f'--input: {path}: record {index} is damaged.') from None
    where = f'{path}: record {index}'
    yield Input(f'{name} #{index}', _from_record(record, where, with_instances))


def _from_record(record: tf.Tensor, where: str, with_instances: bool) -> examples.Example:
  encoded = (keys.IMAGE_ENCODED, keys.SEGMENTATION_MASK, keys.BOX_MASK)
  features: dict[str, tf.io.VarLenFeature] = {
    name: tf.io.VarLenFeature(tf.string) for name in encoded
  }
  features.update({name: tf.io.VarLenFeature(tf.float32) for name in _BOX_SIDES})
  features.update(
    {name: tf.io.VarLenFeature(tf.int64) for name in (keys.BOX_CLASS, keys.BOX_IS_CROWD)}
  )
  try:
    parsed = tf.io.parse_single_example(record, features)
  except tf.errors.InvalidArgumentError as error:
    raise errors.DataError(
      f'--input: {where} is not a tf.Example of the expected form: {errors.first_line(error)}'
    ) from None
  values = {name: tensor.values for name, tensor in parsed.items()}
  if not len(values[keys.IMAGE_ENCODED]):
    raise errors.DataError(f'--input: {where} has no {keys.IMAGE_ENCODED}.')
  example = {'image': _decoded(values[keys.IMAGE_ENCODED][0], 3, where)}
  if len(values[keys.BOX_CLASS]):
    example.update(_boxes(values, where))
  size = example['image'].shape[:2]
  if len(values[keys.SEGMENTATION_MASK]):
    encoded_mask = values[keys.SEGMENTATION_MASK][0]
    example[keys.SEMANTIC_MASK] = _mask(encoded_mask, size, f'{where}: {keys.SEGMENTATION_MASK}')
  if with_instances and len(values[keys.BOX_MASK]):
    masks = [_mask(mask, size, f'{where}: {keys.BOX_MASK}') for mask in values[keys.BOX_MASK]]
    if len(masks) != len(values[keys.BOX_CLASS]):
      raise _wrong_count(where, keys.BOX_MASK, values)
    example[keys.GROUNDTRUTH_INSTANCE_MASKS] = tf.stack([mask[..., 0] for mask in masks])
  return example


def _mask(encoded: tf.Tensor, size: tf.TensorShape, where: str) -> tf.Tensor:
  """Mask uint8 [h, w, 1] of an image of that size."""
  mask = _decoded(encoded, 1, where)
  if mask.shape[:2] != size:
    raise errors.DataError(
      f'--input: {where} has {mask.shape[0]} x {mask.shape[1]} pixels, the image {size[0]} x {size[1]}.'
    )
  return mask


def _wrong_count(where: str, name: str, values: dict[str, tf.Tensor]) -> errors.DataError:
  return errors.DataError(
    f'--input: {where}: {name} has {len(values[name])} value(s) for {len(values[keys.BOX_CLASS])} object(s).'
  )


def _boxes(values: dict[str, tf.Tensor], where: str) -> examples.Example:
  count = len(values[keys.BOX_CLASS])
  for name in _BOX_SIDES:
    if len(values[name]) != count:
      raise _wrong_count(where, name, values)
  crowds = values[keys.BOX_IS_CROWD]
  is_crowd = tf.cast(crowds, tf.bool) if len(crowds) == count else tf.zeros([count], tf.bool)
  return {
    keys.GROUNDTRUTH_BOXES: tf.stack([values[name] for name in _BOX_SIDES], axis=-1),
    keys.GROUNDTRUTH_CLASSES: values[keys.BOX_CLASS],
    keys.GROUNDTRUTH_IS_CROWD: is_crowd,
  }


def _decoded(encoded: tf.Tensor, channels: int, where: str) -> tf.Tensor:
  """Image uint8 [h, w, channels]."""
  try:
    return tf.io.decode_image(encoded, channels=channels, expand_animations=False)
  except tf.errors.InvalidArgumentError as error:
    raise errors.DataError(
      f'--input: {where} cannot be decoded: {errors.first_line(error)}'
    ) from None
