"""Pictures of what a training sees and of what its evaluations find, for TensorBoard."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from official.core import config_definitions as cfg
from PIL import Image
from tensorboard.plugins.pr_curve import summary as pr_curve

from official_selftrain.dataloaders import tfrecords
from official_selftrain.evaluation import detections
from official_selftrain.ops import images
from official_selftrain.presentation import task_pictures
from official_selftrain.report import contents, matrix, pictures
from official_selftrain.tasks import contract, stream_specs

# Where the Model Garden's trainer writes its curves.
_FOLDER = 'train'
# Below the folder of an evaluation's curves.
PICTURES_FOLDER = 'pictures'
_MARGIN = 4
_THRESHOLDS = np.linspace(0.0, 1.0, 101)
_VALIDATION = 'task.validation_data.input_path'


def write_inputs(task: contract.TrainableTask, model_dir: str, count: int) -> None:
  """Writes the first images of each stream as the network sees them, with what their labels teach.

  They are augmented as those of the training are, but not shuffled, which would read a whole buffer. Of streams with
  several views of each image the views are shown. A task without pictures has none, nor has a stream from tfds.

  Args:
    task: at the beginning of its training.
    model_dir: of the model; the pictures go to TensorBoard's folder in it, at step 0.
    count: pictures of each stream; 0 writes nothing.
  """
  shown = task_pictures.of(task, task.task_config) if contract.is_ours(task) else None
  streams = [
    each
    for each in contract.training_streams(task)
    if (each.shows_views or shown) and not each.config.tfds_name
  ]
  if not count or not streams:
    return
  writer = tf.summary.create_file_writer(os.path.join(model_dir, _FOLDER))
  with writer.as_default(step=0):
    for stream in streams:
      features, labels = _first_batch(task, stream, count)
      if stream.shows_views:
        tf.summary.image(f'views/{stream.field}', _sheet(features)[tf.newaxis])
        continue
      drawn = [pictures.draw_tile(tile) for tile in _input_tiles(shown, stream, features, labels)]
      tf.summary.image(f'inputs/{stream.field}', stack(drawn), max_outputs=count)
  writer.close()


def _first_batch(
  task: contract.TrainableTask, stream: stream_specs.Stream, count: int
) -> tuple[tf.Tensor, Mapping[str, Any]]:
  config = stream.config.replace(global_batch_size=count, shuffle_buffer_size=1, cache=False)
  features, labels = next(iter(task.stream_batches(stream, config)))
  # Features with further views have the student's under this name, see `dataloaders.teacher_views`.
  return features['image'] if isinstance(features, Mapping) else features, labels


def _input_tiles(
  shown: task_pictures.TaskPictures | None,
  stream: stream_specs.Stream,
  features: tf.Tensor,
  labels: Mapping[str, Any],
) -> list[contents.Tile]:
  if shown is None or stream.role is stream_specs.Role.EXTRA:
    # Of another task, such as the images of joint training.
    return [contents.Tile(image) for image in task_pictures.pixels(features)]
  return shown.inputs(features, labels)


class EvaluationPictures:
  """Writes what each evaluation of a training finds: pictures, precision and recall, and confusions."""

  def __init__(self, task: contract.TrainableTask, params: cfg.ExperimentConfig, folder: str):
    """Finds out whether the task has any pictures.

    Args:
      task: that is trained.
      params: of the training.
      folder: of the model; what is written goes to a folder of its own below that of TensorBoard's curves, because
        TensorBoard stops reading a file once there is a later one beside it.
    """
    self._shown = None
    if contract.is_ours(task):
      self._shown = task_pictures.of(task, task.task_config)
    self._records = params.task.validation_data
    self._folder = os.path.join(folder, params.trainer.validation_summary_subdir, PICTURES_FOLDER)
    self._count = 0

  def watch(self, count: int) -> None:
    """Chooses the first validation images; the task's evaluator must have been built.

    Args:
      count: of images; 0 writes nothing from here on.
    """
    self._count = count
    if not (self._shown and count) or self._records.tfds_name:
      return
    files = tfrecords.match_files(self._records.input_path, _VALIDATION)
    self._shown.watch(_decodable(self._shown.task, tfrecords.readable(files).take(count)))

  def write(self, step: int, details: Mapping[str, Any]) -> None:
    """Writes what the last evaluation found, at a step of the training; `details` are the task's."""
    if not (self._shown and self._count):
      return
    writer = tf.summary.create_file_writer(self._folder)
    with writer.as_default(step=step):
      found = [_beside(tiles) for tiles in self._shown.findings()]
      if found:
        tf.summary.image('predictions', stack(found), max_outputs=len(found))
      confusion = self._shown.confusion(details)
      if confusion is not None and len(confusion.names) <= matrix.MAX_CLASSES:
        drawn = matrix.draw(confusion.names, confusion.counts)
        tf.summary.image('confusion', np.asarray(drawn)[np.newaxis])
      for name, curve in self._shown.curves(_THRESHOLDS).items():
        _write_curve(f'precision_recall/{name}', curve, step)
    writer.close()


def _decodable(
  task: contract.SelfTrainingTask, records: tf.data.Dataset
) -> Iterator[contract.Example]:
  """Decoded validation images; of a record that cannot be decoded evaluation speaks, unless it leaves it out, too."""
  for record in records:
    try:
      yield task.decoded_validation_example(record)
    except tf.errors.OpError:
      continue


def stack(drawn: Sequence[Image.Image | np.ndarray]) -> np.ndarray:
  """Pictures as uint8 [pictures, height, width, 3], padded at the bottom and right to the largest."""
  arrays = [np.asarray(picture) for picture in drawn]
  height, width = (max(array.shape[axis] for array in arrays) for axis in (0, 1))
  return np.stack(
    [
      np.pad(array, ((0, height - array.shape[0]), (0, width - array.shape[1]), (0, 0)))
      for array in arrays
    ]
  )


def _beside(tiles: Sequence[contents.Tile]) -> np.ndarray:
  """Tiles of one image in a row, uint8 [height, width, 3]."""
  drawn = [np.asarray(pictures.draw_tile(tile)) for tile in tiles]
  return np.concatenate(drawn, axis=1)


def _write_curve(tag: str, curve: detections.Curve, step: int) -> None:
  """Writes a curve for TensorBoard's plugin; the true negatives of a detector cannot be counted."""
  missed = curve.true - curve.right
  proto = pr_curve.raw_data_pb(
    tag,
    true_positive_counts=curve.right,
    false_positive_counts=curve.wrong,
    true_negative_counts=np.zeros_like(curve.right),
    false_negative_counts=missed,
    precision=curve.precision,
    recall=curve.recall,
    num_thresholds=len(curve.right),
  )
  tf.summary.experimental.write_raw_pb(proto.SerializeToString(), step=step)


def _sheet(views: tf.Tensor) -> tf.Tensor:
  """uint8 [h, w, 3] from normalised views, float [batch, views, height, width, 3]: a column for each image."""
  pixels = tf.cast(images.denormalize(tf.cast(views, tf.float32)), tf.uint8)
  margin = [[0, 0], [0, 0], [0, _MARGIN], [0, _MARGIN], [0, 0]]
  framed = tf.pad(pixels, margin, constant_values=255)
  rows = [tf.concat(tf.unstack(row), axis=1) for row in tf.unstack(framed, axis=1)]
  return tf.concat(rows, axis=0)
