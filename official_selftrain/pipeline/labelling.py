"""The labels stage: the teacher's checkpoint over the unlabelled shards."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf
from official.core import config_definitions as cfg

from official_selftrain.checkpoints import restore
from official_selftrain.configs import self_training as st
from official_selftrain.core import config as config_lib
from official_selftrain.core import console, errors, files
from official_selftrain.pipeline import distribution, training
from official_selftrain.pseudo_labels import batches, cuts, formats, labeller, quality
from official_selftrain.pseudo_labels import manifest as manifest_lib
from official_selftrain.tasks import contract

# In the folder of a given teacher: which one was copied there.
_COPIED_FROM = 'copied_from.json'


def describe_checkpoint(path: str) -> dict[str, Any]:
  """Prefix, digest and step of a checkpoint, as `pseudo_labels.manifest.describe_teacher` gives them."""
  prefix = restore.find(path)
  return manifest_lib.describe_teacher(prefix, training.checkpoint_step(prefix))


def load_model(task: contract.TrainableTask, checkpoint: str) -> tf.keras.Model:
  """Builds the task's model with the weights of a checkpoint.

  Args:
    task: a Model Garden task.
    checkpoint: prefix or directory.

  Returns:
    The model, built and restored.

  Raises:
    DataError: the checkpoint does not hold this model.
  """
  model = task.build_model()
  task.make_variables(model)
  prefix = restore.find(checkpoint)
  console.note(f'loaded {prefix}: {restore.restore(model, prefix).text()}')
  return model


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
  """One job of labelling: images, teacher, settings.

  Attributes:
    task: config of the self-training task.
    labels: how labels are made.
    teacher: prefix of the teacher's checkpoint.
    images: unlabelled shards.
    output_dir: where label shards and manifest go.
    class_names: from id 1; empty if unknown.
    runtime: devices and precision.
    seed: of the run.
    left_out: why images get no labels, by id.
  """

  task: cfg.TaskConfig
  labels: st.Labelling
  teacher: str
  images: tuple[str, ...]
  output_dir: str
  runtime: cfg.RuntimeConfig
  class_names: tuple[str, ...] = ()
  seed: int = 0
  left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)


def run(request: Request) -> manifest_lib.Manifest:
  """Labels all shards that have no labels yet.

  Args:
    request: what to do.

  Returns:
    The manifest.
  """
  return _run(request, make_labeller(request))


def run_share(request: Request, worker: int, workers: int) -> None:
  """Labels the part of one of several workers, from 0; `run` then finds the shards of all and writes the manifest."""
  _run_share(request, make_labeller(request), worker, workers)


def run_together(request: Request) -> manifest_lib.Manifest | None:
  """Labels all shards with all workers of a run.

  Args:
    request: what to do.

  Returns:
    The manifest, which the chief writes; None for the others.
  """
  runtime = request.runtime
  workers = distribution.number_of_workers(runtime)
  distribution.meet(runtime)  # The chief has removed what no longer counts.
  teacher = make_labeller(request)
  if workers > 1:
    _run_share(request, teacher, distribution.index(runtime), workers)
    distribution.meet(runtime)
  return _run(request, teacher) if distribution.is_chief(runtime) else None


def _run(request: Request, teacher: labeller.Labeller) -> manifest_lib.Manifest:
  console.say(f'labels: {len(request.images)} shard(s) of unlabelled images')
  with _progress() as show:
    return teacher.run(request.images, request.output_dir, show)


def _run_share(request: Request, teacher: labeller.Labeller, worker: int, workers: int) -> None:
  number = len(request.images[worker::workers])
  console.say(
    f'labels: worker {worker + 1} of {workers}, {number} of {len(request.images)} shard(s)'
  )
  with _progress() as show:
    teacher.run_share(request.images, request.output_dir, worker, workers, show)


def make_labeller(request: Request) -> labeller.Labeller:
  """The teacher, with its weights, and all that it needs to label shards."""
  tf.keras.utils.set_random_seed(request.seed)
  labels = request.labels
  task = contract.make(request.task, class_names=request.class_names)
  strategy = distribution.strategy_of_process(request.runtime)
  with strategy.scope():
    model = load_model(task, request.teacher)
    # For other sizes of the image they make copies of the model.
    preprocess, predict = task.labelling_functions(model, labels)
  return labeller.Labeller(
    task.label_format(labels),
    preprocess,
    predict,
    manifest_lib.Provenance(
      teacher=describe_checkpoint(request.teacher),
      config={
        'task.model': _model_settings(request.task),
        'precision': request.runtime.mixed_precision_dtype,
        'labels': {name: getattr(labels, name) for name in labels.deciding()},
        **labels.reaching(request.task.model),
        **({'left_out': files.digest_of(request.left_out)} if request.left_out else {}),
      },
      class_names=request.class_names,
    ),
    batch_size=labels.batch_size,
    num_parallel_calls=batches.PARALLEL_BATCHES * strategy.num_replicas_in_sync,
    left_out=request.left_out,
    strategy=strategy,
  )


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[labeller.Progress], None]]:
  """Shows how far labelling is."""
  started = time.monotonic()
  with console.Progress('labels', total=100, unit='%') as bar:

    def show(state: labeller.Progress) -> None:
      if not state.images:
        return  # All shards were labelled before.
      done = 100 * state.bytes_done // max(state.bytes_total, 1)
      rate = state.images / max(time.monotonic() - started, 1e-9)
      values = {'images': state.images, 'images/s': rate}
      bar.update(done, **values, shards=f'{state.shards_done}/{state.shards_total}')

    yield show


def _model_settings(task: cfg.TaskConfig) -> dict[str, Any]:
  """Settings of the model that labels depend on, by dotted name."""
  unused = contract.setting_names(task).not_for_labels
  settings = config_lib.flatten(task.model)
  return {name: v for name, v in settings.items() if f'task.model.{name}' not in unused}


def gate(
  labels: st.Labelling,
  label_dir: str,
  label_format: formats.LabelFormat,
  label_cuts: cuts.Cuts,
) -> formats.Kept:
  """Raises GateError when too few pseudo labels survive the cut to train a student on; returns what survives."""
  manifest = manifest_lib.Manifest.load(label_dir)
  return quality.gate(manifest, label_format, label_cuts, **labels.gate())


def evaluate_given_teacher(job: training.Job, checkpoint: str) -> dict[str, float]:
  """Metrics of a teacher that was trained elsewhere: a model directory with its weights and nothing else.

  Where it has moving averages, these are the weights that are copied, and evaluation must not look for others.
  """
  params = job.params.replace()
  params.trainer.optimizer_config.ema = None
  job = dataclasses.replace(job, params=params)
  with distribution.chief_first(job.params.runtime):
    forget_other_copy(job.model_dir, checkpoint)
    if not tf.train.latest_checkpoint(job.model_dir):
      # First of all: a copy that is broken off is then known as one.
      files.write_json(os.path.join(job.model_dir, _COPIED_FROM), describe_checkpoint(checkpoint))
      _copy_weights(job, checkpoint)
  return training.run(job, 'eval')


def forget_other_copy(folder: str, checkpoint: str) -> None:
  """Empties the folder of a given teacher if it holds a copy of another one; makes it where there is none.

  Raises:
    StageChangedError: it has checkpoints that are no copy.
  """
  given = describe_checkpoint(checkpoint)
  inside = os.path.join(os.path.realpath(folder), '')
  if os.path.realpath(str(given['checkpoint'])).startswith(inside):
    return  # It lies there itself.
  path = os.path.join(folder, _COPIED_FROM)
  if os.path.exists(path):
    if files.read_json(path)['sha256'] != given['sha256']:
      files.remove(folder)
  elif tf.train.latest_checkpoint(folder):
    raise errors.StageChangedError(
      f'{folder} has checkpoints, and nothing says that they are copies of the given teacher, {checkpoint}. Move the '
      'folder elsewhere, or use another --model_dir.'
    )
  os.makedirs(folder, exist_ok=True)


def _copy_weights(job: training.Job, checkpoint: str) -> None:
  model = load_model(contract.make(job.params.task), checkpoint)
  step = training.checkpoint_step(restore.find(checkpoint))
  items = {
    **model.checkpoint_items,
    'model': model,
    'global_step': tf.Variable(step, dtype=tf.int64),
  }
  manager = tf.train.CheckpointManager(tf.train.Checkpoint(**items), job.model_dir, max_to_keep=1)
  manager.save(checkpoint_number=step)
