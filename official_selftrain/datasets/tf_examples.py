"""Annotated images as `tf.Example`s with the Model Garden's feature names, and as COCO JSON."""

import dataclasses
import glob
import hashlib
import io
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image
from pycocotools import mask as coco_mask

from official_selftrain.core import files, keys

_JPEG_QUALITY = 90


@dataclasses.dataclass(frozen=True)
class Instances:
  """The objects of one image.

  Attributes:
    classes: int64 `[n]`, class ids from 1.
    boxes: int64 `[n, 4]`, `[ymin, xmin, ymax, xmax]` in pixels; `ymax` and `xmax` are one past the
      object's last pixel.
    masks: bool `[n, height, width]`.
  """

  classes: np.ndarray
  boxes: np.ndarray
  masks: np.ndarray

  @property
  def areas(self) -> np.ndarray:
    """Number of pixels in each mask, int64 `[n]`."""
    return self.masks.sum(axis=(1, 2))

  def class_map(self) -> np.ndarray:
    """Class id of each pixel, 0 where no object is; uint8 `[height, width]`.

    The masks must not overlap.
    """
    return (self.masks * self.classes[:, None, None]).sum(axis=0).astype(np.uint8)


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
  """Smallest box that holds a mask.

  Args:
    mask: bool `[height, width]` with at least one pixel set.

  Returns:
    `(ymin, xmin, ymax, xmax)` in pixels; `ymax` and `xmax` are one past the last pixel.

  Raises:
    ValueError: no pixel is set.
  """
  rows = np.flatnonzero(mask.any(axis=1))
  columns = np.flatnonzero(mask.any(axis=0))
  if not rows.size:
    raise ValueError('An empty mask has no box.')
  return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def encode_jpeg(image: np.ndarray) -> bytes:
  """JPEG bytes of an RGB image, uint8 `[height, width, 3]`."""
  buffer = io.BytesIO()
  Image.fromarray(image).save(buffer, 'JPEG', quality=_JPEG_QUALITY)
  return buffer.getvalue()


def encode_png(image: np.ndarray) -> bytes:
  """PNG bytes of a one-channel image, uint8 `[height, width]`."""
  buffer = io.BytesIO()
  Image.fromarray(image).save(buffer, 'PNG')
  return buffer.getvalue()


def image_features(image: np.ndarray, source_id: int) -> dict[str, tf.train.Feature]:
  """Features of an image without annotations.

  Args:
    image: uint8 `[height, width, 3]`, RGB.
    source_id: number of the image; the COCO evaluator needs one.

  Returns:
    Features of the image's JPEG bytes, height, width and id.
  """
  height, width, _ = image.shape
  return encoded_image_features(encode_jpeg(image), height, width, str(source_id))


def encoded_image_features(
  encoded: bytes, height: int, width: int, source_id: str
) -> dict[str, tf.train.Feature]:
  """Features of an image whose file goes into the record as it is.

  Args:
    encoded: content of an image file.
    height: of the image, in pixels.
    width: of the image, in pixels.
    source_id: id of the image.

  Returns:
    Features of the bytes, height, width and id.
  """
  return {keys.IMAGE_ENCODED: _bytes([encoded]), **size_features(height, width, source_id)}


def size_features(height: int, width: int, source_id: str) -> dict[str, tf.train.Feature]:
  """Features of the height and width of an image, in pixels, and its id."""
  return {
    keys.IMAGE_HEIGHT: _ints([height]),
    keys.IMAGE_WIDTH: _ints([width]),
    keys.SOURCE_ID: _bytes([source_id.encode('utf-8')]),
  }


def class_map_features(class_map: np.ndarray) -> dict[str, tf.train.Feature]:
  """Feature of a class map: a greyscale PNG whose values are those of `class_map`, uint8 `[height, width]`."""
  return encoded_class_map_features(encode_png(class_map))


def encoded_class_map_features(encoded: bytes) -> dict[str, tf.train.Feature]:
  """Feature of a class map that is a greyscale PNG already."""
  return {keys.SEGMENTATION_MASK: _bytes([encoded])}


def image_class_features(label: int) -> dict[str, tf.train.Feature]:
  """Feature of the class of a whole image, from 0, as the Model Garden's classification counts."""
  return {keys.IMAGE_CLASS: _ints([label])}


def annotation_features(instances: Instances) -> dict[str, tf.train.Feature]:
  """Features of the objects of an image.

  Args:
    instances: the objects.

  Returns:
    Features of boxes normalised to [0, 1], class ids, areas in pixels, crowd flags (none is set), a
    PNG with values 0 and 1 for each mask, and a PNG of the class map.
  """
  height, width = instances.masks.shape[1:]
  return {
    **box_features(
      instances.boxes / [height, width, height, width],
      instances.classes,
      np.zeros_like(instances.classes),
      instances.areas,
    ),
    **mask_features(instances.masks),
    **class_map_features(instances.class_map()),
  }


def box_features(
  boxes: np.ndarray, classes: np.ndarray, is_crowd: np.ndarray, areas: np.ndarray
) -> dict[str, tf.train.Feature]:
  """Features of boxes.

  Args:
    boxes: float `[n, 4]`, `[ymin, xmin, ymax, xmax]` relative to the image's sides.
    classes: int `[n]`, class ids from 1.
    is_crowd: int or bool `[n]`.
    areas: float `[n]`, in pixels.

  Returns:
    Features of boxes, classes, crowd flags and areas.
  """
  ymin, xmin, ymax, xmax = boxes.T
  return {
    keys.BOX_YMIN: _floats(ymin),
    keys.BOX_XMIN: _floats(xmin),
    keys.BOX_YMAX: _floats(ymax),
    keys.BOX_XMAX: _floats(xmax),
    keys.BOX_CLASS: _ints(classes),
    keys.BOX_IS_CROWD: _ints(is_crowd),
    keys.BOX_AREA: _floats(areas),
  }


def mask_features(masks: Iterable[np.ndarray]) -> dict[str, tf.train.Feature]:
  """Feature of the masks of objects, bool or uint8 `[height, width]` each: a PNG with values 0 and 1 for each."""
  return {keys.BOX_MASK: _bytes([encode_png(mask.astype(np.uint8)) for mask in masks])}


def text_feature(*texts: str) -> tf.train.Feature:
  """A feature of texts."""
  return _bytes([text.encode('utf-8') for text in texts])


def serialize(features: Mapping[str, tf.train.Feature]) -> bytes:
  """Bytes of a `tf.Example` that are the same for the same features."""
  example = tf.train.Example(features=tf.train.Features(feature=features))
  return example.SerializeToString(deterministic=True)


def serialize_features(features: Mapping[str, tf.train.Feature]) -> bytes:
  """Bytes of `tf.train.Features` that are the same for the same features; for `with_image`."""
  return tf.train.Features(feature=features).SerializeToString(deterministic=True)


def with_image(serialized: bytes, encoded: bytes) -> bytes:
  """Bytes of a `tf.Example` with an image, which is copied once; protocol buffers would copy it five times.

  Args:
    serialized: the other features, from `serialize_features`.
    encoded: content of the image file.
  """
  value = _head(1, len(encoded))  # Of BytesList.
  values = _head(1, len(value) + len(encoded))  # Of Feature.
  feature = _head(2, len(values) + len(value) + len(encoded))  # Of an entry, after its key.
  size = len(_IMAGE_KEY) + len(feature) + len(values) + len(value) + len(encoded)
  entry = _head(1, size)  # Of Features.
  features = _head(1, len(serialized) + len(entry) + size)  # Of Example.
  return b''.join((features, serialized, entry, _IMAGE_KEY, feature, values, value, encoded))


def _head(number: int, size: int) -> bytes:
  """What comes before a field of this number and size in a message: the two as variable-length integers."""
  head = bytearray([number << 3 | 2])
  while size > 0x7F:
    head.append(size & 0x7F | 0x80)
    size >>= 7
  head.append(size)
  return bytes(head)


# The key of a map's entry.
_IMAGE_KEY = _head(1, len(keys.IMAGE_ENCODED)) + keys.IMAGE_ENCODED.encode()


class RecordsDigest:
  """SHA-256 over the records of a file, in which images stand for themselves by their own SHA-256.

  The SHA-256 of an image is known from its examination, so that writing a data set need not hash it again.
  """

  def __init__(self) -> None:
    """Starts without a record."""
    self._digest = hashlib.sha256()

  def add(self, serialized: bytes, image_digest: bytes) -> None:
    """Takes in a record: its features without the image, from `serialize_features`, and SHA-256 of the image."""
    self._digest.update(len(serialized).to_bytes(8, 'little') + serialized + image_digest)

  def add_record(self, record: bytes) -> None:
    """Takes in a record as a file has it.

    Raises:
      google.protobuf.message.DecodeError: it is no `tf.Example`.
    """
    features = tf.train.Example.FromString(record).features.feature
    encoded = b''.join(features[keys.IMAGE_ENCODED].bytes_list.value)
    del features[keys.IMAGE_ENCODED]
    self.add(serialize_features(features), hashlib.sha256(encoded).digest())

  def hexdigest(self) -> str:
    """The digest of all records so far."""
    return self._digest.hexdigest()


def shard_name(split: str, shard: int, num_shards: int) -> str:
  """File name of one shard of a split."""
  return f'{split}-{shard:05d}-of-{num_shards:05d}.tfrecord'


def shard_pattern(split: str, num_shards: int) -> str:
  """Glob that matches all shards of a split, and no file that is still being written."""
  return f'{split}-*-of-{num_shards:05d}.tfrecord'


def shards_below(root: pathlib.Path, split: str, num_shards: int) -> str:
  """Glob that matches all shards of a split in a folder, whose own name may have wildcard characters in it."""
  return os.path.join(glob.escape(str(root)), shard_pattern(split, num_shards))


def write_shard(path: str | os.PathLike[str], examples: Iterable[bytes]) -> None:
  """Writes serialized examples to a TFRecord file that appears only when it is whole.

  Args:
    path: destination; its folder is created when missing.
    examples: serialized `tf.Example`s, read one at a time.
  """
  pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
  with tf.io.TFRecordWriter(files.temporary_path(path)) as writer:
    for example in examples:
      writer.write(example)
  files.publish(path)


class CocoAnnotations:
  """Collects the annotations of images in the format of COCO's `instances_*.json`."""

  def __init__(self, class_names: Sequence[str]) -> None:
    """Initialises an empty collection.

    Args:
      class_names: names by class id; entry 0 is the background, which is not a category.
    """
    self._categories = [
      {'id': index, 'name': name} for index, name in enumerate(class_names) if index
    ]
    self._images: list[dict[str, Any]] = []
    self._annotations: list[dict[str, Any]] = []

  def add(self, source_id: int, instances: Instances) -> None:
    """Adds one image.

    Args:
      source_id: number of the image, as in its record.
      instances: its objects. Boxes become `[x, y, width, height]` in pixels, masks run lengths.
    """
    height, width = instances.masks.shape[1:]
    self._images.append(
      {'id': source_id, 'height': height, 'width': width, 'file_name': f'{source_id:012d}.jpg'}
    )
    for class_id, box, area, mask in zip(
      instances.classes, instances.boxes, instances.areas, instances.masks, strict=True
    ):
      ymin, xmin, ymax, xmax = (int(edge) for edge in box)
      self._annotations.append(
        {
          'id': len(self._annotations) + 1,
          'image_id': source_id,
          'category_id': int(class_id),
          'bbox': [xmin, ymin, xmax - xmin, ymax - ymin],
          'area': int(area),
          'iscrowd': 0,
          'segmentation': _run_lengths(mask),
        }
      )

  def as_dict(self) -> dict[str, Any]:
    """The collection as one JSON-serialisable value."""
    return {
      'images': self._images,
      'annotations': self._annotations,
      'categories': self._categories,
    }


def _run_lengths(mask: np.ndarray) -> dict[str, Any]:
  encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
  return {'size': list(mask.shape), 'counts': encoded['counts'].decode('ascii')}


def _bytes(values: Sequence[bytes]) -> tf.train.Feature:
  return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def _ints(values: Sequence[int] | np.ndarray) -> tf.train.Feature:
  return tf.train.Feature(int64_list=tf.train.Int64List(value=_listed(values)))


def _floats(values: Sequence[float] | np.ndarray) -> tf.train.Feature:
  return tf.train.Feature(float_list=tf.train.FloatList(value=_listed(values)))


def _listed(values: Sequence[Any] | np.ndarray) -> Sequence[Any]:
  """Arrays as lists, which protocol buffers read in half the time."""
  return values.tolist() if isinstance(values, np.ndarray) else values
