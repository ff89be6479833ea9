"""The signature of exported detectors: takes images as they are, gives boxes relative to them."""

import tensorflow as tf
from official.core import config_definitions as cfg
from official.vision.serving import detection

from official_selftrain.configs import detection as configs
from official_selftrain.modeling import assembly, detection_generator, retinanet
from official_selftrain.serving import modules, pixels

# The Model Garden's loop over images, `v1`, needs to know their number.
_FOR_FIXED_BATCHES = 'v1'

# Rank of decoded boxes, whose third axis could tell classes apart and has one entry.
_WITH_CLASSES = 4


@modules.MODULES.register(configs.DetectionTask)
class DetectionModule(detection.DetectionModule):
  """The Model Garden's, whose encoded images must all have one size within a batch; here each has its own.

  Gives `detection_boxes` float32 [batch, n, 4], yxyx relative to the image's sides, `detection_scores` float32
  [batch, n], `detection_classes` int32 [batch, n] and `num_detections` int32 [batch]; see docs/export.md. Without
  suppression (`task.model.detection_generator.apply_nms`) it gives `decoded_boxes` float32 [batch, anchors, 4] in the
  same coordinates and `decoded_box_scores` float32 [batch, anchors, num_classes - 1].
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

  def serve(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
    """See the Model Garden, which without suppression mixes up the images of a batch."""
    if self.params.task.model.detection_generator.apply_nms:
      return super().serve(images)
    fitted, _, infos = self.preprocess(images)
    return self._answer(fitted, infos, self.model.detection_generator)

  def answer_pixels(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
    """The same for images of one size, uint8 [batch, h, w, 3], by means that other formats have, too."""
    fitted = pixels.fit(images, self._input_image_size, self._padded_size)
    infos = fitted.infos(self._input_image_size)
    generator = detection_generator.build(self.params.task.model, portable=True)
    return self._answer(fitted.images, infos, generator)

  def _answer(
    self, images: tf.Tensor, infos: tf.Tensor, generator: detection_generator.DetectionGenerator
  ) -> dict[str, tf.Tensor]:
    """Answers for images that fit, without the Model Garden's `image_info`."""
    found = dict(self.model.detect(images, infos[:, 1], generator))
    names: tuple[str, ...]
    if self.params.task.model.detection_generator.apply_nms:
      names = ('detection_boxes', 'detection_scores', 'detection_classes', 'num_detections')
    else:
      names = ('decoded_boxes', 'decoded_box_scores')
    answers = {name: found[name] for name in names}
    with tf.name_scope(assembly.ANSWERS):
      if answers[names[0]].shape.rank == _WITH_CLASSES:
        answers[names[0]] = answers[names[0]][:, :, 0]
      return dict(self._normalize_coordinates(answers, names[:1], infos))

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
