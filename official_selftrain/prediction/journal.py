"""What was predicted so far, one line for each image: so a run that was interrupted goes on, and a cut can be changed.

`predictions.jsonl` begins with a line that names the model. A line of an image has `name`, `version`, and either
`reason`, or `height`, `width` and, for detection, `boxes` (yxyx relative to the image), `classes` and `scores`. Masks
lie in `predicted/` beside it: classes and confidences as grey PNG files.
"""

import dataclasses
import io
import json
import os
import pathlib
from collections.abc import Iterator, Sequence, Set
from typing import Any

import numpy as np
from PIL import Image

from official_selftrain.core import errors, files
from official_selftrain.prediction import images
from official_selftrain.pseudo_labels.exporters import base

FILE = 'predictions.jsonl'
_MASKS = 'predicted'
_PARTS = ('classes', 'confidences')
_CHUNK = 1 << 16


@dataclasses.dataclass(frozen=True)
class Entry:
  """What is known of one image.

  Attributes:
    name: see `images.Image`.
    height: in pixels; 0 for an image that was left out.
    width: in pixels.
    reason: why it was left out; '' for one that was not.
    prediction: boxes or mask, at whatever score; None for an image that was left out.
  """

  name: str
  height: int = 0
  width: int = 0
  reason: str = ''
  prediction: base.Boxes | base.Mask | None = None


class Journal:
  """The predictions of one output folder; iterates over all images in the order in which they were predicted."""

  def __init__(self, folder: str, model_digest: str):
    """Opens the journal of a folder, or begins one.

    Args:
      folder: of the output; it is made where it does not exist.
      model_digest: of the model that predicts.

    Raises:
      ConfigError: the folder is in remote storage, or holds something else, or predictions of another model.
    """
    files.check_is_local('--output', folder)
    if os.path.isfile(folder):
      raise errors.ConfigError(f'--output: {folder} is not a folder.')
    self._folder = folder
    self._path = os.path.join(folder, FILE)
    header = {'model': model_digest}
    if not os.path.exists(self._path):
      if os.path.isdir(folder) and os.listdir(folder):
        raise errors.ConfigError(f'--output: {folder} holds other files. Name a new folder.')
      files.write_text(self._path, json.dumps(header) + '\n')
    self._drop_torn_line()
    with open(self._path, encoding='utf-8') as lines:
      if json.loads(next(lines, '{}')) != header:
        raise errors.ConfigError(
          f'--output: {folder} has predictions of another model. Name a new folder, or remove this one.'
        )
      self._last: dict[str, int] = {}
      # None in lines of earlier versions of this program, which did not say.
      self._versions: dict[str, str | None] = {}
      self._lines = 0
      for line in map(json.loads, lines):
        self._count(line['name'], line.get('version'), 'reason' in line)

  def _count(self, name: str, version: str | None, is_left_out: bool) -> None:
    """Takes note of a line; of an image that was tried again, the last one counts."""
    self._last[name] = self._lines
    self._lines += 1
    self._versions.pop(name, None)
    if not is_left_out:
      self._versions[name] = version

  @property
  def predicted(self) -> Set[str]:
    """Names of the images that were not left out."""
    return self._versions.keys()

  def has(self, image: images.Image) -> bool:
    """Whether an image needs no prediction; one that was left out is tried again, and one that is another file now."""
    if image.name not in self._versions or not image.version:
      return False
    return self._versions[image.name] in (None, image.version)

  def _drop_torn_line(self) -> None:
    """Cuts off what a killed process did not finish."""
    with open(self._path, 'rb+') as stream:
      end = stream.seek(0, os.SEEK_END)
      while end > 0:
        start = max(0, end - _CHUNK)
        stream.seek(start)
        place = stream.read(end - start).rfind(b'\n')
        if place >= 0:
          stream.truncate(start + place + 1)
          return
        end = start
      stream.truncate(0)

  def add(self, entries: Sequence[tuple[Entry, images.Image]]) -> None:
    """Takes in images; they count when the call returns.

    Args:
      entries: what is known of images for which `has` is false, each with its image.
    """
    lines = []
    for entry, image in entries:
      line: dict[str, Any] = {'name': entry.name, 'version': image.version}
      if entry.prediction is None:
        line['reason'] = entry.reason
      else:
        line |= {'height': entry.height, 'width': entry.width}
        line |= self._stored(entry.prediction, image.stem)
      lines.append(json.dumps(line, ensure_ascii=False) + '\n')
    with open(self._path, 'a', encoding='utf-8') as stream:
      stream.writelines(lines)
      stream.flush()
      os.fsync(stream.fileno())
    for entry, image in entries:
      self._count(entry.name, image.version, entry.prediction is None)

  def _stored(self, prediction: base.Boxes | base.Mask, stem: str) -> dict[str, Any]:
    if isinstance(prediction, base.Boxes):
      boxes = prediction.boxes
      return {
        'boxes': [[box.ymin, box.xmin, box.ymax, box.xmax] for box in boxes],
        'classes': [box.class_id for box in boxes],
        'scores': [box.score for box in boxes],
      }
    for part in _PARTS:
      buffer = io.BytesIO()
      Image.fromarray(np.ascontiguousarray(getattr(prediction, part))).save(buffer, 'PNG')
      files.write_bytes(os.path.join(self._folder, _MASKS, f'{stem}.{part}.png'), buffer.getvalue())
    return {'mask': stem}

  def __iter__(self) -> Iterator[Entry]:
    """See the class."""
    with open(self._path, encoding='utf-8') as lines:
      next(lines)
      for place, text in enumerate(lines):
        line = json.loads(text)
        if self._last[line['name']] != place:
          continue
        if 'reason' in line:
          yield Entry(line['name'], reason=line['reason'])
          continue
        yield Entry(line['name'], line['height'], line['width'], prediction=self._prediction(line))

  def _prediction(self, line: dict[str, Any]) -> base.Boxes | base.Mask:
    if 'mask' not in line:
      rows = zip(line['classes'], line['scores'], line['boxes'], strict=True)
      return base.Boxes(tuple(base.Box(c, s, False, *box) for c, s, box in rows))
    parts = [
      np.asarray(Image.open(pathlib.Path(self._folder, _MASKS, f'{line["mask"]}.{part}.png')))
      for part in _PARTS
    ]
    return base.Mask(*parts)
