"""Which formats of labels can be read."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from official_selftrain.core import errors, files
from official_selftrain.pseudo_labels import detection, segmentation
from official_selftrain.pseudo_labels.importers import (
  annotators,
  box_files,
  coco,
  entries,
  masks,
)


@dataclasses.dataclass(frozen=True)
class Format:
  """A format.

  Attributes:
    read: reads a path, given the names of the classes from 1 on and the option, if it is given.
    task: name of the label format that the labels become.
    option: the further argument of `read` that there is; '' for none.
  """

  read: Callable[..., entries.Entries]
  task: str = detection.BoxFormat.name
  option: str = ''


FORMATS = {
  'coco': Format(coco.read_dataset),
  'coco_results': Format(coco.read_results, option='annotation_file'),
  'yolo': Format(box_files.read_yolo),
  'voc': Format(box_files.read_voc),
  'label_studio': Format(annotators.read_label_studio),
  'cvat': Format(annotators.read_cvat),
  'png': Format(masks.read_png, segmentation.MaskFormat.name, 'confidence'),
}


def read(
  form: str,
  path: str,
  class_names: Sequence[str],
  options: Mapping[str, str],
  flag: str = '--labels',
) -> entries.Entries:
  """Reads labels.

  Args:
    form: name of the format.
    path: where they are.
    class_names: from class 1 on.
    options: by name, those that are given.
    flag: that gave the path, for messages.

  Raises:
    ConfigError: the format has no such option.
    DataError: the labels cannot be read.
  """
  found = FORMATS[form]
  for name in options:
    if name != found.option:
      takes = ', '.join(key for key, value in FORMATS.items() if value.option == name)
      raise errors.ConfigError(f'--{name} is given, but only {takes} takes it, not {form}.')
  if not os.path.exists(path):
    raise errors.DataError(
      f'{flag}: {path} does not exist. Check the path and the working directory.'
    )
  return found.read(path, class_names, **options)


def describe(form: str, path: str) -> dict[str, Any]:
  """Where labels come from, for the manifest: format, place and a digest of all files."""
  paths = [path]
  if os.path.isdir(path):
    paths = sorted(
      os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names
    )
  digest = files.digest_of([[os.path.relpath(each, path), files.sha256(each)] for each in paths])
  return {'format': form, 'labels': path, 'sha256': digest}
