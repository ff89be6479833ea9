"""Images of single handwritten digits with their classes, for pre-training and joint training; made on first use."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator

from official_selftrain.configs import datasets as dataset_configs
from official_selftrain.datasets import digits, made_once, scenes, tf_examples

# See `made_once.Identity`.
_VERSION = 1

# Names of the classes from 0 on: a whole image is never background.
CLASS_NAMES = scenes.CLASS_NAMES[1:]

_TRAINING, _VALIDATION = 'training', 'validation'
# The ids of the two sets lie in blocks, after those of the scenes.
_FIRST_IDS = {
  scenes.Split.CLASSES: 3 * dataset_configs.MAX_IMAGES_PER_SPLIT + 1,
  scenes.Split.CLASSES_VALIDATION: 4 * dataset_configs.MAX_IMAGES_PER_SPLIT + 1,
}


@dataclasses.dataclass(frozen=True)
class Files:
  """Paths of a data set.

  Attributes:
    training: glob of the TFRecord files to learn from.
    validation: glob of the TFRecord files for the held-out accuracy.
  """

  training: str
  validation: str


def directory_name(look: dataset_configs.Digits, config: dataset_configs.DigitClasses) -> str:
  """Name of a directory for the data of these settings: `digit-classes-` and 8 hexadecimal figures."""
  return f'digit-classes-{_identity(look, config).digest()[:8]}'


def prepare(
  look: dataset_configs.Digits,
  config: dataset_configs.DigitClasses,
  directory: str | os.PathLike[str],
) -> Files:
  """Makes the data set in `directory` unless it is there already, see `made_once.make`.

  Args:
    look: the looks of the images; numbers of images and of digits do not matter.
    config: how many there are.
    directory: where the files are or will be; created when missing.

  Returns:
    The files.

  Raises:
    ConfigError: the settings are not valid, or the directory holds digits of other settings.
    DataError: the directory cannot be created.
  """
  config.check('dataset.digit_classes')
  look = _of_one_digit(look, config)
  dataset_configs.validate_digits(look)
  made_once.make(directory, _identity(look, config), lambda root: _write(look, config, root))
  return locate(config, directory)


def locate(config: dataset_configs.DigitClasses, directory: str | os.PathLike[str]) -> Files:
  """The paths at which `prepare` puts the files; touches none."""
  root = pathlib.Path(directory)
  return Files(
    training=tf_examples.shards_below(root, _TRAINING, config.num_shards),
    validation=tf_examples.shards_below(root, _VALIDATION, 1),
  )


def _of_one_digit(
  look: dataset_configs.Digits, config: dataset_configs.DigitClasses
) -> dataset_configs.Digits:
  """The same looks with one digit in each image, and default numbers of scenes, which change nothing here."""
  default = dataset_configs.Digits()
  return look.replace(
    min_digits=1,
    max_digits=1,
    min_size=config.min_size,
    max_size=config.max_size,
    num_labelled=default.num_labelled,
    num_unlabelled=default.num_unlabelled,
    num_validation=default.num_validation,
    num_shards=default.num_shards,
  )


def _identity(
  look: dataset_configs.Digits, config: dataset_configs.DigitClasses
) -> made_once.Identity:
  """What decides the content of a data set."""
  settings = {f'digits.{name}': v for name, v in digits.looks(_of_one_digit(look, config)).items()}
  settings |= {f'digit_classes.{name}': value for name, value in config.as_dict().items()}
  return made_once.Identity('digit classes', _VERSION, 'dataset', settings)


def _write(
  look: dataset_configs.Digits, config: dataset_configs.DigitClasses, root: pathlib.Path
) -> list[str]:
  """Writes all files and returns their names."""
  names = []
  for split, prefix, count, num_shards in (
    (scenes.Split.CLASSES, _TRAINING, config.num_training, config.num_shards),
    (scenes.Split.CLASSES_VALIDATION, _VALIDATION, config.num_validation, 1),
  ):
    for shard in range(num_shards):
      first, end = (count * edge // num_shards for edge in (shard, shard + 1))
      names.append(tf_examples.shard_name(prefix, shard, num_shards))
      tf_examples.write_shard(root / names[-1], _examples(look, split, range(first, end)))
  return names


def _examples(look: dataset_configs.Digits, split: scenes.Split, indices: range) -> Iterator[bytes]:
  for index in indices:
    scene = scenes.compose(look, split, index)
    features = tf_examples.image_features(scene.image, _FIRST_IDS[split] + index)
    features |= tf_examples.image_class_features(int(scene.instances.classes[0]) - 1)
    yield tf_examples.serialize(features)
