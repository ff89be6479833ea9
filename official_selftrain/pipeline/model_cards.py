"""Gathers the facts for the card of an exported model."""

import os
from collections.abc import Sequence
from typing import Any

from official.core import config_definitions as cfg
from official.modeling import hyperparams

from official_selftrain.checkpoints import restore
from official_selftrain.configs import segmentation
from official_selftrain.core import dataset_card, errors, files
from official_selftrain.pipeline import selftrain_graph, training
from official_selftrain.pseudo_labels import manifest
from official_selftrain.report import model_card
from official_selftrain.serving import agreement as agreement_lib
from official_selftrain.serving import targets


def write(
  params: cfg.ExperimentConfig,
  name: str,
  checkpoint: str,
  class_names: Sequence[str],
  run_dir: str,
  directory: str,
  target: targets.Target,
  agreement: agreement_lib.Agreement | None,
) -> None:
  """Writes the card of a model into the folder of its export.

  Args:
    params: the experiment.
    name: of the model.
    checkpoint: its prefix, or its directory.
    class_names: from class 1 on.
    run_dir: run directory, whose report the card quotes if there is one; '' for weights that it is not about.
    directory: of the export.
    target: of the export.
    agreement: of the export with the model, if they were compared.
  """
  path = os.path.join(run_dir, 'report.json')
  report = files.read_json(path) if run_dir and os.path.exists(path) else None
  prefix = restore.find(checkpoint)
  model = model_card.Model(
    name=name,
    experiment=params.experiment,
    task=params.task.data_kind,
    network=_network(params.task.model),
    input_size=_input_size(params.task),
    class_names=list(class_names),
    seed=getattr(params, 'seed', 0),
    step=training.checkpoint_step(prefix),
    weights_sha256=str(manifest.describe_teacher(prefix, 0)['sha256']),
    is_taught_online=_is_taught_online(params, name),
    versions=manifest.software_versions(),
    data=_data(params, name),
    format=target.format,
    is_for_predict=target == targets.Target(batch_size=target.batch_size),
    checked=agreement.sentence() if agreement else '',
  )
  model_card.write(model_card.build(model, report), directory)


def _is_taught_online(params: cfg.ExperimentConfig, name: str) -> bool:
  settings = getattr(params.task, 'self_training', None)
  is_student = name.startswith(selftrain_graph.STUDENT)
  return bool(is_student and settings is not None and settings.online_teacher.enabled)


def _input_size(task: cfg.TaskConfig) -> list[int]:
  """Of the images that the network sees in the export: those of evaluation."""
  if isinstance(task, segmentation.SegmentationTask):
    return [*segmentation.image_size(task.validation_data, task.model), 3]
  return list(task.model.input_size)


def _network(model: hyperparams.Config) -> str:
  if model.family == 'keras_cv' and hasattr(model, 'keras_cv'):
    chosen = model.keras_cv
    parts = [f'backbone {chosen.backbone} {chosen.preset}'.strip(), f'decoder {model.decoder.type}']
    return f'keras_cv, {", ".join(parts)}'
  parts = []
  for kind in ('backbone', 'decoder'):
    chosen = getattr(model, kind)
    settings = chosen.get()
    number = getattr(settings, 'model_id', '') if settings is not None else ''
    parts.append(f'{kind} {chosen.type} {number}'.strip())
  return f'{model.family}, {", ".join(parts)}'


def _data(params: cfg.ExperimentConfig, name: str) -> dict[str, Any]:
  """The data set in words, with the digests of its files where a data card has them."""
  # The settings of a single model of a run do not name its data set.
  directory = params.dataset.card if hasattr(params, 'dataset') else ''
  path = params.task.train_data.input_path
  if name == selftrain_graph.CEILING:
    directory, path = params.ceiling.card, params.ceiling.input_path
  try:
    card = dataset_card.read(directory) if directory else None
  except errors.DataError:
    card = None  # The data have been moved since.
  if card is None:
    where = f'files {path}' if path else 'the embedded data set'
    return {'words': f'{where[0].upper()}{where[1:]}.', 'files': {}}
  sets = card.sets()
  learned = ['labelled', 'unlabelled'] if name.startswith(selftrain_graph.STUDENT) else ['labelled']
  sets = {each: sets[each] for each in (*learned, 'validation') if each in sets}
  share = 1.0 if name == selftrain_graph.CEILING else params.task.train_data.fraction
  counts = ', '.join(
    f'{found.images:,} {each}'
    + (f' ({share:.0%} of them)' if each == 'labelled' and share < 1 else '')
    for each, found in sets.items()
    if each != 'validation'
  )
  measured = f' Measured on {sets["validation"].images:,} others.' if 'validation' in sets else ''
  sources = ' '.join(f'{each.capitalize()}: {found.source}.' for each, found in sets.items())
  digests = {file: digest for found in sets.values() for file, digest in found.files.items()}
  return {'words': f'Images: {counts}.{measured} {sources}', 'files': digests}
