"""Input pipeline at 640 pixels: images per second of one core, from TFRecords to batches with targets of all anchors.

The two photographs of the benchmark `augmentation` (640 x 427 pixels, JPEG, seven boxes), in a file that is read again
and again. Ours is the whole pipeline of `retinanet_resnetfpn_supervised`: order of records, decoding, augmentation,
anchors and batches; the stock one is what the Model Garden's task builds for the same model and file, with the same
flips and jitter of sizes as Augment-S1. The floor under both reads the file and decodes the JPEG, and does nothing
else. Processor time of the process, with a new iterator for each round, since pipelines work ahead: a training gives
them several cores.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from official.core import exp_factory

from benchmarks import results, timing, workbench
from benchmarks.cases import augmentation
from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.configs import runs
from official_selftrain.core import keys
from official_selftrain.datasets import tf_examples
from official_selftrain.tasks import detection

NEEDS_WORKBENCH = True
_EXPERIMENT = 'retinanet_resnetfpn_supervised'
_BATCH = 8
_RECORDS = 64
_BATCHES = 24
_ROUNDS = 7


def run(bench: workbench.Workbench) -> list[results.Row]:
  """Measures."""
  folder = tempfile.mkdtemp(prefix='input-pipeline-')
  try:
    path = os.path.join(folder, 'photographs.tfrecord')
    _write(path)
    return _measure(path, bench.effort)
  finally:
    shutil.rmtree(folder, ignore_errors=True)


def _measure(path: str, effort: workbench.Effort) -> list[results.Row]:
  batches = effort.rounds(_BATCHES)
  pipelines = {
    'S1': _ours(path, 'S1'),
    'S4': _ours(path, 'S4'),
    'stock': _stock(path),
    'decoding': _decoding(path),
  }
  seconds = timing.interleave(
    {name: timing.cpu(_drain(each, batches)) for name, each in pipelines.items()},
    effort.rounds(_ROUNDS),
  )

  def row(text: str, ours: str, reference: str) -> results.Row:
    return results.compare(
      'input_pipeline',
      text,
      'images/s',
      seconds[ours],
      seconds[reference],
      figure=lambda value: batches * _BATCH / value,
    )

  return [
    row("S1, boxes, 640 px : Model Garden's pipeline", 'S1', 'stock'),
    row('S1, boxes, 640 px : reading and decoding', 'S1', 'decoding'),
    row('S4, boxes, 640 px : reading and decoding', 'S4', 'decoding'),
    row("Model Garden's pipeline : reading and decoding", 'stock', 'decoding'),
  ]


def _drain(dataset: tf.data.Dataset, batches: int) -> Callable[[], None]:
  """A function that takes so many batches from the beginning."""
  some = workbench.in_one_thread(dataset.take(batches))

  def work() -> None:
    for _ in some:
      pass

  return work


def _write(path: str) -> None:
  """A file of both photographs in turn."""
  records = []
  for number, photo in enumerate(augmentation.photographs()):
    boxes = photo[keys.GROUNDTRUTH_BOXES]
    height, width, _ = photo['image'].shape
    features = {
      **tf_examples.encoded_image_features(photo[keys.IMAGE_ENCODED], height, width, str(number)),
      **tf_examples.box_features(
        boxes,
        np.arange(1, len(boxes) + 1),
        np.zeros(len(boxes), np.int64),
        np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) * height * width,
      ),
    }
    records.append(tf_examples.serialize(features))
  tf_examples.write_shard(path, records * (_RECORDS // len(records)))


def _params(path: str) -> runs.SupervisedExperiment:
  params = exp_factory.get_exp_config(_EXPERIMENT)
  params.task.train_data.override(
    {
      'input_path': path,
      'global_batch_size': _BATCH,
      'dtype': 'float32',
      'shuffle_buffer_size': _RECORDS,
    }
  )
  return params


def _ours(path: str, policy: str) -> tf.data.Dataset:
  task = _params(path).task
  task.train_data.augmentation.policy = policy
  return detection.DetectionTask(task).build_inputs(task.train_data)


def _stock(path: str) -> tf.data.Dataset:
  params: Any = _params(path)
  params.task.train_data.parser.override(
    {'aug_rand_hflip': True, 'aug_scale_min': 0.8, 'aug_scale_max': 1.2}
  )
  task = workbench.stock_task(params, _BATCH)
  # It repeats before it shuffles, and would first fill a buffer of 10,000 records.
  task.task_config.train_data.shuffle_buffer_size = _RECORDS
  return task.build_inputs(task.task_config.train_data)


def _decoding(path: str) -> tf.data.Dataset:
  image = {keys.IMAGE_ENCODED: tf.io.FixedLenFeature([], tf.string)}

  def decode(record: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_jpeg(tf.io.parse_single_example(record, image)[keys.IMAGE_ENCODED], 3)

  return tf.data.TFRecordDataset(path).repeat().map(decode).batch(_BATCH)
