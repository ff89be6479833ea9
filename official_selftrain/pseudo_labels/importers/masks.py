"""Class masks as PNG files, with or without confidences."""

import os
from collections.abc import Sequence

from official_selftrain.core import errors
from official_selftrain.datasets.sources import image_names
from official_selftrain.pseudo_labels.importers import entries

_PNG = '.png'
_MASKS, _CONFIDENCES = 'SegmentationClass', 'Confidence'


def read_png(path: str, class_names: Sequence[str], confidence: str = '') -> entries.Entries:
  """Lists PNG files; they are read when their image is met.

  Args:
    path: the folder of masks, or one that has them in `SegmentationClass`.
    class_names: not needed; values of masks are class ids.
    confidence: the folder of confidences, in files of the same names; by default the folder `Confidence` beside
      `SegmentationClass`, if it is there.

  Raises:
    DataError: there are no masks, or no confidences where a folder is given.
  """
  del class_names
  inner = os.path.join(path, _MASKS)
  folder = inner if os.path.isdir(inner) else path
  if not confidence and folder == inner and os.path.isdir(os.path.join(path, _CONFIDENCES)):
    confidence = os.path.join(path, _CONFIDENCES)
  for each in filter(None, (folder, confidence)):
    if not os.path.isdir(each):
      raise errors.DataError(f'{each} is not a folder. Give the folder of PNG files.')
  made = entries.Entries()
  count = 0
  for name, file in image_names.list_files(folder, (_PNG,)):
    beside = os.path.join(confidence, name) if confidence else ''
    if beside and not os.path.isfile(beside):
      raise errors.DataError(
        f'{beside} does not exist, but {file} does. Give both, or no confidences.'
      )
    count += 1
    made.add_image(name, name)
    made.add(name, entries.Mask(file, beside))
  if not count:
    raise errors.DataError(f'{folder} has no {_PNG} file in it, nor in its folders.')
  made.seal()
  return made
