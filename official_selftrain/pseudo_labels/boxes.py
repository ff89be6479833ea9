"""Boxes as plain arrays: read from COCO annotations and from label shards."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from official_selftrain.core import errors, files, keys
from official_selftrain.pseudo_labels import formats, shards

# One image: `boxes` float [n, 4] (ymin, xmin, ymax, xmax), `classes` int [n] and, for predictions,
# `scores` float [n], for truth optionally `is_crowd` bool [n].
Image = Mapping[str, np.ndarray]


def read_coco_truth(path: str | os.PathLike[str]) -> dict[str, Image]:
  """Reads true boxes from a COCO annotation file.

  Args:
    path: JSON with `images` (id, height, width) and `annotations` (image_id, category_id, bbox in
      pixels as [x, y, width, height], optionally iscrowd).

  Returns:
    By image id as a string: `boxes` float32 `[n, 4]` (ymin, xmin, ymax, xmax) relative to the
    image's sides, `classes` int64 `[n]`, the category ids, and `is_crowd` bool `[n]`.

  Raises:
    DataError: The file is missing or no COCO annotation file.
  """
  try:
    content = files.read_json(path)
    sizes = {image['id']: (image['height'], image['width']) for image in content['images']}
    rows: dict[Any, list[tuple[Any, ...]]] = {image_id: [] for image_id in sizes}
    for annotation in content['annotations']:
      left, top, width, height = annotation['bbox']
      image_height, image_width = sizes[annotation['image_id']]
      box = (
        top / image_height,
        left / image_width,
        (top + height) / image_height,
        (left + width) / image_width,
      )
      crowd = bool(annotation.get('iscrowd', 0))
      rows[annotation['image_id']].append((box, annotation['category_id'], crowd))
  except (KeyError, TypeError, ValueError, OSError) as error:
    raise errors.DataError(
      f'{os.fspath(path)} cannot be read as COCO annotations: {error!r}. Expected are images '
      'with id, height and width, and annotations with image_id, category_id and bbox'
    ) from error
  return {
    str(image_id): {
      'boxes': np.array([row[0] for row in of_image], np.float32).reshape(-1, 4),
      'classes': np.array([row[1] for row in of_image], np.int64),
      'is_crowd': np.array([row[2] for row in of_image], bool),
    }
    for image_id, of_image in rows.items()
  }


def read_predictions(label_files: Sequence[str]) -> dict[str, Image]:
  """Reads the boxes of label shards without any cut.

  Args:
    label_files: label shards of the detection format.

  Returns:
    By image id: `boxes` float32 `[n, 4]` (ymin, xmin, ymax, xmax) relative to the image's sides,
    `classes` int64 `[n]` and `scores` float32 `[n]`. Dead letters are left out.

  Raises:
    DataError: A label shard is missing or broken.
  """
  sides = (keys.BOX_YMIN, keys.BOX_XMIN, keys.BOX_YMAX, keys.BOX_XMAX)
  predictions: dict[str, Image] = {}
  for label_file in label_files:
    for record in shards.iterate(label_file):
      if record.serialized is None:
        raise errors.DataError(
          f'Record {record.index} of the label shard {label_file} is broken: {record.reason}. '
          'Write the labels again'
        )
      features = tf.train.Example.FromString(record.serialized).features.feature
      if features[keys.LABEL_STATUS].bytes_list.value[0].decode() == formats.DEAD:
        continue
      predictions[features[keys.SOURCE_ID].bytes_list.value[0].decode()] = {
        'boxes': np.array([features[side].float_list.value for side in sides], np.float32).T,
        'classes': np.array(features[keys.BOX_CLASS].int64_list.value, np.int64),
        'scores': np.array(features[keys.BOX_SCORE].float_list.value, np.float32),
      }
  return predictions
