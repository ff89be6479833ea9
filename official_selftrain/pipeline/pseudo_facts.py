"""What the report says about the pseudo labels of a run."""

import dataclasses
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from official_selftrain.core import files
from official_selftrain.pseudo_labels import cuts as cuts_lib
from official_selftrain.pseudo_labels import detection as label_formats
from official_selftrain.pseudo_labels import manifest as manifest_lib
from official_selftrain.pseudo_labels import quality
from official_selftrain.report import records

QUALITY_FILE = 'quality.json'
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


def versions() -> dict[str, str]:
  """Versions worth recording."""
  return manifest_lib.software_versions()


def gather(run: Any, human: HumanLabels) -> records.PseudoLabelFacts:
  """Facts about the pseudo labels of a `SelfTrainingRun`; writes `quality.json` beside them where truth is known."""
  pseudo = run.params.task.pseudo_data
  settings = cuts_lib.Cuts(
    cut=pseudo.cut, ignore_cut=pseudo.ignore_cut, keep_empty=pseudo.keep_empty
  )
  manifest = manifest_lib.Manifest.load(pseudo.label_dir)
  label_format = run.label_format()
  kept = label_format.kept(manifest.summary, settings)
  readable = max(manifest.labelled + manifest.empty, 1)
  measured = _quality(run, manifest)
  return records.PseudoLabelFacts(
    num_images=manifest.images,
    labelled=manifest.labelled,
    empty=manifest.empty,
    dead=manifest.dead,
    kept_share_at_cut=kept.objects_kept / kept.objects if kept.objects else 0.0,
    boxes_per_image=kept.objects_kept / readable,
    boxes_per_image_human=sum(human.classes.values()) / max(human.images, 1),
    score_histogram=_histogram(manifest),
    counts_per_class=_counts(manifest, settings, run.data.class_names),
    counts_per_class_human={
      _name(run.data.class_names, k): v for k, v in sorted(human.classes.items())
    },
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


def _quality(run: Any, manifest: manifest_lib.Manifest) -> dict[str, Any] | None:
  truth = run.data.unlabelled_truth
  if not truth or not tf.io.gfile.exists(truth):
    return None
  label_dir = run.params.task.pseudo_data.label_dir
  measured = quality.evaluate_labels(
    [os.path.join(label_dir, shard.label_file) for shard in manifest.shards], truth
  )
  files.write_json(run.path('labels', QUALITY_FILE), measured)
  return measured


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
