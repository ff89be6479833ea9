"""The text by which a user names a data set: `[FORMAT:]PATH[,KEY=VALUE...]`."""

import csv
import dataclasses
import difflib
import importlib
import os
import re

from official_selftrain.core import errors
from official_selftrain.datasets import voc_layout
from official_selftrain.datasets.sources import items


@dataclasses.dataclass(frozen=True)
class Format:
  """A format of annotated or plain images.

  Attributes:
    module: module of `sources` whose `open_source(path, **options)` opens it.
    options: names of the options.
    meaning: what the path is, for help.
    needs_annotations: `open_source` has an option of this name, for images of which no annotations are wanted.
  """

  module: str
  options: tuple[str, ...]
  meaning: str
  needs_annotations: bool = False


FORMATS = {
  'coco': Format(
    'coco_json', ('images', 'task'), 'COCO JSON; images=FOLDER if not beside; task=segmentation', needs_annotations=True
  ),
  'voc': Format('voc_xml', ('split', 'classes', 'difficult'), 'folder with Annotations/*.xml and JPEGImages'),
  'voc_masks': Format('voc_masks', ('split', 'classes'), 'folder with JPEGImages and SegmentationClass'),
  'yolo': Format('yolo', ('split',), 'data.yaml, or the folder with it; split=train, val or test'),
  'open_images': Format('open_images', ('images', 'classes'), 'CSV of boxes; images=FOLDER'),
  'masks': Format('mask_pairs', ('classes', 'masks'), 'folder of images; masks=FOLDER, classes=FILE'),
  'folders': Format('class_folders', ('names',), 'folder with one folder per class'),
  'images': Format('image_sets', (), 'folder, pattern, list (.txt), zip, tar, or TFRecord files without annotations'),
}  # fmt: skip

# Characters of the header of a CSV file.
_MAX_HEADER = 4096
# What folders are called that hold a part of the images.
_PARTS = frozenset({'train', 'val', 'valid', 'validation', 'test'})
_SEPARATOR = re.compile(r',(?=[A-Za-z_]+=)')


def open_spec(text: str, flag: str, is_labelled: bool) -> items.Source:
  """Opens the data set that a text names.

  Args:
    text: `[FORMAT:]PATH[,KEY=VALUE...]`. Without a format it is found out from what is there; unlabelled images are
      `images`. The path may have commas and colons in it.
    flag: that has the text, for messages.
    is_labelled: whether annotations are wanted.

  Returns:
    The data set, opened for reading.

  Raises:
    ConfigError: format or option do not exist, or the format cannot be told.
    DataError: the data cannot be read.
  """
  path, *pairs = _SEPARATOR.split(text)
  name, colon, rest = path.partition(':')
  if colon and name in FORMATS:
    path = rest
  elif colon and not os.path.exists(path) and re.fullmatch(r'[a-z_]{2,}', name):
    close = difflib.get_close_matches(name, FORMATS, n=1)
    hint = f' Did you mean {close[0]}?' if close else ''
    raise errors.ConfigError(
      f'{flag}={text}: there is no format {name!r}.{hint} Formats: {", ".join(FORMATS)}.'
    )
  else:
    name = _detect(path, flag) if is_labelled else 'images'
  if is_labelled and name == 'images':
    raise errors.ConfigError(
      f'{flag}={text}: these images have no annotations. Give them with --unlabelled.'
    )
  form = FORMATS[name]
  options: dict[str, str | bool] = dict(_option(pair, name, flag) for pair in pairs)
  if form.needs_annotations:
    options['needs_annotations'] = is_labelled
  # Unlabelled images can be a pattern.
  if name != 'images':
    _check_exists(path, flag)
  module = importlib.import_module(f'{__package__}.{form.module}')
  source: items.Source = module.open_source(path, **options)
  return source


def path_of(text: str) -> str:
  """The path in a text as of `open_spec`, without format and options."""
  path = _SEPARATOR.split(text)[0]
  name, colon, rest = path.partition(':')
  return rest if colon and name in FORMATS else path


def describe_formats() -> str:
  """The formats and their options, for --help."""
  lines = ['SPEC is [FORMAT:]PATH[,KEY=VALUE...]. Formats:']
  for name, form in FORMATS.items():
    options = f' [{", ".join(form.options)}]' if form.options else ''
    lines.append(f'  {name:<12} {form.meaning}{options}')
  return '\n'.join(lines)


def _option(pair: str, name: str, flag: str) -> tuple[str, str]:
  key, _, value = pair.partition('=')
  options = FORMATS[name].options
  if key in options:
    return key, value
  close = difflib.get_close_matches(key, options, n=1)
  hint = f' Did you mean {close[0]}?' if close else ''
  known = f'Options of {name}: {", ".join(options)}.' if options else f'{name} has no options.'
  raise errors.ConfigError(f'{flag}: there is no option {key!r}.{hint} {known}')


def _detect(path: str, flag: str) -> str:
  """The format of what is at a path."""
  try:
    candidates = [name for name, fits in _SIGNS.items() if fits(path)]
  except OSError as error:
    raise errors.DataError(f'{flag}: {path} cannot be read: {error.strerror}.') from error
  if len(candidates) == 1:
    return candidates[0]
  _check_exists(path, flag)
  if _has_parts_only(path):
    raise errors.ConfigError(
      f'{flag}: the folders of {path} are called like parts of a data set. Give one of them, or, if they are classes, '
      f'{flag}=folders:{path}.'
    )
  if candidates:
    reason = f'it could be {" or ".join(candidates)}'
  else:
    reason = 'nothing in it tells'
  example = (candidates or ['coco'])[0]
  raise errors.ConfigError(
    f'{flag}: the format of {path} is not clear: {reason}. Say which: {flag}={example}:{path}. Formats: '
    f'{", ".join(FORMATS)}.'
  )


def _check_exists(path: str, flag: str) -> None:
  if not os.path.lexists(path):
    raise errors.DataError(
      f'{flag}: {path} does not exist. Check the path and the working directory.'
    )


def _has_parts_only(path: str) -> bool:
  """Whether all that a folder holds are parts such as train and val."""
  names = _names_in(path)
  return bool(names) and _PARTS.issuperset(map(str.lower, names))


def _names_in(path: str) -> list[str]:
  """Names in a folder that are not hidden; empty for what is no folder."""
  return [name for name in os.listdir(path) if name[0] != '.'] if os.path.isdir(path) else []


def _is_coco(path: str) -> bool:
  return path.lower().endswith('.json') and os.path.isfile(path)


def _is_voc(path: str) -> bool:
  return voc_layout.root_with(path, 'Annotations') is not None


def _is_voc_masks(path: str) -> bool:
  return voc_layout.root_with(path, voc_layout.MASKS) is not None


def _is_yolo(path: str) -> bool:
  name = path if os.path.isfile(path) else os.path.join(path, 'data.yaml')
  return name.lower().endswith(('.yaml', '.yml')) and os.path.isfile(name)


def _is_open_images(path: str) -> bool:
  if not path.lower().endswith('.csv') or not os.path.isfile(path):
    return False
  with open(path, encoding='utf-8-sig', errors='replace', newline='') as stream:
    # Not more, since the file may be anything.
    return 'ImageID' in next(csv.reader([stream.readline(_MAX_HEADER)]), [])


def _is_class_folders(path: str) -> bool:
  """Whether a folder holds nothing but folders, none of which has a name that means something else.

  One class may be called like a part of a data set, but not all.
  """
  if not os.path.isdir(path) or _is_voc(path) or _is_voc_masks(path) or _is_yolo(path):
    return False
  names = _names_in(path)
  named = {'images', 'labels', 'masks', 'annotations', 'jpegimages', 'segmentationclass'}
  return not _PARTS.issuperset(map(str.lower, names)) and all(
    os.path.isdir(os.path.join(path, name)) and name.lower() not in named for name in names
  )


_SIGNS = {
  'coco': _is_coco,
  'voc': _is_voc,
  'voc_masks': _is_voc_masks,
  'yolo': _is_yolo,
  'open_images': _is_open_images,
  'folders': _is_class_folders,
}
