"""From a record to two views of its image."""

from collections.abc import Callable

import tensorflow as tf

from official_selftrain.augment import build, views
from official_selftrain.configs import contrastive as configs
from official_selftrain.core import keys
from official_selftrain.dataloaders import parsing
from official_selftrain.dataloaders import segmentation as shared
from official_selftrain.ops import images

Example = parsing.Example
Labels = parsing.Labels


def decode(serialized: tf.Tensor) -> Example:
  """`image`, uint8 [h, w, 3], of a record."""
  record = tf.io.parse_single_example(
    serialized, {keys.IMAGE_ENCODED: tf.io.FixedLenFeature([], tf.string)}
  )
  return {'image': shared.decode_image(record[keys.IMAGE_ENCODED])}


class TrainingParser(parsing.TrainingParser):
  """Maps a decoded example with a seed to two views, float32 [2, height, width, 3], normalised, without labels."""

  def __init__(self, model: configs.ContrastiveModel, params: configs.DataConfig):
    """Builds the parser.

    Args:
      model: `task.model`.
      params: the stream.
    """
    super().__init__(())
    self._size = (model.input_size[0], model.input_size[1])
    self._params = params
    self._policy = None
    if params.augmentation.is_keras_cv:
      self._policy = build.build(params.augmentation, self._size, normalize=False)

  def augment(self, example: Example) -> Example:
    """See `parsing.TrainingParser`."""
    seed = tf.cast(example[keys.SEED], tf.int32)
    image = example['image']
    if self._policy is None:
      return {'image': views.two_views(image, seed, self._size, self._params.views)}
    drawn = [
      self._policy({'image': image, keys.SEED: each})['image'] for each in views.two_seeds(seed)
    ]
    return {'image': tf.stack(drawn)}

  def targets(self, example: Example) -> tuple[tf.Tensor, Labels]:
    """See `parsing.TrainingParser`."""
    pair = tf.stack([images.normalize(view) for view in tf.unstack(example['image'])])
    pair = tf.ensure_shape(pair, [2, *self._size, 3])
    return tf.cast(pair, self._params.dtype), {}


def evaluation_parser(
  model: configs.ContrastiveModel, params: configs.DataConfig
) -> Callable[[Example], tuple[tf.Tensor, Labels]]:
  """Parser of validation images: their views are random too, but the same in every evaluation.

  Args:
    model: `task.model`.
    params: `task.validation_data`.

  Returns:
    A function from a decoded example to what `TrainingParser` gives; the seed is the image's fingerprint.
  """
  parse = TrainingParser(model, params)

  def seeded(example: Example) -> tuple[tf.Tensor, Labels]:
    fingerprint = tf.fingerprint(tf.reshape(example['image'], [1, -1]))[0]
    return parse({**example, keys.SEED: tf.bitcast(tf.reshape(fingerprint, [2, 4]), tf.int32)})

  return seeded
