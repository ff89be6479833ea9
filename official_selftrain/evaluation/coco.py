"""COCO metrics with AP per class, and the counts per image that AP is computed from.

The Model Garden's evaluator reports classes only if pycocotools brings `category_stats`, which the released package
does not have; then its per-category metrics are silently empty. The precision table that pycocotools does keep holds
the same numbers.
"""

from typing import Any

import numpy as np
from official.vision.evaluation import coco_evaluator
from pycocotools import cocoeval

PER_CLASS_AP = 'Precision mAP ByCategory/'
PER_CLASS_AP50 = 'Precision mAP ByCategory@50IoU/'

# Places in pycocotools' precision table [iou, recall, class, area, max detections]: all areas, most detections.
_ALL_AREAS = 0
_MOST_DETECTIONS = -1


# Place of the class, place of the image and pycocotools' result for them.
Entry = tuple[int, int, dict[str, Any]]


class CocoEvaluator(coco_evaluator.COCOEvaluator):
  """The Model Garden's evaluator, with the per-class figures it promises, and tallies for `resampling`."""

  def __init__(
    self,
    annotation_file: str,
    include_mask: bool = False,
    per_category_metrics: bool = False,
    max_num_eval_detections: int = 100,
  ):
    """Builds the evaluator.

    Args:
      annotation_file: COCO JSON with the truth; '' takes the truth from the labels of each batch.
      include_mask: whether to evaluate instance masks, too.
      per_category_metrics: whether the metrics include those of single classes.
      max_num_eval_detections: detections of an image that count, best first.
    """
    self._reports_categories = per_category_metrics
    self._tallies: dict[str, np.ndarray] = {}
    self._boxes: dict[str, np.ndarray] = {}
    # The Model Garden hands out pycocotools' results only to what makes per-category metrics of them.
    super().__init__(
      annotation_file=annotation_file,
      include_mask=include_mask,
      per_category_metrics=True,
      max_num_eval_detections=max_num_eval_detections,
    )

  def tallies(self) -> dict[str, np.ndarray]:
    """Results of the last evaluation per image, for boxes of all areas; empty before the first.

    Returns:
      Arrays that `resampling` makes AP of. `image_ids` int64 [images] and `category_ids` int64 [classes] are what the
      other arrays count from 0; `iou_thresholds` float64 [thresholds]. One row per detection, best first in each image
      and class, without padding: `image` and `category` int32 [detections], `score` float32 [detections], `matched` and
      `ignored` bool [detections, thresholds]. One row per true box that counts (no crowds): `true_image` and
      `true_category` int32.
    """
    return self._tallies

  def boxes(self) -> dict[str, np.ndarray]:
    """The boxes that the rows of `tallies` are about; empty before the first evaluation.

    Returns:
      `box` float32 [detections, 4] and `true_box` float32 [true boxes, 4], yxyx in pixels of the image.
    """
    return self._boxes

  def _retrieve_per_category_metrics(
    self, coco_eval: cocoeval.COCOeval, prefix: str = ''
  ) -> dict[str, np.float32]:
    """AP and AP50 of each class that has ground truth, under the Model Garden's names."""
    if not prefix:
      entries = _entries(coco_eval)
      self._tallies = _tallies(coco_eval, entries)
      self._boxes = _boxes(coco_eval, entries)
    if not self._reports_categories:
      return {}
    precision = coco_eval.eval['precision'][:, :, :, _ALL_AREAS, _MOST_DETECTIONS]
    iou_50 = int(np.argmin(np.abs(coco_eval.params.iouThrs - 0.5)))
    start = f'{prefix} ' if prefix else ''
    metrics = {}
    for column, category_id in enumerate(coco_eval.params.catIds):
      name = coco_eval.cocoGt.cats.get(category_id, {}).get('name', category_id)
      metrics[f'{start}{PER_CLASS_AP}{name}'] = average_precision(precision[:, :, column])
      metrics[f'{start}{PER_CLASS_AP50}{name}'] = average_precision(precision[iou_50, :, column])
    return metrics


def average_precision(precision: np.ndarray) -> np.float32:
  """Mean of the known entries of a precision table; -1, as in pycocotools, where the class has no ground truth."""
  known = precision[precision > -1]
  return np.float32(known.mean() if known.size else -1.0)


def tallies_of(coco_eval: cocoeval.COCOeval) -> dict[str, np.ndarray]:
  """The per-image results of a pycocotools `COCOeval` after `evaluate`, see `CocoEvaluator.tallies`."""
  return _tallies(coco_eval, _entries(coco_eval))


def _tallies(coco_eval: cocoeval.COCOeval, found: list[Entry]) -> dict[str, np.ndarray]:
  params = coco_eval.params
  places = np.array([(category, image) for category, image, _ in found], np.int32).reshape(-1, 2)
  detections = [len(entry['dtScores']) for _, _, entry in found]
  truths = [int(np.count_nonzero(np.equal(entry['gtIgnore'], 0))) for _, _, entry in found]
  scores = [score for _, _, entry in found for score in entry['dtScores']]

  def by_detection(name: str) -> np.ndarray:
    none = np.zeros([len(params.iouThrs), 0], bool)
    return np.concatenate([none, *(entry[name] != 0 for _, _, entry in found)], axis=1).T

  return {
    'image_ids': np.asarray(params.imgIds, np.int64),
    'category_ids': np.asarray(params.catIds, np.int64),
    'iou_thresholds': np.asarray(params.iouThrs, np.float64),
    'image': np.repeat(places[:, 1], detections),
    'category': np.repeat(places[:, 0], detections),
    'score': np.asarray(scores, np.float32),
    'matched': by_detection('dtMatches'),
    'ignored': by_detection('dtIgnore'),
    'true_image': np.repeat(places[:, 1], truths),
    'true_category': np.repeat(places[:, 0], truths),
  }


def boxes_of(coco_eval: cocoeval.COCOeval) -> dict[str, np.ndarray]:
  """The boxes of the rows of `tallies_of`, see `CocoEvaluator.boxes`."""
  return _boxes(coco_eval, _entries(coco_eval))


def _boxes(coco_eval: cocoeval.COCOeval, rows: list[Entry]) -> dict[str, np.ndarray]:
  entries = [entry for _, _, entry in rows]
  found = [coco_eval.cocoDt.anns[each]['bbox'] for entry in entries for each in entry['dtIds']]
  true = [
    coco_eval.cocoGt.anns[each]['bbox']
    for entry in entries
    for each, ignored in zip(entry['gtIds'], entry['gtIgnore'], strict=True)
    if not ignored
  ]
  return {'box': _yxyx(found), 'true_box': _yxyx(true)}


def _entries(coco_eval: cocoeval.COCOeval) -> list[Entry]:
  """Place of the class, place of the image and pycocotools' result for boxes of all areas, where there is one."""
  params = coco_eval.params
  num_images = len(params.imgIds)
  # pycocotools' list has all images of the first area range of the first class, then of the next range.
  stride, first = len(params.areaRng) * num_images, _ALL_AREAS * num_images
  return [
    (category, image, _without_padding(entry))
    for category in range(len(params.catIds))
    for image in range(num_images)
    if (entry := coco_eval.evalImgs[category * stride + first + image]) is not None
  ]


def _without_padding(entry: dict[str, Any]) -> dict[str, Any]:
  """The result without detections of score 0 and below.

  The Model Garden's evaluator takes them, although they lie behind `num_detections` and only fill up its arrays. Those
  of score 0 have no area and match nothing, so no metric changes; but each image has dozens of them, all of class 1.
  Its loop over images (`v1`) fills up with copies of score -1, which pycocotools may match.
  """
  is_found = np.asarray(entry['dtScores'], np.float32) > 0
  places = np.flatnonzero(is_found)
  return {
    **entry,
    'dtScores': [entry['dtScores'][place] for place in places],
    'dtIds': [entry['dtIds'][place] for place in places],
    'dtMatches': np.asarray(entry['dtMatches'])[:, is_found],
    'dtIgnore': np.asarray(entry['dtIgnore'])[:, is_found],
  }


def _yxyx(boxes: list[list[float]]) -> np.ndarray:
  """float32 [n, 4] from COCO's x, y, width, height."""
  x, y, width, height = np.asarray(boxes, np.float32).reshape(-1, 4).T
  return np.stack([y, x, y + height, x + width], axis=1)
