"""Writes a SavedModel that takes images as a user has them and gives boxes relative to them.

The Model Garden's serving module does the work; this chooses its settings and keeps the caller's config untouched.
"""

import os
import shutil

import tensorflow as tf
from official.core import config_definitions as cfg
from official.vision.serving import detection, export_saved_model_lib

from official_selftrain.core import errors

INPUT_TYPES = ('image_bytes', 'image_tensor')


class _DetectionModule(detection.DetectionModule):
  """The Model Garden's, whose encoded images must all have one size within a batch; here each has its own."""

  @tf.function
  def inference_from_image_bytes(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
    """Detections in encoded images, string [batch]."""
    return self.serve(inputs)

  def preprocess(self, images: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor], tf.Tensor]:
    """See the Model Garden; encoded images are resized right after they are decoded."""
    if images.dtype != tf.string:
      return super().preprocess(images)

    def decode_and_resize(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
      image, _, info = self._build_inputs(tf.cast(self._decode_image(encoded), tf.float32))
      return image, info

    shapes = ([*self._padded_size, 3], [4, 2])
    with tf.device('cpu:0'):
      resized, infos = tf.map_fn(
        decode_and_resize,
        images,
        fn_output_signature=tuple(tf.TensorSpec(shape, tf.float32) for shape in shapes),
        parallel_iterations=32,
      )
    batch = tf.shape(resized)[0]
    anchors = {
      level: tf.repeat(boxes[tf.newaxis], batch, axis=0)
      for level, boxes in self._build_anchor_boxes().items()
    }
    return resized, anchors, infos


def export_detector(
  params: cfg.ExperimentConfig,
  checkpoint: str,
  directory: str,
  input_type: str = 'image_bytes',
  batch_size: int | None = None,
) -> None:
  """Writes a detector as SavedModel; an older one at the same place is replaced once the new one is whole.

  The signature `serving_default` takes `inputs`: string [batch] of encoded JPEG or PNG images of any sizes, or uint8
  [batch, h, w, 3]. It gives `detection_boxes` float32 [batch, n, 4], yxyx relative to the image's sides,
  `detection_scores` float32 [batch, n], `detection_classes` int [batch, n] and `num_detections` int [batch].

  Args:
    params: an experiment with a RetinaNet task.
    checkpoint: prefix of a checkpoint, or a model directory.
    directory: where the SavedModel goes.
    input_type: one of `INPUT_TYPES`.
    batch_size: fixed batch, or None for any.

  Raises:
    ConfigError: unknown input type.
    DataError: no checkpoint.
  """
  if input_type not in INPUT_TYPES:
    raise errors.ConfigError(f'input_type is {input_type!r}: allowed are {", ".join(INPUT_TYPES)}.')
  prefix = tf.train.latest_checkpoint(checkpoint) if tf.io.gfile.isdir(checkpoint) else checkpoint
  if not prefix or not tf.io.gfile.exists(prefix + '.index'):
    raise errors.DataError(f'There is no checkpoint at {checkpoint} to export.')
  serving = params.replace()
  serving.task.export_config.output_normalized_coordinates = True
  size = list(serving.task.model.input_size[:2])
  module = _DetectionModule(
    params=serving,
    batch_size=batch_size,
    input_image_size=size,
    input_type=input_type,
    input_name='inputs',
  )
  temporary = directory.rstrip('/') + '.tmp'
  shutil.rmtree(temporary, ignore_errors=True)
  export_saved_model_lib.export_inference_graph(
    input_type=input_type,
    batch_size=batch_size,
    input_image_size=size,
    params=serving,
    checkpoint_path=prefix,
    export_dir=temporary,
    export_module=module,
  )
  shutil.rmtree(directory, ignore_errors=True)
  os.replace(temporary, directory)
