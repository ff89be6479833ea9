"""The network of SimCLR: a backbone and a projection."""

import tensorflow as tf

from official_selftrain.configs import contrastive as configs
from official_selftrain.modeling import classification, families, precision


class ProjectionHead(tf.keras.layers.Layer):
  """From the features of a backbone to the vectors that are compared (Chen et al. 2020, section 4.2).

  Dense layers without biases, each with batch norm, which in the last has no offset; ReLU between them.
  """

  def __init__(
    self,
    settings: configs.Projection,
    use_sync_bn: bool,
    kernel_regularizer: tf.keras.regularizers.Regularizer | None = None,
  ):
    """Makes the layers.

    Args:
      settings: how many and how wide.
      use_sync_bn: batch norm over the images of all replicas.
      kernel_regularizer: of the weights, or None.
    """
    super().__init__(name='projection')
    self._pool = classification.PooledFeatures()
    last = settings.num_layers - 1
    widths = [settings.hidden_size] * last + [settings.output_size]
    self._dense = [
      tf.keras.layers.Dense(width, use_bias=False, kernel_regularizer=kernel_regularizer)
      for width in widths
    ]
    self._norms = [
      tf.keras.layers.BatchNormalization(
        center=place != last, momentum=0.9, epsilon=1e-5, synchronized=use_sync_bn
      )
      for place in range(len(widths))
    ]

  def call(self, features: classification.ByLevel, training: bool | None = None) -> tf.Tensor:
    """float32 [batch, output_size], not normalised."""
    value = self._pool(features)
    for place, (dense, norm) in enumerate(zip(self._dense, self._norms, strict=True)):
      value = norm(dense(value if place == 0 else tf.nn.relu(value)), training=training)
    return precision.to_float32(value)


@families.names_settings
def build(
  model: configs.ContrastiveModel, l2_weight_decay: float = 0.0
) -> classification.ClassificationModel:
  """Builds the network.

  Args:
    model: `task.model`.
    l2_weight_decay: factor of half the sum of squared kernels, 0 for none.

  Returns:
    A model from float32 [batch, height, width, 3] to float32 [batch, output_size].

  Raises:
    ConfigError: the family has no such backbone.
  """
  head = ProjectionHead(
    model.projection,
    model.norm_activation.use_sync_bn,
    classification.regularizer(l2_weight_decay),
  )
  backbone = classification.build_backbone(model, l2_weight_decay)
  built = classification.ClassificationModel(backbone, head)
  built(tf.keras.Input(model.input_size), training=False)
  return built
