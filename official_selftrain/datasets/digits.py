"""The embedded data set: scenes of handwritten digits, made on first use.

Run as a program it writes the data, and on request a contact sheet:

  python -m official_selftrain.datasets.digits --output=data/digits --sheet=digits.png
"""

import argparse
import dataclasses
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from official_selftrain.configs import datasets as dataset_configs
from official_selftrain.core import files, program
from official_selftrain.datasets import contact_sheet, made_once, scenes, tf_examples

# See `made_once.Identity`.
_VERSION = 1

# Augmentation that turns digits into something else.
INVALID_OPS = ('Flip', 'Flip_Only_BBoxes')

_ANNOTATIONS = 'validation.json'
_HELD_OUT_TRUTH = 'held_out/unlabelled_truth.json'


@dataclasses.dataclass(frozen=True)
class DigitsFiles:
  """Paths of the parts of a data set.

  Attributes:
    train: glob of the TFRecord files of the labelled training images.
    unlabelled: glob of the TFRecord files of the unlabelled training images.
    unlabelled_truth: COCO JSON of the unlabelled images. It is there to judge pseudo labels with;
      no training code may read it.
    validation: glob of the TFRecord files of the validation images.
    annotation_file: COCO JSON of the validation images.
    num_labelled: number of labelled training images.
    num_unlabelled: number of unlabelled training images.
    num_validation: number of validation images.
    num_classes: number of classes, with the background as class 0.
    class_names: names by class id.
  """

  train: str
  unlabelled: str
  unlabelled_truth: str
  validation: str
  annotation_file: str
  num_labelled: int
  num_unlabelled: int
  num_validation: int
  num_classes: int = len(scenes.CLASS_NAMES)
  class_names: tuple[str, ...] = scenes.CLASS_NAMES


@dataclasses.dataclass(frozen=True)
class _SplitPlan:
  """The plan of one split: its file names, ids and destinations."""

  split: scenes.Split
  prefix: str
  num_images: int
  num_shards: int
  first_id: int
  annotated: bool
  annotation_file: str | None = None

  def shard_names(self) -> list[str]:
    return [tf_examples.shard_name(self.prefix, k, self.num_shards) for k in range(self.num_shards)]


def directory_name(config: dataset_configs.Digits) -> str:
  """Name of a directory for the data of `config`: `digits-` and 8 hexadecimal figures."""
  return f'digits-{_identity(config).digest()[:8]}'


def prepare(config: dataset_configs.Digits, directory: str | os.PathLike[str]) -> DigitsFiles:
  """Makes the data set in `directory` unless it is there already.

  Processes that prepare the same directory at the same time wait for the first of them.

  Args:
    config: settings of the digits.
    directory: where the files are or will be; created when missing.

  Returns:
    The files.

  Raises:
    ConfigError: the settings are not valid, or the directory holds digits of other settings.
    DataError: the directory cannot be created.
  """
  dataset_configs.validate_digits(config)
  made_once.make(directory, _identity(config), lambda root: _write(config, root))
  return locate(config, directory)


def looks(config: dataset_configs.Digits) -> dict[str, Any]:
  """The settings by name, in a form in which 15 and 15.0 are the same."""
  return {**config.as_dict(), 'max_rotation': float(config.max_rotation)}


def locate(config: dataset_configs.Digits, directory: str | os.PathLike[str]) -> DigitsFiles:
  """The paths at which `prepare` puts the files; touches none."""
  root = pathlib.Path(directory)
  labelled, unlabelled, validation = _plans(config)
  return DigitsFiles(
    train=tf_examples.shards_below(root, labelled.prefix, labelled.num_shards),
    unlabelled=tf_examples.shards_below(root, unlabelled.prefix, unlabelled.num_shards),
    unlabelled_truth=str(root / _HELD_OUT_TRUTH),
    validation=tf_examples.shards_below(root, validation.prefix, validation.num_shards),
    annotation_file=str(root / _ANNOTATIONS),
    num_labelled=config.num_labelled,
    num_unlabelled=config.num_unlabelled,
    num_validation=config.num_validation,
  )


def main(arguments: Sequence[str] | None = None) -> int:
  """Command line; returns the exit status."""
  parser = argparse.ArgumentParser(
    prog='python -m official_selftrain.datasets.digits',
    description='Writes scenes of handwritten digits as TFRecords and COCO JSON.',
  )
  parser.add_argument('--output', required=True, help='directory to write to')
  parser.add_argument('--sheet', help='PNG file for a contact sheet with boxes')
  fields = dataclasses.fields(dataset_configs.Digits)
  for field in fields:
    parser.add_argument(
      f'--{field.name}',
      type=type(field.default),
      default=field.default,
      help='%(default)s if not given',
    )
  options = parser.parse_args(arguments)
  config = dataset_configs.Digits(**{field.name: getattr(options, field.name) for field in fields})
  return program.run(lambda: _run(config, options.output, options.sheet))


def _run(config: dataset_configs.Digits, output_dir: str, sheet: str | None) -> None:
  made = prepare(config, output_dir)
  print(f'labelled    {made.num_labelled:>7} images  {made.train}')
  print(f'unlabelled  {made.num_unlabelled:>7} images  {made.unlabelled}')
  print(f'validation  {made.num_validation:>7} images  {made.validation}')
  print(f'COCO JSON of the validation images: {made.annotation_file}')
  print(f'held-out truth of the unlabelled images: {made.unlabelled_truth}')
  if sheet:
    contact_sheet.write(sheet, _sheet_rows(made), made.class_names)
    print(f'contact sheet: {sheet}')


def _plans(config: dataset_configs.Digits) -> tuple[_SplitPlan, _SplitPlan, _SplitPlan]:
  block = dataset_configs.MAX_IMAGES_PER_SPLIT
  labelled = _SplitPlan(
    split=scenes.Split.LABELLED,
    prefix='train',
    num_images=config.num_labelled,
    num_shards=1,
    first_id=1,
    annotated=True,
  )
  unlabelled = _SplitPlan(
    split=scenes.Split.UNLABELLED,
    prefix='unlabelled',
    num_images=config.num_unlabelled,
    num_shards=config.num_shards,
    first_id=block + 1,
    annotated=False,
    annotation_file=_HELD_OUT_TRUTH,
  )
  validation = _SplitPlan(
    split=scenes.Split.VALIDATION,
    prefix='validation',
    num_images=config.num_validation,
    num_shards=1,
    first_id=2 * block + 1,
    annotated=True,
    annotation_file=_ANNOTATIONS,
  )
  return labelled, unlabelled, validation


def _write(config: dataset_configs.Digits, root: pathlib.Path) -> list[str]:
  """Writes all files and returns their names."""
  written: list[str] = []
  for plan in _plans(config):
    annotations = tf_examples.CocoAnnotations(scenes.CLASS_NAMES)
    for shard, name in enumerate(plan.shard_names()):
      first, end = (plan.num_images * edge // plan.num_shards for edge in (shard, shard + 1))
      tf_examples.write_shard(root / name, _examples(config, plan, range(first, end), annotations))
      written.append(name)
    if plan.annotation_file:
      files.write_json(root / plan.annotation_file, annotations.as_dict())
      written.append(plan.annotation_file)
  return written


def _examples(
  config: dataset_configs.Digits,
  plan: _SplitPlan,
  indices: range,
  annotations: tf_examples.CocoAnnotations,
) -> Iterator[bytes]:
  for index in indices:
    scene = scenes.compose(config, plan.split, index)
    features = tf_examples.image_features(scene.image, plan.first_id + index)
    if plan.annotated:
      features.update(tf_examples.annotation_features(scene.instances))
    annotations.add(plan.first_id + index, scene.instances)
    yield tf_examples.serialize(features)


def _identity(config: dataset_configs.Digits) -> made_once.Identity:
  """What decides the content of a data set."""
  return made_once.Identity('digits', _VERSION, 'dataset.digits', looks(config))


def _sheet_rows(made: DigitsFiles) -> list[contact_sheet.Row]:
  return [
    contact_sheet.Row('labelled', made.train),
    contact_sheet.Row('unlabelled, with held-out truth', made.unlabelled, made.unlabelled_truth),
    contact_sheet.Row('validation', made.validation),
  ]


if __name__ == '__main__':
  sys.exit(main())
