"""Which labels a program is to read, and what a self-training run says of its labels.

A run is read from the disk, `params.yaml`, `labels/round-<n>/` and the record of its gate, since the code of runs is in
a layer above.
"""

import dataclasses
import os
import re
from collections.abc import Mapping
from typing import Any

from official_selftrain.configs import datasets
from official_selftrain.core import class_names, config, errors, files
from official_selftrain.dataloaders import tfrecords
from official_selftrain.datasets import digits
from official_selftrain.pseudo_labels import calibration, manifest
from official_selftrain.pseudo_labels import cuts as cuts_lib

DEFAULT_CUT = 0.5

_PARAMS = 'params.yaml'
_LABELS = 'labels'
_CALIBRATION = 'calibration'
_STAGES = 'stages'
_ROUND = re.compile(r'round-(\d+)')
_IMAGES = 'task.pseudo_data.input_path'


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSettings:
  """Labels of a run.

  Attributes:
    label_dir: folder of the label shards of the last round.
    images: the image shards, as the run's settings name them.
    images_field: dotted name of the setting, for messages.
    cuts: with which the student read the labels.
    class_names: from class 1 on, as the run's settings or its embedded data give them; empty if they do not.
  """

  label_dir: str
  images: str | list[str]
  images_field: str
  cuts: cuts_lib.Cuts
  class_names: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Labels:
  """Pseudo labels that flags name.

  Attributes:
    label_dir: folder of the label shards.
    image_files: the image shards that were labelled, in the order of the label shards.
    cuts: which labels are objects, and which are in the ignore band.
    class_names: from class 1 on; empty if nobody has named them.
  """

  label_dir: str
  image_files: list[str]
  cuts: cuts_lib.Cuts
  class_names: tuple[str, ...]


def choose(
  run_dir: str | None,
  label_dir: str | None,
  images: str | None,
  names: str | None = None,
  cut: float | None = None,
  ignore_cut: float | None = None,
) -> Labels:
  """What the flags of a program say of pseudo labels, and the run where they say nothing.

  Args:
    run_dir: --run.
    label_dir: --labels.
    images: --images.
    names: --class_names; else those in the labels, else the run's.
    cut: --cut, for every class; else the run's cuts, else 0.5.
    ignore_cut: --ignore_cut. If it or `cut` is given, there is no other ignore band.

  Returns:
    The labels.

  Raises:
    ConfigError: neither a run nor labels and images are given, or a file of settings cannot be read.
    DataError: the run, the labels, the images or the names are not there.
  """
  if not run_dir and not (label_dir and images):
    raise errors.ConfigError(
      '--run is missing: give a run directory, or both --labels and --images.'
    )
  given = class_names.read(names)
  run = read(run_dir, cut) if run_dir else None
  folder = label_dir or (run.label_dir if run else '')
  cuts = run.cuts if run else cuts_lib.Cuts(cut=DEFAULT_CUT)
  if cut is not None:
    cuts = cuts_lib.Cuts(cut=cut, ignore_cut=ignore_cut)
  elif ignore_cut is not None:
    cuts = dataclasses.replace(cuts, ignore_cut=ignore_cut)
  own = given or manifest.Manifest.load(folder).class_names or (run.class_names if run else ())
  if images:
    files = tfrecords.match_files(images, '--images')
  else:
    assert run is not None
    files = tfrecords.match_files(run.images, run.images_field)
  return Labels(label_dir=folder, image_files=files, cuts=cuts, class_names=tuple(own))


def read(run_dir: str, cut: float | None = None) -> RunSettings:
  """Reads a run directory.

  Args:
    run_dir: its path.
    cut: in place of the run's cuts, which need not be calibrated then.

  Raises:
    DataError: it is not the directory of a self-training run, or its labels are not finished.
    ConfigError: its params.yaml cannot be read.
  """
  path = os.path.join(run_dir, _PARAMS)
  if not os.path.exists(path):
    raise errors.DataError(f'{path} does not exist: --run takes a directory that train.py wrote.')
  params = config.read_override_file(path)
  pseudo = params.get('task', {}).get('pseudo_data')
  if not params.get('experiment') or not pseudo:
    raise errors.DataError(
      f'{path} is not of a self-training run: it has no task.pseudo_data, or names no experiment. Give the run '
      'directory, not one of its models.'
    )
  # Runs of older versions have fewer settings.
  dataset = params.get('dataset', {})
  names = tuple(dataset.get('class_names', ()))
  images = pseudo.get('input_path')
  if not images:
    embedded = _embedded_data(dataset, run_dir, path)
    images, names = embedded.unlabelled, names or tuple(embedded.class_names[1:])
  return RunSettings(
    label_dir=_labels_of(run_dir, pseudo.get('label_dir') or ''),
    images=images,
    images_field=f'{path}: {_IMAGES}',
    cuts=_cuts(pseudo, run_dir) if cut is None else cuts_lib.Cuts(cut=cut),
    class_names=names,
  )


def _cuts(pseudo: Mapping[str, Any], run_dir: str) -> cuts_lib.Cuts:
  """The cuts in settings of the pseudo stream; those that the run has chosen, if it has."""
  cut, ignore_cut = pseudo['cut'], pseudo.get('ignore_cut')
  per_class = dict(enumerate(pseudo.get('class_cuts', ()), start=1))
  if cut == 'matched':
    matched = _matched(run_dir)
    cut, ignore_cut = matched['cut'], matched['ignore_cut']
    per_class = dict(enumerate(matched['class_cuts'], start=1))
  elif isinstance(cut, str):
    found = calibration.load(os.path.join(run_dir, _CALIBRATION))
    if found is None:
      raise errors.DataError(
        f'The cuts of {run_dir} are not calibrated yet: finish its stage `calibration` first, or give --cut.'
      )
    cut, per_class = found.cut, {name: each.cut for name, each in found.classes.items()}
    ignore_cut = None if ignore_cut is None else found.ignore_cut
  return cuts_lib.Cuts(cut=cut, ignore_cut=ignore_cut, per_class=per_class or None)


def _matched(run_dir: str) -> Mapping[str, Any]:
  """The cuts that the gate of the last round chose: `cut`, `class_cuts` and `ignore_cut`."""
  number = max(_rounds(run_dir), default=1)
  name = 'gate' if number == 1 else f'gate-{number}'
  path = os.path.join(run_dir, _STAGES, f'{name}.json')
  record = files.read_json(path) if os.path.exists(path) else {}
  found: Mapping[str, Any] | None = record.get('result', {}).get('matched')
  if found is None:
    raise errors.DataError(
      f'The cuts of {run_dir} are not chosen yet: finish its stage `{name}` first, or give --cut.'
    )
  return found


def _rounds(run_dir: str) -> list[int]:
  """Numbers of the rounds whose labels are there."""
  folder = os.path.join(run_dir, _LABELS)
  found = os.listdir(folder) if os.path.isdir(folder) else []
  return [int(match[1]) for name in found if (match := _ROUND.fullmatch(name))]


def _labels_of(run_dir: str, given: str) -> str:
  """Folder of the labels of the last round; `given` is `task.pseudo_data.label_dir`, the labels of the first."""
  folder, rounds = os.path.join(run_dir, _LABELS), _rounds(run_dir)
  if given and max(rounds, default=1) == 1:
    return given
  if not rounds:
    raise errors.DataError(
      f'{folder} has no labels: finish the stage `labels` of the run first, with train.py.'
    )
  return os.path.join(folder, f'round-{max(rounds)}')


def _embedded_data(dataset: Mapping[str, Any], run_dir: str, path: str) -> digits.DigitsFiles:
  """The embedded data set, which a run without input paths uses.

  Args:
    dataset: the run's settings `dataset`.
    run_dir: the run directory.
    path: of the file with the settings, for messages.
  """
  settings = datasets.Digits()
  config.apply_overrides(settings, dataset.get('digits', {}), path)
  parent = dataset.get('directory') or os.path.dirname(os.path.abspath(run_dir))
  return digits.locate(settings, os.path.join(parent, digits.directory_name(settings)))
