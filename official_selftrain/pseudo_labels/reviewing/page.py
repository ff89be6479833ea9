"""Writes the review page: one file with pictures, labels and the program that shows them; it needs no network."""

import base64
import dataclasses
import heapq
import importlib.resources
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from official_selftrain.core import console, drawing, errors, files
from official_selftrain.pseudo_labels import cuts as cuts_lib
from official_selftrain.pseudo_labels import segmentation
from official_selftrain.pseudo_labels.exporters import base, reading
from official_selftrain.pseudo_labels.reviewing import decisions

_QUALITY = 75
_DIGITS = 5
# What the eye cannot tell apart as lines on a picture.
_MAX_COLOURS = 20
_SURE = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
  """What to show.

  Attributes:
    label_dir: folder of the label shards.
    image_files: the images, in the manifest's order.
    cuts: boxes from the cut on are objects; below it, from `ignore_cut` on, they are shown dashed.
    class_names: from class 1 on; empty takes those of the labels.
    max_images: the least sure so many.
    side: longest side of the pictures, in pixels.
  """

  label_dir: str
  image_files: Sequence[str]
  cuts: cuts_lib.Cuts
  class_names: tuple[str, ...] = ()
  max_images: int = 2000
  side: int = 640


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class _Shown:
  """An image on the page; `picture` is a JPEG, `mask` a PNG or empty."""

  facts: dict[str, Any]
  picture: bytes
  mask: bytes = b''


def write(request: Request, path: str) -> int:
  """Writes the page.

  Labels are read twice: once to find the images that the teacher was least sure of, and once with the images.

  Args:
    request: what to show.
    path: the HTML file.

  Returns:
    The number of images on it.

  Raises:
    DataError: labels or images cannot be read, or there are none, or two images have one id.
    LabelMismatchError: the labels do not belong to the images.
  """
  labelled = reading.open_labels(
    request.label_dir, request.image_files, request.cuts, request.class_names
  )
  reading.check_ids(labelled)
  places = _least_sure(labelled, request)
  if not places:
    raise errors.DataError(f'{request.label_dir} has no labels of images that can be read.')
  shown = sorted(_images(labelled, request, places), key=lambda each: each.facts['sureness'])
  manifest = labelled.manifest
  data = {
    'format': decisions.FORMAT,
    'task': manifest.format,
    'labels_sha256': manifest.labels_sha256,
    'cut': request.cuts.cut,
    'class_names': labelled.class_names,
    'colours': [_hex(drawing.class_colour(1 + n % _MAX_COLOURS)) for n in range(_MAX_COLOURS)],
    'images': [each.facts for each in shown],
  }
  parts = {
    '@STYLE@': _part('page.css'),
    '@DATA@': _in_script(data),
    '@SCRIPT@': _part('page.js'),
  }
  # Each picture has an element of its own: the browser reads it when it is shown.
  pictures = [
    f'<script type="text/plain" id="{kind}{number}">{base64.b64encode(content).decode()}</script>'
    for number, each in enumerate(shown)
    for kind, content in (('i', each.picture), ('m', each.mask))
    if content
  ]
  text = _part('page.html')
  for name, part in parts.items():
    text = text.replace(name, part, 1)
  files.write_text(path, text.replace('@IMAGES@', '\n'.join(pictures), 1))
  return len(shown)


def _part(name: str) -> str:
  return importlib.resources.files(__package__).joinpath(name).read_text('utf-8')


def _in_script(value: object) -> str:
  """JSON that may stand in a script element: no text in it can end the element."""
  text = json.dumps(value, separators=(',', ':'), ensure_ascii=False, allow_nan=False)
  return text.replace('<', '\\u003c')


def _hex(colour: tuple[int, int, int]) -> str:
  return '#' + ''.join(f'{part:02x}' for part in colour)


def _least_sure(labelled: reading.Labelled, request: Request) -> frozenset[int]:
  """Numbers of the images to show, from 1."""
  scores = ((-_sureness(read.labels, request.cuts), -read.image.number) for read in _read(labelled))
  return frozenset(-number for _, number in heapq.nlargest(request.max_images, scores))


def _read(labelled: reading.Labelled) -> Iterator[reading.Read[Any]]:
  if labelled.manifest.format == segmentation.MaskFormat.name:
    yield from reading.masks(labelled, False)
  else:
    yield from reading.boxes(labelled, False)


def _sureness(labels: base.Boxes | base.Mask, cuts: cuts_lib.Cuts) -> float:
  """How far labels keep away from being others: of boxes the mean distance of scores to the cut, of pixels the share
  above it."""
  if isinstance(labels, base.Mask):
    return 1.0 - labels.num_ignored / max(labels.classes.size, 1)
  distances = [abs(box.score - cuts.of(box.class_id)) for box in labels.boxes]
  return sum(distances) / len(distances) if distances else _SURE


def _images(
  labelled: reading.Labelled, request: Request, places: frozenset[int]
) -> Iterator[_Shown]:
  with console.Progress('review', len(places), 'images') as bar:
    done = 0
    for read in _read(labelled):
      if read.image.number not in places:
        continue
      done += 1
      bar.update(done)
      picture = _picture(read.image, request.side)
      yield _Shown(
        {
          'id': read.image.source_id,
          'width': picture.width,
          'height': picture.height,
          'sureness': round(_sureness(read.labels, request.cuts), 4),
          **_labels(read.labels),
        },
        _encoded(picture, 'JPEG', quality=_QUALITY),
        _tint(read.labels, picture.size),
      )


def _picture(image: base.Image, side: int) -> Image.Image:
  """The image, not larger than it has to be; turned by nothing, as models see it."""
  picture = Image.open(io.BytesIO(image.content)).convert('RGB')
  picture.thumbnail((side, side))
  return picture


def _encoded(picture: Image.Image, form: str, **options: int) -> bytes:
  buffer = io.BytesIO()
  picture.save(buffer, form, **options)
  return buffer.getvalue()


def _labels(labels: base.Boxes | base.Mask) -> dict[str, Any]:
  """Boxes for the page: [class, ymin, xmin, ymax, xmax, score, 1 if it is below the cut]; and the classes there are."""
  if isinstance(labels, base.Mask):
    found = set(np.unique(labels.classes).tolist()) - {base.BACKGROUND, 255}
    return {'boxes': [], 'classes': sorted(found)}
  boxes = [
    [
      box.class_id,
      *(round(edge, _DIGITS) for edge in (box.ymin, box.xmin, box.ymax, box.xmax)),
      box.score,
      int(box.is_ignored),
    ]
    for box in labels.boxes
  ]
  return {'boxes': boxes, 'classes': sorted({box.class_id for box in labels.boxes})}


def _tint(labels: base.Boxes | base.Mask, size: tuple[int, int]) -> bytes:
  """The classes in their colours; ignored pixels are white, the background is clear."""
  if isinstance(labels, base.Boxes):
    return b''
  classes = np.asarray(Image.fromarray(labels.classes).resize(size, Image.Resampling.NEAREST))
  pixels = np.zeros([*classes.shape, 4], np.uint8)
  for class_id in np.unique(classes).tolist():
    if class_id == 255:
      pixels[classes == class_id] = (255, 255, 255, 255)
    elif class_id != base.BACKGROUND:
      colour = drawing.class_colour(1 + (class_id - 1) % _MAX_COLOURS)
      pixels[classes == class_id] = (*colour, 255)
  return _encoded(Image.fromarray(pixels), 'PNG')
