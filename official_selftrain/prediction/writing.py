"""Writes what was predicted in the formats of other tools, see `pseudo_labels.exporters`."""

import dataclasses
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np

import official_selftrain
from official_selftrain.core import keys
from official_selftrain.ops import masks
from official_selftrain.prediction import images, journal, models
from official_selftrain.pseudo_labels.exporters import base, output, registry

RESULTS = 'coco_results'
_PACKAGE = 'official-selftrain'
_RESULTS_FILE = 'results.json'

_Prediction = TypeVar('_Prediction', base.Boxes, base.Mask)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predicted:
  """All that was predicted.

  Attributes:
    task: what it is.
    class_names: from class 1 on.
    digest: of the model.
    found: the images, left out or not.
    ids: their numbers, by name.
    written: what was predicted, other images among it.
    cut: lowest score of an object, or of a pixel that is not ignored.
  """

  task: models.Task
  class_names: tuple[str, ...]
  digest: str
  found: Sequence[images.Image]
  ids: Mapping[str, int]
  written: journal.Journal
  cut: float

  @property
  def number(self) -> int:
    """Number of the images that were not left out."""
    return len(self.written.predicted & {image.name for image in self.found})

  def entries(self) -> Iterator[journal.Entry]:
    """What was predicted for the images that were found."""
    names = {image.name for image in self.found}
    return (entry for entry in self.written if entry.name in names)


def check_formats(names: Sequence[str], task: models.Task) -> None:
  """Raises ConfigError for a format that does not exist or does not hold what the task predicts."""
  for name in names:
    registry.find(registry.BOXES if task == 'detection' else registry.MASKS, name, task)


def write(name: str, predicted: Predicted, folder: str) -> None:
  """Writes one format, in place of what an earlier run wrote there.

  `coco_results` has all boxes whatever their score, because those who evaluate rank them.

  Args:
    name: of the format, see `registry`.
    predicted: what to write.
    folder: where it goes; it appears when all is written.
  """
  shutil.rmtree(folder, ignore_errors=True)
  cut = 0.0 if name == RESULTS else predicted.cut
  version = f'{_PACKAGE} {official_selftrain.__version__}'
  origin = base.Origin(
    teacher_sha256=predicted.digest,
    teacher_step=None,
    labelled_with=version,
    exported_with=version,
    labels_sha256='',
    cut=cut,
    ignore_cut=None,
  )
  facts = base.Facts(class_names=predicted.class_names, num_images=predicted.number, origin=origin)
  with output.new_folder(folder) as target:
    if predicted.task == 'detection':
      _write(registry.BOXES[name](target, facts), base.Boxes, predicted, cut)
    else:
      _write(registry.MASKS[name](target, facts), base.Mask, predicted, cut)


def _write(
  exporter: base.Exporter[_Prediction],
  kind: type[_Prediction],
  predicted: Predicted,
  cut: float,
) -> None:
  known = {image.name: image for image in predicted.found}
  shown = (entry for entry in predicted.entries() if entry.prediction is not None)
  for number, entry in enumerate(shown, start=1):
    assert entry.prediction is not None
    kept = cut_at(entry.prediction, cut)
    assert isinstance(kept, kind)
    exporter.add(_image(known[entry.name], entry, number, predicted.ids[entry.name]), kept)
  exporter.finish()


def write_test_dev(name: str, results_folder: str, folder: str) -> str:
  """Copies results under the name that COCO's evaluation server asks for; returns the path."""
  path = os.path.join(folder, f'detections_test-dev2017_{name}_results.json')
  shutil.copyfile(os.path.join(results_folder, _RESULTS_FILE), path)
  return path


def cut_at(prediction: models.Prediction, cut: float) -> models.Prediction:
  """Without boxes below a score; pixels below it become `keys.IGNORE_LABEL`."""
  if isinstance(prediction, base.Boxes):
    return base.Boxes(tuple(box for box in prediction.boxes if box.score >= cut))
  steps = np.float32(cut) * np.float32(masks.CONFIDENCE_STEPS)
  is_kept = prediction.confidences >= steps
  return base.Mask(
    np.where(is_kept, prediction.classes, keys.IGNORE_LABEL).astype(np.uint8),
    prediction.confidences,
  )


def _image(image: images.Image, entry: journal.Entry, number: int, image_id: int) -> base.Image:
  return base.Image(
    number=number,
    image_id=image_id,
    source_id=image.name,
    stem=images.nested_stem(image.name),
    extension=os.path.splitext(image.name)[1],
    content=b'',
    height=entry.height,
    width=entry.width,
    channels=3,
    given_name=image.name,
  )
