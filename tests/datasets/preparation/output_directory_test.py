"""Tests for what a preparation may overwrite, and that one process at a time does."""

import unittest

from official_selftrain.core import dataset_card, errors
from official_selftrain.datasets.preparation import output_directory
from tests.datasets.preparation import photos, preparing_case

LABELLED = preparing_case.LABELLED
UNLABELLED = preparing_case.UNLABELLED
VALIDATION = preparing_case.VALIDATION


class OutputDirectoryTest(preparing_case.PreparingTestCase):
  def test_files_of_another_origin_are_not_lost(self):
    for name in (
      'validation.json',
      'held_out/unlabelled_truth.json',
      'labelled-00000-of-00001.tfrecord',
      'unlabelled-1-of-2.tfrecord',
      'dataset.json',
    ):
      with self.subTest(name=name):
        photos.write(self.output, {name: '{}'})
        with self.assertRaisesRegex(
          errors.DataError,
          f'data has files that no preparation has written, and this one would overwrite or delete: {name}. '
          'Give another --output, or move them elsewhere.$',
        ):
          self.prepare()
        self.assertEqual(photos.contents(self.output), {name: b'{}'})
        (self.output / name).unlink()

  def test_other_files_may_be_there(self):
    photos.write(self.output, {'notes.txt': 'mine', 'train-00000-of-00001.tfrecord': 'mine'})
    self.run_all()
    self.assertEqual((self.output / 'notes.txt').read_text(), 'mine')
    self.assertEqual((self.output / 'train-00000-of-00001.tfrecord').read_text(), 'mine')

  def test_files_of_a_preparation_that_was_killed_may_be_overwritten(self):
    preparation = self.prepare()
    preparation.check()
    photos.write(self.output, {'validation.json': 'half'})
    self.run_all()
    self.assertNotEqual((self.output / 'validation.json').read_text(), 'half')

  def test_what_is_prepared_is_not_overwritten(self):
    self.run_all()
    before = photos.contents(self.output)
    for part, source in (
      (VALIDATION, f'coco:{self.output}/validation.json,images={self.folder}/valid'),
      (VALIDATION, f'{self.output}/../data/validation.json'),
      (UNLABELLED, f'images:{self.output}/labelled-*.tfrecord'),
      (UNLABELLED, f'{self.output}/labelled-00000-of-00001.tfrecord'),
      (UNLABELLED, f'images:{self.output}/../**/labelled-*.tfrecord'),
    ):
      with (
        self.subTest(source=source),
        self.assertRaisesRegex(
          errors.DataError,
          f'^--{part.value}=.*: .* lies in --output, where it would be overwritten or deleted',
        ),
      ):
        self.prepare(sources={**self.sources, part: source})
    self.assertEqual(photos.contents(self.output), before)

  def test_remote_storage(self):
    with self.assertRaisesRegex(errors.ConfigError, '^--output=gs://data: .* a local path'):
      output_directory.check('gs://data', {})

  def test_one_preparation_at_a_time(self):
    first = self.prepare()
    self.last = None
    with self.assertRaisesRegex(
      errors.DataError,
      r'Another process \(process \d+ on \S+\) prepares data in .*data\. Wait until it has ended',
    ):
      self.prepare()
    first.close()
    self.assertEqual(self.run_all().labelled.images, 4)
    self.assertFalse((self.output / output_directory.WORK).exists())


class IsCardTest(preparing_case.PreparingTestCase):
  def test_a_card_is_told_from_other_files(self):
    self.assertFalse(dataset_card.is_card(self.folder))
    for content, expected in (
      ('{"format": "official_selftrain data card", "version": 99}', True),
      ('{"images": []}', False),
      ('[]', False),
      ('no JSON', False),
    ):
      photos.write(self.folder, {'dataset.json': content})
      self.assertIs(dataset_card.is_card(self.folder), expected)


if __name__ == '__main__':
  unittest.main()
