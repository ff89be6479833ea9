"""How detection runs are presented: boxes."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from official_selftrain.configs import detection as configs
from official_selftrain.core import class_names as names_lib
from official_selftrain.core import keys
from official_selftrain.dataloaders import detection
from official_selftrain.datasets import coco as annotations
from official_selftrain.evaluation import coco as evaluation
from official_selftrain.presentation import base, label_facts, sheet_groups
from official_selftrain.pseudo_labels import boxes as boxes_lib
from official_selftrain.pseudo_labels import cuts as cuts_lib
from official_selftrain.pseudo_labels import detection as label_formats
from official_selftrain.pseudo_labels import quality, reader
from official_selftrain.report import contents
from official_selftrain.tasks import contract

# Boxes of the validation sheet are drawn from this score on.
_SHOWN_SCORE = 0.3


@base.PRESENTATIONS.register(configs.DetectionSelfTrainingTask)
class DetectionPresentation(base.Presentation):
  """Facts and pictures of a detection run."""

  label_format: label_formats.BoxFormat

  table_metrics = ('AP', 'AP50', 'AP75')
  class_metric = 'AP'
  unit = 'boxes'

  @property
  def shown_classes(self) -> tuple[str, ...]:
    """See `Presentation`."""
    return self.class_names

  def per_class(self, metrics: Mapping[str, float]) -> dict[str, float]:
    """See `Presentation`."""
    prefix = evaluation.PER_CLASS_AP
    # Of a class without boxes in the validation images there is no AP; the evaluator gives -1.
    found = {
      k.removeprefix(prefix): v for k, v in metrics.items() if k.startswith(prefix) and not v < 0
    }
    if found.keys() <= set(self.class_names):
      return found
    # Without an annotation file the Model Garden calls classes by their ids.
    return {
      names_lib.name_of(self.class_names, int(k)) if k.isdecimal() else k: v
      for k, v in found.items()
    }

  def human_labels(self, records: tf.data.Dataset) -> label_facts.HumanLabels:
    """See `Presentation`; counts boxes."""
    classes: Counter[int] = Counter()
    images = 0
    decoder = detection.build_decoder(self.task.task_config.train_data)
    readable = records.map(lambda record: decoder.decode_classes(record[None])[0]).ignore_errors()
    for batch in readable.ragged_batch(256):
      classes.update(batch.flat_values.numpy().tolist())
      images += int(batch.nrows())
    return label_facts.HumanLabels(images, dict(classes))

  def classes_in(self, record: tf.Tensor) -> set[str]:
    """See `Presentation`."""
    decoder = detection.build_decoder(self.task.task_config.validation_data)
    ids = decoder.decode_classes(record[None]).flat_values.numpy().tolist()
    return {names_lib.name_of(self.class_names, class_id) for class_id in ids}

  def measure_labels(self, label_dir: str, truth_file: str) -> quality.Measured:
    """See `Presentation` and `pseudo_labels.quality.evaluate_labels`."""
    return quality.evaluate_labels(base.label_shards(label_dir), annotations.read(truth_file))

  def pseudo_label_sheet(
    self, images: Sequence[str], label_dir: str, cuts: cuts_lib.Cuts, count: int
  ) -> contents.Sheet:
    """See `Presentation`; an image is sure when a box reaches the cut, and unsure when one reaches half of it.

    Boxes below half the cut are not drawn: there are too many to see anything.
    """
    pairs = reader.read_pairs(images, label_dir, self.label_format, self._half(cuts))

    def kind_of(class_id: int, score: float) -> contents.Kind:
      # In float32, as the student's reader compares them.
      return 'sure' if np.float32(score) >= np.float32(cuts.of(class_id)) else 'unsure'

    def group_of(example: contract.Example) -> str:
      found = _pseudo_boxes(example)
      kinds = set(map(kind_of, found.classes.tolist(), found.scores.tolist()))
      return 'sure' if 'sure' in kinds else 'unsure' if kinds else 'empty'

    def tile_of(example: contract.Example, group: str) -> contents.Tile:
      encoded = example[keys.IMAGE_ENCODED]
      image = tf.io.decode_image(encoded, channels=3, expand_animations=False).numpy()
      boxes = self._boxes(image, _pseudo_boxes(example), kind_of)
      return contents.Tile(image, boxes, f'id {example[keys.SOURCE_ID].numpy().decode()}', group)

    return contents.Sheet(
      'Pseudo labels',
      f'Unlabelled images with what the teacher wrote. Solid boxes reach the cut of {cuts.in_words()} and train the '
      'student; dashed ones, from half the cut on, do not.',
      columns=4,
      tiles=sheet_groups.first_of_each(
        pairs.take(sheet_groups.SCANNED_PER_FILE * len(images)), group_of, tile_of, count
      ),
    )

  def validation_sheet(
    self, records: Iterable[tf.Tensor], models: Mapping[contents.Kind, tf.keras.Model]
  ) -> contents.Sheet:
    """See `Presentation`."""
    functions = {name: self.task.labelling_functions(model) for name, model in models.items()}
    tiles = []
    for example in map(self.task.decoded_validation_example, records):
      image = example['image'].numpy()
      tiles.append(contents.Tile(image, self._true_boxes(image, example), 'truth'))
      for name, (preprocess, predict) in functions.items():
        found = _predict_one(preprocess, predict, example['encoded'])
        boxes = self._boxes(image, found, lambda *_, kind=name: kind)
        tiles.append(contents.Tile(image, boxes, name))
    return contents.Sheet(
      'Validation images',
      f'{base.side_by_side(functions)}; boxes with a score of at least {_SHOWN_SCORE:g}.',
      columns=1 + len(functions),
      tiles=tuple(tiles),
    )

  def _half(self, cuts: cuts_lib.Cuts) -> cuts_lib.Cuts:
    """Half of each cut, but nothing below what is stored."""
    low = self.label_format.min_score
    per_class = {class_id: max(low, cut / 2) for class_id, cut in (cuts.per_class or {}).items()}
    return cuts_lib.Cuts(max(low, cuts.cut / 2), per_class=per_class)

  def _true_boxes(self, image: np.ndarray, example: contract.Example) -> tuple[contents.Box, ...]:
    corners = _in_pixels(example[keys.GROUNDTRUTH_BOXES].numpy(), image)
    classes = example[keys.GROUNDTRUTH_CLASSES].numpy().tolist()
    return tuple(
      contents.Box(ymin, xmin, ymax, xmax, names_lib.name_of(self.class_names, class_id))
      for (ymin, xmin, ymax, xmax), class_id in zip(corners.tolist(), classes, strict=True)
    )

  def _boxes(
    self,
    image: np.ndarray,
    found: boxes_lib.ScoredBoxes,
    kind_of: Callable[[int, float], contents.Kind],
  ) -> tuple[contents.Box, ...]:
    """Boxes to draw, the least sure first so that the surest is on top; `kind_of` takes class and score."""
    corners = _in_pixels(found.boxes, image)
    drawn = []
    for index in np.argsort(found.scores, kind='stable'):
      class_id, score = int(found.classes[index]), float(found.scores[index])
      label = names_lib.name_of(self.class_names, class_id)
      ymin, xmin, ymax, xmax = corners[index].tolist()
      kind = kind_of(class_id, score)
      drawn.append(contents.Box(ymin, xmin, ymax, xmax, label, score, kind))
    return tuple(drawn)


def _pseudo_boxes(example: contract.Example) -> boxes_lib.ScoredBoxes:
  """Boxes of a decoded label, relative to the image's sides."""
  names = (keys.GROUNDTRUTH_BOXES, keys.GROUNDTRUTH_CLASSES, keys.GROUNDTRUTH_SCORES)
  return boxes_lib.ScoredBoxes(*(example[name].numpy() for name in names))


def _in_pixels(boxes: np.ndarray, image: np.ndarray) -> np.ndarray:
  """Relative boxes [n, 4] in the pixels of an image, float32."""
  return boxes * np.tile(np.array(image.shape[:2], np.float32), 2)


def _predict_one(
  preprocess: contract.Preprocess, predict: contract.Predict, encoded: tf.Tensor
) -> boxes_lib.ScoredBoxes:
  """Boxes of one encoded image, relative to its sides, from `_SHOWN_SCORE` on."""
  inputs = tf.nest.map_structure(lambda value: value[None], preprocess(encoded))
  outputs = {name: value.numpy()[0] for name, value in predict(inputs).items()}
  scores = outputs['scores']
  is_shown = (np.arange(len(scores)) < outputs['num_detections']) & (scores >= _SHOWN_SCORE)
  # Parts of boxes in the padding around the image are cut off, as in labels and export.
  boxes = np.clip(outputs['boxes'][is_shown], 0.0, 1.0)
  return boxes_lib.ScoredBoxes(boxes, outputs['classes'][is_shown], scores[is_shown])
