"""What the report says about pseudo boxes."""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from official_selftrain.core import keys
from official_selftrain.pseudo_labels import cuts as cuts_lib
from official_selftrain.pseudo_labels import detection as label_formats
from official_selftrain.pseudo_labels import manifest as manifest_lib
from official_selftrain.pseudo_labels import quality
from official_selftrain.report import records

_MAX_DEAD_LETTERS = 10


@dataclasses.dataclass(frozen=True)
class HumanLabels:
  """Counts of the labelled training images.

  Attributes:
    images: number of images.
    classes: boxes by class id.
  """

  images: int
  classes: Mapping[int, int]


def human_labels(files: Sequence[str]) -> HumanLabels:
  """Counts the boxes of labelled TFRecord files; records that cannot be read are left out."""
  classes: Counter[int] = Counter()
  images = 0
  spec = {keys.BOX_CLASS: tf.io.VarLenFeature(tf.int64)}
  for record in tf.data.TFRecordDataset(list(files)).ignore_errors().batch(256):
    parsed = tf.io.parse_example(record, spec)[keys.BOX_CLASS]
    classes.update(parsed.values.numpy().tolist())
    images += len(record)
  return HumanLabels(images, dict(classes))


def gather(
  label_format: label_formats.DetectionLabels,
  label_dir: str,
  settings: cuts_lib.Cuts,
  human: HumanLabels,
  class_names: tuple[str, ...],
  measured: dict[str, Any] | None,
) -> records.PseudoLabelFacts:
  """Facts about pseudo boxes.

  Args:
    label_format: how they are written.
    label_dir: their label shards and manifest.
    settings: the cuts that the student trains with.
    human: the labels that people drew.
    class_names: from id 1.
    measured: what `quality.evaluate_labels` found, None without truth.
  """
  manifest = manifest_lib.Manifest.load(label_dir)
  kept = label_format.kept(manifest.summary, settings)
  readable = max(manifest.labelled + manifest.empty, 1)
  return records.PseudoLabelFacts(
    num_images=manifest.images,
    labelled=manifest.labelled,
    empty=manifest.empty,
    dead=manifest.dead,
    kept_share_at_cut=kept.objects_kept / kept.objects if kept.objects else 0.0,
    boxes_per_image=kept.objects_kept / readable,
    boxes_per_image_human=sum(human.classes.values()) / max(human.images, 1),
    score_histogram=_histogram(manifest),
    counts_per_class=_counts(manifest, settings, class_names),
    counts_per_class_human={_name(class_names, k): v for k, v in sorted(human.classes.items())},
    quality=_curve(measured),
    cut=settings.cut,
    ignore_cut=settings.ignore_cut,
    suggested_cut=_cut_by_human_count(manifest, readable, human),
    teacher_digest=manifest.provenance.teacher.get('sha256', ''),
    dead_letters=tuple(
      records.DeadLetter(**dataclasses.asdict(letter))
      for letter in manifest.dead_letters[:_MAX_DEAD_LETTERS]
    ),
  )


def _name(names: tuple[str, ...], class_id: int) -> str:
  return names[class_id - 1] if 0 < class_id <= len(names) else str(class_id)


def _totals(manifest: manifest_lib.Manifest) -> np.ndarray:
  histograms = list(manifest.summary['scores'].values())
  return np.sum([*histograms, np.zeros(label_formats.NUM_BINS, int)], axis=0)


def _histogram(manifest: manifest_lib.Manifest) -> records.ScoreHistogram:
  edges = tuple(
    round(edge / label_formats.NUM_BINS, 4) for edge in range(label_formats.NUM_BINS + 1)
  )
  return records.ScoreHistogram(edges, tuple(int(count) for count in _totals(manifest)))


def _counts(
  manifest: manifest_lib.Manifest, settings: cuts_lib.Cuts, names: tuple[str, ...]
) -> dict[str, int]:
  counts = {}
  for class_id, histogram in sorted(
    manifest.summary['scores'].items(), key=lambda item: int(item[0])
  ):
    above = label_formats.count_above(np.array(histogram), settings.of(int(class_id)))
    counts[_name(names, int(class_id))] = round(above)
  return counts


def _cut_by_human_count(
  manifest: manifest_lib.Manifest, images: int, human: HumanLabels
) -> float | None:
  """The cut at which pseudo labels per image come closest to human labels per image; needs no held-out truth."""
  target = sum(human.classes.values()) / max(human.images, 1)
  totals = _totals(manifest)
  if not totals.sum() or not target:
    return None
  kept = {cut: label_formats.count_above(totals, cut) for cut in quality.DEFAULT_CUTS}
  # A cut that keeps nothing is no advice, however close to few human labels it comes.
  distances = {cut: abs(count / images - target) for cut, count in kept.items() if count > 0}
  return min(sorted(distances, reverse=True), key=lambda cut: distances[cut], default=None)


def _curve(measured: dict[str, Any] | None) -> tuple[records.QualityAtCut, ...] | None:
  if measured is None:
    return None
  rows = []
  for row in measured['overall']['cuts']:
    values = {
      name: math.nan if row[name] is None else row[name] for name in ('precision', 'recall', 'f1')
    }
    ratio = math.nan if row['count_ratio'] is None else row['count_ratio']
    rows.append(records.QualityAtCut(cut=row['cut'], box_count_ratio=ratio, **values))
  return tuple(rows)
