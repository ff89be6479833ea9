"""What the report of a run shows of detection: the side of the pipeline's report that knows boxes."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from official_selftrain.configs import detection as configs
from official_selftrain.core import keys
from official_selftrain.evaluation import coco
from official_selftrain.presentation import base, label_facts, sheet_groups
from official_selftrain.pseudo_labels import cuts as cuts_lib
from official_selftrain.pseudo_labels import detection as label_formats
from official_selftrain.pseudo_labels import quality, reader
from official_selftrain.report import contents

# Boxes of the validation sheet are drawn from this score on.
_SHOWN_SCORE = 0.3


@base.PRESENTATIONS.register(configs.DetectionSelfTrainingTask)
class DetectionPresentation(base.Presentation):
  """Facts and pictures of a detection run."""

  label_format: label_formats.BoxFormat

  # Columns of the table, the metric of single classes, and the word for labels.
  table_metrics = ('AP', 'AP50', 'AP75')
  class_metric = 'AP'
  unit = 'boxes'

  @property
  def shown_classes(self) -> tuple[str, ...]:
    """Names of the classes with figures of their own, in the order of their ids."""
    return self.class_names

  def per_class(self, metrics: Mapping[str, float]) -> dict[str, float]:
    """AP by class name, of a model's metrics."""
    prefix = coco.PER_CLASS_AP
    return {k.removeprefix(prefix): v for k, v in metrics.items() if k.startswith(prefix)}

  def measure_labels(self, label_dir: str, truth: str) -> dict[str, Any]:
    """Compares the labels with held-out truth, see `pseudo_labels.quality.evaluate_labels`."""
    return quality.evaluate_labels(base.label_shards(label_dir), truth)

  def human_labels(self, files: Sequence[str]) -> label_facts.HumanLabels:
    """See `human_labels`."""
    return human_labels(files)

  def pseudo_label_sheet(
    self, images: Sequence[str], label_dir: str, settings: cuts_lib.Cuts, count: int
  ) -> contents.Sheet:
    """Unlabelled images with their labels, `count` per group."""
    return pseudo_label_sheet(
      images, label_dir, self.label_format, settings, self.class_names, count
    )

  def validation_sheet(
    self, validation_records: Iterable[tf.Tensor], models: dict[contents.Kind, tf.keras.Model]
  ) -> contents.Sheet:
    """Validation images with truth and what each model finds."""
    examples = map(self.task.decoded_validation_example, validation_records)
    return validation_sheet(self.task, examples, models, self.class_names)


def human_labels(files: Sequence[str]) -> label_facts.HumanLabels:
  """Counts the boxes of labelled TFRecord files; records that cannot be read are left out."""
  classes: Counter[int] = Counter()
  images = 0
  spec = {keys.BOX_CLASS: tf.io.VarLenFeature(tf.int64)}
  for record in tf.data.TFRecordDataset(list(files)).ignore_errors().batch(256):
    parsed = tf.io.parse_example(record, spec)[keys.BOX_CLASS]
    classes.update(parsed.values.numpy().tolist())
    images += len(record)
  return label_facts.HumanLabels(images, dict(classes))


def _boxes(
  example: dict[str, Any], names: tuple[str, ...], kind: Callable[[float], contents.Kind]
) -> tuple[contents.Box, ...]:
  """Drawn boxes from normalised ones, the least sure first so that the surest lies on top."""
  height, width = example['image'].shape[:2]
  corners = example['boxes'] * np.array([height, width, height, width], np.float32)
  drawn = []
  for index in np.argsort(example['scores'], kind='stable'):
    ymin, xmin, ymax, xmax = corners[index].tolist()
    score = float(example['scores'][index])
    label = label_facts.class_name(names, int(example['classes'][index]))
    drawn.append(contents.Box(ymin, xmin, ymax, xmax, label, score, kind(score)))
  return tuple(drawn)


def pseudo_label_sheet(
  images: Sequence[str],
  label_dir: str,
  label_format: Any,
  settings: cuts_lib.Cuts,
  names: tuple[str, ...],
  count: int,
) -> contents.Sheet:
  """Unlabelled images with pseudo labels, in three groups.

  Args:
    images: unlabelled shards.
    label_dir: their label shards.
    label_format: the task's label format.
    settings: the cuts the student trains with.
    names: class names from id 1.
    count: images per group.

  Returns:
    Sheet with the groups sure (a box that reaches the cut), unsure (the best reaches half of it) and empty. Boxes below
    half the cut are not drawn: there are too many to see anything.
  """
  low = cuts_lib.Cuts(cut=max(label_format.min_score, settings.cut / 2))
  pairs = reader.read_pairs(images, label_dir, label_format, low)

  def group_of(example: dict[str, tf.Tensor]) -> str:
    scores = example[keys.GROUNDTRUTH_SCORES].numpy()
    best = float(scores.max(initial=0.0))
    return 'sure' if best >= settings.cut else 'unsure' if len(scores) else 'empty'

  tiles = sheet_groups.first_of_each(
    pairs.take(sheet_groups.SCANNED_PER_FILE * len(images)),
    group_of,
    lambda example, group: _pseudo_tile(example, names, settings.cut, group),
    count,
  )
  return contents.Sheet(
    'Pseudo labels',
    f'Unlabelled images with what the teacher wrote. Solid boxes reach the cut of {settings.cut:g} and train the '
    'student; dashed ones, from half the cut on, do not.',
    columns=4,
    tiles=tiles,
  )


def _pseudo_tile(
  example: dict[str, tf.Tensor], names: tuple[str, ...], cut: float, group: str
) -> contents.Tile:
  image = tf.io.decode_image(
    example[keys.IMAGE_ENCODED], channels=3, expand_animations=False
  ).numpy()
  plain = {
    'image': image,
    'boxes': example[keys.GROUNDTRUTH_BOXES].numpy(),
    'classes': example[keys.GROUNDTRUTH_CLASSES].numpy(),
    'scores': example[keys.GROUNDTRUTH_SCORES].numpy(),
  }
  boxes = _boxes(plain, names, lambda score: 'sure' if score >= cut else 'unsure')
  return contents.Tile(image, boxes, f'id {example[keys.SOURCE_ID].numpy().decode()}', group)


def validation_sheet(
  task: Any,
  examples: Iterable[dict[str, tf.Tensor]],
  models: dict[contents.Kind, tf.keras.Model],
  names: tuple[str, ...],
) -> contents.Sheet:
  """Validation images: truth, then what each model finds.

  Args:
    task: gives preprocessing and prediction.
    examples: parsed records with `image/encoded` and the Model Garden decoder's ground truth.
    models: models by `teacher` and `student`.
    names: class names from id 1.

  Returns:
    Sheet with one row per image: truth, teacher, student.
  """
  functions = {name: task.labelling_functions(model) for name, model in models.items()}
  tiles = []
  for example in examples:
    image = example['image'].numpy()
    truth = {
      'image': image,
      'boxes': example[keys.GROUNDTRUTH_BOXES].numpy(),
      'classes': example[keys.GROUNDTRUTH_CLASSES].numpy(),
      'scores': np.ones(len(example[keys.GROUNDTRUTH_CLASSES])),
    }
    boxes = _boxes(truth, names, lambda _: 'truth')
    without_score = tuple(dataclasses.replace(box, score=None) for box in boxes)
    tiles.append(contents.Tile(image, without_score, 'truth'))
    for name, (preprocess, predict) in functions.items():
      found = {'image': image, **predict_one(preprocess, predict, example['encoded'])}
      boxes = tuple(
        dataclasses.replace(box, kind=name) for box in _boxes(found, names, lambda _: 'truth')
      )
      tiles.append(contents.Tile(image, boxes, name))
  return contents.Sheet(
    'Validation images',
    f'Truth, teacher and student side by side; boxes with a score of at least {_SHOWN_SCORE:g}.',
    columns=1 + len(functions),
    tiles=tuple(tiles),
  )


def predict_one(
  preprocess: Callable[..., Any], predict: Callable[..., Any], encoded: tf.Tensor
) -> dict[str, np.ndarray]:
  """Boxes (normalised yxyx), classes and scores of one encoded image, from `_SHOWN_SCORE` on."""
  inputs = tf.nest.map_structure(lambda value: value[None], preprocess(encoded))
  outputs = {name: value.numpy()[0] for name, value in predict(inputs).items()}
  keep = np.arange(len(outputs['scores'])) < outputs['num_detections']
  keep &= outputs['scores'] >= _SHOWN_SCORE
  # What reaches into the padding beside the image is cut off, as in labels and export.
  outputs['boxes'] = np.clip(outputs['boxes'], 0.0, 1.0)
  return {name: outputs[name][keep] for name in ('boxes', 'classes', 'scores')}
