"""`index.html`: the first pictures with what was predicted, counts by class, and the images that were left out."""

import io
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from urllib import parse

import numpy as np
from PIL import Image

from official_selftrain.core import class_names as names_lib
from official_selftrain.core import drawing, files, keys
from official_selftrain.prediction import images, writing
from official_selftrain.pseudo_labels.exporters import base
from official_selftrain.report import markup

_FOLDER = 'pictures'
_SIDE = 960
_STYLE = drawing.Style(line=2, font_size=16)
_CSS = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: #1b2129; }
table { border-collapse: collapse; }
td, th { padding: .25rem .75rem; border-bottom: 1px solid #dde2e8; text-align: left; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)); gap: 1rem; }
figure { margin: 0; } img { width: 100%; height: auto; display: block; }
figcaption { font-size: .8rem; overflow-wrap: anywhere; color: #5c6773; }
.key { display: inline-block; width: .8rem; height: .8rem; margin-right: .4rem; border-radius: .2rem; }
"""


def write(predicted: writing.Predicted, folder: str, number: int, model: str) -> None:
  """Draws the first images and writes the page, in place of those of an earlier run.

  Args:
    predicted: what to show.
    folder: where `index.html` and the folder of pictures go.
    number: of pictures.
    model: path of the model, for the head of the page.
  """
  shutil.rmtree(os.path.join(folder, _FOLDER), ignore_errors=True)
  known = {image.name: image for image in predicted.found}
  counts: Counter[int] = Counter()
  with_objects = total = 0
  left_out: list[tuple[str, str]] = []
  figures: list[markup.Markup] = []
  for entry in predicted.entries():
    if entry.prediction is None:
      left_out.append((entry.name, entry.reason))
      continue
    kept = writing.cut_at(entry.prediction, predicted.cut)
    total += 1
    with_objects += kept.num_objects > 0
    counts.update(_objects(kept))
    if len(figures) < number:
      figures.append(_figure(known[entry.name], kept, predicted.class_names, folder))
  unit = 'boxes' if predicted.task == 'detection' else 'pixels'
  facts = f'{model}. {total:,} images, {with_objects:,} of them with {unit} of objects; scores from {predicted.cut:g}.'
  body = markup.element(
    'body',
    markup.element('h1', 'Predictions'),
    markup.element('p', facts),
    _table(counts, predicted.class_names, unit),
    markup.element(
      'h2', f'The first {len(figures)} images' if len(figures) < total else 'All images'
    ),
    markup.element('div', figures, class_='sheet'),
    _left_out(left_out),
  )
  head = markup.element(
    'head',
    markup.element('meta', charset='utf-8'),
    markup.element('meta', name_='viewport', content='width=device-width, initial-scale=1'),
    markup.element('title', 'Predictions'),
    markup.element('style', markup.Markup(_CSS)),
  )
  page = markup.element('html', head, body, lang='en')
  files.write_text(os.path.join(folder, 'index.html'), f'<!DOCTYPE html>\n{page}\n')


def _objects(kept: base.Boxes | base.Mask) -> Counter[int]:
  """Boxes by class, or pixels by class without the background."""
  if isinstance(kept, base.Boxes):
    return Counter(box.class_id for box in kept.boxes)
  values, numbers = np.unique(kept.classes, return_counts=True)
  pairs = zip(values.tolist(), numbers.tolist(), strict=True)
  return Counter({v: n for v, n in pairs if v not in (base.BACKGROUND, keys.IGNORE_LABEL)})


def _figure(
  image: images.Image, kept: base.Boxes | base.Mask, class_names: Sequence[str], folder: str
) -> markup.Markup:
  encoded = images.read(image).encoded
  if encoded is None:
    return markup.element('figure', markup.element('figcaption', f'{image.name}: gone since then'))
  pixels = np.asarray(Image.open(io.BytesIO(encoded)).convert('RGB'))
  tile = drawing.Tile(pixels, min(_SIDE, max(pixels.shape[:2])))
  if isinstance(kept, base.Boxes):
    tile.draw([_box(box, pixels, class_names) for box in reversed(kept.boxes)], _STYLE)
  else:
    tile.tint(kept.classes)
  buffer = io.BytesIO()
  tile.image.save(buffer, 'JPEG', quality=88)
  path = f'{_FOLDER}/{image.stem}.jpg'
  files.write_bytes(os.path.join(folder, path), buffer.getvalue())
  width, height = tile.image.size
  picture = markup.element(
    'img',
    src=parse.quote(path),
    alt=image.name,
    width=str(width),
    height=str(height),
    loading='lazy',
  )
  words = f'{image.name}: {kept.num_objects:,}' if isinstance(kept, base.Boxes) else image.name
  return markup.element(
    'figure',
    markup.element('a', picture, href=parse.quote(path)),
    markup.element('figcaption', words),
  )


def _box(box: base.Box, pixels: np.ndarray, class_names: Sequence[str]) -> drawing.Box:
  height, width = pixels.shape[:2]
  return drawing.Box(
    box.ymin * height,
    box.xmin * width,
    box.ymax * height,
    box.xmax * width,
    drawing.class_colour(box.class_id),
    f'{names_lib.name_of(class_names, box.class_id)} {box.score:.2f}',
  )


def _table(counts: Counter[int], class_names: Sequence[str], unit: str) -> markup.Markup:
  rows = [
    markup.element(
      'tr',
      markup.element(
        'td',
        markup.element(
          'span', '', class_='key', style=f'background: rgb{drawing.class_colour(class_id)}'
        ),
        names_lib.name_of(class_names, class_id),
      ),
      markup.element('td', f'{counts[class_id]:,}', class_='number'),
    )
    for class_id in range(1, len(class_names) + 1)
  ]
  head = markup.element(
    'tr', markup.element('th', 'class'), markup.element('th', unit, class_='number')
  )
  return markup.element('table', head, rows)


def _left_out(rows: Sequence[tuple[str, str]]) -> markup.Markup | None:
  if not rows:
    return None
  items = [markup.element('li', f'{name}: {reason}') for name, reason in rows]
  return markup.join([markup.element('h2', f'{len(rows):,} left out'), markup.element('ul', items)])
