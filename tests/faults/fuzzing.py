"""Damaged and hostile input for everything that reads files of strangers, or files that may be damaged.

`python -m tests.faults.fuzzing --inputs=20000` tries many more inputs than the tests do. The same seed makes the same
inputs. Only our own errors, whose text is written for users, may come out of a reader.
"""

import argparse
import collections
import dataclasses
import os
import pathlib
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from official_selftrain.checkpoints import foreign
from official_selftrain.core import errors, override_text
from official_selftrain.dataloaders import tfrecords
from official_selftrain.datasets.checks import images as image_checks
from official_selftrain.datasets.checks import masks as mask_checks
from official_selftrain.datasets.sources import spec
from official_selftrain.pipeline import ledger
from official_selftrain.pseudo_labels import (
  batches,
  calibration,
  corrections,
  manifest,
  shards,
)
from official_selftrain.pseudo_labels.importers import registry
from official_selftrain.pseudo_labels.reviewing import decisions
from official_selftrain.studies import definition
from tests.faults import inputs

_NAMES = ('cat', 'dog')
# What breaks parsers: limits of numbers, other types, other encodings, other syntax.
_TOKENS = (
  b'', b'0', b'-1', b'1e999', b'NaN', b'-Infinity', b'9' * 400, b'2147483648', b'18446744073709551616', b'null',
  b'true', b'[]', b'{}', b'""', b'"\\ud800"', b'\x00', b'\xff\xfe', b'\xef\xbb\xbf', b'<', b'>', b'&lt;', b'../../etc',
  b'/', b'\\', b',', b':', b'\n', b'\r\n', b'\t', b'- ', b'!!python/object/apply:os.system [true]', b'*a', b'&a',
  b'[' * 3000, b'{"a":' * 3000, b'<a>' * 3000, b'%s%n', b'<script>', '\u202e\u0663'.encode(), b'1_0', b'0x10', b'.inf',
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Target:
  """Something that reads bytes.

  Attributes:
    name: of the reader.
    inputs: whole inputs, which are then damaged.
    read: reads bytes; its second argument is a folder that it may write to.
  """

  name: str
  inputs: tuple[bytes, ...]
  read: Callable[[bytes, pathlib.Path], object]


@dataclasses.dataclass
class Outcome:
  """What a target did.

  Attributes:
    inputs: how many were tried.
    refused: how many it refused with an error for users.
    failures: tracebacks of other errors, by type and place, with an input that shows each.
  """

  inputs: int = 0
  refused: int = 0
  failures: dict[str, tuple[str, bytes]] = dataclasses.field(default_factory=dict)


def fuzz(target: Target, count: int, seed: int = 0) -> Outcome:
  """Reads each whole input, which must pass, and then damaged ones.

  Args:
    target: what reads.
    count: number of damaged inputs.
    seed: of the damage.
  """
  rng = np.random.default_rng(seed)
  outcome = Outcome()
  with tempfile.TemporaryDirectory() as folder:
    place = pathlib.Path(folder)
    for whole in target.inputs:
      target.read(whole, place)
    for _ in range(count):
      damaged = _damage(target.inputs, rng)
      outcome.inputs += 1
      try:
        target.read(damaged, place)
      except errors.SelfTrainError as error:
        assert str(error), f'{target.name}: an error without text for {damaged!r}'
        outcome.refused += 1
      except Exception as error:
        text = traceback.format_exc()
        last = traceback.extract_tb(error.__traceback__)[-1]
        key = f'{type(error).__name__} in {last.filename}:{last.lineno}'
        outcome.failures.setdefault(key, (text, damaged))
  return outcome


def _damage(whole: Sequence[bytes], rng: np.random.Generator) -> bytes:
  """One of the inputs after one to four mutations."""
  content = bytearray(whole[rng.integers(len(whole))])
  for _ in range(rng.integers(1, 5)):
    at = int(rng.integers(len(content) + 1))
    to = min(len(content), at + int(rng.geometric(0.1)))
    match int(rng.integers(7)):
      case 0:
        for place in range(at, min(to, at + 3)):
          content[place] ^= 1 << int(rng.integers(8))
      case 1:
        del content[at:to]
      case 2:
        content[at:at] = content[at:to] * int(rng.integers(1, 4))
      case 3 | 4:
        content[at:to] = _TOKENS[rng.integers(len(_TOKENS))]
      case 5:
        other = whole[rng.integers(len(whole))]
        content[at:to] = other[at : at + 40]
      case 6:
        del content[at:]
  return bytes(content)


def _with_file(name: str, read: Callable[[str], object]) -> Callable[[bytes, pathlib.Path], object]:
  """Reads bytes from a file of that name."""

  def _read(content: bytes, folder: pathlib.Path) -> object:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return read(str(path))

  return _read


def _set(
  form: str, damaged: str, path: str = '', **files: bytes
) -> Callable[[bytes, pathlib.Path], object]:
  """Opens a data set and goes through it.

  Args:
    form: its format.
    damaged: name of the file with the damaged bytes; images `a.jpg` and `b.jpg` are next to it.
    path: what is opened, below the folder.
    files: other files of the data set, `_` for `.` in their names.
  """

  def _read(content: bytes, folder: pathlib.Path) -> object:
    root = folder / form
    tree = {damaged: content, **{name.replace('_', '.'): each for name, each in files.items()}}
    images = 'images/' if form in ('yolo', 'open_images') else ''
    tree |= {f'{images}{name}.jpg': inputs.JPEG for name in 'ab'}
    for name, each in tree.items():
      (root / name).parent.mkdir(parents=True, exist_ok=True)
      (root / name).write_bytes(each)
    source = spec.open_spec(f'{form}:{root / path}', '--labelled', form != 'images')
    return list(source.items()), source.class_names, source.mask_values, source.notes

  return _read


def _labels(form: str, root: int = 0) -> Callable[[str], object]:
  """Reads labels of another program, and finds those of an image."""

  def _read(path: str) -> object:
    given = str(pathlib.Path(path).parents[root - 1]) if root else path
    found = registry.read(form, given, _NAMES, {})
    return found.find('a'), found.find('b.jpg'), found.num_images, found.examples(3)

  return _read


def _read_records(path: str) -> object:
  """As the labeller reads image shards: every position of the file, whatever is there."""
  counts: collections.Counter[str] = collections.Counter()
  for record in shards.iterate(path):
    if record.serialized is not None:
      try:
        batches.parse_image_record(tf.constant(record.serialized))
      except tf.errors.OpError as error:
        counts[type(error).__name__] += 1
  return counts


def _stage_record(path: str) -> object:
  return ledger.Ledger(str(pathlib.Path(path).parents[1])).read('teacher')


def _in_folder(read: Callable[[str], object]) -> Callable[[str], object]:
  return lambda path: read(os.path.dirname(path))


def _examine(content: bytes, folder: pathlib.Path) -> object:
  del folder
  return image_checks.examine(content, 'a.jpg')


def _check_mask(content: bytes, folder: pathlib.Path) -> object:
  del folder
  return mask_checks.check(content, 'a.png', 6, 8, {0: 0, 1: 1, 2: 2})


def _override(content: bytes, folder: pathlib.Path) -> object:
  del folder
  return override_text.parse_override(content.decode('utf-8', 'replace'))


TARGETS: Mapping[str, Target] = {
  target.name: target
  for target in (
    Target('image', inputs.PICTURES, _examine),
    Target('mask', (inputs.image('PNG', 'L'), inputs.image('PNG')), _check_mask),
    Target('coco', (inputs.as_json(inputs.COCO),), _set('coco', 'a.json', 'a.json')),
    Target('voc', (inputs.VOC,), _set('voc', 'a.xml')),
    Target('yolo', (inputs.YOLO_BOXES,), _set('yolo', 'labels/a.txt', data_yaml=inputs.YOLO_YAML)),
    Target(
      'yolo_yaml',
      (inputs.YOLO_YAML,),
      _set('yolo', 'data.yaml', **{'labels/a_txt': inputs.YOLO_BOXES}),
    ),
    Target('open_images', (inputs.OPEN_IMAGES,), _set('open_images', 'a.csv', 'a.csv')),
    Target('image_list', (b'a.jpg\nb.jpg\n',), _set('images', 'a.txt', 'a.txt')),
    Target(
      'zip',
      (inputs.archive(a_jpg=inputs.JPEG, b_png=inputs.image('PNG')),),
      _set('images', 'a.zip', 'a.zip'),
    ),
    Target('tfrecord', (inputs.tfrecord(),), _set('images', 'a.tfrecord', 'a.tfrecord')),
    Target('records', (inputs.tfrecord(),), _with_file('a.tfrecord', _read_records)),
    Target('count', (inputs.tfrecord(),), _with_file('a.tfrecord', tfrecords.count_records)),
    Target('labels_coco', (inputs.as_json(inputs.COCO),), _with_file('a.json', _labels('coco'))),
    Target(
      'labels_coco_results',
      (inputs.as_json([{'image_id': 'a', 'category_id': 1, 'bbox': [1, 1, 3, 2], 'score': 0.5}]),),
      _with_file('a.json', _labels('coco_results')),
    ),
    Target(
      'labels_yolo', (b'0 0.5 0.5 0.4 0.3 0.9\n',), _with_file('yolo/a.txt', _labels('yolo', 1))
    ),
    Target('labels_voc', (inputs.VOC,), _with_file('voc/a.xml', _labels('voc', 1))),
    Target('labels_cvat', (inputs.CVAT,), _with_file('a.xml', _labels('cvat'))),
    Target(
      'labels_label_studio',
      (inputs.as_json(inputs.LABEL_STUDIO),),
      _with_file('a.json', _labels('label_studio')),
    ),
    Target(
      'review', (inputs.as_json(inputs.REVIEW),), _with_file('review.json', decisions.read_review)
    ),
    Target('settings', (inputs.SETTINGS,), _with_file('a.yaml', override_text.read_override_file)),
    Target(
      'override', (b"task.train_data.input_path='a,b',trainer.train_steps=5,a.b=[1, 2]",), _override
    ),
    Target('study', (inputs.STUDY,), _with_file('a.yaml', definition.load)),
    Target(
      'stage_record',
      (inputs.as_json(inputs.RECORD),),
      _with_file('stages/teacher.json', _stage_record),
    ),
    Target(
      'manifest',
      (inputs.as_json(inputs.MANIFEST),),
      _with_file('manifest.json', _in_folder(manifest.Manifest.load)),
    ),
    Target(
      'marker',
      (inputs.as_json(inputs.MARKER),),
      _with_file('a.json', lambda path: manifest.read_marker(path[:-5])),
    ),
    Target(
      'corrections',
      (inputs.as_json(inputs.CORRECTIONS),),
      _with_file('corrections.json', _in_folder(corrections.load)),
    ),
    Target(
      'cuts', (inputs.as_json(inputs.CUTS),), _with_file('cuts.json', _in_folder(calibration.load))
    ),
    Target('npz', (inputs.npz(),), _with_file('a.npz', foreign.read_npz)),
  )
}


def main(arguments: Sequence[str] | None = None) -> int:
  """Prints what each target did; 1 if one of them failed."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--inputs', type=int, default=2000, help='damaged inputs per target')
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('targets', nargs='*')
  options = parser.parse_args(arguments)
  failed = False
  for name in options.targets or TARGETS:
    outcome = fuzz(TARGETS[name], options.inputs, options.seed)
    print(
      f'{name:20} {outcome.inputs:7} inputs {outcome.refused:7} refused {len(outcome.failures):3} failures'
    )
    for text, damaged in outcome.failures.values():
      failed = True
      print(text, damaged[:2000], sep='\n')
  return int(failed)


if __name__ == '__main__':
  sys.exit(main())
