"""The facts of a report, as plain Python and NumPy: the pipeline gathers them, the rest of this package reads them."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, SupportsFloat

import numpy as np

from official_selftrain.core import comparison
from official_selftrain.report import calibrated

Kind = Literal['truth', 'sure', 'unsure', 'teacher', 'student']
Model = Literal['teacher', 'control', 'student', 'ceiling']

# In the order in which they are shown.
MODELS: tuple[Model, ...] = ('teacher', 'control', 'student')
ALL_MODELS: tuple[Model, ...] = (*MODELS, 'ceiling')
# Pairs whose difference gets an interval, first minus second.
COMPARED: tuple[tuple[Model, Model], ...] = (
  ('student', 'control'),
  ('student', 'teacher'),
  ('teacher', 'control'),
  ('ceiling', 'control'),
)


@dataclasses.dataclass(frozen=True)
class Box:
  """One box drawn on a tile.

  Attributes:
    ymin: top edge, in pixels of the tile's image.
    xmin: left edge.
    ymax: bottom edge, exclusive.
    xmax: right edge, exclusive.
    label: name of the class.
    score: confidence in [0, 1]; None for boxes without one.
    kind: who says so; decides colour and line style.
  """

  ymin: float
  xmin: float
  ymax: float
  xmax: float
  label: str
  score: float | None = None
  kind: Kind = 'truth'


@dataclasses.dataclass(frozen=True, eq=False)
class Tile:
  """One picture of a contact sheet.

  Attributes:
    image: `[height, width, 3]` uint8, RGB.
    boxes: boxes to draw, later ones on top.
    caption: one line under the picture.
    group: heading under which neighbouring tiles with the same value are shown; '' for none.
    mask: uint8 `[height, width]`, classes to tint; None for none.
  """

  image: np.ndarray
  boxes: tuple[Box, ...] = ()
  caption: str = ''
  group: str = ''
  mask: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Sheet:
  """A contact sheet.

  Attributes:
    title: heading.
    explanation: one or two sentences on what is to be seen.
    columns: tiles that belong side by side, such as truth, teacher and student of one image.
    tiles: row by row.
    legend: (name, red-green-blue) of the colours in masks.
  """

  title: str
  explanation: str
  columns: int
  tiles: tuple[Tile, ...]
  legend: tuple[tuple[str, tuple[int, int, int]], ...] = ()


@dataclasses.dataclass(frozen=True)
class ScoreHistogram:
  """Numbers of pseudo labels by score.

  Attributes:
    edges: `n + 1` rising bin edges.
    counts: `n` counts.
  """

  edges: tuple[float, ...]
  counts: tuple[int, ...]

  def __post_init__(self) -> None:
    if len(self.edges) != len(self.counts) + 1:
      raise ValueError(f'{len(self.counts)} counts and {len(self.edges)} edges do not fit.')


@dataclasses.dataclass(frozen=True, kw_only=True)
class QualityAtCut:
  """Pseudo labels against held-out truth when everything under `cut` is dropped.

  Attributes:
    cut: score below which labels are dropped.
    precision: share of kept labels that are right; NaN when none is kept.
    recall: share of true objects that are found.
    f1: harmonic mean of both.
    count_ratio: kept labels over true objects.
    kept_share: share of all pixels that is kept, those of the background included; None for boxes.
    accuracy: share of the kept pixels that is right; None for boxes, or when none is kept.
  """

  cut: float
  precision: float
  recall: float
  f1: float
  count_ratio: float
  kept_share: float | None = None
  accuracy: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeadLetter:
  """An unlabelled image that was left out.

  Attributes:
    shard: name of the image shard.
    index: position of the record in the shard.
    source_id: the image's id, '' when not even that could be read.
    reason: what went wrong.
  """

  shard: str
  index: int
  source_id: str
  reason: str


def cut_in_words(cut: float, class_cuts: Sequence[float] | None) -> str:
  """`0.5`, or `0.5 (by class 0.3 to 0.7)`, as `pseudo_labels.cuts` says it."""
  if not class_cuts:
    return f'{cut:g}'
  return f'{cut:g} (by class {min(class_cuts):g} to {max(class_cuts):g})'


@dataclasses.dataclass(frozen=True, kw_only=True)
class PseudoLabelFacts:
  """The teacher's pseudo labels.

  Attributes:
    num_images: unlabelled images read; equals `labelled + empty + dead`.
    labelled: images with at least one label above the low cut they are written at.
    empty: images without any.
    dead: images left out: unreadable, without a finite prediction, or not among imported labels.
    kept_share_at_cut: share of the written labels that the student sees.
    labels_per_image: labels per readable image that the student sees.
    human_labels_per_image: labels per image that people drew.
    score_histogram: of all written labels.
    counts_per_class: pseudo labels that the student sees, by class name.
    counts_per_class_human: human labels by class name.
    quality: by rising cut, or None when there is no held-out truth.
    cut: score below which the student does not see a label.
    class_cuts: lowest and highest cut of single classes, which take the place of `cut`; None where they have none.
    quality_at_class_cuts: with each class cut at its own; None without such cuts or without truth.
    ignore_cut: lower end of the ignore band, None when there is no band.
    is_soft: whether scores are taught, too: then the cut may be low, and counts and precision there mean little.
    suggested_cut: the cut at which labels per image come closest to what people draw; None when unknown.
    teacher_digest: hex digest of the teacher's checkpoint, or of the files of another program.
    source: format and file of labels that another program made; '' for a teacher's.
    spared: classes that the student learns from human labels alone, see `task.pseudo_data.spared_classes`.
    dead_letters: a sample.
    accuracy_by_confidence: for masks with held-out truth, (confidence, share of the pixels that is right).
  """

  num_images: int
  labelled: int
  empty: int
  dead: int
  kept_share_at_cut: float
  labels_per_image: float
  human_labels_per_image: float
  score_histogram: ScoreHistogram
  counts_per_class: Mapping[str, int]
  counts_per_class_human: Mapping[str, int]
  quality: tuple[QualityAtCut, ...] | None
  cut: float
  class_cuts: tuple[float, float] | None = None
  quality_at_class_cuts: QualityAtCut | None = None
  ignore_cut: float | None = None
  is_soft: bool = False
  suggested_cut: float | None = None
  teacher_digest: str = ''
  source: str = ''
  spared: tuple[str, ...] = ()
  dead_letters: tuple[DeadLetter, ...] = ()
  accuracy_by_confidence: tuple[tuple[float, float], ...] = ()

  @property
  def has_pixels(self) -> bool:
    """Whether `quality` says something about single pixels."""
    return any(row.kept_share is not None for row in self.quality or ())

  @property
  def count_ratio(self) -> float:
    """Labels per image at the cut over what people drew; NaN when people drew none."""
    if not self.human_labels_per_image:
      return math.nan
    return self.labels_per_image / self.human_labels_per_image

  @property
  def cut_in_words(self) -> str:
    """See `cut_in_words`."""
    return cut_in_words(self.cut, self.class_cuts)

  @property
  def named_cut(self) -> str:
    """`the cut 0.5`, or `the cuts of the classes`."""
    return f'the cut {self.cut:g}' if self.class_cuts is None else 'the cuts of the classes'

  @property
  def quality_at_cut(self) -> QualityAtCut | None:
    """Of the labels that the student sees: the row of `quality` nearest to `cut`, or that of the classes' cuts."""
    if not self.quality or self.class_cuts is not None:
      return self.quality_at_class_cuts
    return min(self.quality, key=lambda row: abs(row.cut - self.cut))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Round:
  """One round of a run that has several.

  Attributes:
    number: from 1.
    metrics: the primary metric of control and student; None where there is none.
    comparison: the student's lead over the control of its round, with its interval; None where that is not known.
    labels_per_image: pseudo labels per readable image at the cut.
    quality: of the pseudo labels at the cut, or None when there is no held-out truth.
    corrected: images whose pseudo labels of this round a person corrected: labelled images of the next rounds.
    rejected: images that a person rejected.
  """

  number: int
  metrics: Mapping[str, float | None]
  comparison: comparison.Comparison | None
  labels_per_image: float
  quality: QualityAtCut | None = None
  corrected: int = 0
  rejected: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretraining:
  """The training, in this run, of the backbone that models started from.

  Attributes:
    kind: `supervised` or `simclr`.
    steps: number of training steps.
    metrics: on held-out images, under the evaluator's names.
    curves: name of the curve -> `(step, value)` in rising order of steps.
  """

  kind: str
  steps: int
  metrics: Mapping[str, float]
  curves: Mapping[str, Sequence[tuple[int, float]]]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ReportInputs:
  """Everything a report shows.

  Models and stages are named 'teacher', 'control', 'student' and 'ceiling' in every mapping.

  Attributes:
    experiment: registered name.
    seed: the run's seed.
    steps: training steps of each model.
    metrics: each model's metrics under the evaluator's names; None for a model that was not
      trained.
    class_names: in the order of the class ids.
    per_class: each model's `class_metric` by class name.
    pseudo_labels: those of the last round; None when there were none.
    rounds: all rounds, if there are several; models and labels are else those of the last one.
    starts: what each model started from, in words.
    pretraining: of the backbone, where this run trained it; else None.
    calibration: of the cuts; None where they are numbers in the settings.
    loss_curves: stage -> name of the curve -> `(step, value)` in rising order of steps.
    sheets: contact sheets.
    settings: the config fields worth reading, by dotted name.
    settings_not_default: default value of every field that differs from it, by dotted name.
    changed_settings: the values of these fields.
    seconds: wall time of each stage.
    versions: package -> version.
    command: what the user typed, or should type to repeat the run.
    primary_metric: the metric the verdict is about.
    table_metrics: columns of the table.
    class_metric: name of the metric in `per_class`.
    unit: plural word for one pseudo label.
    confusion: each model's pixels by true class (row) and predicted class, in the order of `class_names`; empty
      where that is not measured.
    num_labelled_images: images with human labels; None when unknown.
    num_ceiling_images: those of the ceiling; None without one.
    num_validation_images: images the metrics come from; None when unknown.
    comparisons: differences in the primary metric with their intervals, by `comparison.name`; those of `COMPARED` that
      are known.
  """

  experiment: str
  seed: int
  steps: Mapping[str, int]
  metrics: Mapping[str, Mapping[str, float] | None]
  class_names: tuple[str, ...] = ()
  per_class: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
  pseudo_labels: PseudoLabelFacts | None = None
  rounds: tuple[Round, ...] = ()
  starts: Mapping[str, str] = dataclasses.field(default_factory=dict)
  pretraining: Pretraining | None = None
  calibration: calibrated.Calibration | None = None
  loss_curves: Mapping[str, Mapping[str, Sequence[tuple[int, float]]]] = dataclasses.field(
    default_factory=dict
  )
  sheets: tuple[Sheet, ...] = ()
  settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  settings_not_default: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  changed_settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
  versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
  command: str = ''
  primary_metric: str = 'AP'
  table_metrics: tuple[str, ...] = ('AP', 'AP50', 'AP75')
  class_metric: str = 'AP'
  unit: str = 'boxes'
  confusion: Mapping[str, Sequence[Sequence[int]]] = dataclasses.field(default_factory=dict)
  num_labelled_images: int | None = None
  num_ceiling_images: int | None = None
  num_validation_images: int | None = None
  comparisons: Mapping[str, comparison.Comparison] = dataclasses.field(default_factory=dict)

  def metric(self, model: str, name: str | None = None) -> float | None:
    """A model's metric, the primary one by default; None when missing, NaN or infinite."""
    value = (self.metrics.get(model) or {}).get(name or self.primary_metric)
    return finite(value)

  @property
  def shown_models(self) -> tuple[Model, ...]:
    """The models of tables and charts: the ceiling only where there is one."""
    return ALL_MODELS if self.metrics.get('ceiling') else MODELS

  def comparison(self, first: str, second: str) -> comparison.Comparison | None:
    """The comparison of two models in the primary metric; None when that is not known."""
    return self.comparisons.get(comparison.name(first, second))


def finite(value: SupportsFloat | None) -> float | None:
  """`value` as a float, or None when it is None, NaN or infinite."""
  if value is None or not math.isfinite(value):
    return None
  return float(value)


def difference(minuend: float | None, subtrahend: float | None) -> float | None:
  """`minuend - subtrahend` without the noise of binary fractions; None when either is."""
  if minuend is None or subtrahend is None:
    return None
  return round(minuend - subtrahend, 6)


def quantity(value: float) -> str:
  """A number of labels per image as text; whole numbers where decimals would say nothing."""
  return f'{value:,.0f}' if round(value, 2) >= 100 else f'{value:.2f}'


def bounds(found: comparison.Comparison) -> tuple[str, str]:
  """The ends of an interval as text, with a digit more where three would make a zero of one that is none."""
  ends = (found.low, found.high)
  digits = 4 if any(end and abs(end) < 0.0005 for end in ends) else 3
  return f'{found.low:+.{digits}f}', f'{found.high:+.{digits}f}'
