"""The report stage: gathers the facts of a finished run and hands them to `report`."""

import itertools
import os
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import tensorflow as tf
from official.core import exp_factory

from official_selftrain.core import comparison, files
from official_selftrain.core import config as config_lib
from official_selftrain.dataloaders import tfrecords
from official_selftrain.evaluation import resampling
from official_selftrain.pipeline import (
  actions,
  calibration_facts,
  data,
  labelling,
  run_facts,
  spared_classes,
  training,
)
from official_selftrain.presentation import label_facts
from official_selftrain.pseudo_labels import corrections, quality
from official_selftrain.pseudo_labels import manifest as manifest_lib
from official_selftrain.report import contents, judgement, page, summary, table

QUALITY_FILE = 'quality.json'
_TABLE_FILE = os.path.join('stages', 'table.txt')
# Curves worth a chart; the others are in TensorBoard.
_CURVES = (
  'total_loss',
  'human_loss',
  'pseudo_loss',
  'joint_loss',
  'loss_ratio',
  'joint_accuracy',
  'learning_rate',
)
_PRETRAINING_CURVES = ('training_loss', 'accuracy', 'contrastive_accuracy')
_SETTINGS = (
  'seed',
  'init',
  'task.model.input_size',
  'task.model.backbone.type',
  'task.model.decoder.type',
  'task.losses',
  'task.train_data.fraction',
  'task.train_data.global_batch_size',
  'task.train_data.augmentation.policy',
  'task.train_data.parser.aug_scale_min',
  'task.train_data.parser.aug_scale_max',
  'task.train_data.aug_scale_min',
  'task.train_data.aug_scale_max',
  'task.pseudo_data.augmentation.policy',
  'task.pseudo_data.global_batch_size',
  'task.pseudo_data.cut',
  'task.pseudo_data.ignore_cut',
  'task.pseudo_data.soft_labels',
  'task.pseudo_data.keep_empty',
  'task.self_training',
  'teacher.checkpoint',
  'teacher.trainer.train_steps',
  'trainer.train_steps',
  'labels',
  'control',
)


# Further ones, where the data are the user's own and where they are embedded.
_OWN_DATA_SETTINGS = ('dataset.card', 'dataset.invalid_ops')
_EMBEDDED_DATA_SETTINGS = (
  'dataset.name',
  'dataset.digits.num_labelled',
  'dataset.digits.num_unlabelled',
)


def write(run: run_facts.RunFacts) -> dict[str, Any]:
  """Writes `report.json`, `report.html` and the table of a run.

  Args:
    run: the run, all models trained and evaluated.

  Returns:
    The stage's record.
  """
  inputs = gather(run)
  verdict = judgement.verdict(inputs)
  path = os.path.join(run.model_dir, 'report.json')
  summary.write_json(inputs, verdict, path)
  page.write_html(inputs, verdict, os.path.join(run.model_dir, 'report.html'))
  table_path = os.path.join(run.model_dir, _TABLE_FILE)
  files.write_text(table_path, table.render_table(inputs, verdict) + '\n')
  return {'digest': files.sha256(path), 'helped': verdict.helped}


def closing_words(model_dir: str) -> str:
  """The table, the verdict and the path of the report: the last thing that a run prints."""
  page_path = os.path.join(model_dir, 'report.html')
  with open(os.path.join(model_dir, _TABLE_FILE), encoding='utf-8') as stream:
    return f'\nReport with pictures: {page_path}\n\n{stream.read()}'


def gather(run: run_facts.RunFacts) -> contents.ReportInputs:
  """Collects the facts of a run."""
  metrics = {
    name: {k: v for k, v in values.items() if '/' not in k} for name, values in run.metrics.items()
  }
  shown = run.presentation
  human = shown.human_labels(data.labelled_records(run.params.task))
  folders = {name: model.job.model_dir for name, model in run.models.items()}
  changed = _changed_settings(run)
  return contents.ReportInputs(
    experiment=run.params.experiment,
    seed=run.params.seed,
    steps={name: model.step for name, model in run.models.items()},
    metrics={name: metrics.get(name) for name in contents.ALL_MODELS},
    class_names=shown.shown_classes,
    per_class={name: shown.per_class(values) for name, values in run.metrics.items()},
    pseudo_labels=_label_facts(run, human),
    starts=run.starts,
    pretraining=_pretraining(run),
    calibration=calibration_facts.of(
      run.params, run.model_dir, shown.class_names, run.cuts.ignore_cut
    ),
    rounds=tuple(_round(run, each, human) for each in run.rounds),
    loss_curves={name: _curves(folder) for name, folder in folders.items()},
    sheets=tuple(_sheets(run)),
    settings=_shown_settings(run),
    settings_not_default=changed,
    changed_settings={name: run.settings[name] for name in changed},
    seconds=run.seconds,
    versions=manifest_lib.software_versions(),
    command=_command(run, bool(changed)),
    primary_metric=run.params.report.primary_metric,
    table_metrics=shown.table_metrics,
    class_metric=shown.class_metric,
    unit=shown.unit,
    confusion={
      name: details['confusion']
      for name, folder in folders.items()
      if 'confusion' in (details := training.evaluation_details(folder))
    },
    num_labelled_images=human.images,
    num_ceiling_images=_num_ceiling_images(run),
    num_validation_images=sum(1 for _ in _validation_records(run)),
    comparisons=_comparisons(run.params.report.primary_metric, folders),
  )


def _pretraining(run: run_facts.RunFacts) -> contents.Pretraining | None:
  """The training of the backbone, if this run had one."""
  job = run.backbone
  if job is None:
    return None
  curves = actions.read_history(job.model_dir)
  return contents.Pretraining(
    kind=run.params.init,
    steps=job.train_steps,
    metrics=training.recorded_metrics(job, job.train_steps) or {},
    curves={name: curves[name] for name in _PRETRAINING_CURVES if name in curves},
  )


def _round(
  run: run_facts.RunFacts, found: run_facts.RoundFacts, human: label_facts.HumanLabels
) -> contents.Round:
  """The facts of one round of several."""
  metric = run.params.report.primary_metric
  folders = {name: model.job.model_dir for name, model in found.models.items()}
  compared = _comparisons(metric, folders)
  labels = run.presentation.facts(
    found.label_dir, found.cuts, human, _measured(run, found.label_dir)
  )
  corrected = corrections.load(corrections.folder_of(found.label_dir))
  return contents.Round(
    number=found.number,
    metrics={name: values.get(metric) for name, values in found.metrics.items()},
    comparison=compared.get(comparison.name('student', 'control')),
    labels_per_image=labels.labels_per_image,
    quality=labels.quality_at_cut,
    corrected=len(corrected.corrected) if corrected else 0,
    rejected=len(corrected.rejected) if corrected else 0,
  )


def _comparisons(
  metric: str, folders: Mapping[contents.Model, str]
) -> dict[str, comparison.Comparison]:
  """Intervals of the differences between the models."""
  tallies: dict[str, dict[str, np.ndarray]] = {}
  tallies |= {name: training.evaluation_tallies(folder) for name, folder in folders.items()}
  return resampling.compare(tallies, contents.COMPARED, metric)


def _command(run: run_facts.RunFacts, is_changed: bool) -> str:
  """The command that repeats the run: its settings are in its params.yaml."""
  start = f'python train.py --experiment={run.params.experiment} --mode=train_and_eval'
  path = os.path.join(run.model_dir, 'params.yaml')
  return f'{start} --config_file={path} --model_dir=NEW_DIRECTORY' if is_changed else start


def _curves(model_dir: str) -> dict[str, list[tuple[int, float]]]:
  curves = actions.read_history(model_dir)
  return {name: curves[name] for name in _CURVES if name in curves}


def _shown_settings(run: run_facts.RunFacts) -> dict[str, Any]:
  about_data = _EMBEDDED_DATA_SETTINGS if run.data.embedded else _OWN_DATA_SETTINGS
  return {
    name: value
    for name, value in run.settings.items()
    if any(name == each or name.startswith(f'{each}.') for each in (*_SETTINGS, *about_data))
  }


def _changed_settings(run: run_facts.RunFacts) -> dict[str, Any]:
  """Default value of each setting that differs from the registered experiment's."""
  defaults = config_lib.flatten(exp_factory.get_exp_config(run.params.experiment))
  return {
    name: defaults.get(name) for name, value in run.settings.items() if defaults.get(name) != value
  }


def _label_facts(
  run: run_facts.RunFacts, human: label_facts.HumanLabels
) -> contents.PseudoLabelFacts:
  """Facts about the pseudo labels; writes `quality.json` where truth is known."""
  measured = _measured(run, run.label_dir)
  if measured is not None:
    files.write_json(os.path.join(run.model_dir, 'labels', QUALITY_FILE), measured)
  facts = run.presentation.facts(run.label_dir, run.cuts, human, measured)
  return spared_classes.add(facts, run.spared, run.presentation.class_names)


def _measured(run: run_facts.RunFacts, label_dir: str) -> quality.Measured | None:
  """Labels against the held-out truth, if there is any."""
  truth = run.data.unlabelled_truth
  if not truth or not tf.io.gfile.exists(truth):
    return None
  return run.presentation.measure_labels(label_dir, truth)


def _num_ceiling_images(run: run_facts.RunFacts) -> int | None:
  """Images with human labels that the ceiling learned from; None without one."""
  ceiling = run.params.ceiling
  if not ceiling.enabled:
    return None
  paths = tfrecords.match_files(ceiling.input_path, 'ceiling.input_path')
  return sum(1 for _ in tfrecords.readable(paths))


def _validation_records(run: run_facts.RunFacts) -> Iterator[tf.Tensor]:
  field = 'task.validation_data.input_path'
  stream = run.params.task.validation_data
  paths = tfrecords.match_files(stream.input_path, field)
  if not stream.skip_errors:
    return iter(tf.data.TFRecordDataset(paths))
  # As evaluation does, which has told of those that it left out.
  return (record for record in tfrecords.readable(paths) if _decodes(run, record))


def _decodes(run: run_facts.RunFacts, record: tf.Tensor) -> bool:
  try:
    run.presentation.task.decoded_validation_example(record)
  except tf.errors.OpError:
    return False
  return True


def _sheets(run: run_facts.RunFacts) -> Iterator[contents.Sheet]:
  count = run.params.report.num_pictures
  shown, pseudo = run.presentation, run.params.task.pseudo_data
  images = tfrecords.match_files(pseudo.input_path, 'task.pseudo_data.input_path')
  yield shown.pseudo_label_sheet(images, run.label_dir, run.cuts, count)
  compared: tuple[Literal['teacher', 'student'], ...] = ('teacher', 'student')
  models: dict[contents.Kind, tf.keras.Model] = {
    name: labelling.load_model(shown.task, run.models[name].checkpoint)
    for name in compared
    if name in run.models
  }
  yield shown.validation_sheet(itertools.islice(_validation_records(run), count), models)
