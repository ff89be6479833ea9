"""Labelling: images per second of the whole labeller over those of the bare model call.

Ours is `Labeller.run` as the labels stage builds it: reading TFRecords, decoding JPEGs, preprocessing, the model with
NMS, encoding, and writing label shards with digests and markers. It is measured in steady state, from the end of the
first shard to the end of the last but one: at both moments the input pipeline is full, so no work is done before the
clock starts or left for after it stops. The reference is the same `tf.function` on batches of the same images that
are already in memory, called as often as there are batches in that window, waiting for each result as the labeller
must. So the ratio is the share of the time in which the model is busy; 1 is the ceiling unless input and model share
the processors, as they do on a CPU.

The teacher is trained on the embedded data: a random one scores everything below the threshold of NMS, which would
then cost nothing. For information there are the ratio with the input pipeline's start and end, the ratio to the model
without decoding and NMS, and the ratio for images resized to four times the pixels.
"""

import functools
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from benchmarks import results, timing, workbench
from official_selftrain.configs import runs, segmentation
from official_selftrain.ops import masks
from official_selftrain.pipeline import labelling
from official_selftrain.pseudo_labels import batches, labeller
from official_selftrain.pseudo_labels import manifest as manifest_lib

NEEDS_WORKBENCH = True
_TARGET = results.Target(at_least=0.95)
_RESIDENT_BATCHES = 8
_ROUNDS = 5
# Pixels of a network that takes four times as long.
_LARGER = 256
Inputs = Mapping[str, tf.Tensor]
Predict = Callable[[Inputs], Inputs]
Comparison = tuple[str, str, str, results.Target | None]


def run(bench: workbench.Workbench) -> list[results.Row]:
  """Measures."""
  comparisons = [
    ('labeller : model call with NMS', 'steady', 'model', _TARGET),
    ('same, with start and end', 'whole', 'model', None),
    ('labeller : model call without NMS', 'steady', 'bare', None),
  ]
  larger = f'labeller : model call with NMS, {_LARGER} pixels'
  params = bench.params()
  params.task.model.input_size = [_LARGER, _LARGER, 3]
  return [
    *_measure_boxes(bench, bench.params(), comparisons),
    *_measure_boxes(bench, params, [(larger, 'steady', 'model', None)]),
  ]


def _measure_boxes(
  bench: workbench.Workbench,
  params: runs.SelfTrainingExperiment,
  comparisons: Sequence[Comparison],
) -> list[results.Row]:
  """Measures with the trained teacher, whose weights fit every size of images."""
  task = workbench.self_training_task(params)
  model = labelling.load_model(task, bench.teacher)
  preprocess, predict = task.labelling_functions(model, params.labels)
  resident = resident_batches(bench, preprocess, params.labels.batch_size)
  detections = [predict(batch)['num_detections'].numpy().mean() for batch in resident]
  workbench.say(f'{np.mean(detections):.1f} detections per image')
  references = {'model': predict, 'bare': _without_nms(model)}
  return measure('labelling', bench, params, model, references, comparisons)


def run_segmentation(bench: workbench.Workbench) -> list[results.Row]:
  """Measures the same for segmentation, against the model at the same scales without encoding."""
  bench = bench.of(workbench.SEGMENTATION)
  params = bench.params()
  task = workbench.self_training_task(params)
  model = labelling.load_model(task, bench.teacher)

  def at(scales: Sequence[float]) -> Predict:
    @tf.function
    def probabilities(inputs: Inputs) -> Inputs:
      logits_of = lambda images: model(images, training=False)['logits']  # noqa: E731
      mean = masks.multi_scale_probabilities(logits_of, inputs['image'], scales, False, 32)
      # One number per image, or copying the probabilities would be measured, too.
      return {'mean': tf.reduce_mean(mean, [1, 2, 3])}

    return probabilities

  comparisons = [
    ('labeller : model call at its scales', 'steady', 'model', _TARGET),
    ('same, with start and end', 'whole', 'model', None),
  ]
  case = 'segmentation_labelling'
  rows = measure(case, bench, params, model, {'model': at(params.labels.scales)}, comparisons)
  return [*rows, _cost_of_scales(case, bench, params, model, at)]


def _cost_of_scales(
  case: str,
  bench: workbench.Workbench,
  params: runs.SelfTrainingExperiment,
  model: tf.keras.Model,
  at: Callable[[Sequence[float]], Predict],
) -> results.Row:
  """Seconds per image of the paper's six scales over those of one, with the number of pixels."""
  preprocess, _ = workbench.self_training_task(params).labelling_functions(model, params.labels)
  resident = resident_batches(bench, preprocess, params.labels.batch_size)
  timed = {
    name: timing.wall(functools.partial(_call, at(scales), resident, len(resident)))
    for name, scales in {'six': segmentation.SCALES, 'one': [1.0]}.items()
  }
  seconds = timing.interleave(timed, bench.effort.rounds(_ROUNDS))
  images = len(resident) * params.labels.batch_size
  area = sum(scale**2 for scale in segmentation.SCALES)
  text = f"the paper's six scales : scale 1 ({area:.2f} times the pixels)"
  return results.compare(
    case,
    text,
    'ms/image',
    seconds['six'],
    seconds['one'],
    figure=lambda value: 1e3 * value / images,
  )


def measure(
  case: str,
  bench: workbench.Workbench,
  params: runs.SelfTrainingExperiment,
  model: tf.keras.Model,
  references: Mapping[str, Predict],
  comparisons: Sequence[Comparison],
) -> list[results.Row]:
  """Times the labeller, as a whole and in steady state, and calls on batches in memory.

  Args:
    case: name of the case.
    bench: data.
    params: settings of task and labels.
    model: the teacher.
    references: calls on a batch of inputs, by name.
    comparisons: text, what is measured (`steady`, `whole` or a reference), the reference, and the target.

  Returns:
    One row for each comparison, in images per second.
  """
  task = workbench.self_training_task(params)
  preprocess, label = task.labelling_functions(model, params.labels)
  worker = labeller.Labeller(
    task.label_format(params.labels),
    preprocess,
    label,
    manifest_lib.Provenance(teacher=labelling.describe_checkpoint(bench.teacher)),
    batch_size=params.labels.batch_size,
  )
  clock = _Clock(worker, bench.unlabelled)
  clock.whole_run()
  resident = resident_batches(bench, preprocess, params.labels.batch_size)
  calls = max(1, clock.images // params.labels.batch_size)
  timed = {
    name: timing.wall(functools.partial(_call, predict, resident, calls))
    for name, predict in references.items()
  }
  seconds = timing.interleave(
    {'whole': clock.whole_run, 'steady': lambda: clock.steady, **timed},
    bench.effort.rounds(_ROUNDS),
  )
  images = {'whole': clock.all_images, 'steady': clock.images}
  per_image = {
    name: [value / images.get(name, calls * params.labels.batch_size) for value in values]
    for name, values in seconds.items()
  }
  return [
    results.compare(
      case,
      text,
      'images/s',
      per_image[ours],
      per_image[reference],
      figure=lambda value: 1 / value,
      target=target,
    )
    for text, ours, reference, target in comparisons
  ]


class _Clock:
  """Times runs of a labeller.

  Attributes:
    images: images of the steady window.
    all_images: images of a run.
    steady: seconds of the steady window of the last run.
  """

  def __init__(self, worker: labeller.Labeller, shards: list[str]):
    self._worker = worker
    self._shards = shards
    self.images = 0
    self.all_images = 0
    self.steady = 0.0

  def whole_run(self) -> float:
    """Labels everything into a new folder and returns the seconds."""
    ends: dict[int, tuple[float, int]] = {}

    def note(state: labeller.Progress) -> None:
      ends.setdefault(state.shards_done, (time.perf_counter(), state.images))

    with tempfile.TemporaryDirectory() as folder:
      began = time.perf_counter()
      self._worker.run(self._shards, os.path.join(folder, 'labels'), note)
      seconds = time.perf_counter() - began
    first, last = ends[1], ends[len(self._shards) - 1]
    self.steady = last[0] - first[0]
    self.images = last[1] - first[1]
    self.all_images = ends[len(self._shards)][1]
    return seconds


def resident_batches(
  bench: workbench.Workbench, preprocess: batches.PreprocessFn, size: int
) -> list[Inputs]:
  """Full batches of so many of the model's inputs, in memory."""
  reading = batches.ImageBatches(preprocess, size, batches.PARALLEL_BATCHES).read(bench.unlabelled)
  full = (
    item.features
    for item in reading
    if isinstance(item, batches.Batch) and len(item.records) == size
  )
  return list(itertools.islice(full, _RESIDENT_BATCHES))


def _call(predict: Callable[[Inputs], Inputs], resident: list[Inputs], calls: int) -> None:
  """Calls the model and waits for each result."""
  for batch in itertools.islice(itertools.cycle(resident), calls):
    tf.nest.map_structure(np.asarray, predict(batch))


def _without_nms(model: tf.keras.Model) -> Callable[[Inputs], Inputs]:
  """Backbone, decoder and head alone, in inference mode."""

  @tf.function
  def raw_outputs(inputs: Inputs) -> Inputs:
    features = model.backbone(inputs['image'])
    if model.decoder:
      features = model.decoder(features)
    classes, boxes, _ = model.head(features)
    return {'classes': classes, 'boxes': boxes}

  return raw_outputs
