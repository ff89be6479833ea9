"""Boxes as plain arrays, read from label shards."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from official_selftrain.core import errors, keys
from official_selftrain.pseudo_labels import formats, shards


@dataclasses.dataclass(frozen=True, eq=False)
class ScoredBoxes:
  """The predictions for one image.

  Attributes:
    boxes: float [n, 4], (ymin, xmin, ymax, xmax).
    classes: int [n].
    scores: float [n].
  """

  boxes: np.ndarray
  classes: np.ndarray
  scores: np.ndarray


def read_predictions(label_files: Sequence[str]) -> Iterator[tuple[str, ScoredBoxes]]:
  """Reads the boxes of label shards without any cut, one image at a time.

  Args:
    label_files: label shards of the detection format.

  Yields:
    Image id, and boxes float32, relative to the image's sides, classes int64 and scores float32. Dead letters are left
    out.

  Raises:
    DataError: A label shard is missing or broken.
  """
  sides = (keys.BOX_YMIN, keys.BOX_XMIN, keys.BOX_YMAX, keys.BOX_XMAX)
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
      yield (
        features[keys.SOURCE_ID].bytes_list.value[0].decode(),
        ScoredBoxes(
          np.array([features[side].float_list.value for side in sides], np.float32).T,
          np.array(features[keys.BOX_CLASS].int64_list.value, np.int64),
          np.array(features[keys.BOX_SCORE].float_list.value, np.float32),
        ),
      )
