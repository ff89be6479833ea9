"""Preparing photographs of 640 x 480 pixels with COCO annotations: processor time of one process.

Writing the TFRecords of examined images is compared with the Model Garden's converter, which examines nothing, and with
plain reading and writing of the same bytes, the floor under both; each writes a new file every time, since it would
otherwise pay for freeing the one before. Examining stands alone: each image is decoded by
Pillow and by TensorFlow, its boxes are checked, and it is hashed for near-duplicates, upright and mirrored; decoding
alone, by both, is shown beside it.

Memory is the peak of processes of their own, the largest of each run, with few and with many images, all different, of
64 x 48 pixels: it is their number that must not matter.
"""

import dataclasses
import io
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np
import tensorflow as tf
from official.vision.data import create_coco_tf_record as stock
from official.vision.data import tfrecord_lib
from PIL import Image

from benchmarks import results, timing
from official_selftrain.datasets.preparation import plan, preparing, shards, store, work

NEEDS_WORKBENCH = False
IS_OF_ONE_SIZE = True

_HEIGHT, _WIDTH = 480, 640
_IMAGES, _ROUNDS = 200, 7
_FEW, _MANY = 1_000, 50_000
_SMALL_HEIGHT, _SMALL_WIDTH = 48, 64
_OBJECTS = 7
_CLASSES = ({'id': 1, 'name': 'cat'}, {'id': 2, 'name': 'dog'}, {'id': 3, 'name': 'owl'})
_BLOCK = 16
_QUALITY = 90
# `ru_maxrss` of a new process begins with the memory of the one that started it; VmHWM is its own.
_PEAK = """
import pathlib, re, sys, threading
from official_selftrain.datasets import prepare

def peak(process):
  try:
    status = pathlib.Path('/proc', process, 'status').read_text()
  except OSError:
    return 0
  found = re.search(r'VmHWM:\\s+(\\d+) kB', status)
  return int(found[1]) if found else 0

def watch():
  while not ended.wait(0.5):
    for path in pathlib.Path('/proc/self/task').glob('*/children'):
      peaks.extend(map(peak, path.read_text().split()))
    peaks[:] = [max(peaks)]

ended, peaks = threading.Event(), [0]
watcher = threading.Thread(target=watch)
watcher.start()
status = prepare.main(sys.argv[1:])
ended.set()
watcher.join()
print(max(peak('self'), *peaks))
sys.exit(status)
"""


def run(bench: Any) -> list[results.Row]:
  """Measures; `bench` is not used."""
  del bench
  folder = tempfile.mkdtemp(prefix='preparation-')
  try:
    return [*_speed(folder), _memory(folder)]
  finally:
    shutil.rmtree(folder, ignore_errors=True)


def _speed(folder: str) -> list[results.Row]:
  """Images per second."""
  annotations = _write_tree(os.path.join(folder, 'tree'), _IMAGES, _HEIGHT, _WIDTH)
  sources = {store.Part.LABELLED: f'coco:{annotations}'}
  output = os.path.join(folder, 'out')
  preparation = preparing.Preparation(preparing.Settings(sources, output, images_per_file=_IMAGES))
  try:
    checked = preparation.check()
    assert not checked.problems, checked.problems
    (labelled,) = checked.sets.values()
    (job,) = plan.jobs(preparation.store, labelled, output, _IMAGES, False)
    keys = [place.key for place in job.places]
    path = preparation.store_path
    new_files = (os.path.join(folder, f'file-{number}') for number in itertools.count())
    contenders = {
      'write': lambda: _write(path, dataclasses.replace(job, path=next(new_files))),
      'stock': lambda: _stock(annotations, next(new_files)),
      'plain': lambda: _plain(annotations, next(new_files)),
      'examine': lambda: [work.examine(path, key) for key in keys],
      'decode': lambda: _decode(annotations),
    }
    seconds = timing.interleave(
      {name: timing.cpu(contender) for name, contender in contenders.items()}, _ROUNDS
    )
  finally:
    preparation.close()

  def row(name: str, ours: str, reference: str, target: results.Target | None) -> results.Row:
    return results.compare(
      'preparation',
      name,
      'images/s',
      seconds[ours],
      seconds[reference],
      figure=lambda value: _IMAGES / value,
      target=target,
    )

  at_least = results.Target(at_least=100.0)
  return [
    row("write : Model Garden's converter", 'write', 'stock', results.Target(at_least=2.0)),
    row('write : plain reading and writing', 'write', 'plain', results.Target(at_least=0.5)),
    results.Row(
      'preparation',
      'examine, with hashes for near-duplicates',
      'images/s',
      ours=_IMAGES / results.median(seconds['examine']),
      target=at_least,
    ),
    row('examine : decoding by Pillow and TensorFlow', 'examine', 'decode', None),
  ]


def _write(store_path: str, job: shards.Job) -> None:
  written = work.write(store_path, job)
  assert not written.fault, written.fault


def _stock(annotations: str, prefix: str) -> None:
  """As `create_coco_tf_record` does it, in one process."""
  images = stock._load_images_info(annotations)
  objects, names = stock._load_object_annotations(annotations)
  entries = stock.generate_annotations(
    images=images,
    image_dirs=[os.path.dirname(annotations)],
    img_to_obj_annotation=objects,
    id_to_name_map=names,
  )
  skipped = tfrecord_lib.write_tf_record_dataset(
    prefix, entries, stock.create_tf_example, 1, multiple_processes=0
  )
  assert not skipped, skipped


def _plain(annotations: str, path: str) -> None:
  with tf.io.TFRecordWriter(path) as writer:
    for file in _files(annotations):
      writer.write(file.read_bytes())


def _decode(annotations: str) -> None:
  for file in _files(annotations):
    content = file.read_bytes()
    Image.open(io.BytesIO(content)).load()
    tf.io.decode_image(content, expand_animations=False)


def _files(annotations: str) -> list[pathlib.Path]:
  return sorted(pathlib.Path(annotations).parent.glob('*.jpg'))


def _memory(folder: str) -> results.Row:
  """Peak memory of one process, in MB: many images over few."""
  peaks = []
  for count in (_MANY, _FEW):
    tree = os.path.join(folder, f'tree-{count}')
    annotations = _write_tree(tree, count, _SMALL_HEIGHT, _SMALL_WIDTH)
    output = os.path.join(folder, f'out-{count}')
    flags = [f'--labelled=coco:{annotations}', f'--output={output}', '--processes=1']
    done = subprocess.run(
      [sys.executable, '-c', _PEAK, *flags], capture_output=True, text=True, check=True
    )
    peaks.append(int(done.stdout.split()[-1]) / 1024)
    shutil.rmtree(output)
  return results.Row(
    'preparation',
    f'peak memory, {_MANY} images : {_FEW}',
    'MB',
    ours=peaks[0],
    reference=peaks[1],
    target=None,
  )


def _write_tree(folder: str, count: int, height: int, width: int) -> str:
  """Writes photographs of this size in pixels and COCO annotations; returns the path of these."""
  os.makedirs(folder)
  rng = np.random.default_rng(count)
  side = height // 6
  images, annotations = [], []
  for number in range(1, count + 1):
    path = os.path.join(folder, f'{number:06d}.jpg')
    _photograph(rng, height, width).save(path, quality=_QUALITY)
    images.append(
      {'id': number, 'file_name': os.path.basename(path), 'width': width, 'height': height}
    )
    for _ in range(_OBJECTS):
      x, y = (int(rng.integers(0, edge - side)) for edge in (width, height))
      entry: dict[str, Any] = {'id': len(annotations) + 1, 'image_id': number}
      entry |= {'category_id': int(rng.integers(1, 4)), 'bbox': [x, y, side, side]}
      annotations.append(entry | {'area': side * side, 'iscrowd': 0})
  content = {'images': images, 'annotations': annotations, 'categories': _CLASSES}
  place = pathlib.Path(folder, 'instances.json')
  place.write_text(json.dumps(content))
  return str(place)


def _photograph(rng: np.random.Generator, height: int, width: int) -> Image.Image:
  """Smooth areas with some noise; as a JPEG of 640 x 480 pixels about 90 kB, like a photograph."""
  coarse = rng.integers(0, 256, [height // _BLOCK, width // _BLOCK, 3]).astype(np.uint8)
  smooth = np.asarray(Image.fromarray(coarse).resize((width, height)), np.int16)
  noise = rng.normal(0.0, 8.0, [height, width, 1])
  return Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))
