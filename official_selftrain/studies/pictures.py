"""Pictures of a study: the classes that gain least and most from self-training."""

import os
import statistics
from collections.abc import Iterator

import tensorflow as tf

from official_selftrain.configs import runs
from official_selftrain.dataloaders import tfrecords
from official_selftrain.pipeline import data, labelling, ledger
from official_selftrain.presentation import base as presentations
from official_selftrain.report import contents, study_contents
from official_selftrain.studies import cells, definition, places
from official_selftrain.tasks import contract

# Images of each class, of the first so many validation images.
_COUNT, _LOOKED_AT = 3, 500


def extreme_classes(facts: study_contents.StudyFacts) -> tuple[str, str] | None:
  """The classes that gain least and most from self-training, over all runs; None where that is not known."""
  gains: dict[str, list[float]] = {}
  for result in facts.done:
    for name, ours in result.per_class.get('student', {}).items():
      gain = contents.difference(ours, result.per_class.get(facts.baseline, {}).get(name))
      if gain is not None:
        gains.setdefault(name, []).append(gain)
  means = {name: statistics.fmean(values) for name, values in gains.items()}
  if len(means) < 2:
    return None
  return min(means, key=means.__getitem__), max(means, key=means.__getitem__)


def sheets(
  study: definition.Study, facts: study_contents.StudyFacts, where: places.Places
) -> Iterator[contents.Sheet]:
  """Validation images with these classes, from the run whose student is best; none where its models are elsewhere."""
  classes = extreme_classes(facts)
  here = [
    r
    for r in facts.done
    if 'student' in r.metrics and cells.is_done(study, study.cell(r.name), where)
  ]
  if classes is None or not here:
    return
  best = max(here, key=lambda result: result.metrics['student'])
  params = cells.load(study, study.cell(best.name), where).replace()
  model_dir = where.run(best.name)
  found = data.make(params, data.locate(params, model_dir))
  task = contract.make(params.task, class_names=found.class_names)
  shown = presentations.PRESENTATIONS.lookup(params.task)(
    task, task.label_format(params.labels), found.class_names
  )
  models: dict[contents.Kind, tf.keras.Model] = {
    'student': labelling.load_model(task, _checkpoint(model_dir, where.model(best.name, 'student')))
  }
  if 'teacher' in best.metrics:
    teacher = _checkpoint(model_dir, where.model(best.name, 'teacher'))
    models = {'teacher': labelling.load_model(task, teacher), **models}
  for name, words in zip(classes, ('least', 'most'), strict=True):
    sheet = shown.validation_sheet(_records(params, shown, name), models)
    title = f'The class that gains {words} from self-training: {name}'
    yield contents.Sheet(
      title, f'From {best.name}. {sheet.explanation}', sheet.columns, sheet.tiles, sheet.legend
    )


def _records(
  params: runs.SelfTrainingExperiment, shown: presentations.Presentation, name: str
) -> list[tf.Tensor]:
  """The first validation records that have a class."""
  paths = tfrecords.match_files(
    params.task.validation_data.input_path, 'task.validation_data.input_path'
  )
  records = []
  for record in tf.data.TFRecordDataset(paths).take(_LOOKED_AT):
    if name in shown.classes_in(record):
      records.append(record)
      if len(records) == _COUNT:
        break
  return records


def _checkpoint(model_dir: str, folder: str) -> str:
  """The checkpoint of a model of a run, given its folder, whose name is that of its stage."""
  stage = os.path.basename(folder)
  return os.path.join(model_dir, ledger.Ledger(model_dir).result(stage)['checkpoint'])
