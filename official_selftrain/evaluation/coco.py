"""COCO metrics with AP per class.

The Model Garden's evaluator reports classes only if pycocotools brings `category_stats`, which the released package
does not have; then its per-category metrics are silently empty. The precision table that pycocotools does keep holds
the same numbers.
"""

from typing import Any

import numpy as np
from official.vision.evaluation import coco_evaluator

PER_CLASS_AP = 'Precision mAP ByCategory/'
PER_CLASS_AP50 = 'Precision mAP ByCategory@50IoU/'

# Places in pycocotools' precision table [iou, recall, class, area, max detections]: all areas, most detections.
_ALL_AREAS = 0
_MOST_DETECTIONS = -1


class CocoEvaluator(coco_evaluator.COCOEvaluator):
  """The Model Garden's evaluator, with the per-class figures it promises."""

  def _retrieve_per_category_metrics(
    self, coco_eval: Any, prefix: str = ''
  ) -> dict[str, np.float32]:
    """AP and AP50 of each class that has ground truth, under the Model Garden's names."""
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
