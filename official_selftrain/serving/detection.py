"""The signature of exported detectors: takes images as they are, gives boxes relative to them."""

import tensorflow as tf
from official.core import config_definitions as cfg
from official.vision.serving import detection

from official_selftrain.configs import detection as configs
from official_selftrain.modeling import retinanet
from official_selftrain.serving import modules

# The Model Garden's loop over images, `v1`, needs to know their number.
_FOR_FIXED_BATCHES = 'v1'


@modules.MODULES.register(configs.DetectionTask)
class DetectionModule(detection.DetectionModule):
  """The Model Garden's, whose encoded images must all have one size within a batch; here each has its own.

  Gives `detection_boxes` float32 [batch, n, 4], yxyx relative to the image's sides, `detection_scores` float32
  [batch, n], `detection_classes` int32 [batch, n] and `num_detections` int32 [batch]; see docs/export.md.
  """

  def __init__(
    self,
    params: cfg.ExperimentConfig,
    *,
    batch_size: int | None,
    input_image_size: list[int],
    input_type: str,
    input_name: str,
  ):
    """See the Model Garden; changes `params` so that boxes are relative to the image."""
    params.task.export_config.output_normalized_coordinates = True
    super().__init__(
      params=params,
      batch_size=batch_size,
      input_image_size=input_image_size,
      input_type=input_type,
      input_name=input_name,
    )

  def _build_model(self) -> tf.keras.Model:
    generator = self.params.task.model.detection_generator
    is_hard = not generator.soft_nms_sigma
    if self._batch_size is None and is_hard and generator.nms_version == _FOR_FIXED_BATCHES:
      generator.nms_version = 'batched'
    return retinanet.build(self.params.task.model)

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
