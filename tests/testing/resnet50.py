"""ResNet-50 of SimCLR and of the TPU reference code: TF1 names, random weights, a forward pass of plain operations."""

import numpy as np
import tensorflow as tf

# Blocks, inner channels and stride of a group; groups end at levels 2 to 5.
_GROUPS = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))
_CLASSES = 1000
_EPSILON = 1e-5

SIMCLR, CLASSIFIER = 'base_model/', ''

Arrays = dict[str, np.ndarray]


def _convolutions() -> list[tuple[int, int, int]]:
  """Kernel side, channels in and out of all 53 convolutions, in the order in which the code makes them."""
  found, channels = [(7, 3, 64)], 64
  for blocks, inner, _ in _GROUPS:
    for block in range(blocks):
      if block == 0:
        found.append((1, channels, 4 * inner))
      found += [(1, channels, inner), (3, inner, inner), (1, inner, 4 * inner)]
      channels = 4 * inner
  return found


def _suffix(number: int) -> str:
  return f'_{number}' if number else ''


def random_arrays(seed: int, scope: str) -> Arrays:
  """The variables of a backbone, float32, with weights that keep the size of what passes through."""
  random = np.random.default_rng(seed)
  arrays = {}
  for number, (side, channels, out) in enumerate(_convolutions()):
    kernel = random.standard_normal([side, side, channels, out], np.float32)
    arrays[f'{scope}conv2d{_suffix(number)}/kernel'] = kernel * np.float32(
      np.sqrt(2 / (side * side * channels))
    )
    ends_block = number > 0 and side == 1 and out > channels
    low, high = (0.3, 0.5) if ends_block else (0.8, 1.2)
    of_norm = f'{scope}batch_normalization{_suffix(number)}'
    arrays[f'{of_norm}/gamma'] = random.uniform(low, high, out).astype(np.float32)
    arrays[f'{of_norm}/beta'] = random.normal(0, 0.1, out).astype(np.float32)
    arrays[f'{of_norm}/moving_mean'] = random.normal(0, 0.1, out).astype(np.float32)
    arrays[f'{of_norm}/moving_variance'] = random.uniform(0.8, 1.2, out).astype(np.float32)
  return arrays


def other_variables(seed: int, scope: str) -> Arrays:
  """What training leaves in a checkpoint beside the backbone: heads, some slots of the optimizer, the step.

  The projection head has the three layers of SimCLR's second version; the last one's batch norm has no offset.
  """
  random = np.random.default_rng(seed)
  arrays: Arrays = {}

  def add(name: str, *shape: int) -> None:
    arrays[name] = random.standard_normal(shape, np.float32)

  head = 'head_supervised/linear_layer/dense' if scope == SIMCLR else 'dense'
  add(f'{head}/kernel', 2048, _CLASSES)
  add(f'{head}/bias', _CLASSES)
  if scope == SIMCLR:
    add('ema_model/base_model/batch_normalization/gamma', 64)
    # 8 channels stand for the 2048 and 128 of the release.
    for number in range(3):
      layer = f'head_contrastive/nl_{number}'
      add(f'{layer}/dense/kernel', 8, 8)
      for leaf in ('gamma', 'moving_mean', 'moving_variance', *(['beta'] if number < 2 else [])):
        add(f'{layer}/batch_normalization/{leaf}', 8)
  for name in (
    f'{head}/bias',
    f'{scope}batch_normalization/gamma',
    f'{scope}batch_normalization/beta',
  ):
    add(f'{name}/Momentum', *(arrays[name].shape if name in arrays else (64,)))
  arrays['global_step'] = np.array(250, np.int64)
  return arrays


class _Pass:
  """Applies convolutions with their batch norms in the order of their numbers."""

  def __init__(self, arrays: Arrays, scope: str):
    self._arrays, self._scope, self._number = arrays, scope, 0

  def __call__(self, x: tf.Tensor, stride: int = 1, border: tuple[float, ...] = ()) -> tf.Tensor:
    suffix = _suffix(self._number)
    self._number += 1
    kernel = self._arrays[f'{self._scope}conv2d{suffix}/kernel']
    margin = kernel.shape[0] // 2
    channels = [
      tf.pad(channel, [[0, 0], [margin] * 2, [margin] * 2, [0, 0]], constant_values=value)
      for channel, value in zip(
        tf.split(x, len(border) or 1, axis=-1), border or (0.0,), strict=True
      )
    ]
    x = tf.nn.conv2d(tf.concat(channels, -1), kernel, stride, 'VALID')
    of_norm = f'{self._scope}batch_normalization{suffix}'
    gamma, beta, mean, variance = (
      self._arrays[f'{of_norm}/{leaf}']
      for leaf in ('gamma', 'beta', 'moving_mean', 'moving_variance')
    )
    return (x - mean) * (gamma / np.sqrt(variance + _EPSILON)) + beta


def forward(
  arrays: Arrays, scope: str, images: np.ndarray, border: tuple[float, ...] = ()
) -> dict[str, tf.Tensor]:
  """Features by level, by TensorFlow's plain operations.

  Args:
    arrays: see `random_arrays`.
    scope: of their names.
    images: as the weights expect them, float32 [batch, h, w, 3].
    border: the colour around the images, in the same frame; empty for zeros, which is what the code has.

  Returns:
    float32 [batch, h / 2^level, w / 2^level, 64 * 2^level] for '2' to '5'.
  """
  conv_norm = _Pass(arrays, scope)
  x = tf.nn.relu(conv_norm(tf.constant(images), 2, border))
  x = tf.nn.max_pool2d(x, 3, 2, 'SAME')
  levels = {}
  for level, (blocks, _, stride) in enumerate(_GROUPS, 2):
    for block in range(blocks):
      first = stride if block == 0 else 1
      shortcut = conv_norm(x, first) if block == 0 else x
      y = tf.nn.relu(conv_norm(x))
      y = tf.nn.relu(conv_norm(y, first))
      x = tf.nn.relu(conv_norm(y) + shortcut)
    levels[str(level)] = x
  return levels
