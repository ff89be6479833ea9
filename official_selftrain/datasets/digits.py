"""The embedded data set: scenes of handwritten digits, made on first use.

Run as a program it writes the data, and on request a contact sheet:

  python -m official_selftrain.datasets.digits --output=data/digits --sheet=digits.png
"""

import argparse
import contextlib
import dataclasses
import fcntl
import glob
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from official_selftrain.configs import datasets as dataset_configs
from official_selftrain.core import errors, files, program
from official_selftrain.datasets import contact_sheet, scenes, tf_examples

# Raised when the same settings give different scenes, so that old files are not mistaken for new ones.
_VERSION = 1

# Augmentation that turns digits into something else.
INVALID_OPS = ('Flip', 'Flip_Only_BBoxes')

_MARKER = 'dataset.json'
_LOCK = '.lock'
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
  return f'digits-{files.digest_of(_identity(config))[:8]}'


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
  root = pathlib.Path(directory)
  if not _is_complete(config, root):
    try:
      root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
      raise errors.DataError(f'The digits cannot be written to {root}: {error}.') from error
    with _locked(root):
      if not _is_complete(config, root):
        _write(config, root)
  return locate(config, directory)


def locate(config: dataset_configs.Digits, directory: str | os.PathLike[str]) -> DigitsFiles:
  """The paths at which `prepare` puts the files; touches none."""
  root = pathlib.Path(directory)
  labelled, unlabelled, validation = _plans(config)
  return DigitsFiles(
    train=_pattern(root, labelled),
    unlabelled=_pattern(root, unlabelled),
    unlabelled_truth=str(root / _HELD_OUT_TRUTH),
    validation=_pattern(root, validation),
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


def _write(config: dataset_configs.Digits, root: pathlib.Path) -> None:
  """Writes all files and last of all the marker that says they are there."""
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
  sums = {
    name: {'bytes': (root / name).stat().st_size, 'sha256': files.sha256(root / name)}
    for name in written
  }
  files.write_json(root / _MARKER, {**_identity(config), 'files': sums})


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


def _identity(config: dataset_configs.Digits) -> dict[str, Any]:
  """The settings that decide the content of a data set, in a form in which 15 and 15.0 are the same."""
  values = {**config.as_dict(), 'max_rotation': float(config.max_rotation)}
  return {'dataset': 'digits', 'version': _VERSION, 'config': values}


def _is_complete(config: dataset_configs.Digits, root: pathlib.Path) -> bool:
  """Whether `root` holds all files of `config`; ConfigError if it holds those of other settings."""
  if not (root / _MARKER).exists():
    return False
  try:
    marker = files.read_json(root / _MARKER)
  except ValueError:
    marker = None
  _check_identity(marker, _identity(config), root)
  return all(
    (root / name).is_file()
    and (root / name).stat().st_size == entry['bytes']
    and files.sha256(root / name) == entry['sha256']
    for name, entry in marker['files'].items()
  )


def _check_identity(marker: Any, expected: dict[str, Any], root: pathlib.Path) -> None:
  advice = 'Give another directory, or delete this one.'
  found: dict[str, Any] = {}
  if isinstance(marker, dict):
    found = {name: marker.get(name) for name in expected}
  if found == expected:
    return
  if any(found.get(name) != expected[name] for name in ('dataset', 'version')):
    raise errors.ConfigError(
      f'{root} holds a data set of another kind or of another version of this program. {advice}'
    )
  differences = ', '.join(
    f'dataset.digits.{name} is {found["config"].get(name)!r} there and {value!r} here'
    for name, value in expected['config'].items()
    if found['config'].get(name) != value
  )
  raise errors.ConfigError(f'{root} holds digits of other settings: {differences}. {advice}')


@contextlib.contextmanager
def _locked(root: pathlib.Path) -> Iterator[None]:
  """Keeps other processes out of `root`; the system lets go of the lock when this process dies."""
  with open(root / _LOCK, 'w') as stream:
    fcntl.flock(stream, fcntl.LOCK_EX)
    yield


def _pattern(root: pathlib.Path, plan: _SplitPlan) -> str:
  # A directory whose name has wildcard characters in it must still match itself.
  return os.path.join(
    glob.escape(str(root)), tf_examples.shard_pattern(plan.prefix, plan.num_shards)
  )


def _sheet_rows(made: DigitsFiles) -> list[contact_sheet.Row]:
  return [
    contact_sheet.Row('labelled', made.train),
    contact_sheet.Row('unlabelled, with held-out truth', made.unlabelled, made.unlabelled_truth),
    contact_sheet.Row('validation', made.validation),
  ]


if __name__ == '__main__':
  sys.exit(main())
