"""The outline of an experiment's graph of stages: which there are, and which settings they depend on."""

from official_selftrain.configs import pretraining, runs
from official_selftrain.pipeline import data, graph, selftrain_graph
from official_selftrain.tasks import contract, stream_specs

# An export of masks shows images to the network as evaluation does.
_SIZES = ('task.validation_data.output_size', 'task.validation_data.at_own_size')


def of(params: runs.SelfTrainingExperiment, mode: str) -> selftrain_graph.Outline:
  """The outline of an experiment.

  Args:
    params: the experiment.
    mode: `train` or `train_and_eval`.
  """
  names, pseudo = contract.setting_names(params.task), params.task.pseudo_data
  task = contract.make(params.task)
  labelled = [
    stream.dotted
    for stream in task.training_streams()
    if stream.role is not stream_specs.Role.PSEUDO
  ]
  inference = graph.Reads(names.inference)
  model = graph.Reads(names.model, names.inference)
  labelling_reads = tuple(f'labels.{name}' for name in params.labels.deciding())
  return selftrain_graph.Outline(
    model=model,
    training=graph.Reads(names.training),
    inference=inference,
    evaluation=graph.Reads(names.evaluation),
    labelling=(graph.Reads(labelling_reads) + model + inference).minus(*names.not_for_labels),
    gate=graph.Reads(('task.pseudo_data', *(f'labels.{n}' for n in params.labels.gating()))),
    has_given_teacher=bool(params.teacher.checkpoint),
    has_given_labels=bool(params.task.pseudo_data.label_dir),
    has_teacher=_has_teacher(params),
    pretraining=_pretraining(params),
    pretraining_files=_pretraining_files(params),
    students_pretrained=params.has_init and params.student_starts_from == 'checkpoint',
    controls_go_on=params.student_starts_from == 'teacher',
    labels_online=params.task.self_training.online_teacher.enabled,
    counts_by_class=pseudo.is_matched or pseudo.spared_classes == 'auto',
    rounds=params.rounds,
    calibrates=params.task.pseudo_data.is_calibrated,
    holds_out=not params.calibration.label_dir,
    has_control=params.control.enabled,
    has_ceiling=params.ceiling.enabled,
    has_teacher_augmentation=params.teacher.augmentation is not None,
    adds_teacher_batch=not params.teacher.global_batch_size,
    adds_control_batch=not params.control.global_batch_size,
    reports=mode == 'train_and_eval',
    exports=mode == 'train_and_eval' and params.export.enabled,
    exported=graph.Reads(_SIZES if params.task.data_kind == 'segmentation' else ()),
    training_files=tuple(f'{name}.input_path' for name in labelled),
    validation_files=data.validation_files(params.task),
  )


def _pretraining(params: runs.SelfTrainingExperiment) -> graph.Reads | None:
  """What a backbone that this run makes depends on; None if it makes none."""
  settings, init = params.pretraining, params.init
  backbone = graph.Reads(
    tuple(f'task.model.{name}' for name in pretraining.backbone_settings(params.task.model))
  )
  if settings.is_trained(init):
    return backbone + graph.Reads((f'pretraining.{init}', 'task.model.input_size'))
  return backbone if settings.is_imported(init) else None


def _pretraining_files(params: runs.SelfTrainingExperiment) -> tuple[str, ...]:
  """Settings that name the files from which it is made."""
  settings, init = params.pretraining, params.init
  if settings.is_trained(init):
    streams = ('train_data', 'validation_data')
    return tuple(f'pretraining.{init}.task.{stream}.input_path' for stream in streams)
  return ('pretraining.checkpoint',) if settings.is_imported(init) else ()


def _has_teacher(params: runs.SelfTrainingExperiment) -> bool:
  """Labels from elsewhere need none, unless models start from it, or one is given to be compared with."""
  has_labels = bool(params.task.pseudo_data.label_dir)
  starts_there = params.task.self_training.student_init == 'teacher'
  return not has_labels or starts_there or bool(params.teacher.checkpoint)
