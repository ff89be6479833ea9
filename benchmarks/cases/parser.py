"""Parser: processor time per image of our training parser over the Model Garden's `retinanet_input.Parser`.

Both get the same decoded images and boxes from memory, do the same work (random resize and crop between the same
limits, normalisation, anchors and targets), and run in a `Dataset.map` that is not parallel. Processor time and not
wall time, because a pipeline runs many calls at once. Ours also derives the example's seed, as in the pipeline.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from official.vision.dataloaders import retinanet_input

from benchmarks import results, timing, workbench
from official_selftrain.core import keys
from official_selftrain.dataloaders import detection as parsing
from official_selftrain.dataloaders import tfrecords

NEEDS_WORKBENCH = True
_IMAGES = 64
_REPEATS = 4
_ROUNDS = 9


def run(bench: workbench.Workbench) -> list[results.Row]:
  """Measures."""
  params = bench.params()
  model, stream = params.task.model, params.task.train_data
  parser = parsing.TrainingParser(model, stream)
  stock = retinanet_input.Parser(
    output_size=model.input_size[:2],
    min_level=model.min_level,
    max_level=model.max_level,
    num_scales=model.anchor.num_scales,
    aspect_ratios=model.anchor.aspect_ratios,
    anchor_size=model.anchor.anchor_size,
    dtype=stream.dtype,
    match_threshold=stream.parser.match_threshold,
    unmatched_threshold=stream.parser.unmatched_threshold,
    aug_rand_hflip=stream.parser.aug_rand_hflip,
    aug_scale_min=stream.parser.aug_scale_min,
    aug_scale_max=stream.parser.aug_scale_max,
    skip_crowd_during_training=stream.parser.skip_crowd_during_training,
    max_num_instances=stream.parser.max_num_instances,
  ).parse_fn(is_training=True)
  decoded = _decoded(stream)
  images = _REPEATS * min(_IMAGES, params.dataset.digits.num_labelled)
  ours = decoded.map(
    lambda i, example: parser({**example, keys.SEED: tfrecords.example_seed(0, i)})
  )
  theirs = decoded.map(lambda _, example: stock(example))
  seconds = timing.interleave(
    {'ours': timing.cpu(_drain(ours)), 'stock': timing.cpu(_drain(theirs))},
    bench.effort.rounds(_ROUNDS),
  )
  return [
    results.compare(
      'parser',
      'our parser : stock parser, processor time',
      'ms/image',
      seconds['ours'],
      seconds['stock'],
      figure=lambda value: 1000 * value / images,
    )
  ]


def _decoded(stream: Any) -> tf.data.Dataset:
  """Numbered decoded examples from memory, several times over."""
  files = tfrecords.match_files(stream.input_path, 'task.train_data.input_path')
  decode = parsing.build_decoder(stream).decode
  dataset = tf.data.TFRecordDataset(files).take(_IMAGES).map(decode).enumerate().cache()
  return dataset.repeat(_REPEATS)


def _drain(dataset: tf.data.Dataset) -> Callable[[], int]:
  """A function that computes every element and throws it away."""
  return lambda: int(dataset.reduce(0, lambda count, *_: count + 1))
