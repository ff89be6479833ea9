"""Single augmentation ops: milliseconds of one core per 640 x 427 photograph, ours over each library's.

For docs/augmentation.md, which says where each op comes from. Same image, in memory, in a `tf.function`, processor
time. keras-cv's layers are called as layers, on an image of floats, as they are meant to be; those that also move
boxes or masks are given neither here.
"""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
import tensorflow_addons as tfa
from official.vision.ops import augment as stock
from official.vision.ops import preprocess_ops
from sklearn import datasets as photographs

from benchmarks import results, timing, workbench
from official_selftrain.augment import geometry, ops, pixels
from official_selftrain.ops import images

NEEDS_WORKBENCH = True
_ROUNDS = 9
_CALLS = 10

Function = Callable[[tf.Tensor], tf.Tensor]


def run(bench: workbench.Workbench) -> list[results.Row]:
  """Measures."""
  image = tf.constant(photographs.load_sample_images().images[0])
  rows = []
  for name, (ours, references) in _contenders().items():
    workbench.say(name)
    for library, reference in references.items():
      contenders = {'ours': ours, 'theirs': reference}
      seconds = timing.interleave(
        {key: timing.cpu(_calls(function, image)) for key, function in contenders.items()},
        bench.effort.rounds(_ROUNDS),
      )
      rows.append(
        results.compare(
          'augmentation_ops',
          f'{name} : {library}',
          'ms',
          seconds['ours'],
          seconds['theirs'],
          figure=lambda value: 1000 * value / _CALLS,
        )
      )
  return rows


def _calls(function: Function, image: tf.Tensor) -> Callable[[], None]:
  compiled = tf.function(function)

  def work() -> None:
    for _ in range(_CALLS):
      result = compiled(image)
    result.numpy()

  return work


def _keras(name: str, **arguments: Any) -> Function:
  """A keras-cv layer as a function of an image of 0..255."""
  from keras_cv import layers

  layer = getattr(layers, name)(**arguments)
  return lambda image: layer(tf.cast(image, tf.float32))


def _contenders() -> dict[str, tuple[Function, Mapping[str, Function]]]:
  """Ours and theirs by name of the op."""
  return {**_colour_ops(), **_geometric_ops()}


def _colour_ops() -> dict[str, tuple[Function, Mapping[str, Function]]]:
  pixel_range = {'value_range': (0, 255)}
  factor, threshold, addition, bits = (tf.constant(v) for v in (1.9, 128.0, 110.0, 4.0))
  return {
    'AutoContrast': (
      pixels.autocontrast,
      {'Model Garden': stock.autocontrast, 'keras-cv': _keras('AutoContrast', **pixel_range)},
    ),
    'Equalize': (
      pixels.equalize,
      {
        'Model Garden': stock.equalize,
        'tensorflow-addons': tfa.image.equalize,
        'keras-cv': _keras('Equalization', **pixel_range),
      },
    ),
    'Posterize': (
      lambda image: pixels.posterize(image, bits),
      {
        'Model Garden': lambda image: stock.posterize(image, 4),
        'keras-cv': _keras('Posterization', bits=4, **pixel_range),
      },
    ),
    'Solarize': (
      lambda image: pixels.solarize(image, threshold),
      {
        'Model Garden': lambda image: stock.solarize(image, 128),
        'keras-cv': _keras('Solarization', threshold_factor=(0.5, 0.5), **pixel_range),
      },
    ),
    'SolarizeAdd': (
      lambda image: pixels.solarize_add(image, addition),
      {'Model Garden': lambda image: stock.solarize_add(image, 110)},
    ),
    'Color': (
      lambda image: pixels.color(image, factor),
      {
        'Model Garden': lambda image: stock.color(image, 1.9),
        'keras-cv': _keras('RandomColorDegeneration', factor=(0.9, 0.9)),
      },
    ),
    'Contrast': (
      lambda image: pixels.contrast(image, factor),
      {
        'Model Garden (wrong)': lambda image: stock.contrast(image, 1.9),
        'keras-cv': _keras('RandomContrast', factor=(0.9, 0.9), **pixel_range),
      },
    ),
    'Brightness': (
      lambda image: pixels.brightness(image, factor),
      {'Model Garden': lambda image: stock.brightness(image, 1.9)},
    ),
    'Sharpness': (
      lambda image: pixels.sharpness(image, factor),
      {
        'Model Garden': lambda image: stock.sharpness(image, 1.9),
        'tensorflow-addons': lambda image: tfa.image.sharpness(image, 1.9),
        'keras-cv': _keras('RandomSharpness', factor=(0.9, 0.9), **pixel_range),
      },
    ),
    'Cutout': (
      lambda image: pixels.fill_rectangle(image, *tf.unstack(tf.constant([99, 99, 299, 299])), 128),
      {
        'Model Garden': lambda image: stock.cutout(image, 100, 128),
        'tensorflow-addons': lambda image: tfa.image.random_cutout(
          image[None], (200, 200), constant_values=128
        )[0],
        'keras-cv': _keras('RandomCutout', height_factor=0.4, width_factor=0.4),
      },
    ),
  }


def _geometric_ops() -> dict[str, tuple[Function, Mapping[str, Function]]]:
  return {
    'Rotate': (
      lambda image: _moved(image, 'degrees', 30.0),
      {
        'Model Garden (mirrors)': lambda image: stock.rotate(image, 30.0),
        'tensorflow-addons': lambda image: tfa.image.rotate(
          tf.cast(image, tf.float32), 0.52, interpolation='bilinear', fill_value=128.0
        ),
        'keras-cv': _keras('RandomRotation', factor=(0.083, 0.083), fill_mode='constant'),
      },
    ),
    'ShearX': (
      lambda image: _moved(image, 'shear_x', 0.3),
      {
        'Model Garden (mirrors)': lambda image: stock.shear_x(image, 0.3, [128] * 3),
        'tensorflow-addons': lambda image: tfa.image.shear_x(image, 0.3, 128),
        'keras-cv': _keras('RandomShear', x_factor=(0.3, 0.3), fill_mode='constant'),
      },
    ),
    'TranslateX': (
      lambda image: geometry.shift(image, tf.constant(0), tf.constant(-100), ops.FILL),
      {
        'Model Garden (mirrors)': lambda image: stock.translate_x(image, 100, [128] * 3),
        'tensorflow-addons': lambda image: tfa.image.translate_xy(image, [100, 0], 128),
        'keras-cv': _keras('RandomTranslation', height_factor=0.0, width_factor=(0.15, 0.15)),
      },
    ),
    'Normalise': (images.normalize, {'Model Garden': preprocess_ops.normalize_image}),
  }


def _moved(image: tf.Tensor, parameter: str, value: float) -> tf.Tensor:
  """Ours, as a step of its own; in a policy it shares its resampling with the crop."""
  vector = tf.constant([value if name == parameter else 0.0 for name in geometry.MOTIONS])
  size = tf.shape(image)[:2]
  forward = geometry.motion(vector, tf.cast(size, tf.float32))
  return geometry.warp_bilinear(tf.cast(image, tf.float32), forward, size, ops.FILL)
