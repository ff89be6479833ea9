"""From a record to an image and its class."""

from collections.abc import Callable

import tensorflow as tf

from official_selftrain.augment import build, crops
from official_selftrain.configs import classification as configs
from official_selftrain.core import keys
from official_selftrain.dataloaders import parsing
from official_selftrain.dataloaders import segmentation as shared
from official_selftrain.ops import images

Example = parsing.Example
Labels = parsing.Labels

# Keeps the draw of the crop apart from those of the policy, which takes the example's seed as it is.
_CROP = 0x63726F70


_NUM_CLASSES = 'task.model.num_classes'


def class_message(num_classes: int, setting: str = _NUM_CLASSES) -> str:
  """Start of the message for a class that the model does not have; what was found follows.

  Args:
    num_classes: classes of the model.
    setting: dotted name of the setting that says so.
  """
  return (
    f'{keys.IMAGE_CLASS} must be one of the classes 0..{num_classes - 1} ({setting} is {num_classes}); found, with -1 '
    'for none:'
  )


def decode(serialized: tf.Tensor) -> Example:
  """`image` uint8 [h, w, 3] and `image_label` int64, -1 without a class, of a record."""
  record = tf.io.parse_single_example(
    serialized,
    {
      keys.IMAGE_ENCODED: tf.io.FixedLenFeature([], tf.string),
      keys.IMAGE_CLASS: tf.io.FixedLenFeature([], tf.int64, default_value=-1),
    },
  )
  return {
    'image': shared.decode_image(record[keys.IMAGE_ENCODED]),
    keys.IMAGE_LABEL: record[keys.IMAGE_CLASS],
  }


def checked(example: Example, num_classes: int, setting: str = _NUM_CLASSES) -> Example:
  """The example, whose graph fails with `class_message` when the class is not one of the model's."""
  label = example[keys.IMAGE_LABEL]
  is_class = tf.logical_and(label >= 0, label < num_classes)
  with tf.control_dependencies(
    [tf.debugging.Assert(is_class, [class_message(num_classes, setting), label])]
    if tf.inside_function()
    else []
  ):
    return {**example, keys.IMAGE_LABEL: tf.identity(label)}


def check_record(serialized: tf.Tensor, num_classes: int, setting: str = _NUM_CLASSES) -> None:
  """Eagerly looks for anything in one record that cannot be trained on.

  Raises:
    ValueError: the class is missing or not one of the model's.
    tf.errors.OpError: the record or its image cannot be decoded.
  """
  label = int(decode(serialized)[keys.IMAGE_LABEL])
  if not 0 <= label < num_classes:
    raise ValueError(f'{class_message(num_classes, setting)} {label}')


class TrainingParser(parsing.TrainingParser):
  """Maps a decoded example with a seed to `(image, labels)`: float32 [height, width, 3], and `classes` int64."""

  def __init__(self, model: configs.ClassificationModel, params: configs.DataConfig):
    """Builds the parser.

    Args:
      model: `task.model`.
      params: `task.train_data`.
    """
    super().__init__(())
    self._dtype = params.dtype
    self._size = (model.input_size[0], model.input_size[1])
    self._area = tuple(params.crop_area_range) if params.aug_crop else None
    settings = params.augmentation
    if self._area and settings.policy != 'none':
      settings = settings.replace(scale_min=1.0, scale_max=1.0)
    self._augment = build.build(settings, self._size, flip=params.aug_rand_hflip)

  def augment(self, example: Example) -> Example:
    """See `parsing.TrainingParser`."""
    if self._area:
      seed = tf.bitwise.bitwise_xor(example[keys.SEED], _CROP)
      example = {
        **example,
        'image': crops.random_crop(example['image'], seed, self._area, self._size),
      }
    return self._augment(example)

  def targets(self, example: Example) -> tuple[tf.Tensor, Labels]:
    """See `parsing.TrainingParser`."""
    return tf.cast(example['image'], self._dtype), {'classes': example[keys.IMAGE_LABEL]}


def evaluation_parser(
  model: configs.ClassificationModel, params: configs.DataConfig
) -> Callable[[Example], tuple[tf.Tensor, Labels]]:
  """Parser of validation images.

  Args:
    model: `task.model`.
    params: `task.validation_data`.

  Returns:
    A function from a decoded example to the image, float32 [height, width, 3], normalised, and `classes` int64.
  """
  frame = build.build(params.augmentation, (model.input_size[0], model.input_size[1]))
  still = tf.zeros([2], tf.int32)

  def parse(example: Example) -> tuple[tf.Tensor, Labels]:
    image = example['image']
    if params.aug_crop:
      image = images.normalize(crops.central_square(image, params.center_crop_fraction))
      image = tf.image.resize(image, model.input_size[:2])
    else:
      image = frame({'image': image, keys.SEED: still})['image']
    return tf.cast(image, params.dtype), {'classes': example[keys.IMAGE_LABEL]}

  return parse
