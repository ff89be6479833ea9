"""Tests for the data card."""

import dataclasses
import glob
import json
import pathlib
import tempfile
import unittest

from official_selftrain.core import dataset_card, errors

_PREPARE = r'Give a directory that `python -m official_selftrain\.datasets\.prepare` has written to its end\.'


def _set(name, annotation_file=''):
  return dataset_card.Set(
    pattern=f'{name}-*-of-00002.tfrecord',
    images=3,
    objects={'cat': 2, 'dog': 0},
    without_objects=1,
    height=(10, 15, 20),
    width=(30, 35, 40),
    files={f'{name}-0000{number}-of-00002.tfrecord': 'ab' * 32 for number in range(2)},
    source='voc:mine: all',
    annotation_file=annotation_file,
    faults={'cmyk': 1},
    object_sizes={'cat': (0.1, 0.25, 0.5)},
  )


_CARD = dataset_card.Card(
  task='detection',
  classes=('cat', 'dog'),
  labelled=_set('labelled'),
  unlabelled=None,
  validation=_set('validation', 'validation.json'),
  split={'seed': 3, 'fraction': 0.5},
  versions={'pillow': '11'},
)


class DatasetCardTest(unittest.TestCase):
  def setUp(self):
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix='a[1]*')))
    self.path = self.folder / 'dataset.json'

  def write(self, card=_CARD):
    dataset_card.write(card, self.folder)
    for each in card.sets().values():
      for name in filter(None, (*each.files, each.annotation_file)):
        (self.folder / name).touch()

  def change(self, **values):
    """Writes a card with other values in its JSON."""
    self.write()
    content = json.loads(self.path.read_text())
    self.path.write_text(json.dumps(content | values))

  def assert_refused(self, expected):
    with self.assertRaisesRegex(errors.DataError, expected):
      dataset_card.read(self.folder)

  def test_a_card_is_read_as_it_was_written(self):
    for task in dataset_card.TASKS:
      card = dataclasses.replace(_CARD, task=task)
      self.write(card)
      self.assertEqual(dataset_card.read(self.folder), card)

  def test_a_card_of_unlabelled_images_alone_is_read(self):
    unlabelled = dataclasses.replace(_set('unlabelled'), objects={}, without_objects=0)
    card = dataset_card.Card('none', (), None, unlabelled, None, {}, {})
    self.write(card)
    self.assertEqual(dataset_card.read(self.folder), card)

  def test_only_sets_that_are_there_are_named(self):
    self.assertEqual(_CARD.sets(), {'labelled': _CARD.labelled, 'validation': _CARD.validation})

  def test_the_file_says_what_it_is(self):
    self.write()
    content = json.loads(self.path.read_text())
    self.assertEqual(content['format'], 'official_selftrain data card')
    self.assertEqual(content['version'], 1)
    self.assertEqual(content['validation']['height'], [10, 15, 20])

  def test_patterns_match_the_files_of_the_set_in_any_folder(self):
    self.write()
    pattern = dataset_card.pattern_of(self.folder, _CARD.labelled)
    expected = [str(self.folder / name) for name in _CARD.labelled.files]
    self.assertEqual(sorted(glob.glob(pattern)), expected)

  def test_no_set_has_no_pattern(self):
    self.assertEqual(dataset_card.pattern_of(self.folder, None), '')

  def test_a_folder_without_a_card_is_refused(self):
    self.assert_refused(rf'has no dataset\.json\. {_PREPARE}')

  def test_remote_storage_is_refused_with_the_reason(self):
    with self.assertRaisesRegex(
      errors.DataError, '^gs://data: a prepared .* local folder or a mou'
    ):
      dataset_card.read('gs://data')

  def test_a_file_that_is_no_json_is_refused(self):
    for content in (b'{"format": ', b'\xff\xfe\xff'):
      self.path.write_bytes(content)
      self.assert_refused(rf'dataset\.json cannot be read: .*\. {_PREPARE}')

  def test_a_folder_in_its_place_is_refused(self):
    self.path.mkdir()
    self.assert_refused(r'dataset\.json cannot be read: .*directory')

  def test_other_json_is_refused(self):
    for content in ('[]', '{}', '{"format": "COCO"}'):
      self.path.write_text(content)
      self.assert_refused(rf'dataset\.json is no data card\. {_PREPARE}')

  def test_a_card_of_another_version_is_refused(self):
    self.change(version=2)
    self.assert_refused(
      r'is a data card of version 2; this program reads version 1\. Prepare the data again\.'
    )

  def test_damaged_cards_are_refused(self):
    labelled = dataclasses.asdict(_CARD.labelled)
    for values in (
      {'task': 'tracking'},
      {'classes': None},
      {'labelled': labelled | {'height': [1, 2]}},
      {'labelled': labelled | {'colour': 'red'}},
      {'labelled': {'height': [1, 2, 3], 'width': [1, 2, 3]}},
      {'labelled': 7},
    ):
      with self.subTest(values=values):
        self.change(**values)
        self.assert_refused(rf'dataset\.json is damaged: .*\. {_PREPARE}')

  def test_a_card_without_a_field_is_refused(self):
    self.write()
    content = json.loads(self.path.read_text())
    del content['split']
    self.path.write_text(json.dumps(content))
    self.assert_refused("is damaged: KeyError\\('split'\\)")

  def test_each_file_that_the_card_names_must_be_there(self):
    for name in ('labelled-00001-of-00002.tfrecord', 'validation.json'):
      with self.subTest(name=name):
        self.write()
        (self.folder / name).unlink()
        self.assert_refused(
          rf'{name} is missing, but the data card names it\. Restore it, or prepare the data again\.'
        )


if __name__ == '__main__':
  unittest.main()
