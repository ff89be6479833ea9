"""Contact sheets of segmentation: masks drawn over images, with a legend of the classes."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from official_selftrain.core import keys, overlays
from official_selftrain.dataloaders import segmentation as parsing
from official_selftrain.ops import masks as mask_ops
from official_selftrain.pseudo_labels import cuts as cuts_lib
from official_selftrain.pseudo_labels import reader
from official_selftrain.pseudo_labels.segmentation import BACKGROUND
from official_selftrain.report import records
from official_selftrain.tasks import sheet_groups

Legend = tuple[tuple[str, tuple[int, int, int]], ...]

# Share of an image's pixels above the cut from which its labels count as sure.
_SURE_SHARE = 0.95


def _legend(names: Sequence[str], masks: Iterable[np.ndarray]) -> Legend:
  """Names and colours of the classes that any of the masks shows, and of ignored pixels."""
  shown = sorted({int(value) for mask in masks for value in np.unique(mask)} - {BACKGROUND})
  entries = []
  for value in shown:
    if value == keys.IGNORE_LABEL:
      entries.append(('ignored', overlays.HATCH_COLOUR))
    elif value < len(names):
      entries.append((names[value], overlays.class_colour(value)))
  return tuple(entries)


def _sheet(
  title: str, text: str, columns: int, tiles: Sequence[records.Tile], names: Sequence[str]
) -> records.Sheet:
  masks = [tile.mask for tile in tiles if tile.mask is not None]
  return records.Sheet(title, text, columns, tuple(tiles), _legend(names, masks))


def pseudo_label_sheet(
  images: Sequence[str],
  label_dir: str,
  label_format: Any,
  settings: cuts_lib.Cuts,
  names: Sequence[str],
  count: int,
) -> records.Sheet:
  """Unlabelled images with pseudo masks, in three groups.

  Args:
    images: unlabelled shards.
    label_dir: their label shards.
    label_format: the task's label format.
    settings: the cuts the student trains with.
    names: class names from id 0.
    count: images per group.

  Returns:
    Sheet with the groups sure (nearly all pixels reach the cut), unsure and empty (no pixel of an object reaches it).
  """
  everything = dataclasses.replace(settings, keep_empty=True)
  pairs = reader.read_pairs(images, label_dir, label_format, everything)

  def kept_share(example: dict[str, tf.Tensor]) -> float:
    return float((example[keys.SEMANTIC_MASK].numpy() != keys.IGNORE_LABEL).mean())

  def group_of(example: dict[str, tf.Tensor]) -> str:
    if not label_format.has_objects(example):
      return 'empty'
    return 'sure' if kept_share(example) >= _SURE_SHARE else 'unsure'

  def tile_of(example: dict[str, tf.Tensor], group: str) -> records.Tile:
    image = parsing.decode_image(example[keys.IMAGE_ENCODED]).numpy()
    caption = f'id {example[keys.SOURCE_ID].numpy().decode()}, {kept_share(example):.0%} kept'
    mask = example[keys.SEMANTIC_MASK].numpy()[..., 0]
    return records.Tile(image, (), caption, group, mask)

  tiles = sheet_groups.first_of_each(
    pairs.take(sheet_groups.SCANNED_PER_FILE * len(images)), group_of, tile_of, count
  )
  return _sheet(
    'Pseudo labels',
    'Unlabelled images with what the teacher wrote. Coloured pixels, and clear ones, which are background, reach the '
    f'cut of {settings.cut:g} and train the student; hatched ones are ignored. In sure images at least '
    f'{_SURE_SHARE:.0%} of the pixels reach it; in empty ones no pixel of an object does'
    + ('.' if settings.keep_empty else ', and the student does not see these images.'),
    4,
    tiles,
    names,
  )


def validation_sheet(
  task: Any,
  examples: Iterable[dict[str, tf.Tensor]],
  models: dict[records.Kind, tf.keras.Model],
  names: Sequence[str],
) -> records.Sheet:
  """Validation images: truth, then what each model finds.

  Args:
    task: gives preprocessing and prediction.
    examples: decoded records with `image`, `semantic_mask` and `encoded`.
    models: models by `teacher` and `student`.
    names: class names from id 0.

  Returns:
    Sheet with one row per image: truth, teacher, student.
  """
  functions = {name: task.labelling_functions(model) for name, model in models.items()}
  tiles = []
  for example in examples:
    image, truth = example['image'].numpy(), example[keys.SEMANTIC_MASK].numpy()[..., 0]
    tiles.append(records.Tile(image, (), 'truth', '', truth))
    for name, (preprocess, predict) in functions.items():
      inputs = tf.nest.map_structure(lambda value: value[None], preprocess(example['encoded']))
      outputs = predict(inputs)
      scores = mask_ops.to_original(outputs['probabilities'][0], outputs['image_info'][0])
      found = tf.argmax(scores, -1).numpy().astype(np.uint8)
      tiles.append(records.Tile(image, (), _caption(name, found, truth), '', found))
  return _sheet(
    'Validation images',
    'Truth, teacher and student side by side; each model sees the image once, at the size of its input.',
    1 + len(functions),
    tiles,
    names,
  )


def _caption(name: str, found: np.ndarray, truth: np.ndarray) -> str:
  known = truth != keys.IGNORE_LABEL
  if not known.any():
    return name
  return f'{name}, {float((found == truth)[known].mean()):.1%} of the pixels right'
