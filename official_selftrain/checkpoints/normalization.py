"""The normalisation of images that weights were trained with, and how it is turned into ours."""

import dataclasses
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from official.vision.ops import preprocess_ops

Channels = tuple[float, float, float]

# Files keep float32.
_TOLERANCE = 1e-5


@dataclasses.dataclass(frozen=True)
class Normalization:
  """Images become (x - mean) / std, per channel.

  Attributes:
    mean: of red, green and blue, in the frame 0..255.
    std: likewise.
  """

  mean: Channels
  std: Channels

  def is_same(self, other: 'Normalization') -> bool:
    """Whether both turn the same images into the same numbers, but for rounding."""
    return np.allclose([self.mean, self.std], [other.mean, other.std], rtol=_TOLERANCE, atol=0)

  def text(self) -> str:
    """A few words for the console."""
    mean, std = (', '.join(f'{value:.5g}' for value in each) for each in (self.mean, self.std))
    return f'minus ({mean}), over ({std})'


# What `ops.images.normalize` does, which all inputs of train.py pass through.
OURS = Normalization(preprocess_ops.MEAN_RGB, preprocess_ops.STDDEV_RGB)


class Stem(NamedTuple):
  """The first two layers with variables: a convolution, kernel [h, w, 3, filters], and its batch norm."""

  conv: tf.keras.layers.Conv2D
  norm: tf.keras.layers.BatchNormalization


def describe(source: Normalization, now: Normalization) -> str:
  """What the user has to know about imported weights, in a few words for the console.

  Args:
    source: with which the weights were trained.
    now: which the written network expects.
  """
  if source.is_same(OURS):
    return 'as train.py does it'
  if now.is_same(OURS):
    return (
      f'{source.text()}; folded into the stem, so that the checkpoint takes what train.py gives. Only windows '
      'that reach over the edge of an image see a difference.'
    )
  return f'{source.text()}; train.py does it differently ({OURS.text()})'


def fold(stem: Stem, source: Normalization, target: Normalization) -> None:
  """Changes a stem so that it takes images in another normalisation.

  With y the image in `target` and z in `source`, z = a y + b for each channel, where a = std_y / std_z and
  b = (mean_y - mean_z) / std_z. So kernels are multiplied by a, and what they make of b alone, a constant for each
  filter, is taken from the moving mean of the batch norm behind them.

  This is exact except where a window reaches over the edge of the image: zeros that pad y stand for the mean of
  `target`, and zeros that pad z for that of `source`. In the stem's output of images of even sides these are the last
  row and column, and for a ResNet of family `original` the first two as well. For EfficientNet-Lite0, whose b is -0.03,
  -0.08 and -0.18, they change by up to 0.65 standard deviations of their channel. On two photographs of 224 x 224,
  features of levels 2 to 6 change by 0.03 to 0.07 standard deviations in the root mean square, at level 2 nothing but
  the edge, and logits by 0.02; without any conversion it is 0.6 to 0.9, and 0.56 for logits. Images that are smaller
  than a detector's input see less of it: they are padded with the mean of `target` on the right and at the bottom in
  any case.

  Args:
    stem: changed in place; the batch norm's moving mean is float32 [filters].
    source: what the stem expects now.
    target: what it is to expect.
  """
  kernel = stem.conv.kernel.numpy().astype(np.float64)
  scale = np.divide(target.std, source.std)
  offset = np.divide(np.subtract(target.mean, source.mean), source.std)
  shift = np.einsum('hwio,i->o', kernel, offset)
  stem.conv.kernel.assign((kernel * scale[:, np.newaxis]).astype(np.float32))
  stem.norm.moving_mean.assign((stem.norm.moving_mean.numpy() - shift).astype(np.float32))
