"""Facts for the report about pseudo labels of any kind."""

import dataclasses
import math
import os
from collections.abc import Mapping

import numpy as np

from official_selftrain.core import class_names as names_lib
from official_selftrain.pseudo_labels import cuts as cuts_lib
from official_selftrain.pseudo_labels import formats, histograms, quality
from official_selftrain.pseudo_labels import manifest as manifest_lib
from official_selftrain.report import contents

_MAX_DEAD_LETTERS = 10


@dataclasses.dataclass(frozen=True)
class HumanLabels:
  """Counts of the labelled training images.

  Attributes:
    images: number of images.
    classes: labels (boxes, or pixels of objects) by class id.
  """

  images: int
  classes: Mapping[int, int]

  @property
  def per_image(self) -> float:
    """Labels per image."""
    return sum(self.classes.values()) / max(self.images, 1)


def gather(
  label_format: formats.LabelFormat,
  label_dir: str,
  cuts: cuts_lib.Cuts,
  human: HumanLabels,
  class_names: tuple[str, ...],
  measured: quality.Measured | None,
) -> contents.PseudoLabelFacts:
  """Facts about pseudo labels.

  Args:
    label_format: how they are written; its summaries are those of `pseudo_labels.histograms`.
    label_dir: their label shards and manifest.
    cuts: the cuts that the student trains with.
    human: the labels that people drew.
    class_names: from id 1.
    measured: what was found against held-out truth, None without it.
  """
  manifest = manifest_lib.Manifest.load(label_dir)
  kept = label_format.kept(manifest.summary, cuts)
  readable = max(manifest.labelled + manifest.empty, 1)
  return contents.PseudoLabelFacts(
    num_images=manifest.images,
    labelled=manifest.labelled,
    empty=manifest.empty,
    dead=manifest.dead,
    kept_share_at_cut=kept.objects_kept / kept.objects if kept.objects else 0.0,
    labels_per_image=kept.objects_kept / readable,
    human_labels_per_image=human.per_image,
    score_histogram=_histogram(manifest),
    counts_per_class=counts_per_class(manifest, cuts, class_names),
    counts_per_class_human={
      names_lib.name_of(class_names, k): v for k, v in sorted(human.classes.items())
    },
    quality=_curve(measured),
    cut=cuts.cut,
    class_cuts=_range(cuts),
    quality_at_class_cuts=_at_class_cuts(measured, cuts),
    ignore_cut=cuts.ignore_cut,
    is_soft=cuts.is_soft,
    suggested_cut=_cut_by_human_count(manifest, readable, human),
    teacher_digest=manifest.provenance.teacher.get('sha256', ''),
    source=_source(manifest),
    dead_letters=tuple(
      contents.DeadLetter(**dataclasses.asdict(letter))
      for letter in manifest.dead_letters[:_MAX_DEAD_LETTERS]
    ),
    accuracy_by_confidence=_by_confidence(measured),
  )


def _source(manifest: manifest_lib.Manifest) -> str:
  """Format and file of imported labels; '' for those of a teacher."""
  origin = manifest.provenance.teacher
  if 'format' not in origin:
    return ''
  return f'{origin["format"]}, {os.path.basename(os.path.normpath(origin["labels"]))}'


def _histogram(manifest: manifest_lib.Manifest) -> contents.ScoreHistogram:
  bins = histograms.NUM_BINS
  edges = tuple(round(edge / bins, 4) for edge in range(bins + 1))
  counts = tuple(int(count) for count in histograms.totals(manifest.summary))
  return contents.ScoreHistogram(edges, counts)


def counts_per_class(
  manifest: manifest_lib.Manifest, cuts: cuts_lib.Cuts, names: tuple[str, ...]
) -> dict[str, int]:
  """Number of labels that the cuts keep, by class name."""
  counts = {}
  for class_id, histogram in sorted(
    manifest.summary['scores'].items(), key=lambda item: int(item[0])
  ):
    above = histograms.count_above(np.array(histogram), cuts.of(int(class_id)))
    counts[names_lib.name_of(names, int(class_id))] = round(above)
  return counts


def _cut_by_human_count(
  manifest: manifest_lib.Manifest, images: int, human: HumanLabels
) -> float | None:
  """The cut at which pseudo labels per image come closest to human labels per image; needs no held-out truth."""
  totals = histograms.totals(manifest.summary)
  if not totals.sum() or not human.per_image:
    return None
  kept = {cut: histograms.count_above(totals, cut) for cut in quality.DEFAULT_CUTS}
  # A cut that keeps nothing is not useful advice, however close to few human labels it comes.
  distances = {
    cut: abs(count / images - human.per_image) for cut, count in kept.items() if count > 0
  }
  return min(sorted(distances, reverse=True), key=lambda cut: distances[cut], default=None)


def _curve(measured: quality.Measured | None) -> tuple[contents.QualityAtCut, ...] | None:
  if measured is None:
    return None
  numbers = ('precision', 'recall', 'f1', 'count_ratio')
  return tuple(
    contents.QualityAtCut(
      cut=row['cut'],
      kept_share=row.get('kept_share'),
      accuracy=row.get('accuracy'),
      **{name: math.nan if row[name] is None else row[name] for name in numbers},
    )
    for row in measured['overall']['cuts']
  )


def _range(cuts: cuts_lib.Cuts) -> tuple[float, float] | None:
  of_classes = (cuts.per_class or {}).values()
  return (min(of_classes), max(of_classes)) if of_classes else None


def _at_class_cuts(
  measured: quality.Measured | None, cuts: cuts_lib.Cuts
) -> contents.QualityAtCut | None:
  """Quality with each class cut at its own cut, or the nearest that was measured."""
  if measured is None or not cuts.per_class:
    return None
  kept = right = truths = 0.0
  for class_id, found in measured['per_class'].items():
    if int(class_id) == 0:
      continue  # The background of masks is no object.
    cut = cuts.of(int(class_id))
    row = min(found['cuts'], key=lambda row: abs(row['cut'] - cut))
    count = row['boxes'] if 'boxes' in row else row['pixels']
    kept += count
    right += count * (row['precision'] or 0.0)
    truths += found['truths']
  numbers = {
    'precision': quality.ratio(right, kept),
    'recall': quality.ratio(right, truths),
    'f1': quality.ratio(2.0 * right, kept + truths),
    'count_ratio': quality.ratio(kept, truths),
  }
  return contents.QualityAtCut(
    cut=cuts.cut, **{name: math.nan if each is None else each for name, each in numbers.items()}
  )


def _by_confidence(measured: quality.Measured | None) -> tuple[tuple[float, float], ...]:
  """(middle of the bin, accuracy) of the bins that have pixels."""
  rows = (measured or {}).get('by_confidence', [])
  half = 0.5 / histograms.NUM_BINS
  return tuple((row['from'] + half, row['accuracy']) for row in rows if row['accuracy'] is not None)
