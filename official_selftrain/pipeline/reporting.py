"""The report stage: gathers the facts of a finished run and hands them to `report`."""

import itertools
import os
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from official_selftrain.core import config as config_lib
from official_selftrain.core import files
from official_selftrain.dataloaders import tfrecords as streams
from official_selftrain.pipeline import actions, labelling, training
from official_selftrain.pseudo_labels import manifest as manifest_lib
from official_selftrain.report import contents, judgement, page, summary, table

QUALITY_FILE = 'quality.json'
_TABLE_FILE = os.path.join('stages', 'table.txt')
# Curves worth a chart; the others are in TensorBoard.
_CURVES = ('total_loss', 'human_loss', 'pseudo_loss', 'loss_ratio', 'learning_rate')
_SETTINGS = (
  'seed',
  'dataset.name',
  'dataset.digits.num_labelled',
  'dataset.digits.num_unlabelled',
  'task.model.input_size',
  'task.model.backbone.type',
  'task.model.decoder.type',
  'task.losses',
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
  'task.pseudo_data.keep_empty',
  'task.self_training',
  'teacher.checkpoint',
  'teacher.trainer.train_steps',
  'trainer.train_steps',
  'labels',
  'control',
)


def write(run: Any) -> dict[str, Any]:
  """Writes `report.json`, `report.html` and the table of a `SelfTrainingRun`.

  Args:
    run: the run, all models trained and evaluated.

  Returns:
    The stage's record.
  """
  inputs = gather(run)
  verdict = judgement.verdict(inputs)
  summary.write_json(inputs, verdict, run.path('report.json'))
  page.write_html(inputs, verdict, run.path('report.html'))
  files.write_text(run.path(_TABLE_FILE), table.render_table(inputs, verdict) + '\n')
  return {'digest': files.sha256(run.path('report.json')), 'helped': verdict.helped}


def closing_words(run: Any) -> str:
  """The table and verdict, and where the report lies; the last thing that a run prints."""
  with open(run.path(_TABLE_FILE), encoding='utf-8') as stream:
    return f'\nReport with pictures: {run.path("report.html")}\n\n{stream.read()}'


def gather(run: Any) -> contents.ReportInputs:
  """Collects the facts of a run."""
  models = [name for name in contents.MODELS if name in {stage.name for stage in run.plan()}]
  results = {name: run.records.result(name) for name in models}
  measured = {name: run.metrics(name) for name in models}
  metrics = {
    name: {k: v for k, v in values.items() if '/' not in k} for name, values in measured.items()
  }
  facts, num_labelled = _label_facts(run)
  shown = run.task_report()
  return contents.ReportInputs(
    experiment=run.params.experiment,
    seed=run.params.seed,
    steps={name: result['global_step'] for name, result in results.items()},
    metrics={name: metrics.get(name) for name in contents.MODELS},
    class_names=shown.shown_classes,
    per_class={name: shown.per_class(values) for name, values in measured.items()},
    pseudo_labels=facts,
    loss_curves={name: _curves(run.path(name)) for name in models},
    sheets=tuple(_sheets(run)),
    settings=_settings(run),
    settings_not_default=_changed_settings(run),
    seconds=run.records.seconds(),
    versions=manifest_lib.software_versions(),
    command=_command(run),
    primary_metric=run.params.report.primary_metric,
    table_metrics=shown.table_metrics,
    class_metric=shown.class_metric,
    unit=shown.unit,
    confusion={
      name: details['confusion']
      for name in models
      if 'confusion' in (details := training.evaluation_details(run.path(name)))
    },
    num_labelled_images=num_labelled,
    num_validation_images=sum(1 for _ in _validation_records(run)),
    margin=run.params.report.margin,
  )


def _command(run: Any) -> str:
  """The command that repeats the run: its settings are in its params.yaml."""
  return (
    f'python train.py --experiment={run.params.experiment} --mode=train_and_eval '
    f'--config_file={run.path("params.yaml")} --model_dir=NEW_DIRECTORY'
    if _changed_settings(run)
    else f'python train.py --experiment={run.params.experiment} --mode=train_and_eval'
  )


def _curves(model_dir: str) -> dict[str, list[tuple[int, float]]]:
  curves = actions.read_history(model_dir)
  return {name: curves[name] for name in _CURVES if name in curves}


def _settings(run: Any) -> dict[str, Any]:
  return {
    k: v for k, v in run.settings.items() if any(k == p or k.startswith(p + '.') for p in _SETTINGS)
  }


def _changed_settings(run: Any) -> dict[str, Any]:
  """Default value of each setting that differs from the registered experiment's."""
  from official.core import exp_factory

  defaults = config_lib.flatten(exp_factory.get_exp_config(run.params.experiment))
  return {
    name: defaults.get(name) for name, value in run.settings.items() if defaults.get(name) != value
  }


def _label_facts(run: Any) -> tuple[contents.PseudoLabelFacts, int]:
  """Facts about the pseudo labels, and the number of human ones; writes `quality.json` where truth is known."""
  task, shown = run.params.task, run.task_report()
  pseudo, truth = task.pseudo_data, run.data.unlabelled_truth
  measured = None
  if truth and tf.io.gfile.exists(truth):
    measured = shown.measure_labels(pseudo.label_dir, truth)
    files.write_json(run.path('labels', QUALITY_FILE), measured)
  labelled = streams.match_files(task.train_data.input_path, 'task.train_data.input_path')
  return shown.facts(pseudo.label_dir, run.label_cuts(), labelled, measured)


def _validation_records(run: Any) -> Iterator[tf.Tensor]:
  field = 'task.validation_data.input_path'
  return iter(
    tf.data.TFRecordDataset(streams.match_files(run.params.task.validation_data.input_path, field))
  )


def _sheets(run: Any) -> Iterator[contents.Sheet]:
  params, count = run.params, run.params.report.num_pictures
  shown, pseudo = run.task_report(), params.task.pseudo_data
  images = streams.match_files(pseudo.input_path, 'task.pseudo_data.input_path')
  yield shown.pseudo_label_sheet(images, pseudo.label_dir, run.label_cuts(), count)
  models: dict[contents.Kind, tf.keras.Model] = {}
  compared: tuple[contents.Kind, ...] = ('teacher', 'student')
  for name in compared:
    models[name] = labelling.load_model(shown.task, run.checkpoint(name))
  yield shown.validation_sheet(itertools.islice(_validation_records(run), count), models)
