"""mIoU from a confusion matrix, at the images' own size and at the size that the model sees.

The paper's code measures on masks resized to 512 pixels; most others measure at the images' own size. Both are here.
"""

import threading
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from official_selftrain.core import keys
from official_selftrain.ops import images, masks

PER_CLASS = 'iou/'


def class_ious(confusion: np.ndarray) -> np.ndarray:
  """Intersection over union of each class.

  Args:
    confusion: `[classes, classes]` numbers of pixels by true class (row) and predicted class.

  Returns:
    float64 `[classes]`; NaN for a class that neither truth nor prediction has.
  """
  right = np.diag(confusion).astype(np.float64)
  union = confusion.sum(axis=0) + confusion.sum(axis=1) - right
  return np.divide(right, union, out=np.full(len(right), np.nan), where=union > 0)


class _ImageCounts:
  """Pixels of each image by class, collected on the host from wherever a batch is evaluated."""

  def __init__(self) -> None:
    # Replicas report at the same time.
    self._lock = threading.Lock()
    self._rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

  def clear(self) -> None:
    with self._lock:
      self._rows = []

  def add(self, ids: np.ndarray, intersection: np.ndarray, union: np.ndarray) -> None:
    """Takes in a batch: int64 [batch], int64 [batch, classes] twice."""
    with self._lock:
      self._rows.append((ids, intersection, union))

  def arrays(self) -> list[np.ndarray]:
    """Ids [images], intersections and unions [images, classes] of all images by rising id; empty without images."""
    with self._lock:
      arrays = [np.concatenate(parts) for parts in zip(*self._rows, strict=True)]
    if not arrays:
      return []
    order = np.argsort(arrays[0], kind='stable')
    return [array[order] for array in arrays]


class _WatchedMasks:
  """Predicted classes of a few images, collected on the host.

  Attributes:
    wanted: ids of the images.
  """

  def __init__(self) -> None:
    self.wanted: frozenset[int] = frozenset()
    self._lock = threading.Lock()
    self._found: dict[int, np.ndarray] = {}

  def watch(self, ids: Iterable[int]) -> None:
    self.wanted = frozenset(ids)

  def add(self, ids: np.ndarray, infos: np.ndarray, found: np.ndarray, native: np.ndarray) -> None:
    """Takes in int64 [batch], float32 [batch, 4, 2], uint8 [batch, h, w], and whether that is the images' own size."""
    for image_id, info, mask in zip(ids.tolist(), infos, found, strict=True):
      if image_id in self.wanted:
        with self._lock:
          self._found[image_id] = mask.copy() if native else _nearest(mask, info)

  @property
  def found(self) -> dict[int, np.ndarray]:
    """Masks by image id; those at the images' own size may be padded below and on the right."""
    with self._lock:
      return dict(self._found)


def _nearest(mask: np.ndarray, info: np.ndarray) -> np.ndarray:
  """A mask on the frame at the image's own size; `info` float32 [4, 2], see `ops.masks.fit_image`."""
  size, _, scale, offset = info
  rows, columns = (
    np.clip(((np.arange(int(length)) + 0.5) * factor - start).astype(int), 0, limit - 1)
    for length, factor, start, limit in zip(size, scale, offset, mask.shape, strict=True)
  )
  return mask[np.ix_(rows, columns)]


class _MeanIoU(tf.keras.metrics.MeanIoU):
  """Keras' metric; what resets it also clears the counts of single images."""

  def __init__(self, counts: _ImageCounts, **options: Any):
    super().__init__(**options)
    self._counts = counts

  def reset_state(self) -> None:
    super().reset_state()
    self._counts.clear()


class SegmentationEvaluator:
  """Collects confusion matrices over batches, and per image what mIoU is made of, for `resampling`.

  Pixels whose truth is 255 never count: those in the padding, and those that nobody labelled. Keras' `MeanIoU` does
  the counting, in float64, which holds the pixels of large data sets.

  Counts of single images go to the host in every batch. TPUs cannot do that: there they are left out, `tallies` is
  empty, and the report has no interval and so no verdict.
  """

  def __init__(self, num_classes: int, native: bool, resize: images.Resize = tf.image.resize):
    """Builds the evaluator.

    Args:
      num_classes: the model's, with the background as class 0.
      native: whether to measure at the images' own size, too.
      resize: enlarges logits to the size that the model sees.
    """
    self._resize = resize
    options = {'num_classes': num_classes, 'ignore_class': keys.IGNORE_LABEL, 'dtype': tf.float64}
    self._num_classes = num_classes
    self._num_copies = _num_copies()
    self._counts = _ImageCounts()
    self._watched = _WatchedMasks()
    self._resized = _MeanIoU(self._counts, name='mean_iou_resized', **options)
    self._native = _MeanIoU(self._counts, name='mean_iou', **options) if native else None

  @property
  def metrics(self) -> list[tf.keras.metrics.Metric]:
    """The metrics that count; the evaluating code resets them."""
    return [metric for metric in (self._native, self._resized) if metric is not None]

  def update_state(self, labels: Mapping[str, tf.Tensor], logits: tf.Tensor) -> None:
    """Takes in one batch.

    Args:
      labels: see `dataloaders.segmentation.evaluation_parser`, batched; without `keys.IMAGE_ID`,
        and on TPUs, there are no tallies.
      logits: float32 [batch, h', w', classes].
    """
    frame = labels['masks'].shape[1:3]
    full = self._resize(logits, frame)
    truth, found = labels['masks'][..., 0], tf.argmax(full, -1)
    self._resized.update_state(truth, found)
    if self._native is not None:
      size = tf.shape(labels['native_masks'])[1:3]
      truth, found = labels['native_masks'][..., 0], _at_own_size(full, labels['image_info'], size)
      self._native.update_state(truth, found)
    if keys.IMAGE_ID in labels and not _is_on_tpu():
      counts = _overlaps(truth, found, self._num_classes)
      tf.numpy_function(self._counts.add, [labels[keys.IMAGE_ID], *counts], [])
      if self._watched.wanted:
        small, is_native = tf.cast(found, tf.uint8), self._native is not None
        inputs = [labels[keys.IMAGE_ID], labels['image_info'], small, is_native]
        tf.numpy_function(self._watched.add, inputs, [])

  def watch(self, ids: Iterable[int]) -> None:
    """Keeps what is found in images with these ids, see `found`; to be called before the first batch."""
    self._watched.watch(ids)

  def found(self) -> dict[int, np.ndarray]:
    """Predicted classes of the watched images that were evaluated, at their own size.

    Returns:
      uint8 [h, w] by image id; with `native` there may be padding below and on the right. Empty on TPUs.
    """
    return self._watched.found

  @property
  def confusion(self) -> np.ndarray:
    """float64 [classes, classes], true class by predicted class; at the images' own size where that is measured."""
    return (self._native or self._resized).total_cm.numpy()

  def result(self) -> dict[str, float]:
    """The metrics.

    Returns:
      `mean_iou`, the mean over the classes that truth or prediction has, `pixel_accuracy` and `iou/<class id>`, all
      from `confusion`, and `mean_iou_resized`, at the size that the model sees.
    """
    confusion = self.confusion
    ious = class_ious(confusion)
    metrics = {
      'mean_iou': _mean(ious),
      'mean_iou_resized': _mean(class_ious(self._resized.total_cm.numpy())),
      'pixel_accuracy': float(np.trace(confusion) / max(confusion.sum(), 1.0)),
    }
    for class_id, iou in enumerate(ious):
      if not np.isnan(iou):
        metrics[f'{PER_CLASS}{class_id}'] = float(iou)
    return metrics

  def tallies(self) -> dict[str, np.ndarray]:
    """Results per image, at the size that `mean_iou` is measured at; empty before the first batch and on TPUs.

    Returns:
      Arrays that `resampling` makes mIoU of: `image_ids` int64 [images] in rising order, `category_ids` int64
      [classes], and `intersection` and `union` int64 [images, classes], pixels of truth and prediction.
    """
    arrays = self._counts.arrays()
    if not arrays:
      return {}
    ids, intersection, union = arrays
    return {
      'image_ids': ids,
      'category_ids': np.arange(self._num_classes),
      'intersection': intersection,
      'union': union,
    }

  def details(self) -> dict[str, Any]:
    """Results that are not single numbers: `confusion`, whose rows are true classes."""
    counts = self.confusion / self._num_copies
    return {'confusion': counts.astype(np.int64).tolist()}


def _is_on_tpu() -> bool:
  """Whether the current strategy runs on TPUs, which cannot call Python."""
  kinds = (tf.distribute.TPUStrategy, tf.distribute.experimental.TPUStrategy)
  return isinstance(tf.distribute.get_strategy(), kinds)


def _num_copies() -> int:
  """How often the metrics count each image: each of several workers evaluates all of them, and metrics add up."""
  strategy = tf.distribute.get_strategy()
  if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
    return 1
  num_local: int = len(strategy.extended.worker_devices)
  return strategy.num_replicas_in_sync // num_local


def _mean(ious: np.ndarray) -> float:
  """Mean over the classes there are; NaN if no pixel was labelled."""
  present = ious[~np.isnan(ious)]
  return float(present.mean()) if present.size else float('nan')


def _overlaps(truth: tf.Tensor, found: tf.Tensor, num_classes: int) -> tuple[tf.Tensor, tf.Tensor]:
  """Pixels that truth and prediction share, and that either has, by image and class.

  Args:
    truth: integers [batch, height, width]; 255 where a pixel does not count.
    found: integers [batch, height, width].
    num_classes: the model's.

  Returns:
    int64 [batch, num_classes], twice.
  """
  truth, found = tf.cast(truth, tf.int32), tf.cast(found, tf.int32)
  counts = truth != keys.IGNORE_LABEL

  def by_class(mask: tf.Tensor, where: tf.Tensor) -> tf.Tensor:
    # Values of `maxlength` and above are left out.
    values = tf.reshape(tf.where(where, mask, num_classes), [tf.shape(mask)[0], -1])
    bins = tf.math.bincount(values, minlength=num_classes, maxlength=num_classes, axis=-1)
    return tf.cast(bins, tf.int64)

  intersection = by_class(truth, tf.logical_and(counts, truth == found))
  return intersection, by_class(truth, counts) + by_class(found, counts) - intersection


def _at_own_size(full: tf.Tensor, infos: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
  """Predicted classes of each image at its own size.

  Args:
    full: float32 [batch, height, width, classes], logits on the frame.
    infos: float32 [batch, 4, 2], see `ops.masks.fit_image`.
    size: int32 [2], height and width of the largest image.

  Returns:
    int64 [batch, *size]; 0 outside the image.
  """

  def _classes(row: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    classes = tf.argmax(masks.to_original(*row), -1)
    below, right = size[0] - tf.shape(classes)[0], size[1] - tf.shape(classes)[1]
    return tf.pad(classes, [[0, below], [0, right]])

  signature = tf.TensorSpec([None, None], tf.int64)
  return tf.map_fn(_classes, (full, infos), fn_output_signature=signature)
