"""Tests for the embedded data set on disk."""

import contextlib
import io
import pathlib
import tempfile
import threading
from collections.abc import Iterator
from unittest import mock

import numpy as np
import tensorflow as tf
from official.vision.dataloaders import tf_example_decoder
from pycocotools import coco

from official_selftrain.configs import datasets as dataset_configs
from official_selftrain.core import errors, files
from official_selftrain.datasets import digits, scenes

_SMALL = {
  'num_labelled': 3,
  'num_unlabelled': 5,
  'num_validation': 4,
  'num_shards': 2,
  'image_size': 64,
}


def _config(**changes) -> dataset_configs.Digits:
  return dataset_configs.Digits(**{**_SMALL, **changes})


def _records(pattern: str) -> list[bytes]:
  paths = sorted(tf.io.gfile.glob(pattern))
  return list(tf.data.TFRecordDataset(paths).as_numpy_iterator())


def _features(record: bytes):
  return tf.train.Example.FromString(record).features.feature


def _source_ids(pattern: str) -> list[int]:
  return [
    int(_features(record)['image/source_id'].bytes_list.value[0]) for record in _records(pattern)
  ]


def _contents(directory: str) -> dict[str, bytes]:
  root = pathlib.Path(directory)
  return {
    str(path.relative_to(root)): path.read_bytes()
    for path in root.rglob('*')
    if path.is_file() and path.suffix != '.tmp'
  }


def _load_coco(path: str) -> coco.COCO:
  with contextlib.redirect_stdout(io.StringIO()):
    return coco.COCO(path)


@contextlib.contextmanager
def _failing_after(count: int) -> Iterator[None]:
  """Lets the program die, as by Ctrl-C, after it has composed some scenes."""
  compose = scenes.compose
  left = iter(range(count))

  def composed_or_killed(*arguments):
    if next(left, None) is None:
      raise KeyboardInterrupt
    return compose(*arguments)

  with mock.patch.object(scenes, 'compose', composed_or_killed):
    yield


class DigitsTestCase(tf.test.TestCase):
  def new_directory(self) -> str:
    return self.enterContext(tempfile.TemporaryDirectory())


class PrepareTest(DigitsTestCase):
  def test_files_and_counts(self):
    root = self.new_directory()
    made = digits.prepare(_config(), root)
    self.assertEqual(made.train, f'{root}/train-*-of-00001.tfrecord')
    self.assertEqual(made.unlabelled, f'{root}/unlabelled-*-of-00002.tfrecord')
    self.assertEqual((made.num_labelled, made.num_unlabelled, made.num_validation), (3, 5, 4))
    self.assertEqual(made.num_classes, 11)
    self.assertEqual(made.class_names, ('background', *'0123456789'))
    self.assertEqual(_source_ids(made.train), [1, 2, 3])
    self.assertEqual(_source_ids(made.unlabelled), list(range(1_000_001, 1_000_006)))
    self.assertEqual(_source_ids(made.validation), list(range(2_000_001, 2_000_005)))
    shards = sorted(pathlib.Path(root).glob('unlabelled-*'))
    self.assertEqual([len(_records(str(shard))) for shard in shards], [2, 3])

  def test_same_settings_same_bytes(self):
    first, second = self.new_directory(), self.new_directory()
    digits.prepare(_config(), first)
    digits.prepare(_config(), second)
    self.assertEqual(_contents(first), _contents(second))
    other = self.new_directory()
    digits.prepare(_config(seed=1), other)
    name = 'train-00000-of-00001.tfrecord'
    self.assertNotEqual(_contents(first)[name], _contents(other)[name])

  def test_more_images_leave_the_first_ones_as_they_are(self):
    few = digits.prepare(_config(), self.new_directory())
    counts = {'num_labelled': 5, 'num_unlabelled': 9, 'num_validation': 6, 'num_shards': 3}
    many = digits.prepare(_config(**counts), self.new_directory())
    for pattern in ('train', 'unlabelled', 'validation'):
      expected = _records(getattr(few, pattern))
      self.assertEqual(_records(getattr(many, pattern))[: len(expected)], expected)

  def test_directory_with_wildcards_in_its_name(self):
    made = digits.prepare(_config(), self.new_directory() + '/a[0]*')
    self.assertLen(_records(made.train), 3)

  def test_invalid_settings_write_nothing(self):
    root = pathlib.Path(self.new_directory()) / 'data'
    with self.assertRaisesRegex(errors.ConfigError, r'dataset\.digits\.num_labelled is 0'):
      digits.prepare(_config(num_labelled=0), root)
    self.assertFalse(root.exists())

  def test_directory_that_cannot_be_made(self):
    path = pathlib.Path(self.new_directory()) / 'file'
    path.touch()
    with self.assertRaisesRegex(errors.DataError, f'The digits cannot be written to {path}: '):
      digits.prepare(_config(), path)


class RecordsTest(DigitsTestCase):
  def setUp(self):
    super().setUp()
    self.config = _config()
    self.made = digits.prepare(self.config, self.new_directory())

  def test_model_garden_decodes_what_was_composed(self):
    decoder = tf_example_decoder.TfExampleDecoder(include_mask=True)
    for split, pattern in (
      (scenes.Split.LABELLED, self.made.train),
      (scenes.Split.VALIDATION, self.made.validation),
    ):
      for index, record in enumerate(_records(pattern)):
        scene = scenes.compose(self.config, split, index)
        decoded = decoder.decode(tf.constant(record))
        self.assertAllEqual(decoded['groundtruth_boxes'] * 64, scene.instances.boxes)
        self.assertAllEqual(decoded['groundtruth_classes'], scene.instances.classes)
        self.assertAllEqual(decoded['groundtruth_area'], scene.instances.areas)
        self.assertAllEqual(decoded['groundtruth_instance_masks'], scene.instances.masks)
        self.assertFalse(np.any(decoded['groundtruth_is_crowd']))
        self.assertEqual((decoded['height'], decoded['width']), (64, 64))
        difference = np.abs(decoded['image'].numpy().astype(float) - scene.image)
        self.assertLess(difference.mean(), 8.0)

  def test_class_map_is_that_of_the_masks(self):
    for index, record in enumerate(_records(self.made.train)):
      png = _features(record)['image/segmentation/class/encoded'].bytes_list.value[0]
      scene = scenes.compose(self.config, scenes.Split.LABELLED, index)
      self.assertAllEqual(tf.io.decode_png(png)[..., 0], scene.instances.class_map())

  def test_unlabelled_records_carry_no_annotations(self):
    records = _records(self.made.unlabelled)
    self.assertLen(records, 5)
    for record in records:
      self.assertEqual(
        set(_features(record)),
        {'image/encoded', 'image/height', 'image/width', 'image/source_id'},
      )

  def test_validation_json_agrees_with_the_records(self):
    truth = _load_coco(self.made.annotation_file)
    self.assertEqual([truth.cats[k]['name'] for k in range(1, 11)], list('0123456789'))
    self.assertEqual(sorted(truth.imgs), _source_ids(self.made.validation))
    decoder = tf_example_decoder.TfExampleDecoder(include_mask=True)
    for record in _records(self.made.validation):
      decoded = decoder.decode(tf.constant(record))
      annotations = truth.imgToAnns[int(decoded['source_id'].numpy())]
      corners = [(y, x, y + h, x + w) for x, y, w, h in (each['bbox'] for each in annotations)]
      self.assertAllEqual(decoded['groundtruth_boxes'] * 64, corners)
      classes = [each['category_id'] for each in annotations]
      self.assertAllEqual(decoded['groundtruth_classes'], classes)
      self.assertAllEqual(decoded['groundtruth_area'], [each['area'] for each in annotations])
      masks = [truth.annToMask(each) for each in annotations]
      self.assertAllEqual(decoded['groundtruth_instance_masks'], masks)

  def test_held_out_truth_is_that_of_the_unlabelled_scenes(self):
    truth = _load_coco(self.made.unlabelled_truth)
    self.assertEqual(sorted(truth.imgs), _source_ids(self.made.unlabelled))
    for index, source_id in enumerate(sorted(truth.imgs)):
      instances = scenes.compose(self.config, scenes.Split.UNLABELLED, index).instances
      annotations = truth.imgToAnns[source_id]
      self.assertAllEqual([each['category_id'] for each in annotations], instances.classes)
      self.assertAllEqual([truth.annToMask(each) for each in annotations], instances.masks)


class ReuseTest(DigitsTestCase):
  def test_complete_data_is_not_made_again(self):
    root = self.new_directory()
    made = digits.prepare(_config(), root)
    with _failing_after(0):
      self.assertEqual(digits.prepare(_config(), root), made)

  def test_half_written_data_is_made_again(self):
    expected = self.new_directory()
    digits.prepare(_config(), expected)
    root = self.new_directory()
    for count in (1, 6, 11):
      with self.assertRaises(KeyboardInterrupt), _failing_after(count):
        digits.prepare(_config(), root)
      self.assertNotIn('dataset.json', _contents(root))
    digits.prepare(_config(), root)
    self.assertEqual(_contents(root), _contents(expected))

  def test_damaged_data_is_made_again(self):
    root = self.new_directory()
    digits.prepare(_config(), root)
    expected = _contents(root)
    damages = {
      'train-00000-of-00001.tfrecord': lambda path: path.write_bytes(path.read_bytes()[:-1]),
      'validation-00000-of-00001.tfrecord': lambda path: path.unlink(),
      'validation.json': lambda path: path.write_bytes(b'x' * path.stat().st_size),
    }
    for name, damage in damages.items():
      with self.subTest(name=name):
        damage(pathlib.Path(root) / name)
        digits.prepare(_config(), root)
        self.assertEqual(_contents(root), expected)

  def test_data_of_other_settings_is_refused(self):
    root = self.new_directory()
    digits.prepare(_config(), root)
    before = _contents(root)
    pattern = (
      r'holds digits of other settings: dataset\.digits\.num_labelled is 3 there and 7 here, '
      r'dataset\.digits\.seed is 0 there and 4 here\. Give another directory, or delete this one\.'
    )
    with self.assertRaisesRegex(errors.ConfigError, pattern):
      digits.prepare(_config(num_labelled=7, seed=4), root)
    self.assertEqual(_contents(root), before)

  def test_data_of_another_version_or_kind_is_refused(self):
    root = self.new_directory()
    marker = pathlib.Path(root) / 'dataset.json'
    digits.prepare(_config(), root)
    older = {**files.read_json(marker), 'version': 0}
    for content in (older, {'name': 'mine'}, ['mine']):
      files.write_json(marker, content)
      with self.assertRaisesRegex(errors.ConfigError, 'of another kind or of another version'):
        digits.prepare(_config(), root)
    marker.write_text('not JSON')
    with self.assertRaisesRegex(errors.ConfigError, 'of another kind or of another version'):
      digits.prepare(_config(), root)

  def test_two_at_a_time_make_it_once(self):
    root = self.new_directory()
    composed = []
    compose = scenes.compose

    def counted(*arguments):
      composed.append(arguments[1:])
      return compose(*arguments)

    with mock.patch.object(scenes, 'compose', counted):
      workers = [threading.Thread(target=digits.prepare, args=(_config(), root)) for _ in range(3)]
      for worker in workers:
        worker.start()
      for worker in workers:
        worker.join()
    self.assertLen(composed, 3 + 5 + 4)
    self.assertLen(set(composed), 3 + 5 + 4)


class DirectoryNameTest(DigitsTestCase):
  def test_name_depends_on_the_values_of_all_settings(self):
    name = digits.directory_name(_config())
    self.assertRegex(name, r'^digits-[0-9a-f]{8}$')
    self.assertEqual(digits.directory_name(_config(max_rotation=15)), name)
    changed = [{'seed': 1}, {'num_labelled': 4}, {'max_size': 63}, {'max_rotation': 14.0}]
    names = {digits.directory_name(_config(**change)) for change in changed}
    self.assertLen(names | {name}, 5)


class CommandLineTest(DigitsTestCase):
  def run_main(self, *arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
      status = digits.main([*(f'--{name}={value}' for name, value in _SMALL.items()), *arguments])
    return status, out.getvalue(), err.getvalue()

  def test_writes_data_and_sheet(self):
    root = self.new_directory()
    sheet = f'{root}/sheet.png'
    status, out, _ = self.run_main(f'--output={root}/data', f'--sheet={sheet}')
    self.assertEqual(status, 0)
    self.assertRegex(out, r'labelled +3 images  .*/train-\*-of-00001\.tfrecord')
    self.assertRegex(out, r'unlabelled +5 images  .*/unlabelled-\*-of-00002\.tfrecord')
    self.assertRegex(out, r'contact sheet: .*sheet\.png')
    image = tf.io.decode_png(tf.io.read_file(sheet))
    self.assertEqual(image.shape, (3 * (16 + 2 * 192), 8 * 192, 3))
    # The data is the one that the program makes from the same settings.
    with _failing_after(0):
      self.assertEqual(digits.prepare(_config(), f'{root}/data').num_labelled, 3)

  def test_errors_are_one_line_and_status_2(self):
    status, out, err = self.run_main(f'--output={self.new_directory()}', '--min_digits=6')
    self.assertEqual((status, out), (2, ''))
    self.assertEqual(
      err, 'error: dataset.digits.min_digits is 6; allowed are values from 1 to 5.\n'
    )


if __name__ == '__main__':
  tf.test.main()
