"""Measures pseudo masks against the truth, where that is known."""

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from official_selftrain.core import errors, keys
from official_selftrain.datasets import coco
from official_selftrain.ops import masks
from official_selftrain.pseudo_labels import formats, histograms, quality, shards
from official_selftrain.pseudo_labels.segmentation import BACKGROUND


def read_predictions(
  label_files: Sequence[str],
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
  """Reads the masks of label shards without any cut.

  Args:
    label_files: label shards of the segmentation format.

  Yields:
    Image id, classes uint8 `[h, w]`, and confidences uint8 `[h, w]` in steps of 1/255. Dead letters are left out.

  Raises:
    DataError: A label shard is missing or broken.
  """
  for label_file in label_files:
    for record in shards.iterate(label_file):
      if record.serialized is None:
        raise errors.DataError(
          f'Record {record.index} of the label shard {label_file} is broken: {record.reason}. Write the labels again'
        )
      features = tf.train.Example.FromString(record.serialized).features.feature
      if features[keys.LABEL_STATUS].bytes_list.value[0].decode() == formats.DEAD:
        continue
      yield (
        features[keys.SOURCE_ID].bytes_list.value[0].decode(),
        _pixels(features[keys.SEGMENTATION_MASK]),
        _pixels(features[keys.CONFIDENCE_MASK]),
      )


def _pixels(feature: tf.train.Feature) -> np.ndarray:
  return np.asarray(Image.open(io.BytesIO(feature.bytes_list.value[0])))


def evaluate_labels(
  label_files: Sequence[str], truth: coco.Annotations, num_classes: int
) -> quality.Measured:
  """Measures pseudo masks against the truth about the unlabelled images.

  Args:
    label_files: label shards of the segmentation format.
    truth: annotations, read with masks, whose image ids are the source ids of the images.
    num_classes: the model's, with the background as class 0.

  Returns:
    JSON-serialisable, over pixels whose truth is known: `images`, `images_without_truth`, `overall` and `per_class`
    {class id: rows}, and `by_confidence`, {from, share, accuracy} for each bin of confidence over all pixels. Rows are
    {cut, pixels, precision, recall, f1, count_ratio} about pixels of objects, that is of any class but the background;
    those of `overall` also have `accuracy` and `kept_share` of all pixels. Quotients with nothing to divide by are
    None.

  Raises:
    DataError: A file is broken, no image has both, or a mask has another size than its truth.
  """
  shape = (num_classes, histograms.NUM_BINS)
  predicted, right = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
  true = np.zeros(num_classes, np.int64)
  images = without = 0
  for source_id, classes, steps in read_predictions(label_files):
    expected = truth.class_map(source_id)
    if expected is None:
      without += 1
      continue
    if expected.shape != classes.shape:
      raise errors.DataError(
        f'The pseudo mask of image {source_id} has the size {list(classes.shape)} and its truth {list(expected.shape)}'
      )
    images += 1
    known = expected < num_classes
    counted = _cells(classes[known], steps[known], num_classes)
    is_right = classes[known] == expected[known]
    predicted += counted
    right += _cells(classes[known][is_right], steps[known][is_right], num_classes)
    true += np.bincount(expected[known], minlength=num_classes)
  if not images:
    raise errors.DataError(
      f'None of the {without} labelled images has an entry in {truth.path}, so their masks cannot be judged'
    )
  objects = slice(BACKGROUND + 1, None)
  overall = _rows(predicted[objects].sum(0), right[objects].sum(0), int(true[objects].sum()))
  everything = _rows(predicted.sum(0), right.sum(0), int(true.sum()))
  for row, pixels in zip(overall, everything, strict=True):
    row |= {'accuracy': pixels['precision'], 'kept_share': pixels['count_ratio']}
  return {
    'images': images,
    'images_without_truth': without,
    'overall': {'truths': int(true[objects].sum()), 'cuts': overall},
    'per_class': {
      str(class_id): {'truths': int(true[class_id]), 'cuts': rows}
      for class_id in np.flatnonzero(true + predicted.sum(axis=1)).tolist()
      for rows in [_rows(predicted[class_id], right[class_id], int(true[class_id]))]
    },
    'by_confidence': _by_confidence(predicted.sum(0), right.sum(0)),
  }


def _cells(classes: np.ndarray, steps: np.ndarray, num_classes: int) -> np.ndarray:
  """Pixels by class and bin of confidence, int64 `[num_classes, bins]`."""
  bins = histograms.NUM_BINS
  of_bin = np.minimum(steps.astype(np.int64) * bins // masks.CONFIDENCE_STEPS, bins - 1)
  counts = np.bincount(classes.astype(np.int64) * bins + of_bin, minlength=num_classes * bins)
  return counts.reshape(num_classes, bins)


def _rows(predicted: np.ndarray, right: np.ndarray, num_true: int) -> list[dict[str, Any]]:
  """One row per default cut, all of which are edges of bins."""
  rows = []
  for cut in quality.DEFAULT_CUTS:
    kept = histograms.count_above(predicted, cut)
    correct = histograms.count_above(right, cut)
    rows.append(
      {
        'cut': float(cut),
        'pixels': int(kept),
        'precision': quality.ratio(correct, kept),
        'recall': quality.ratio(correct, num_true),
        'f1': quality.ratio(2.0 * correct, kept + num_true),
        'count_ratio': quality.ratio(kept, num_true),
      }
    )
  return rows


def _by_confidence(predicted: np.ndarray, right: np.ndarray) -> list[Mapping[str, Any]]:
  total = float(predicted.sum())
  return [
    {
      'from': round(index / histograms.NUM_BINS, 4),
      'share': quality.ratio(float(count), total),
      'accuracy': quality.ratio(float(right[index]), float(count)),
    }
    for index, count in enumerate(predicted)
  ]
