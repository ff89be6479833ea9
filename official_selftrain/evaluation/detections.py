"""What detections of an evaluation say about single classes: precision by recall, and which are taken for which."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from official_selftrain.ops import anchor_targets

# The overlap from which a detection is a true box, as in AP50.
_MIN_IOU = 0.5


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
  """Counts of one class at rising thresholds of the score; int64 [thresholds].

  Attributes:
    right: detections of at least that score that match a true box with an IoU of 0.5.
    wrong: those that match none. What matches a crowd is neither.
    true: true boxes of the class, the same at all thresholds.
  """

  right: np.ndarray
  wrong: np.ndarray
  true: np.ndarray

  @property
  def precision(self) -> np.ndarray:
    """Share of right detections, float64 [thresholds]; 1 where there are none."""
    found = self.right + self.wrong
    return np.where(found > 0, self.right / np.maximum(found, 1), 1.0)

  @property
  def recall(self) -> np.ndarray:
    """Share of true boxes that are found, float64 [thresholds]; 0 for a class without any."""
    return self.right / np.maximum(self.true, 1)


def curves(tallies: Mapping[str, np.ndarray], thresholds: np.ndarray) -> dict[int, Curve]:
  """Precision and recall by score.

  Args:
    tallies: see `coco.CocoEvaluator.tallies`; not empty.
    thresholds: float [thresholds], rising.

  Returns:
    Curves by class id, of the classes in `category_ids` that truth or detections have. Without an annotation file these
    are the classes of the true boxes alone.
  """
  iou_50 = _place_of_min_iou(tallies)
  counts = ~tallies['ignored'][:, iou_50]
  is_right = tallies['matched'][:, iou_50]
  result = {}
  for place, class_id in enumerate(tallies['category_ids'].tolist()):
    is_own = counts & (tallies['category'] == place)
    true = int(np.count_nonzero(tallies['true_category'] == place))
    if not (true or is_own.any()):
      continue

    def at_least(chosen: np.ndarray) -> np.ndarray:
      scores = np.sort(tallies['score'][chosen])
      return len(scores) - np.searchsorted(scores, thresholds.astype(np.float32), side='left')

    result[class_id] = Curve(
      at_least(is_own & is_right), at_least(is_own & ~is_right), np.full(len(thresholds), true)
    )
  return result


def confusion(
  tallies: Mapping[str, np.ndarray], boxes: Mapping[str, np.ndarray], min_score: float
) -> np.ndarray:
  """Which classes the true boxes are taken for.

  In each image the detections, whatever their class, choose in the order of their scores: the free true box that
  overlaps most, with an IoU of at least 0.5. So a box that is found under a wrong name counts as that, while AP, which
  looks at one class at a time, knows it only as missed.

  Args:
    tallies: see `coco.CocoEvaluator.tallies`; not empty.
    boxes: see `coco.CocoEvaluator.boxes`.
    min_score: detections below it do not count, nor do those that match a crowd.

  Returns:
    int64 [classes + 1, classes + 1], true class by detected class in the order of `tallies['category_ids']`. The last
    column counts true boxes that nothing found, the last row detections without a true box. A box that is taken for a
    class that is not among them counts as not found.
  """
  size = len(tallies['category_ids']) + 1
  nothing = size - 1
  result = np.zeros([size, size], np.int64)
  is_ignored = tallies['ignored'][:, _place_of_min_iou(tallies)]
  is_shown = (tallies['score'] >= np.float32(min_score)) & ~is_ignored
  shown = np.flatnonzero(is_shown)
  shown = shown[np.argsort(-tallies['score'][shown], kind='stable')]
  num_images = len(tallies['image_ids'])
  found_in, true_in = tallies['image'][shown], tallies['true_image']
  for here, true in zip(
    _by_image(found_in, num_images), _by_image(true_in, num_images), strict=True
  ):
    found = shown[here]
    taken = _matches(boxes['box'][found], boxes['true_box'][true])
    for row, match in zip(found, taken, strict=True):
      true_class = nothing if match is None else tallies['true_category'][true[match]]
      result[true_class, tallies['category'][row]] += 1
    for missed in set(range(len(true))) - set(taken):
      result[tallies['true_category'][true[missed]], nothing] += 1
  return result


def _place_of_min_iou(tallies: Mapping[str, np.ndarray]) -> int:
  (place,) = np.flatnonzero(np.isclose(tallies['iou_thresholds'], _MIN_IOU))
  return int(place)


def _by_image(images: np.ndarray, num_images: int) -> list[np.ndarray]:
  """The rows of each image, in their order; `images` has the image of each row."""
  order = np.argsort(images, kind='stable')
  return np.split(order, np.searchsorted(images[order], np.arange(1, num_images)))


def _matches(found: np.ndarray, true: np.ndarray) -> list[int | None]:
  """The place of the true box that each detection takes, None for none."""
  if not len(found) or not len(true):
    return [None] * len(found)
  overlaps = anchor_targets.iou(tf.constant(found), tf.constant(true)).numpy()
  taken: list[int | None] = []
  for row in overlaps:
    best = int(np.argmax(row))
    is_match = row[best] >= _MIN_IOU
    taken.append(best if is_match else None)
    if is_match:
      overlaps[:, best] = -1.0
  return taken
