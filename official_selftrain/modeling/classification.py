"""Classifiers on the backbones of detectors and segmenters."""

from collections.abc import Mapping

import tensorflow as tf

from official_selftrain.configs import classification as configs
from official_selftrain.modeling import families, precision, spinenet

ByLevel = Mapping[str, tf.Tensor]


class PooledFeatures(tf.keras.layers.Layer):
  """From features by level to one vector per image.

  Most backbones put what they know of an image into their last level. The levels of a SpineNet have one width and side
  by side make up its output, so they are averaged, as its authors do for classification.
  """

  def call(self, features: ByLevel) -> tf.Tensor:
    """Means over places, and over levels of one width.

    Args:
      features: [batch, h, w, channels] by level, '3', '4', ...

    Returns:
      float [batch, channels].
    """
    levels = [features[level] for level in sorted(features, key=int)]
    if len({level.shape[-1] for level in levels}) > 1:
      levels = levels[-1:]
    return tf.add_n([tf.reduce_mean(level, axis=[1, 2]) for level in levels]) / len(levels)


class ClassHead(tf.keras.layers.Layer):
  """Logits of whole images from the features of a backbone."""

  def __init__(
    self,
    num_classes: int,
    dropout_rate: float = 0.0,
    kernel_regularizer: tf.keras.regularizers.Regularizer | None = None,
  ):
    """Makes the layers.

    Args:
      num_classes: number of logits.
      dropout_rate: share of the pooled features that training leaves out.
      kernel_regularizer: of the weights, or None.
    """
    super().__init__(name='class_head')
    self._pool = PooledFeatures()
    self._dropout = tf.keras.layers.Dropout(dropout_rate)
    self._logits = tf.keras.layers.Dense(
      num_classes,
      kernel_initializer=tf.keras.initializers.RandomNormal(stddev=0.01),
      kernel_regularizer=kernel_regularizer,
    )

  def call(self, features: ByLevel, training: bool | None = None) -> tf.Tensor:
    """float32 [batch, num_classes]."""
    pooled = self._dropout(self._pool(features), training=training)
    return precision.to_float32(self._logits(pooled))


class ClassificationModel(tf.keras.Model):
  """A backbone and a head of pooled features.

  Attributes:
    backbone: from images to features by level.
    head: from these to one vector per image.
  """

  def __init__(self, backbone: tf.keras.Model, head: tf.keras.layers.Layer):
    """Puts both together."""
    super().__init__()
    self.backbone = backbone
    self.head = head

  def call(self, images: tf.Tensor, training: bool | None = None) -> tf.Tensor:
    """The head's output for normalised images, float32 [batch, height, width, 3]."""
    return self.head(self.backbone(images, training=training), training=training)

  @property
  def checkpoint_items(self) -> dict[str, tf.keras.Model]:
    """The parts that other models can start from."""
    return {'backbone': self.backbone}


def build_backbone(model: configs.ClassificationModel, l2_weight_decay: float) -> tf.keras.Model:
  """The backbone that detectors and segmenters of the same settings have, with the same names in checkpoints.

  Args:
    model: `task.model`.
    l2_weight_decay: factor of half the sum of squared kernels, 0 for none.

  Raises:
    ConfigError: the family has no such backbone.
  """
  spinenet.register_sizes()
  specs = tf.keras.layers.InputSpec(shape=[None, *model.input_size])
  return families.of(model).backbone(specs, model, regularizer(l2_weight_decay))


def regularizer(l2_weight_decay: float) -> tf.keras.regularizers.Regularizer | None:
  """Of kernels; None for a weight decay of 0."""
  return tf.keras.regularizers.l2(l2_weight_decay / 2.0) if l2_weight_decay else None


@families.names_settings
def build(model: configs.ClassificationModel, l2_weight_decay: float = 0.0) -> ClassificationModel:
  """Builds a classifier.

  Args:
    model: `task.model`.
    l2_weight_decay: see `build_backbone`.

  Returns:
    A model from float32 [batch, height, width, 3] to logits, float32 [batch, num_classes].

  Raises:
    ConfigError: the family has no such backbone.
  """
  head = ClassHead(model.num_classes, model.dropout_rate, regularizer(l2_weight_decay))
  built = ClassificationModel(build_backbone(model, l2_weight_decay), head)
  built(tf.keras.Input(model.input_size), training=False)
  return built
