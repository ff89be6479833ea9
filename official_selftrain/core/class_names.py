"""Class names as a flag gives them, and those that lie beside a model."""

import json
import os
from collections.abc import Sequence
from typing import Any

from official_selftrain.core import errors

# Beside the checkpoints of a model.
MODEL_FILE = 'classes.json'
# In a SavedModel; line n names class n.
ASSET = 'class_names.txt'

_FILE = '.txt'


def read(given: str | None) -> tuple[str, ...]:
  """The names of `--class_names`, from class 1 on.

  Args:
    given: names with commas between them, or a .txt file of one per line; None gives no names.

  Raises:
    DataError: the file cannot be read.
  """
  if given is None:
    return ()
  if not given.endswith(_FILE):
    return tuple(name.strip() for name in given.split(','))
  try:
    with open(given, encoding='utf-8-sig') as lines:
      return tuple(lines.read().splitlines())
  except (OSError, UnicodeDecodeError) as error:
    raise errors.DataError(
      f'--class_names: {given} cannot be read: {errors.first_line(error)}. Give a text file with a name in each line.'
    ) from error


def name_of(names: Sequence[str], class_id: int) -> str:
  """Name of a class from id 1, or its id where it has none."""
  return names[class_id - 1] if 0 < class_id <= len(names) else str(class_id)


def lines(names: Sequence[str]) -> str:
  """The content of `ASSET`."""
  return ''.join(f'{name}\n' for name in names)


def of_model(path: str) -> tuple[str, ...]:
  """Names of the classes that a model was trained for, from id 1; empty if unknown.

  Args:
    path: a model directory, the prefix of a checkpoint, or a SavedModel.
  """
  asset = os.path.join(path, 'assets', ASSET)
  if os.path.isfile(asset):
    return read(asset)
  found = beside(path)
  return tuple(found['class_names']) if found else ()


def beside(checkpoint: str) -> dict[str, Any] | None:
  """What lies beside a checkpoint, which may be in a subfolder such as `best_ckpt`; None if nothing does.

  Args:
    checkpoint: its prefix, or a model directory.

  Returns:
    `num_classes`, and `class_names` from id 1, which are empty if they were unknown.

  Raises:
    DataError: it cannot be read.
  """
  import tensorflow as tf  # TensorFlow is slow to import, and names need it for this alone.

  try:
    directory = checkpoint if tf.io.gfile.isdir(checkpoint) else os.path.dirname(checkpoint)
    is_remote = '://' in checkpoint
    directory = directory.rstrip('/') if is_remote else os.path.abspath(directory)
    for folder in (directory, os.path.dirname(directory)):
      path = f'{folder}/{MODEL_FILE}'
      # The folder above a bucket is none.
      if (not is_remote or '://' in folder) and tf.io.gfile.exists(path):
        with tf.io.gfile.GFile(path) as stream:
          found: dict[str, Any] = json.loads(stream.read())
        return found
  except (tf.errors.OpError, ValueError) as error:
    raise errors.DataError(
      f'{checkpoint}: the classes beside it cannot be read ({errors.first_line(error)}).'
    ) from error
  return None


def first_difference(theirs: Sequence[str], ours: Sequence[str]) -> str | None:
  """The first class that has another name, in words; None if none has, or if one side has no names at all."""
  if not theirs or not ours:
    return None
  for class_id in range(1, max(len(theirs), len(ours)) + 1):
    pair = [names[class_id - 1] if class_id <= len(names) else None for names in (theirs, ours)]
    if pair[0] != pair[1]:
      return f'class {class_id} is {pair[0]!r} there and {pair[1]!r} here'
  return None
