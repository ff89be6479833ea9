"""What the report of a run shows of segmentation."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from official_selftrain.configs import segmentation as configs
from official_selftrain.core import keys, overlays
from official_selftrain.dataloaders import segmentation as parsing
from official_selftrain.evaluation import segmentation as evaluation
from official_selftrain.ops import masks as mask_ops
from official_selftrain.presentation import base, label_facts, sheet_groups
from official_selftrain.pseudo_labels import cuts as cuts_lib
from official_selftrain.pseudo_labels import mask_quality, reader
from official_selftrain.pseudo_labels import segmentation as label_formats
from official_selftrain.pseudo_labels.segmentation import BACKGROUND
from official_selftrain.report import contents

_BACKGROUND_NAME = 'background'


@base.PRESENTATIONS.register(configs.SegmentationSelfTrainingTask)
class SegmentationPresentation(base.Presentation):
  """Facts and pictures of a segmentation run."""

  label_format: label_formats.MaskFormat

  # Columns of the table, the metric of single classes, and the word for labels.
  table_metrics = ('mean_iou', 'mean_iou_resized', 'pixel_accuracy')
  class_metric = 'IoU'
  unit = 'object pixels'

  @property
  def shown_classes(self) -> tuple[str, ...]:
    """Names of the classes with figures of their own, the background first."""
    ids = range(1, self.label_format.num_classes)
    return (_BACKGROUND_NAME, *(label_facts.class_name(self.class_names, k) for k in ids))

  def per_class(self, metrics: Mapping[str, float]) -> dict[str, float]:
    """IoU by class name, of a model's metrics."""
    named = ((name, f'{evaluation.PER_CLASS}{k}') for k, name in enumerate(self.shown_classes))
    return {name: metrics[key] for name, key in named if key in metrics}

  def measure_labels(self, label_dir: str, truth: str) -> dict[str, Any]:
    """Compares the labels with held-out truth, see `pseudo_labels.mask_quality`."""
    known = mask_quality.CocoTruth(truth)
    shards = base.label_shards(label_dir)
    return mask_quality.evaluate_labels(shards, known, self.label_format.num_classes)

  def human_labels(self, files: Sequence[str]) -> label_facts.HumanLabels:
    """See `human_labels`."""
    return human_labels(files)

  def ignored_from(self, settings: cuts_lib.Cuts) -> float:
    """See `Presentation`; all pixels below the cut are ignored."""
    del settings
    return 0.0

  def pseudo_label_sheet(
    self, images: Sequence[str], label_dir: str, settings: cuts_lib.Cuts, count: int
  ) -> contents.Sheet:
    """Unlabelled images with their labels, `count` per group."""
    return pseudo_label_sheet(
      images, label_dir, self.label_format, settings, self.shown_classes, count
    )

  def validation_sheet(
    self, validation_records: Iterable[tf.Tensor], models: dict[contents.Kind, tf.keras.Model]
  ) -> contents.Sheet:
    """Validation images with truth and what each model finds."""
    examples = map(self.task.decoded_validation_example, validation_records)
    return validation_sheet(self.task, examples, models, self.shown_classes)


def human_labels(files: Sequence[str]) -> label_facts.HumanLabels:
  """Counts the pixels of objects in labelled TFRecord files; records that cannot be read are left out."""
  counts = np.zeros(keys.IGNORE_LABEL + 1, np.int64)
  images = 0

  def count(record: tf.Tensor) -> tf.Tensor:
    mask = tf.io.decode_png(parsing.parse_record(record)[keys.SEGMENTATION_MASK], channels=1)
    return tf.math.bincount(tf.cast(tf.reshape(mask, [-1]), tf.int32), minlength=len(counts))

  for row in tf.data.TFRecordDataset(list(files)).map(count).ignore_errors():
    counts += row.numpy()
    images += 1
  objects = range(label_formats.BACKGROUND + 1, keys.IGNORE_LABEL)
  return label_facts.HumanLabels(images, {k: int(counts[k]) for k in objects if counts[k]})


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
  title: str, text: str, columns: int, tiles: Sequence[contents.Tile], names: Sequence[str]
) -> contents.Sheet:
  masks = [tile.mask for tile in tiles if tile.mask is not None]
  return contents.Sheet(title, text, columns, tuple(tiles), _legend(names, masks))


def pseudo_label_sheet(
  images: Sequence[str],
  label_dir: str,
  label_format: Any,
  settings: cuts_lib.Cuts,
  names: Sequence[str],
  count: int,
) -> contents.Sheet:
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

  def tile_of(example: dict[str, tf.Tensor], group: str) -> contents.Tile:
    image = parsing.decode_image(example[keys.IMAGE_ENCODED]).numpy()
    caption = f'id {example[keys.SOURCE_ID].numpy().decode()}, {kept_share(example):.0%} kept'
    mask = example[keys.SEMANTIC_MASK].numpy()[..., 0]
    return contents.Tile(image, (), caption, group, mask)

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
  models: dict[contents.Kind, tf.keras.Model],
  names: Sequence[str],
) -> contents.Sheet:
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
    tiles.append(contents.Tile(image, (), 'truth', '', truth))
    for name, (preprocess, predict) in functions.items():
      inputs = tf.nest.map_structure(lambda value: value[None], preprocess(example['encoded']))
      outputs = predict(inputs)
      scores = mask_ops.to_original(outputs['probabilities'][0], outputs['image_info'][0])
      found = tf.argmax(scores, -1).numpy().astype(np.uint8)
      tiles.append(contents.Tile(image, (), _caption(name, found, truth), '', found))
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
