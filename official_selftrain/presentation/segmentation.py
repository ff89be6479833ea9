"""How segmentation runs are presented: masks."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from official_selftrain.configs import segmentation as configs
from official_selftrain.core import class_names as names_lib
from official_selftrain.core import drawing, keys
from official_selftrain.dataloaders import segmentation as parsing
from official_selftrain.datasets import coco as annotations
from official_selftrain.evaluation import segmentation as evaluation
from official_selftrain.ops import masks as mask_ops
from official_selftrain.presentation import base, label_facts, sheet_groups
from official_selftrain.pseudo_labels import cuts as cuts_lib
from official_selftrain.pseudo_labels import mask_quality, quality, reader
from official_selftrain.pseudo_labels import segmentation as label_formats
from official_selftrain.report import contents
from official_selftrain.tasks import contract

_BACKGROUND_NAME = 'background'
# Share of an image's pixels above the cut from which its labels count as sure.
_SURE_SHARE = 0.95


@base.PRESENTATIONS.register(configs.SegmentationSelfTrainingTask)
class SegmentationPresentation(base.Presentation):
  """Facts and pictures of a segmentation run."""

  label_format: label_formats.MaskFormat

  table_metrics = ('mean_iou', 'mean_iou_resized', 'pixel_accuracy')
  class_metric = 'IoU'
  unit = 'object pixels'

  @property
  def shown_classes(self) -> tuple[str, ...]:
    """See `Presentation`; the background first."""
    ids = range(1, self.label_format.num_classes)
    return (_BACKGROUND_NAME, *(names_lib.name_of(self.class_names, k) for k in ids))

  def per_class(self, metrics: Mapping[str, float]) -> dict[str, float]:
    """See `Presentation`."""
    named = ((name, f'{evaluation.PER_CLASS}{name}') for name in self.shown_classes)
    return {name: metrics[key] for name, key in named if key in metrics}

  def human_labels(self, records: tf.data.Dataset) -> label_facts.HumanLabels:
    """See `Presentation`; counts pixels of objects."""
    counts = np.zeros(keys.IGNORE_LABEL + 1, np.int64)
    images = 0

    for row in records.map(_pixels_by_value).ignore_errors():
      counts += row.numpy()
      images += 1
    objects = range(label_formats.BACKGROUND + 1, keys.IGNORE_LABEL)
    return label_facts.HumanLabels(images, {k: int(counts[k]) for k in objects if counts[k]})

  def classes_in(self, record: tf.Tensor) -> set[str]:
    """See `Presentation`."""
    counts, names = _pixels_by_value(record).numpy(), self.shown_classes
    return {name for name, count in zip(names, counts, strict=False) if count}

  def measure_labels(self, label_dir: str, truth_file: str) -> quality.Measured:
    """See `Presentation` and `pseudo_labels.mask_quality.evaluate_labels`."""
    truth = annotations.read(truth_file, with_masks=True)
    shards = base.label_shards(label_dir)
    return mask_quality.evaluate_labels(shards, truth, self.label_format.num_classes)

  def ignored_from(self, cuts: cuts_lib.Cuts) -> float:
    """See `Presentation`; all pixels below the cut are ignored."""
    del cuts
    return 0.0

  def pseudo_label_sheet(
    self, images: Sequence[str], label_dir: str, cuts: cuts_lib.Cuts, count: int
  ) -> contents.Sheet:
    """See `Presentation`; an image is empty when no pixel of an object reaches the cut, else sure or unsure."""
    everything = dataclasses.replace(cuts, keep_empty=True)
    pairs = reader.read_pairs(images, label_dir, self.label_format, everything)

    def group_of(example: contract.Example) -> str:
      if not self.label_format.has_objects(example):
        return 'empty'
      return 'sure' if _kept_share(example) >= _SURE_SHARE else 'unsure'

    tiles = sheet_groups.first_of_each(
      pairs.take(sheet_groups.SCANNED_PER_FILE * len(images)), group_of, _pseudo_tile, count
    )
    return self._sheet(
      'Pseudo labels',
      'Unlabelled images with what the teacher wrote. Coloured pixels, and clear ones, which are background, reach the '
      f'cut of {cuts.in_words()} and train the student; hatched ones are ignored. In sure images at least '
      f'{_SURE_SHARE:.0%} of the pixels reach it; in empty ones no pixel of an object does'
      + ('.' if cuts.keep_empty else ', and the student does not see these images.'),
      4,
      tiles,
    )

  def validation_sheet(
    self, records: Iterable[tf.Tensor], models: Mapping[contents.Kind, tf.keras.Model]
  ) -> contents.Sheet:
    """See `Presentation`."""
    functions = {name: self.task.labelling_functions(model) for name, model in models.items()}
    tiles = []
    for example in map(self.task.decoded_validation_example, records):
      image, truth = example['image'].numpy(), example[keys.SEMANTIC_MASK].numpy()[..., 0]
      tiles.append(contents.Tile(image, (), 'truth', '', truth))
      for name, (preprocess, predict) in functions.items():
        found = _predict_one(preprocess, predict, example['encoded'])
        tiles.append(contents.Tile(image, (), _caption(name, found, truth), '', found))
    return self._sheet(
      'Validation images',
      f'{base.side_by_side(functions)}; each model sees the image once, at the size of its input.',
      1 + len(functions),
      tiles,
    )

  def _sheet(
    self, title: str, text: str, columns: int, tiles: Sequence[contents.Tile]
  ) -> contents.Sheet:
    """A sheet whose legend has the classes that it shows."""
    masks = [tile.mask for tile in tiles if tile.mask is not None]
    return contents.Sheet(title, text, columns, tuple(tiles), self._legend(masks))

  def _legend(self, masks: Iterable[np.ndarray]) -> tuple[tuple[str, drawing.Colour], ...]:
    """Names and colours of the classes that any of the masks shows, and of ignored pixels."""
    shown = {int(value) for mask in masks for value in np.unique(mask)}
    names = self.shown_classes
    entries = []
    for value in sorted(shown - {label_formats.BACKGROUND}):
      if value == keys.IGNORE_LABEL:
        entries.append(('ignored', drawing.HATCH_COLOUR))
      elif value < len(names):
        entries.append((names[value], drawing.class_colour(value)))
    return tuple(entries)


def _pixels_by_value(record: tf.Tensor) -> tf.Tensor:
  """Pixels of a serialized record's mask with each value, int32 [256]."""
  mask = tf.io.decode_png(parsing.parse_record(record)[keys.SEGMENTATION_MASK], channels=1)
  values = tf.cast(tf.reshape(mask, [-1]), tf.int32)
  return tf.math.bincount(values, minlength=keys.IGNORE_LABEL + 1)


def _kept_share(example: contract.Example) -> float:
  """Share of the pixels that are not ignored."""
  return float((example[keys.SEMANTIC_MASK].numpy() != keys.IGNORE_LABEL).mean())


def _pseudo_tile(example: contract.Example, group: str) -> contents.Tile:
  image = parsing.decode_image(example[keys.IMAGE_ENCODED]).numpy()
  caption = f'id {example[keys.SOURCE_ID].numpy().decode()}, {_kept_share(example):.0%} kept'
  mask = example[keys.SEMANTIC_MASK].numpy()[..., 0]
  return contents.Tile(image, (), caption, group, mask)


def _predict_one(
  preprocess: contract.Preprocess, predict: contract.Predict, encoded: tf.Tensor
) -> np.ndarray:
  """The most probable class of each pixel of one encoded image, uint8 [height, width]."""
  inputs = tf.nest.map_structure(lambda value: value[None], preprocess(encoded))
  outputs = predict(inputs)
  scores = mask_ops.to_original(outputs['probabilities'][0], outputs['image_info'][0])
  return tf.argmax(scores, -1).numpy().astype(np.uint8)


def _caption(name: str, found: np.ndarray, truth: np.ndarray) -> str:
  is_known = truth != keys.IGNORE_LABEL
  if not is_known.any():
    return name
  return f'{name}, {float((found == truth)[is_known].mean()):.1%} of the pixels right'
