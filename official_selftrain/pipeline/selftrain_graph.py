"""The stages of self-training: pre-training, teacher, labels, gate, control and student of each round, ceiling, report,
export.

This is the one place where their order and dependencies are written down. It needs no TensorFlow.
"""

import dataclasses
import os

from official_selftrain.pipeline import graph
from official_selftrain.pipeline.graph import Reads, Stage, stage_name

TEACHER, LABELS, GATE, CONTROL, STUDENT = 'teacher', 'labels', 'gate', 'control', 'student'
PRETRAINING, CEILING = 'pretraining', 'ceiling'
MODELS = (TEACHER, CONTROL, STUDENT, CEILING)
CALIBRATION, CALIBRATION_TEACHER = 'calibration', 'calibration_teacher'
REPORT, EXPORT = 'report', 'export'

# The place of the data and the names of its classes change no weight; the files themselves are compared.
_DATA = Reads(('dataset',), ('dataset.directory', 'dataset.class_names', 'dataset.digit_classes'))
# Nor do the sizes of the other splits.
_LABELLED_DATA = Reads(('seed',)) + _DATA.minus(
  'dataset.digits.num_unlabelled', 'dataset.digits.num_validation', 'dataset.digits.num_shards'
)
_PRETRAINING_DATA = _DATA.minus('dataset.digits.num_labelled') + Reads(('dataset.digit_classes',))
_UNLABELLED_DATA = _DATA.minus('dataset.digits.num_labelled', 'dataset.digits.num_validation')
_NOTHING = Reads()
_NAMES = Reads(('dataset.class_names',))
_PRECISION = Reads(('runtime.mixed_precision_dtype',))
_PSEUDO_BATCH = Reads(('task.pseudo_data.global_batch_size',))
_START = Reads(
  ('task.self_training.student_init', 'task.init_checkpoint', 'task.init_checkpoint_modules')
)
_FRACTION = Reads(('task.train_data.fraction', 'task.train_data.fraction_seed'))
# Which classes have next to no pseudo labels is judged by how many of them people drew.
_HUMAN_COUNTS = _FRACTION + _NAMES + Reads(('task.model.num_classes',))
_BATCH = 'task.train_data.global_batch_size'
_INIT = 'task.init_checkpoint'
# Each of them may name the backbone that models start from.
_GIVEN_BACKBONE = ('init', 'pretraining.checkpoint')
_TRAIN_FILES = 'task.train_data.input_path'
_CEILING_FILES = 'ceiling.input_path'
_PSEUDO_FILES = 'task.pseudo_data.input_path'
_SHARE = 'calibration.share'
_LABEL_FILES = 'task.pseudo_data.label_dir'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outline:
  """The facts that decide the shape of a run.

  Attributes:
    model: settings of the task that say which network there is.
    training: settings of the task that a model's weights depend on, beyond `model`.
    inference: settings of the task that detections or masks depend on, beyond these.
    evaluation: settings that metrics depend on, beyond these.
    labelling: settings that label files depend on.
    gate: settings that decide whether labels are worth training a student on.
    has_given_teacher: whether the teacher comes from outside.
    has_given_labels: whether the labels of the first round do.
    has_teacher: whether there is one; with given labels a student that does not start from it needs none.
    calibrates: whether the cuts are chosen on labelled images.
    holds_out: whether a part of these is held out for it, and labelled; else their labels come from elsewhere.
    has_control: whether a control is trained.
    has_ceiling: whether a model with more human labels is.
    pretraining: what the backbone depends on that this run makes before all else, beyond the labelled data; None if it
      makes none.
    pretraining_files: settings that name the files that it is made from.
    students_pretrained: whether control and student start from that backbone, and not from a teacher.
    controls_go_on: whether the control starts from the teacher, or the control of the round before.
    labels_online: whether the student's step labels images.
    counts_by_class: whether the gate compares the numbers of pseudo and human labels of each class, to choose cuts, or
      the classes that are left to human labels.
    has_teacher_augmentation: whether the teacher's differs from the student's.
    adds_teacher_batch: whether the teacher's batch is the sum of both streams'.
    adds_control_batch: whether the control's is.
    reports: whether models are evaluated and a report is written.
    exports: whether the student is exported.
    exported: what the export depends on beyond that.
    rounds: how often labels are made and a student is trained on them.
    training_files: settings that name the files of the labelled images that models are trained on.
    validation_files: settings that name the files that metrics are measured with.
  """

  model: Reads
  training: Reads
  inference: Reads
  evaluation: Reads
  labelling: Reads
  gate: Reads
  has_given_teacher: bool = False
  has_given_labels: bool = False
  has_teacher: bool = True
  calibrates: bool = False
  holds_out: bool = False
  has_control: bool = True
  has_ceiling: bool = False
  pretraining: Reads | None = None
  pretraining_files: tuple[str, ...] = ()
  students_pretrained: bool = False
  controls_go_on: bool = True
  labels_online: bool = False
  counts_by_class: bool = False
  has_teacher_augmentation: bool = False
  adds_teacher_batch: bool = True
  adds_control_batch: bool = True
  reports: bool = True
  exports: bool = True
  exported: Reads = _NOTHING
  rounds: int = 1
  training_files: tuple[str, ...] = (_TRAIN_FILES,)
  validation_files: tuple[str, ...] = ('task.validation_data.input_path', 'task.annotation_file')

  @property
  def has_calibration_teacher(self) -> bool:
    """Whether a second teacher is trained without the images held out; a given one comes with what it has learned."""
    return self.calibrates and self.holds_out and not self.has_given_teacher


def build(outline: Outline) -> graph.Graph:
  """The graph of a run of self-training."""
  stages = [_pretraining(outline)] if outline.pretraining else []
  if outline.has_teacher:
    stages.append(_teacher(outline))
  if outline.calibrates:
    if outline.has_calibration_teacher:
      stages.append(_trained_teacher(outline, CALIBRATION_TEACHER, _SHARE))
    stages.append(_calibration(outline))
  for number in range(1, outline.rounds + 1):
    stages += _round(outline, number)
  if outline.has_ceiling:
    stages.append(_ceiling(outline))
  models = tuple(stage.name for stage in stages if stage.kind in MODELS)
  if outline.reports:
    stages.append(
      Stage(
        kind=REPORT,
        needs=models,
        reads=Reads(('report',)) + _NAMES + _PRECISION + outline.inference + outline.evaluation,
        files=(*outline.validation_files, 'report.unlabelled_truth'),
        makes=('report.json', 'report.html', 'stages/table.txt'),
        is_cheap=True,
        is_for_all=True,  # Models that were not evaluated yet are.
      )
    )
  if outline.exports:
    stages.append(
      Stage(
        kind=EXPORT,
        needs=(stage_name(STUDENT, outline.rounds),),
        reads=Reads(('export',)) + _NAMES + _PRECISION + outline.inference + outline.exported,
        makes=('export',),
        is_cheap=True,
      )
    )
  return graph.Graph(stages)


def labels_dir(round_number: int) -> str:
  """Folder of a round's labels, below the run directory."""
  return os.path.join(LABELS, f'round-{round_number}')


def corrections_dir(round_number: int) -> str:
  """Folder of what people corrected in a round's labels, below the run directory; the next rounds learn from it."""
  return os.path.join(labels_dir(round_number), 'corrections')


def labels_from(round_number: int) -> str:
  """The model that writes a round's labels: the teacher, then the student of the round before."""
  return TEACHER if round_number == 1 else stage_name(STUDENT, round_number - 1)


def control_from(round_number: int) -> str:
  """The model that a round's control starts from, so that it never sees a pseudo label in any round."""
  return TEACHER if round_number == 1 else stage_name(CONTROL, round_number - 1)


def _teacher(outline: Outline) -> Stage:
  if outline.has_given_teacher:
    given = 'teacher.checkpoint'
    return Stage(
      kind=TEACHER, reads=Reads((given,)) + outline.model, files=(given,), makes=(TEACHER,)
    )
  return _trained_teacher(outline, TEACHER)


def _pretraining(outline: Outline) -> Stage:
  """The backbone that models start from."""
  assert outline.pretraining is not None
  return Stage(
    kind=PRETRAINING,
    reads=Reads(('init', 'seed')) + _PRETRAINING_DATA + _PRECISION + outline.pretraining,
    files=outline.pretraining_files,
    makes=(PRETRAINING,),
    is_for_all=True,
  )


def _trained_teacher(outline: Outline, kind: str, *also: str) -> Stage:
  """A teacher of ours, which depends on further settings, too."""
  reads = Reads((TEACHER, *also)) + _LABELLED_DATA + _PRECISION + outline.model + outline.training
  if outline.has_teacher_augmentation:
    reads = reads.minus('task.train_data.augmentation')
  return Stage(
    kind=kind,
    needs=(PRETRAINING,) if outline.pretraining else (),
    reads=reads + _PSEUDO_BATCH if outline.adds_teacher_batch else reads.minus(_BATCH),
    files=(*outline.training_files, 'teacher.init_checkpoint', *_GIVEN_BACKBONE),
    makes=(kind,),
    is_for_all=True,
  )


def _ceiling(outline: Outline) -> Stage:
  """Like a teacher of ours, with other files and with the control's steps, too."""
  steps = ('rounds', 'trainer.train_steps', 'task.self_training.student_init')
  like = _trained_teacher(outline, CEILING, *steps)
  files = tuple(_CEILING_FILES if name == _TRAIN_FILES else name for name in like.files)
  return dataclasses.replace(like, reads=like.reads.minus(*_FRACTION.prefixes), files=files)


def _calibration(outline: Outline) -> Stage:
  """The cuts, chosen once for all rounds."""
  labels_from = CALIBRATION_TEACHER if outline.has_calibration_teacher else TEACHER
  return Stage(
    kind=CALIBRATION,
    needs=(labels_from,) if outline.holds_out else (),
    reads=_LABELLED_DATA + _PRECISION + Reads((CALIBRATION,)) + _FRACTION + outline.labelling,
    files=(*outline.training_files, 'calibration.label_dir'),
    makes=(CALIBRATION,),
    # Without images of its own it only reads labels.
    is_cheap=not outline.holds_out,
  )


def _round(outline: Outline, number: int) -> list[Stage]:
  """The stages of one round."""
  training = (
    _LABELLED_DATA + _PRECISION + _START + Reads(('trainer',)) + outline.model + outline.training
  )
  stages = []
  cuts = (CALIBRATION,) if outline.calibrates else ()
  corrections = tuple(corrections_dir(earlier) for earlier in range(1, number))
  starts = outline.has_teacher or number > 1
  pretrained: tuple[str, ...] = ()
  given: tuple[str, ...] = (_INIT,)
  if outline.students_pretrained:
    pretrained = (PRETRAINING,) if outline.pretraining else ()
    given = (_INIT, *_GIVEN_BACKBONE)
  labels: tuple[str, ...] = ()
  given_labels: tuple[str, ...] = ()
  if outline.has_given_labels and number == 1:
    given_labels = (_LABEL_FILES,)
  else:
    labels = (stage_name(LABELS, number),)
    stages.append(
      Stage(
        kind=LABELS,
        round=number,
        needs=(labels_from(number),),
        reads=_UNLABELLED_DATA + _NAMES + _PRECISION + outline.labelling,
        files=(_PSEUDO_FILES,),
        additions=corrections,
        makes=(labels_dir(number),),
        keeps=(corrections_dir(number),),
        is_for_all=True,
      )
    )
  # Cheap, and before any training of the round: if the gate is closed, training would be a waste of hours.
  stages.append(
    Stage(
      kind=GATE,
      round=number,
      needs=(*cuts, *labels),
      reads=outline.gate + (_HUMAN_COUNTS if outline.counts_by_class else _NOTHING),
      files=(*given_labels, *(outline.training_files if outline.counts_by_class else ())),
      is_cheap=True,
    )
  )
  if outline.has_control:
    reads = training + Reads((CONTROL,))
    goes_on = (control_from(number),) if starts and outline.controls_go_on else ()
    stages.append(
      Stage(
        kind=CONTROL,
        round=number,
        needs=(*pretrained, *goes_on),
        reads=reads + _PSEUDO_BATCH if outline.adds_control_batch else reads.minus(_BATCH),
        files=(*outline.training_files, *given),
        additions=corrections,
        makes=(stage_name(CONTROL, number),),
        is_for_all=True,
      )
    )
  stages.append(
    Stage(
      kind=STUDENT,
      round=number,
      needs=(
        *pretrained,
        *((labels_from(number),) if starts else ()),
        *cuts,
        *labels,
        stage_name(GATE, number),
      ),
      reads=training
      + Reads(('task.pseudo_data', 'task.self_training'))
      + (outline.inference if outline.labels_online else Reads()),
      files=(*outline.training_files, *given, *given_labels),
      additions=corrections,
      makes=(stage_name(STUDENT, number),),
      is_for_all=True,
    )
  )
  return stages
