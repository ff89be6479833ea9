"""Pictures of what a training sees, for TensorBoard."""

import os

import tensorflow as tf

from official_selftrain.ops import images
from official_selftrain.tasks import contract

# Where the Model Garden's trainer writes its curves.
_FOLDER = 'train'
_MAX_IMAGES = 8
_MARGIN = 4


def write(task: contract.TrainableTask, model_dir: str) -> None:
  """Writes a sheet of the first images of each stream that shows several views of them; does nothing for other tasks.

  Args:
    task: at the beginning of its training.
    model_dir: of the model; the sheets go to TensorBoard's folder in it, at step 0.
  """
  streams = [each for each in contract.training_streams(task) if each.shows_views]
  if not streams:
    return
  writer = tf.summary.create_file_writer(os.path.join(model_dir, _FOLDER))
  with writer.as_default(step=0):
    for stream in streams:
      features, _ = next(iter(task.stream_batches(stream, stream.config)))
      tf.summary.image(f'views/{stream.field}', _sheet(features)[tf.newaxis])
  writer.close()


def _sheet(views: tf.Tensor) -> tf.Tensor:
  """uint8 [h, w, 3] from normalised views, float [batch, views, height, width, 3]: a column for each image."""
  pixels = tf.cast(images.denormalize(tf.cast(views[:_MAX_IMAGES], tf.float32)), tf.uint8)
  margin = [[0, 0], [0, 0], [0, _MARGIN], [0, _MARGIN], [0, 0]]
  framed = tf.pad(pixels, margin, constant_values=255)
  rows = [tf.concat(tf.unstack(row), axis=1) for row in tf.unstack(framed, axis=1)]
  return tf.concat(rows, axis=0)
