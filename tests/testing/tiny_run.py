"""Runs that take seconds, and finished runs that all tests of a session share."""

import atexit
import contextlib
import fcntl
import functools
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from official.core import config_definitions as cfg

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.core import config, files
from official_selftrain.datasets import digits
from official_selftrain.pipeline import run

SELFTRAIN, SUPERVISED = 'retinanet_selftrain', 'retinanet_supervised'
SEGMENTATION = 'segmentation_selftrain'
REPOSITORY = pathlib.Path(__file__).parents[2]

_FILES = {
  SUPERVISED: ('tiny.yaml',),
  SELFTRAIN: ('tiny.yaml', 'tiny_selftrain.yaml'),
  'segmentation_supervised': ('tiny_segmentation.yaml',),
  SEGMENTATION: ('tiny_segmentation.yaml', 'tiny_segmentation_selftrain.yaml'),
}


def config_files(experiment: str = SELFTRAIN) -> list[str]:
  """YAML files that make an experiment tiny."""
  return [str(REPOSITORY / 'tests' / 'e2e' / name) for name in _FILES[experiment]]


@functools.cache
def root() -> str:
  """A folder for this process; gone when it ends."""
  folder = tempfile.mkdtemp(prefix='selftrain-')
  atexit.register(shutil.rmtree, folder, ignore_errors=True)
  return folder


@functools.cache
def shared() -> str:
  """A folder for all processes of a session, with data and finished runs; only to be read."""
  return os.environ.get('SELFTRAIN_TESTS_SHARED') or root()


@contextlib.contextmanager
def _alone(name: str) -> Iterator[None]:
  """While one process makes the thing of this name, others that want it wait."""
  with open(os.path.join(shared(), f'{name}.lock'), 'w') as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    yield


def load(experiment: str = SELFTRAIN, override: str = '') -> cfg.ExperimentConfig:
  """A tiny experiment on the data set that all of them share."""
  directory = f'dataset.directory={shared()}'
  _prepare_data(experiment)
  return config.load_experiment(
    experiment, config_files(experiment), ','.join(filter(None, [directory, override]))
  )


@functools.cache
def _prepare_data(experiment: str) -> digits.DigitsFiles:
  settings = config.load_experiment(experiment, config_files(experiment)).dataset.digits
  name = digits.directory_name(settings)
  with _alone(name):
    return digits.prepare(settings, os.path.join(shared(), name))


def data(experiment: str = SELFTRAIN) -> digits.DigitsFiles:
  """The data set of a tiny experiment; all of one task share it."""
  return _prepare_data(experiment)


def copy_of_data(folder: str, experiment: str = SELFTRAIN) -> tuple[digits.DigitsFiles, str]:
  """A copy to be damaged.

  Args:
    folder: where the copy goes; it must not exist.
    experiment: whose data.

  Returns:
    The files of the copy, and the override that makes a self-training experiment read them.
  """
  original = data(experiment)
  shutil.copytree(os.path.dirname(original.annotation_file), folder)
  names = ('train', 'unlabelled', 'unlabelled_truth', 'validation', 'annotation_file')
  moved = {name: os.path.join(folder, _below(original, getattr(original, name))) for name in names}
  copy = digits.DigitsFiles(**moved, num_labelled=8, num_unlabelled=24, num_validation=8)
  override = (
    f'task.train_data.input_path={copy.train},task.pseudo_data.input_path={copy.unlabelled},'
    f'task.validation_data.input_path={copy.validation}'
  )
  if experiment == SELFTRAIN:
    override += f',task.annotation_file={copy.annotation_file}'
  return copy, override


def _below(original: digits.DigitsFiles, path: str) -> str:
  return os.path.relpath(path, os.path.dirname(original.annotation_file))


@functools.cache
def finished(experiment: str = SELFTRAIN) -> str:
  """Run directory of a whole `train_and_eval`; only to be read, or run again unchanged."""
  model_dir = os.path.join(shared(), f'finished_{experiment}')
  is_done = f'{model_dir}.done'
  params = load(experiment)
  with _alone(experiment):
    if not os.path.exists(is_done):
      run.run(params, 'train_and_eval', model_dir)
      pathlib.Path(is_done).touch()
  return model_dir


def load_student(
  experiment: str = SELFTRAIN, override: str = '', label_dir: str = ''
) -> cfg.ExperimentConfig:
  """A tiny experiment whose task can read its inputs at once, with labels of `finished` or of another folder."""
  files_of = data(experiment)
  label_dir = label_dir or os.path.join(finished(experiment), 'labels', 'round-1')
  inputs = (
    f'task.train_data.input_path={files_of.train},task.pseudo_data.input_path={files_of.unlabelled},'
    f'task.validation_data.input_path={files_of.validation},task.pseudo_data.label_dir={label_dir}'
  )
  return load(experiment, ','.join(filter(None, [inputs, override])))


def with_teacher(override: str = '') -> str:
  """Override that takes the teacher of `finished` and trains no control."""
  teacher = os.path.join(finished(), 'teacher')
  parts = [f'teacher.checkpoint={teacher}', 'control.enabled=false', override]
  return ','.join(filter(None, parts))


def weights(folder: str) -> dict[str, np.ndarray]:
  """All float32 values of the latest checkpoint in a folder by their names there."""
  checkpoint = tf.train.load_checkpoint(folder)
  types = checkpoint.get_variable_to_dtype_map()
  return {n: checkpoint.get_tensor(n) for n in sorted(types) if types[n] == tf.float32}


def check_same_weights(folder: str, other: str) -> list[str]:
  """Raises AssertionError unless the latest checkpoints hold the same float32 values; returns their names."""
  ours, theirs = weights(folder), weights(other)
  assert ours.keys() == theirs.keys(), ours.keys() ^ theirs.keys()
  for name, value in ours.items():
    np.testing.assert_allclose(value, theirs[name], rtol=1e-3, atol=1e-5, err_msg=name)
  return list(ours)


def snapshot(folder: str, pattern: str = '**/*') -> dict[str, str]:
  """SHA-256 digests of all files below a folder by relative path."""
  paths = sorted(path for path in pathlib.Path(folder).glob(pattern) if path.is_file())
  return {str(path.relative_to(folder)): files.sha256(path) for path in paths}


def times(folder: str, pattern: str = '**/*') -> dict[str, int]:
  """Times of modification, in nanoseconds, of all files below a folder."""
  paths = sorted(path for path in pathlib.Path(folder).glob(pattern) if path.is_file())
  return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in paths}
