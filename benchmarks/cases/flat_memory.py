"""Resident memory while many small images are labelled, and while a student reads as many: it must not grow.

The embedded unlabelled images are written again and again under new ids, 100,000 in all. A process of its own labels
them as the labels stage does, reads them with their labels and those of people as a student's input, augmentation
included, and notes its resident memory every second. The first quarter of each phase is its warm-up: TensorFlow fills
its pools, and shuffle buffers fill. The figures are the slope of a straight line through the rest, and the greatest
difference from its mean. The curve is drawn into the cache folder.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks import results

NEEDS_WORKBENCH = True
_CASE = 'flat_memory'
_IMAGES, _FEW_IMAGES = 100_000, 600
_SHARDS = 20
_WARM_UP = 0.25
_PHASES = ('labelling', 'input')
_PROGRAM = (
  'import sys; from benchmarks.cases import flat_memory as m; m.measure(sys.argv[1], sys.argv[2])'
)
_MIB = 2**20
_PICTURE = 'flat_memory.svg'


def run(bench: Any) -> list[results.Row]:
  """Measures in a process of its own, which makes neither data nor teacher."""
  images = _IMAGES if bench.effort.scale else _FEW_IMAGES
  params = bench.params()
  with tempfile.TemporaryDirectory() as folder:
    settings = {
      'images': os.path.join(folder, 'images'),
      'labels': os.path.join(folder, 'labels'),
      'train': params.task.train_data.input_path,
      'teacher': bench.teacher,
    }
    _write_images(bench.unlabelled, images, settings['images'])
    curve = os.path.join(folder, 'curve.json')
    command = [sys.executable, '-c', _PROGRAM, json.dumps(settings), curve]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    with open(curve, encoding='utf-8') as file:
      found = {phase: np.array(rows) for phase, rows in json.load(file).items()}
  _draw(found, os.path.join(os.path.dirname(os.path.dirname(bench.teacher)), _PICTURE))
  return [row for phase in _PHASES for row in _rows(phase, found[phase])]


def _rows(phase: str, curve: np.ndarray) -> Iterator[results.Row]:
  """Rows for images and MiB [samples, 2]."""
  images, memory = curve[curve[:, 0] >= _WARM_UP * curve[-1, 0]].T
  slope = np.polyfit(images, memory, 1)[0] if len(set(images)) > 1 else 0.0
  per = f'{curve[-1, 0]:,.0f} images'
  yield results.Row(_CASE, f'{phase}: growth in {per}', 'MiB', slope * curve[-1, 0])
  yield results.Row(_CASE, f'{phase}: mean after warm-up', 'MiB', memory.mean())
  yield results.Row(_CASE, f'{phase}: most above the mean', 'MiB', memory.max() - memory.mean())


def _draw(found: dict[str, np.ndarray], path: str) -> None:
  import matplotlib

  matplotlib.use('svg')
  from matplotlib import pyplot

  figure, axes = pyplot.subplots(figsize=(7, 3))
  for phase in _PHASES:
    axes.plot(found[phase][:, 0], found[phase][:, 1], label=phase)
  axes.set(xlabel='images', ylabel='resident memory, MiB', ylim=(0, None))
  axes.legend()
  figure.tight_layout()
  figure.savefig(path, metadata={'Date': None})
  pyplot.close(figure)


def _write_images(shards: list[str], number: int, folder: str) -> None:
  """Writes so many records of these shards, in turns, with ids from 1, into `_SHARDS` new ones."""
  import tensorflow as tf

  os.makedirs(folder)
  originals = list(tf.data.TFRecordDataset(shards).as_numpy_iterator())
  for shard in range(_SHARDS):
    path = os.path.join(folder, f'images-{shard:05d}-of-{_SHARDS:05d}.tfrecord')
    with tf.io.TFRecordWriter(path) as writer:
      for index in range(shard, number, _SHARDS):
        example = tf.train.Example.FromString(originals[index % len(originals)])
        example.features.feature['image/source_id'].bytes_list.value[:] = [str(index + 1).encode()]
        writer.write(example.SerializeToString())


class _Sampler:
  """Notes images and resident memory every second.

  Attributes:
    images: how many have been seen; whoever sees them counts.
    curve: rows of images and MiB.
  """

  def __init__(self) -> None:
    self.images = 0
    self.curve: list[tuple[int, float]] = []
    self._ended = threading.Event()
    self._thread = threading.Thread(target=self._watch, daemon=True)

  def __enter__(self) -> '_Sampler':
    self._thread.start()
    return self

  def __exit__(self, *exception: object) -> None:
    self._ended.set()
    self._thread.join()
    self.curve.append((self.images, _resident()))

  def _watch(self) -> None:
    while not self._ended.wait(1.0):
      self.curve.append((self.images, _resident()))


def measure(settings: str, path: str) -> None:
  """Labels and reads, and writes images and MiB by phase as JSON.

  Args:
    settings: JSON with the folders `images` and `labels`, the pattern `train` and the checkpoint `teacher`.
    path: of the JSON file.
  """
  from official.core import exp_factory

  from benchmarks import workbench
  from official_selftrain.pipeline import labelling

  given = json.loads(settings)
  images = [os.path.join(given['images'], name) for name in sorted(os.listdir(given['images']))]
  params = exp_factory.get_exp_config(workbench.DETECTION)
  params.task.train_data.input_path = given['train']
  params.task.pseudo_data.input_path = os.path.join(given['images'], '*')
  params.task.pseudo_data.label_dir = given['labels']
  request = workbench.labelling_request(params, given['teacher'], images)
  curves = {}
  with _Sampler() as sampler:

    def note(progress: Any) -> None:
      sampler.images = progress.images

    labelling.make_labeller(request).run(images, given['labels'], note)
  curves['labelling'] = sampler.curve
  number = sampler.images
  task = workbench.self_training_task(params)
  each = params.task.pseudo_data.global_batch_size
  with _Sampler() as sampler:
    for _ in task.build_inputs(params.task.train_data):
      sampler.images += each
      if sampler.images >= number:
        break
  curves['input'] = sampler.curve
  with open(path, 'w', encoding='utf-8') as file:
    json.dump(curves, file)


def _resident() -> float:
  """Resident memory of this process in MiB."""
  with open('/proc/self/statm', encoding='ascii') as file:
    return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE') / _MIB
