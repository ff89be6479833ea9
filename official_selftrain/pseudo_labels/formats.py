"""What a task must provide for its pseudo labels; nothing else in this package knows about boxes or masks."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np
import tensorflow as tf

from official_selftrain.core import errors, keys
from official_selftrain.pseudo_labels import cuts as cuts_lib

# Values of keys.LABEL_STATUS. Every image has a record in its label shard, also when there is
# nothing to say about it.
LABELLED = 'labelled'
EMPTY = 'empty'
DEAD = 'dead'

# Counts of labels as JSON holds them: dictionaries of numbers, of lists of numbers, or of such dictionaries. Formats
# choose the keys.
Summary: TypeAlias = dict[str, Any]
# What a teacher predicts for a batch, one row per image.
Predictions: TypeAlias = Mapping[str, tf.Tensor | np.ndarray]
FeatureSpec: TypeAlias = tf.io.FixedLenFeature | tf.io.FixedLenSequenceFeature

RECORD_SPEC = {
  keys.LABEL_STATUS: tf.io.FixedLenFeature([], tf.string),
  keys.LABEL_INDEX: tf.io.FixedLenFeature([], tf.int64),
  keys.IMAGE_FINGERPRINT: tf.io.FixedLenFeature([], tf.int64),
  keys.SOURCE_ID: tf.io.FixedLenFeature([], tf.string),
  keys.IMAGE_HEIGHT: tf.io.FixedLenFeature([], tf.int64),
  keys.IMAGE_WIDTH: tf.io.FixedLenFeature([], tf.int64),
}


class UnusablePredictionError(errors.DataError):
  """The teacher's prediction for one image is not usable; the image becomes a dead letter."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kept:
  """The labels that cuts keep, computed from counts alone.

  Attributes:
    objects: number of labels before the cuts.
    objects_kept: number of labels at or above their cut.
    images_kept: number of images with at least one such label.
    highest_score: upper end of the highest histogram bin that is not empty; 0 without labels.
  """

  objects: float
  objects_kept: float
  images_kept: float
  highest_score: float


class LabelFormat(Protocol):
  """Storing, reading, cutting and counting of one kind of pseudo label.

  Summaries are nested dictionaries and lists of counts, so that JSON holds them and adding them up,
  number by number, gives the summary of several shards.
  """

  name: str

  def settings(self) -> dict[str, int | float]:
    """JSON-serialisable settings; labels written with other settings are not mixed with these."""

  def postprocess(self, outputs: Predictions) -> Predictions:
    """The host's share of the work on a batch of predictions.

    The labeller calls it while the teacher is busy with the next batch.

    Args:
      outputs: what the teacher's `predict_fn` returned.

    Returns:
      Arrays with one row per image; a row of each is what `encode` takes.
    """

  def encode(self, prediction: Mapping[str, np.ndarray]) -> dict[str, tf.train.Feature]:
    """Turns the prediction for one image into features.

    Raises:
      UnusablePredictionError: The prediction cannot be stored, for instance because it is not
        finite.
      DataError: The prediction contradicts the settings, which concerns every image.
    """

  def num_objects(self, features: Mapping[str, tf.train.Feature]) -> int:
    """Number of objects that encoded features hold; 0 makes the image an empty one."""

  def new_summary(self) -> Summary:
    """A summary of no image."""

  def count(self, summary: Summary, features: Mapping[str, tf.train.Feature]) -> None:
    """Adds the encoded features of one image to `summary`."""

  def feature_spec(self) -> dict[str, FeatureSpec]:
    """Parsing specification of the features that `encode` writes; each may be missing."""

  def decode(self, parsed: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Turns features parsed by `feature_spec` and `RECORD_SPEC` into decoded labels."""

  def apply_cuts(
    self, decoded: Mapping[str, tf.Tensor], cuts: cuts_lib.Cuts
  ) -> dict[str, tf.Tensor]:
    """Drops what is under the cuts and marks what is in the ignore band."""

  def has_objects(self, decoded: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """bool scalar: whether anything but background is left after the cuts."""

  def kept(self, summary: Summary, cuts: cuts_lib.Cuts) -> Kept:
    """Counts of the labels in `summary` that `cuts` keep."""


def int64_feature(values: Iterable[int]) -> tf.train.Feature:
  """An int64 list feature."""
  return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def float_feature(values: Iterable[float]) -> tf.train.Feature:
  """A float list feature."""
  return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def bytes_feature(value: bytes) -> tf.train.Feature:
  """A bytes feature with one value."""
  return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def merge_summaries(left: Summary, right: Summary) -> Summary:
  """Adds two summaries number by number; a key that one of them lacks counts as zero."""
  merged = dict(left)
  for key, value in right.items():
    merged[key] = _sum(merged[key], value) if key in merged else value
  return merged


def _sum(left: Any, right: Any) -> Any:
  """Adds two values of summaries."""
  if isinstance(left, dict):
    return merge_summaries(left, right)
  if isinstance(left, list):
    return [_sum(a, b) for a, b in zip(left, right, strict=True)]
  return left + right
