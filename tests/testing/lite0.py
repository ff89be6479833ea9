"""EfficientNet-Lite0 on arrays with PyTorch's names: random weights, and a forward pass of plain operations."""

import functools
import pathlib

import numpy as np
import tensorflow as tf

# Real weights, with a README, which are not part of the project.
WEIGHTS = (
  pathlib.Path(__file__).resolve().parents[3] / 'shared/data/imagenet/efficientnet_lite0.npz'
)
IMAGE_SIDE = 224

# Repeats, kernel, stride of the first, expansion, channels; and whether a level ends there.
_GROUPS = (
  (1, 3, 1, 1, 16, None),
  (2, 3, 2, 6, 24, '2'),
  (2, 5, 2, 6, 40, '3'),
  (3, 3, 2, 6, 80, None),
  (3, 5, 1, 6, 112, '4'),
  (4, 5, 2, 6, 192, None),
  (1, 3, 1, 6, 320, '5'),
)
_CLASSES = 1000
_EPSILON = 1e-3


def normalized(images: np.ndarray) -> np.ndarray:
  """What the weights were trained with: float32 from images in 0..255."""
  return (images.astype(np.float32) - 127) / 128


def random_arrays(seed: int) -> dict[str, np.ndarray]:
  """A state dict with weights that keep the size of what passes through, float32."""
  random = np.random.default_rng(seed)
  arrays = {}

  def conv(name: str, *shape: int) -> None:
    deviation = np.sqrt(2 / np.prod(shape[1:]))
    arrays[f'{name}.weight'] = random.normal(0, deviation, shape)

  def norm(name: str, channels: int) -> None:
    arrays[f'{name}.weight'] = random.uniform(0.8, 1.2, channels)
    arrays[f'{name}.bias'] = random.normal(0, 0.1, channels)
    arrays[f'{name}.running_mean'] = random.normal(0, 0.1, channels)
    arrays[f'{name}.running_var'] = random.uniform(0.8, 1.2, channels)

  conv('_conv_stem', 32, 3, 3, 3)
  norm('_bn0', 32)
  channels, number = 32, 0
  for repeats, kernel, _, expansion, out, _ in _GROUPS:
    for _ in range(repeats):
      block, wide = f'_blocks.{number}.', channels * expansion
      if expansion > 1:
        conv(f'{block}_expand_conv', wide, channels, 1, 1)
        norm(f'{block}_bn0', wide)
      conv(f'{block}_depthwise_conv', wide, 1, kernel, kernel)
      norm(f'{block}_bn1', wide)
      conv(f'{block}_project_conv', out, wide, 1, 1)
      norm(f'{block}_bn2', out)
      channels, number = out, number + 1
  conv('_conv_head', 1280, channels, 1, 1)
  norm('_bn1', 1280)
  conv('_fc', _CLASSES, 1280)
  arrays['_fc.bias'] = random.normal(0, 0.3, _CLASSES)
  return {name: array.astype(np.float32) for name, array in arrays.items()}


def forward(arrays: dict[str, np.ndarray], images: np.ndarray) -> dict[str, tf.Tensor]:
  """Features by level and `logits`, by TensorFlow's plain operations.

  Args:
    arrays: a state dict.
    images: normalised as the weights expect, float32 [batch, h, w, 3].

  Returns:
    float32 [batch, h / 2^level, w / 2^level, channels] for '2' to '5', the head's convolution as '6', and `logits`
    [batch, 1000].
  """
  x = relu6(norm(arrays, '_bn0', conv(arrays, '_conv_stem', images, 2)))
  levels, number = {}, 0
  for repeats, _, stride, expansion, _, level in _GROUPS:
    for repeat in range(repeats):
      x = _block(arrays, f'_blocks.{number}.', x, stride if repeat == 0 else 1, expansion)
      number += 1
    if level:
      levels[level] = x
  levels['6'] = relu6(norm(arrays, '_bn1', conv(arrays, '_conv_head', x, 1)))
  return {**levels, 'logits': logits(arrays, levels['6'])}


def logits(arrays: dict[str, np.ndarray], features: tf.Tensor) -> tf.Tensor:
  """The classifier on features of level '6'."""
  return tf.reduce_mean(features, [1, 2]) @ arrays['_fc.weight'].T + arrays['_fc.bias']


relu6 = tf.nn.relu6


def conv(arrays: dict[str, np.ndarray], name: str, x: tf.Tensor, stride: int) -> tf.Tensor:
  """A convolution, depthwise if its name says so."""
  kernel = arrays[f'{name}.weight']
  if 'depthwise' in name:
    by_channel = kernel.transpose(2, 3, 0, 1)
    return tf.nn.depthwise_conv2d(x, by_channel, [1, stride, stride, 1], 'SAME')
  return tf.nn.conv2d(x, kernel.transpose(2, 3, 1, 0), stride, 'SAME')


def norm(arrays: dict[str, np.ndarray], name: str, x: tf.Tensor) -> tf.Tensor:
  """Batch norm with the statistics of training."""
  scale = arrays[f'{name}.weight'] / np.sqrt(arrays[f'{name}.running_var'] + _EPSILON)
  return (x - arrays[f'{name}.running_mean']) * scale + arrays[f'{name}.bias']


def _block(
  arrays: dict[str, np.ndarray], name: str, x: tf.Tensor, stride: int, expansion: int
) -> tf.Tensor:
  y = x
  if expansion > 1:
    y = relu6(norm(arrays, f'{name}_bn0', conv(arrays, f'{name}_expand_conv', y, 1)))
  y = relu6(norm(arrays, f'{name}_bn1', conv(arrays, f'{name}_depthwise_conv', y, stride)))
  y = norm(arrays, f'{name}_bn2', conv(arrays, f'{name}_project_conv', y, 1))
  return x + y if stride == 1 and x.shape[-1] == y.shape[-1] else y


@functools.cache
def photographs() -> np.ndarray:
  """scikit-learn's two photographs, a palace and a flower: their middle at 224 x 224, uint8 [2, 224, 224, 3]."""
  import PIL.Image
  from sklearn import datasets

  found = []
  for name in ('china.jpg', 'flower.jpg'):
    image = PIL.Image.fromarray(datasets.load_sample_image(name))
    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    middle = image.crop((left, top, left + side, top + side))
    found.append(np.asarray(middle.resize([IMAGE_SIDE] * 2, PIL.Image.Resampling.BICUBIC)))
  return np.stack(found)
