"""Tests for the steps of a preparation, without processes of their own."""

import hashlib
import io
import os
import pathlib
import tarfile
import unittest
from unittest import mock

import numpy as np

from official_selftrain.core import dataset_card, errors, keys
from official_selftrain.datasets import faults
from official_selftrain.datasets.preparation import (
  output_directory,
  parallel,
  plan,
  preparing,
  store,
  unpacking,
  work,
)
from official_selftrain.datasets.sources import image_sets, items
from tests.datasets.preparation import photos, preparing_case

LABELLED = preparing_case.LABELLED
UNLABELLED = preparing_case.UNLABELLED
VALIDATION = preparing_case.VALIDATION


class CheckTest(preparing_case.PreparingTestCase):
  def test_sets_classes_and_task_are_found(self):
    preparation = self.prepare()
    checked = preparation.check()
    self.assertEqual(
      {part: len(each.keys) for part, each in checked.sets.items()}, {LABELLED: 4, VALIDATION: 2}
    )
    self.assertEqual(checked.class_names, ('cat', 'dog'))
    self.assertEqual(checked.unused, ('dog',))
    self.assertEqual(checked.problems, ())
    self.assertEqual(checked.overlaps.pairs, ())
    self.assertEqual(preparation.task, items.Task.DETECTION)

  def test_validation_images_alone_have_classes_and_a_task(self):
    preparation = self.prepare(sources={VALIDATION: self.sources[VALIDATION]})
    checked = preparation.check()
    self.assertEqual(checked.class_names, ('cat', 'dog'))
    self.assertEqual(checked.unused, ())
    self.assertEqual(preparation.task, items.Task.DETECTION)

  def test_images_are_not_examined_again(self):
    self.check()
    with mock.patch.object(work, 'examine', side_effect=AssertionError):
      checked = self.check()
    self.assertEqual(len(checked.sets[LABELLED].keys), 4)

  def test_an_image_that_could_not_be_read_is_examined_again(self):
    lost = store.Finding((faults.Fault(faults.Kind.MISSING, 'stale handle'),), is_final=False)
    examine = work.examine
    with mock.patch.object(work, 'examine', lambda path, key: (key, lost)):
      self.assertEqual(self.check().sets, {})
    with mock.patch.object(work, 'examine', wraps=examine) as examined:
      self.assertEqual(len(self.check().sets[LABELLED].keys), 4)
    self.assertEqual(examined.call_count, 6)

  def test_only_images_that_have_changed_are_examined_again(self):
    self.check()
    photos.write(self.folder, {'train/b.jpg': photos.jpeg(77)})
    with mock.patch.object(work, 'examine', wraps=work.examine) as examine:
      preparation = self.prepare()
      preparation.check()
    seen = [preparation.store.entry(call.args[1]).item.image.name for call in examine.mock_calls]
    self.assertEqual(seen, ['b.jpg'])

  def test_an_edited_list_of_classes_changes_what_is_found_in_masks(self):
    mask = np.full([photos.HEIGHT, photos.WIDTH], 2, np.uint8)
    photos.write(
      self.folder,
      {'photos/a.jpg': photos.jpeg(0), 'masks/a.png': photos.png(mask), 'classes.txt': '1 cat\n'},
    )
    spec = f'masks:{self.folder}/photos,masks={self.folder}/masks,classes={self.folder}/classes.txt'
    checked = self.check(sources={LABELLED: spec})
    self.assertEqual(checked.problems, ('No image of --labelled is left: 0 of 1 can be used.',))
    photos.write(self.folder, {'classes.txt': '1 cat\n2 dog\n'})
    preparation = self.prepare(sources={LABELLED: spec})
    self.assertEqual(preparation.check().problems, ())
    (entry,) = preparation.store.entries()
    self.assertEqual(entry.finding.pixel_counts, ((2, photos.HEIGHT * photos.WIDTH),))

  def test_a_crash_loses_its_image_only(self):
    class _Crashing(photos._Here):
      def map(self, task, inputs):
        return (task.after_crash(key) if key == 2 else task.function(key) for key in inputs)

    with mock.patch.object(parallel, 'Workers', _Crashing):
      preparation = self.prepare()
      checked = preparation.check()
    self.assertEqual(len(checked.sets[LABELLED].keys), 3)
    expected = (faults.Fault(faults.Kind.CORRUPT, 'a decoder crashed on it'),)
    finding = preparation.store.entry(2).finding
    self.assertEqual((finding.faults, finding.is_final), (expected, False))
    self.assertEqual(len(self.check().sets[LABELLED].keys), 4)


class LeaksTest(preparing_case.PreparingTestCase):
  """Images a and b are copies of validation image v."""

  def setUp(self):
    super().setUp()
    photos.write(self.folder, {f'train/{name}.jpg': photos.jpeg(10) for name in 'ab'})

  def test_leaks_are_a_problem(self):
    (problem,) = self.check().problems
    self.assertRegex(
      problem,
      r'2 x a training image is, or looks like, a validation image; first a\.jpg \(labelled\) and v\.jpg\. '
      '--leaks=drop leaves them out of training, --leaks=allow keeps them',
    )

  def test_leaks_may_be_allowed(self):
    card = self.run_all(allowed=frozenset({faults.Kind.LEAK}))
    self.assertEqual(card.labelled.images, 4)

  def test_all_of_them_are_dropped(self):
    preparation = self.prepare(drops_leaks=True)
    checked = preparation.check()
    self.assertEqual(checked.problems, ())
    self.assertEqual(checked.overlaps.pairs, ())
    card = preparation.write(checked)
    self.assertEqual(card.labelled.images, 2)
    self.assertRegex(
      card.labelled.source, r': all, without 2 that are, or look like, validation images$'
    )
    self.assertEqual(sorted(self.records('labelled')), ['c.jpg', 'd.jpg'])
    self.assertEqual(card.validation.images, 2)

  def test_no_training_image_may_be_left(self):
    photos.write(self.folder, {f'train/{name}.jpg': photos.jpeg(11) for name in 'cd'})
    checked = self.check(drops_leaks=True)
    self.assertEqual(list(checked.sets), [VALIDATION])
    self.assertEqual(
      checked.problems,
      (
        'No image of --labelled is left: 4 of 4 can be used, and these are, or look like, validation images.',
      ),
    )


class UnlabelledTest(preparing_case.PreparingTestCase):
  """What is known of unlabelled images does not count."""

  def test_their_annotations_are_not_looked_at(self):
    self.annotate('more', 'xy', category=3)
    photos.write(
      self.folder, {f'more/{name}.jpg': photos.jpeg(n) for n, name in enumerate('xy', 20)}
    )
    # An XML file of x, a broken one of y, and none of z.
    box = '<object><name>emu</name><bndbox><xmin>0</xmin></bndbox></object>'
    photos.write(
      self.folder,
      {
        'voc/Annotations/x.xml': f'<annotation><size><height>1</height><width>2</width></size>{box}</annotation>',
        'voc/Annotations/y.xml': '<annotation>',
        **{f'voc/JPEGImages/{name}.jpg': photos.jpeg(n) for n, name in enumerate('xyz', 30)},
      },
    )
    for spec, names in (
      (f'coco:{self.folder}/more/all.json', 'xy'),
      (f'voc:{self.folder}/voc', 'xyz'),
    ):
      with self.subTest(spec=spec):
        card = self.run_all(sources={**self.sources, UNLABELLED: spec})
        self.assertCountEqual(self.records('unlabelled'), [f'{name}.jpg' for name in names])
        self.assertEqual((card.unlabelled.objects, card.unlabelled.faults), ({}, {}))

  def test_images_that_are_lost_are_told_of(self):
    photos.write(self.folder, {'more/x.jpg': b''})
    photos.write(self.folder, {'more/all.json': preparing_case.coco(['x.jpg', 'y.jpg'])})
    preparation = self.prepare(sources={UNLABELLED: f'coco:{self.folder}/more/all.json'})
    preparation.check()
    kinds = [each.finding.faults[0].kind for each in preparation.store.entries()]
    self.assertEqual(kinds, [faults.Kind.EMPTY, faults.Kind.MISSING])


class CompressedTarTest(preparing_case.PreparingTestCase):
  def setUp(self):
    super().setUp()
    self.archive = self.folder / 'photos.tgz'
    self.images = {f'{n}.jpg': photos.jpeg(40 + n) for n in range(3)}
    with tarfile.open(self.archive, 'w:gz') as archive:
      for name, content in self.images.items():
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    self.sources = {UNLABELLED: f'images:{self.archive}'}

  def test_images_are_read_from_a_copy_that_is_made_once(self):
    preparation = self.prepare()
    preparation.check()
    (path,) = {each.item.image.path for each in preparation.store.entries()}
    self.assertEqual(os.path.dirname(path), str(self.output / '.work'))
    with tarfile.open(path, 'r:') as copy:
      self.assertEqual(copy.getnames(), list(self.images))
    with mock.patch.object(unpacking.shutil, 'copyfileobj', side_effect=AssertionError):
      self.run_all()
    found = {name: each[keys.IMAGE_ENCODED] for name, each in self.records('unlabelled').items()}
    self.assertEqual(found, {name: [content] for name, content in self.images.items()})
    self.assertFalse(pathlib.Path(path).exists())

  def test_an_archive_that_is_not_compressed_is_read_where_it_is(self):
    plain = self.folder / 'photos.tar'
    with tarfile.open(plain, 'w') as archive:
      archive.add(self.folder / 'train', 'train')
    unpacker = unpacking.Unpacker(str(self.folder))
    found = list(image_sets.open_source(plain).items())
    self.assertEqual([unpacker.in_copy(each) for each in found], found)
    self.assertEqual(len(found), 4)

  def test_no_room_for_the_copy(self):
    full = OSError(28, 'No space left on device')
    with (
      mock.patch.object(unpacking.shutil, 'copyfileobj', side_effect=full),
      self.assertRaisesRegex(
        errors.DataError,
        r'photos\.tgz cannot be unpacked into .*data/\.work: no space left on device\. Make room there, or unpack',
      ),
    ):
      self.check()
    self.assertEqual(list(self.output.glob('.work/*.tar*')), [])

  def test_a_damaged_archive(self):
    content = self.archive.read_bytes()
    preparation = self.prepare()
    found = list(preparation._sources[UNLABELLED].items())
    self.archive.write_bytes(content[:-20])
    with self.assertRaisesRegex(
      errors.DataError, r'photos\.tgz cannot be unpacked .* Restore it\.$'
    ):
      preparation._unpacker.in_copy(found[0])
    self.assertEqual(list(self.output.glob('.work/*.tar*')), [])


class WriteTest(preparing_case.PreparingTestCase):
  def test_the_card_says_what_was_written(self):
    card = self.run_all(split=plan.SplitSettings(seed=4))
    self.assertEqual(card, dataset_card.read(self.output))
    self.assertEqual(card.task, 'detection')
    self.assertEqual(card.classes, ('cat', 'dog'))
    self.assertEqual(card.labelled.objects, {'cat': 4, 'dog': 0})
    self.assertEqual(card.labelled.height, (photos.HEIGHT,) * 3)
    self.assertEqual(card.labelled.source, f'{self.sources[LABELLED]}: all')
    self.assertIsNone(card.unlabelled)
    self.assertEqual(card.validation.annotation_file, 'validation.json')
    content = (self.output / 'validation.json').read_bytes()
    self.assertEqual(card.validation.annotation_digest, hashlib.sha256(content).hexdigest())
    self.assertEqual(card.labelled.annotation_digest, '')
    self.assertEqual(card.split['seed'], 4)
    self.assertEqual(card.versions, preparing.versions())
    self.assertFalse((self.output / '.work').exists())

  def test_versions_are_those_that_are_installed(self):
    found = preparing.versions()
    self.assertEqual(list(found), ['official-selftrain', 'tensorflow', 'pillow'])
    self.assertRegex(found['pillow'], r'^11\.')

  def test_files_of_an_earlier_preparation_are_removed(self):
    split = plan.SplitSettings(fraction=0.5, rest_is_unlabelled=True)
    self.run_all(split=split, images_per_file=1)
    self.assertEqual(len(list(self.output.glob('*.tfrecord'))), 6)
    self.assertTrue((self.output / output_directory.HELD_OUT_TRUTH).exists())
    self.run_all(sources={LABELLED: self.sources[LABELLED]})
    self.assertEqual(
      sorted(photos.contents(self.output)), ['dataset.json', 'labelled-00000-of-00001.tfrecord']
    )

  def test_an_image_that_changes_after_the_check_stops_the_run(self):
    preparation = self.prepare()
    checked = preparation.check()
    photos.write(self.folder, {'train/c.jpg': photos.jpeg(55)})
    with self.assertRaisesRegex(
      errors.DataError,
      r'labelled-00000-of-00001\.tfrecord cannot be written: .*c\.jpg has changed since it was examined\. Run the '
      'command again',
    ):
      preparation.write(checked)
    self.assertFalse((self.output / dataset_card.FILE_NAME).exists())
    self.assertEqual(list(self.output.glob('labelled-*')), [])

  def test_a_process_that_dies_while_it_writes_stops_the_run(self):
    class _Dying(photos._Here):
      def map(self, task, inputs):
        dies = task.after_crash is work.not_written
        return map(task.after_crash if dies else task.function, inputs)

    with mock.patch.object(parallel, 'Workers', _Dying):
      preparation = self.prepare()
    checked = preparation.check()
    with self.assertRaisesRegex(
      errors.DataError,
      r'tfrecord cannot be written: its process died, perhaps for want of memory',
    ):
      preparation.write(checked)

  def test_files_that_were_written_before_a_kill_are_not_written_again(self):
    split = plan.SplitSettings(seed=1)
    self.run_all(split=split, images_per_file=1)
    expected = photos.contents(self.output)

    def _killed(store_path, job):
      if 'labelled-00002' in job.path:
        raise InterruptedError
      return written(store_path, job)

    written = work.write
    preparation = self.prepare(split=split, images_per_file=1)
    with mock.patch.object(work, 'write', _killed), self.assertRaises(InterruptedError):
      preparation.write(preparation.check())
    preparation.close()
    with mock.patch.object(work, 'write', wraps=written) as write:
      self.run_all(split=split, images_per_file=1)
    self.assertEqual(
      [os.path.basename(call.args[1].path) for call in write.mock_calls],
      [
        'labelled-00002-of-00004.tfrecord',
        'labelled-00003-of-00004.tfrecord',
        'validation-00000-of-00002.tfrecord',
        'validation-00001-of-00002.tfrecord',
      ],
    )
    self.assertEqual(photos.contents(self.output), expected)

  def test_files_with_other_content_are_written_again_after_a_kill(self):
    preparation = self.prepare()
    checked = preparation.check()
    with (
      mock.patch.object(dataset_card, 'write', side_effect=InterruptedError),
      self.assertRaises(InterruptedError),
    ):
      preparation.write(checked)
    preparation.close()
    self.annotate('train', 'abcd', category=2)
    self.run_all()
    names = {each[keys.BOX_CLASS_NAME][0] for each in self.records('labelled').values()}
    self.assertEqual(names, {b'dog'})

  def test_an_output_that_is_a_file_is_refused(self):
    self.output.write_text('')
    with self.assertRaisesRegex(
      errors.DataError, 'data cannot be written: .*[Gg]ive another --output'
    ):
      self.prepare()


if __name__ == '__main__':
  unittest.main()
