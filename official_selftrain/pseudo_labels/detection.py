"""Pseudo labels of object detection: boxes with classes and scores."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from official_selftrain.core import errors, keys
from official_selftrain.pseudo_labels import cuts as cuts_lib
from official_selftrain.pseudo_labels import formats, histograms

_SIDES = (keys.BOX_YMIN, keys.BOX_XMIN, keys.BOX_YMAX, keys.BOX_XMAX)


@dataclasses.dataclass(frozen=True)
class BoxFormat:
  """The `LabelFormat` of boxes.

  A prediction for one image has `boxes` float `[n, 4]` (ymin, xmin, ymax, xmax) relative to the
  sides of the original image, `scores` float `[n]` in [0, 1] and `classes` integer `[n]`. `is_finite`
  bool, if there, is of all that the network said before suppression, which takes a NaN score for no object.

  Attributes:
    num_classes: classes of the teacher's model, with the background as class 0.
    min_score: boxes that score less are not stored. Low, because the cut that counts is applied
      when reading.
    max_boxes: at most this many boxes per image, those with the highest scores.
  """

  num_classes: int
  min_score: float = 0.05
  max_boxes: int = 100

  name = 'detection'

  def settings(self) -> dict[str, int | float]:
    """See `LabelFormat`."""
    return dataclasses.asdict(self)

  def _check(
    self, boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, is_finite: bool
  ) -> None:
    """Checks one prediction.

    Raises:
      UnusablePredictionError: A box or score is NaN or infinite, also one that suppression left out (`is_finite`).
      DataError: The arrays do not fit together or a class id is outside the model's classes.
    """
    if boxes.shape != (len(scores), 4) or classes.shape != scores.shape:
      raise errors.DataError(
        f'The prediction has boxes of shape {boxes.shape}, scores {scores.shape} and classes '
        f'{classes.shape}; allowed are [n, 4], [n] and [n]'
      )
    if not (is_finite and np.isfinite(boxes).all() and np.isfinite(scores).all()):
      raise formats.UnusablePredictionError('the teacher predicted a NaN or infinite box or score')
    outside = classes[(classes < 0) | (classes >= self.num_classes)]
    if outside.size:
      raise errors.DataError(
        f'The teacher predicted class {outside[0]}; allowed are 0 to {self.num_classes - 1} '
        f'(num_classes is {self.num_classes}). Give the labeller the num_classes of the model'
      )

  def postprocess(self, outputs: formats.Predictions) -> formats.Predictions:
    """Nothing: boxes of all images come out of non-maximum suppression as arrays."""
    return outputs

  def encode(self, prediction: Mapping[str, np.ndarray]) -> dict[str, tf.train.Feature]:
    """Keeps the boxes worth storing, clipped to the image, best first.

    Args:
      prediction: `boxes`, `scores` and `classes` of one image; see the class.

    Returns:
      Features under the Model Garden's names, and the scores.

    Raises:
      UnusablePredictionError: A box or score is NaN or infinite.
      DataError: The arrays do not fit together or a class id is outside the model's classes.
    """
    boxes = np.asarray(prediction['boxes'], np.float32)
    scores = np.asarray(prediction['scores'], np.float32)
    classes = np.asarray(prediction['classes']).astype(np.int64)
    self._check(boxes, scores, classes, bool(prediction.get('is_finite', True)))
    boxes = np.clip(boxes, 0.0, 1.0)
    has_area = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    chosen = np.flatnonzero(has_area & (scores >= np.float32(self.min_score)))
    chosen = chosen[np.argsort(-scores[chosen], kind='stable')][: self.max_boxes]
    features = {
      name: formats.float_feature(boxes[chosen, side]) for side, name in enumerate(_SIDES)
    }
    features[keys.BOX_CLASS] = formats.int64_feature(classes[chosen])
    features[keys.BOX_SCORE] = formats.float_feature(scores[chosen])
    return features

  def num_objects(self, features: Mapping[str, tf.train.Feature]) -> int:
    """See `LabelFormat`."""
    return len(features[keys.BOX_CLASS].int64_list.value)

  def new_summary(self) -> formats.Summary:
    """A summary of no image.

    Returns:
      `boxes` per class id, and what `histograms` says of `scores` and `best_scores`.
    """
    return {'boxes': {}, 'scores': {}, 'best_scores': [0] * histograms.NUM_BINS}

  def count(self, summary: formats.Summary, features: Mapping[str, tf.train.Feature]) -> None:
    """See `LabelFormat`."""
    classes = np.array(features[keys.BOX_CLASS].int64_list.value, np.int64)
    scores = np.array(features[keys.BOX_SCORE].float_list.value, np.float32)
    if not scores.size:
      return
    bins = histograms.score_bins(scores)
    cells, counts = np.unique(classes * histograms.NUM_BINS + bins, return_counts=True)
    for cell, number in zip(cells.tolist(), counts.tolist(), strict=True):
      name = str(cell // histograms.NUM_BINS)
      summary['boxes'][name] = summary['boxes'].get(name, 0) + number
      summary['scores'].setdefault(name, [0] * histograms.NUM_BINS)[cell % histograms.NUM_BINS] += (
        number
      )
    summary['best_scores'][int(bins.max())] += 1

  def kept(self, summary: formats.Summary, cuts: cuts_lib.Cuts) -> formats.Kept:
    """See `LabelFormat`; with cuts per class, `images_kept` is an upper bound."""
    return histograms.kept(summary, cuts)

  def feature_spec(self) -> dict[str, formats.FeatureSpec]:
    """See `LabelFormat`."""
    spec = {
      name: tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True) for name in _SIDES
    }
    spec[keys.BOX_SCORE] = tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True)
    spec[keys.BOX_CLASS] = tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True)
    return spec

  def decode(self, parsed: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Turns parsed features into what the Model Garden's decoder gives for human labels, and the
    scores.

    Args:
      parsed: features parsed by `feature_spec` and `formats.RECORD_SPEC`.

    Returns:
      groundtruth_boxes float32 `[n, 4]` (ymin, xmin, ymax, xmax) relative to the image's sides,
      groundtruth_classes int64 `[n]`, groundtruth_scores float32 `[n]`, groundtruth_area float32
      `[n]` in square pixels, groundtruth_is_crowd bool `[n]`, all False.
    """
    boxes = tf.stack([parsed[name] for name in _SIDES], axis=-1)
    height = tf.cast(parsed[keys.IMAGE_HEIGHT], tf.float32)
    width = tf.cast(parsed[keys.IMAGE_WIDTH], tf.float32)
    return {
      keys.GROUNDTRUTH_BOXES: boxes,
      keys.GROUNDTRUTH_CLASSES: parsed[keys.BOX_CLASS],
      keys.GROUNDTRUTH_SCORES: parsed[keys.BOX_SCORE],
      keys.GROUNDTRUTH_AREA: (boxes[:, 2] - boxes[:, 0])
      * height
      * (boxes[:, 3] - boxes[:, 1])
      * width,
      keys.GROUNDTRUTH_IS_CROWD: tf.zeros_like(parsed[keys.BOX_CLASS], tf.bool),
    }

  def apply_cuts(
    self, decoded: Mapping[str, tf.Tensor], cuts: cuts_lib.Cuts
  ) -> dict[str, tf.Tensor]:
    """Drops boxes under the cuts and marks those in the ignore band.

    Args:
      decoded: what `decode` returns.
      cuts: the cuts.

    Returns:
      The entries of `decoded` for the objects, then for the ignored boxes, each group in its old
      order, and groundtruth_is_ignored bool `[n]`.
    """
    scores, classes = decoded[keys.GROUNDTRUTH_SCORES], decoded[keys.GROUNDTRUTH_CLASSES]
    is_object, is_ignored = cuts.apply(scores, classes)
    objects, ignored = tf.where(is_object)[:, 0], tf.where(is_ignored)[:, 0]
    order = tf.concat([objects, ignored], axis=0)
    result = {name: tf.gather(value, order) for name, value in decoded.items()}
    result[keys.GROUNDTRUTH_IS_IGNORED] = tf.concat(
      [tf.zeros_like(objects, tf.bool), tf.ones_like(ignored, tf.bool)], axis=0
    )
    return result

  def has_objects(self, decoded: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """See `LabelFormat`."""
    return tf.reduce_any(tf.logical_not(decoded[keys.GROUNDTRUTH_IS_IGNORED]))
