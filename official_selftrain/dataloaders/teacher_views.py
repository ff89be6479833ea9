"""Two views of each unlabelled image: a weak one, which a teacher labels in the step, and the one that a student sees.

The teacher's labels are moved by the map between the views. The weak view shows the whole image, so that all that the
student's view shows can be labelled.
"""

from collections.abc import Mapping
from typing import Protocol

import tensorflow as tf

from official_selftrain.augment import examples, geometry
from official_selftrain.core import keys
from official_selftrain.dataloaders import parsing, tfrecords
from official_selftrain.ops import pipelines

Views = Mapping[str, tf.Tensor]

# Keeps the draws of both views apart.
_WEAK = 0x7765


class Parser(Protocol):
  """A parser that can show an image in two ways; a `parsing.TrainingParser` with one attribute more.

  Attributes:
    weak: makes the weak view of an example, see `augment.build.weak`.
  """

  weak: examples.Transform

  def augment(self, example: parsing.Example) -> parsing.Example:
    """See `parsing.TrainingParser`."""

  def targets(self, example: parsing.Example) -> tuple[tf.Tensor, parsing.Labels]:
    """See `parsing.TrainingParser`."""


class TeacherViews:
  """Parses examples as `parser` does, with a weak view of each image beside its own.

  Features are a mapping: `image`, as `parser` gives it; `teacher_image`, the weak view, float32 [height, width, 3];
  `view_map`, float32 [3, 3], from the weak view to the other, see `augment.geometry`; `view_size` and
  `teacher_view_size`, int32 [2], height and width of the parts of both that show the image.
  """

  def __init__(self, parser: Parser):
    """Takes the parser of the student's view, which moves an image once and does not mix."""
    self._parser = parser

  def parse_stream(self, dataset: tf.data.Dataset, stream_seed: int) -> tf.data.Dataset:
    """See `tasks.stream_specs.StreamParser`."""

    def parse(ordinal: tf.Tensor, example: parsing.Example) -> tuple[Views, parsing.Labels]:
      seed = tfrecords.example_seed(stream_seed, ordinal)
      strong = self._parser.augment({**example, keys.SEED: seed})
      image, labels = self._parser.targets(strong)
      weak_seed = tf.random.experimental.stateless_fold_in(seed, _WEAK)
      weak = self._parser.weak({'image': example['image'], keys.SEED: weak_seed})
      views = {
        'image': image,
        keys.TEACHER_IMAGE: weak['image'],
        keys.VIEW_MAP: strong[keys.VIEW_MAP] @ tf.linalg.inv(weak[keys.VIEW_MAP]),
        keys.VIEW_SIZE: strong[keys.VIEW_SIZE],
        keys.TEACHER_VIEW_SIZE: weak[keys.VIEW_SIZE],
      }
      return views, labels

    return pipelines.map_in_order(dataset, parse)


def move_boxes(
  boxes: tf.Tensor, views: Views, min_visible: float = 0.0
) -> tuple[tf.Tensor, tf.Tensor]:
  """Boxes of the weak view in the student's.

  Args:
    boxes: float32 [n, 4], yxyx in pixels of the weak view.
    views: of one image.
    min_visible: see `augment.flip_crop.FlipCrop`.

  Returns:
    float32 [n, 4] in pixels of the student's view, clipped to the image; bool [n], whether enough of each is seen.
  """
  # As in labels on disk, boxes end with the image; one outside of it would have an extent again when it is turned.
  boxes = geometry.clip_boxes(boxes, tf.cast(views[keys.TEACHER_VIEW_SIZE], tf.float32))
  moved = geometry.warp_boxes(boxes, views[keys.VIEW_MAP])
  clipped = geometry.clip_boxes(moved, tf.cast(views[keys.VIEW_SIZE], tf.float32))
  left = geometry.areas(clipped)
  is_seen = tf.logical_and(left > 0.0, left > min_visible * geometry.areas(moved))
  return clipped, tf.logical_and(is_seen, geometry.areas(boxes) > 0.0)


def move_mask(mask: tf.Tensor, views: Views) -> tf.Tensor:
  """A mask of the weak view in the student's.

  Args:
    mask: uint8 [height, width, 1].
    views: of one image.

  Returns:
    uint8 [height, width, 1] of the same size; `keys.IGNORE_LABEL` where the student's view does not show the image.
  """
  size = mask.shape[:2].as_list()
  shown = views[keys.TEACHER_VIEW_SIZE]
  inside = geometry.warp_nearest(
    mask[: shown[0], : shown[1]], views[keys.VIEW_MAP], views[keys.VIEW_SIZE], keys.IGNORE_LABEL
  )
  below, right = tf.unstack(tf.constant(size) - views[keys.VIEW_SIZE])
  padded = tf.pad(inside, [[0, below], [0, right], [0, 0]], constant_values=keys.IGNORE_LABEL)
  return tf.ensure_shape(padded, [*size, 1])
