"""Pseudo labels of semantic segmentation: a class and a confidence for each pixel."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from official_selftrain.core import errors, keys
from official_selftrain.ops import masks
from official_selftrain.pseudo_labels import cuts as cuts_lib
from official_selftrain.pseudo_labels import formats, histograms

BACKGROUND = 0


@tf.function
def encode_predictions(probabilities: tf.Tensor, infos: tf.Tensor) -> dict[str, tf.Tensor]:
  """Class probabilities of a batch as `MaskFormat` store them, each image at its own size.

  Args:
    probabilities: float32 `[batch, height, width, classes]` on the frame that images were fitted into.
    infos: float32 `[batch, 4, 2]`, see `ops.masks.fit_image`.

  Returns:
    `classes` and `confidences`, string `[batch]`: uint8 PNGs of the most probable class and its probability in steps
    of 1/255; `counts` int64 `[batch, classes, bins]`, pixels by class and confidence; `is_finite` bool `[batch]`.
  """
  num_classes = probabilities.shape[-1]

  def encode(row: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, ...]:
    scores = masks.to_original(*row)
    # A single NaN or infinity makes the sum one, too.
    is_finite = tf.math.is_finite(tf.reduce_sum(scores))
    classes = tf.cast(tf.argmax(scores, -1, output_type=tf.int32), tf.uint8)[..., tf.newaxis]
    best = tf.where(is_finite, tf.reduce_max(scores, -1, keepdims=True), 0.0)
    steps = tf.cast(tf.round(tf.clip_by_value(best, 0.0, 1.0) * masks.CONFIDENCE_STEPS), tf.uint8)
    counts = masks.count_pixels(classes, steps, num_classes, histograms.NUM_BINS)
    # Confidences compress badly at any level; the lowest takes a third of the time.
    pngs = [tf.io.encode_png(values, compression=1) for values in (classes, steps)]
    return *pngs, counts, is_finite

  signature = (
    tf.TensorSpec([], tf.string),
    tf.TensorSpec([], tf.string),
    tf.TensorSpec([num_classes, histograms.NUM_BINS], tf.int64),
    tf.TensorSpec([], tf.bool),
  )
  names = ('classes', 'confidences', 'counts', 'is_finite')
  with tf.device('cpu:0'):
    encoded = tf.map_fn(encode, (probabilities, infos), fn_output_signature=signature)
  return dict(zip(names, encoded, strict=True))


@dataclasses.dataclass(frozen=True)
class MaskFormat:
  """The `LabelFormat` of class masks.

  A teacher's `predict_fn` returns `probabilities` and `image_info` as `encode_predictions` takes them. Masks are
  stored whole; pixels below the cut are set to 255 when they are read. Next to the masks are counts of pixels by
  class and confidence, so that counting needs no decoding. Class 0, the background, is not an object.

  Attributes:
    num_classes: classes of the teacher's model, with the background as class 0.
  """

  num_classes: int

  name = 'segmentation'

  def settings(self) -> dict[str, int | float]:
    """See `LabelFormat`."""
    return dataclasses.asdict(self)

  def postprocess(self, outputs: formats.Predictions) -> formats.Predictions:
    """See `LabelFormat` and `encode_predictions`."""
    return encode_predictions(outputs['probabilities'], outputs['image_info'])

  def encode(self, prediction: Mapping[str, np.ndarray]) -> dict[str, tf.train.Feature]:
    """See `LabelFormat`.

    Raises:
      UnusablePredictionError: a probability is NaN or infinite.
      DataError: the model has another number of classes.
    """
    counts = np.asarray(prediction['counts'])
    if len(counts) != self.num_classes:
      raise errors.DataError(
        f'The teacher predicts {len(counts)} classes, but num_classes is {self.num_classes}. Give the labeller the '
        'num_classes of the model'
      )
    if not prediction['is_finite']:
      raise formats.UnusablePredictionError('the teacher predicted a NaN or infinite probability')
    return {
      keys.SEGMENTATION_MASK: formats.bytes_feature(bytes(prediction['classes'])),
      keys.CONFIDENCE_MASK: formats.bytes_feature(bytes(prediction['confidences'])),
      keys.PIXEL_COUNTS: formats.int64_feature(counts.ravel()),
    }

  def counts(self, features: Mapping[str, tf.train.Feature]) -> np.ndarray:
    """Pixels by class and confidence of encoded features, int64 `[num_classes, bins]`."""
    values = np.array(features[keys.PIXEL_COUNTS].int64_list.value, np.int64)
    return values.reshape(self.num_classes, histograms.NUM_BINS)

  def num_objects(self, features: Mapping[str, tf.train.Feature]) -> int:
    """Number of pixels of any class but the background; see `LabelFormat`."""
    return int(self.counts(features)[BACKGROUND + 1 :].sum())

  def new_summary(self) -> formats.Summary:
    """A summary of no image.

    Returns:
      What `histograms` says of `scores` and `best_scores`, over pixels of objects, and `background`, the histogram of
      the background's pixels.
    """
    empty = [0] * histograms.NUM_BINS
    return {'scores': {}, 'best_scores': empty, 'background': empty}

  def count(self, summary: formats.Summary, features: Mapping[str, tf.train.Feature]) -> None:
    """See `LabelFormat`."""
    counts = self.counts(features)
    for class_id in np.flatnonzero(counts.sum(axis=1)).tolist():
      if class_id == BACKGROUND:
        summary['background'] = _sum(summary['background'], counts[class_id])
        continue
      before = summary['scores'].get(str(class_id), [0] * histograms.NUM_BINS)
      summary['scores'][str(class_id)] = _sum(before, counts[class_id])
    filled = np.flatnonzero(counts[BACKGROUND + 1 :].sum(axis=0))
    if filled.size:
      best = np.bincount(filled[-1:], minlength=histograms.NUM_BINS)
      summary['best_scores'] = _sum(summary['best_scores'], best)

  def kept(self, summary: formats.Summary, cuts: cuts_lib.Cuts) -> formats.Kept:
    """See `LabelFormat`; counts pixels of objects, not of the background."""
    return histograms.kept(summary, cuts)

  def feature_spec(self) -> dict[str, formats.FeatureSpec]:
    """See `LabelFormat`."""
    names = (keys.SEGMENTATION_MASK, keys.CONFIDENCE_MASK)
    return {name: tf.io.FixedLenFeature([], tf.string, default_value='') for name in names}

  def decode(self, parsed: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """See `LabelFormat`.

    Returns:
      semantic_mask and semantic_confidence, uint8 `[h, w, 1]` at the size of the image; confidences in steps of 1/255.
    """
    return {
      keys.SEMANTIC_MASK: tf.io.decode_png(parsed[keys.SEGMENTATION_MASK], channels=1),
      keys.SEMANTIC_CONFIDENCE: tf.io.decode_png(parsed[keys.CONFIDENCE_MASK], channels=1),
    }

  def apply_cuts(
    self, decoded: Mapping[str, tf.Tensor], cuts: cuts_lib.Cuts
  ) -> dict[str, tf.Tensor]:
    """Sets pixels under the cut of their class to 255; there is no ignore band, since all of them are ignored."""
    mask = decoded[keys.SEMANTIC_MASK]
    scores = tf.cast(decoded[keys.SEMANTIC_CONFIDENCE], tf.float32) / masks.CONFIDENCE_STEPS
    ignored = tf.constant(keys.IGNORE_LABEL, mask.dtype)
    return {**decoded, keys.SEMANTIC_MASK: tf.where(scores >= cuts.thresholds(mask), mask, ignored)}

  def has_objects(self, decoded: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """See `LabelFormat`."""
    mask = decoded[keys.SEMANTIC_MASK]
    return tf.reduce_any(tf.logical_and(mask != BACKGROUND, mask != keys.IGNORE_LABEL))


def _sum(counts: list[int], more: np.ndarray) -> list[int]:
  return (np.array(counts) + more).tolist()
