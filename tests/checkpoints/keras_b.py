"""EfficientNets of tf.keras.applications with random weights, and their features by level."""

import numpy as np
import tensorflow as tf
from official.vision.ops import preprocess_ops

# The mean and what is called variance in files that Keras downloads: it is the deviation.
OF_DOWNLOADS = (preprocess_ops.MEAN_NORM, preprocess_ops.STDDEV_NORM)
# The group of blocks in which a level ends.
_GROUPS = {'2': 'block2', '3': 'block3', '4': 'block5', '5': 'block7'}


def build(model_id: str, side: int, seed: int, **kwargs) -> tf.keras.Model:
  """A network that takes raw images [batch, side, side, 3]; batch norm has random statistics."""
  network = getattr(tf.keras.applications, f'EfficientNet{model_id.upper()}')(
    weights=None, input_shape=(side, side, 3), classifier_activation=None, **kwargs
  )
  random = np.random.default_rng(seed)
  for variable in network.variables:
    shape, leaf = variable.shape, variable.name.split('/')[-1].split(':')[0]
    if leaf in ('gamma', 'moving_variance'):
      variable.assign(random.uniform(0.8, 1.2, shape))
    elif leaf in ('beta', 'moving_mean', 'bias'):
      variable.assign(random.normal(0, 0.1, shape))
    elif leaf in ('kernel', 'depthwise_kernel'):
      fan_in = np.prod(shape[:2]) * (1 if leaf == 'depthwise_kernel' else shape[-2])
      variable.assign(random.normal(0, np.sqrt(2 / fan_in), shape))
  return network


def normalize(network: tf.keras.Model, mean: tuple, variance: tuple) -> None:
  """Sets what the network's layer `normalization` subtracts and by whose root it divides."""
  layer = next(each for each in network.layers if 'normalization' in each.name)
  layer.set_weights([np.array(mean), np.array(variance), np.array(0)])
  layer.finalize_state()


def features(network: tf.keras.Model, images: np.ndarray) -> dict[str, tf.Tensor]:
  """Features by level, '2' to '6', of raw images, and as '0' the images as the network normalises them."""
  names = [layer.name for layer in network.layers]
  ends = {
    level: [name for name in names if name.startswith(group)][-1]
    for level, group in _GROUPS.items()
  }
  # With the weights of a download, one more layer scales behind the normalisation; padding comes after both.
  ends |= {'0': names[names.index('stem_conv_pad') - 1], '6': 'top_activation'}
  outputs = {level: network.get_layer(name).output for level, name in ends.items()}
  return tf.keras.Model(network.input, outputs)(images.astype(tf.keras.backend.floatx()))
