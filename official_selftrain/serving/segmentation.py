"""The signature of exported segmentation models: images in, classes and confidences at their own size out."""

from collections.abc import Callable

import tensorflow as tf
from official.core import config_definitions as cfg
from official.vision.serving import semantic_segmentation

from official_selftrain.configs import families
from official_selftrain.configs import segmentation as configs
from official_selftrain.modeling import assembly
from official_selftrain.modeling import segmentation as modeling
from official_selftrain.ops import images as image_ops
from official_selftrain.ops import masks
from official_selftrain.serving import modules, pixels

Example = tuple[tf.Tensor, tf.Tensor]


@modules.MODULES.register(configs.SegmentationTask)
class SegmentationModule(semantic_segmentation.SegmentationModule):
  """The Model Garden's, for any batch size and images of different sizes, with classes instead of logits.

  Gives `classes` uint8 [batch, h, w] and `confidences` float32 [batch, h, w], the probability of that class, where h
  and w are those of the largest image, and `image_sizes` int32 [batch, 2]: height and width of each. In the padding
  of a smaller image both are 0. See docs/export.md.

  Images are fitted into a frame as `task.validation_data` says (`output_size`, `at_own_size`), so that the export is
  what was evaluated.
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
    """See the Model Garden; changes `params` so that `task.model.input_size` is the frame's, whatever it is given."""
    del input_image_size
    validation = params.task.validation_data
    frame = list(configs.image_size(validation, params.task.model))
    params.task.model.input_size = [*frame, 3]
    self._at_own_size = validation.at_own_size
    super().__init__(
      params=params,
      batch_size=batch_size,
      input_image_size=frame,
      input_type=input_type,
      input_name=input_name,
    )

  def _build_model(self) -> tf.keras.Model:
    return modeling.build(self.params.task.model)

  @tf.function
  def inference_from_image_bytes(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
    """Segments encoded images, string [batch]."""
    return self._predict(
      inputs, lambda encoded: tf.io.decode_image(encoded, 3, expand_animations=False)
    )

  def serve(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
    """Segments images, uint8 [batch, h, w, 3]."""
    return self._predict(images, tf.identity)

  def answer_pixels(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
    """The same for images of one size by means that other formats have, too; gives no `image_sizes`."""
    frame = self._input_image_size
    fitted = pixels.fit(images, frame, frame, self._at_own_size)
    logits = self.inference_step(fitted.images)['logits']
    with tf.name_scope(assembly.ANSWERS):
      full = families.of(self.params.task.model).resize(logits, frame)
      shown = full[:, : fitted.shown[0], : fitted.shown[1]]
      scores = tf.image.resize(shown, tf.cast(fitted.original, tf.int32))
      classes = tf.cast(tf.argmax(scores, -1, tf.int32), tf.uint8)
      return {'classes': classes, 'confidences': tf.reduce_max(tf.nn.softmax(scores), -1)}

  def _predict(
    self, inputs: tf.Tensor, decode: Callable[[tf.Tensor], tf.Tensor]
  ) -> dict[str, tf.Tensor]:
    frame = self._input_image_size

    def _fit(value: tf.Tensor) -> Example:
      image = tf.ensure_shape(decode(value), [None, None, 3])
      return masks.fit_image(image_ops.normalize(image), frame, self._at_own_size)

    specs = (tf.TensorSpec([*frame, 3], tf.float32), tf.TensorSpec([4, 2], tf.float32))
    with tf.device('cpu:0'):
      images, infos = tf.map_fn(_fit, inputs, fn_output_signature=specs, parallel_iterations=32)
    logits = self.inference_step(images)['logits']
    sizes = tf.cast(infos[:, 0], tf.int32)
    largest = tf.reduce_max(sizes, 0)

    def _answer(row: Example) -> Example:
      scores = masks.to_original(*row)
      beside = largest - tf.shape(scores)[:2]
      around = [[0, beside[0]], [0, beside[1]]]
      classes = tf.cast(tf.argmax(scores, -1), tf.uint8)
      confidences = tf.reduce_max(tf.nn.softmax(scores), -1)
      return tf.pad(classes, around), tf.pad(confidences, around)

    specs = (tf.TensorSpec([None, None], tf.uint8), tf.TensorSpec([None, None], tf.float32))
    with tf.device('cpu:0'):
      full = families.of(self.params.task.model).resize(logits, frame)
      classes, confidences = tf.map_fn(_answer, (full, infos), fn_output_signature=specs)
    return {'classes': classes, 'confidences': confidences, 'image_sizes': sizes}
