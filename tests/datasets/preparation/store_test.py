"""Tests for the store of images that a preparation works on."""

import os
import pathlib
import sqlite3
import tempfile
import unittest
from unittest import mock

from official_selftrain.core import errors
from official_selftrain.datasets import faults
from official_selftrain.datasets.preparation import store
from official_selftrain.datasets.sources import items
from tests.datasets.preparation import examined

LABELLED, UNLABELLED = store.Part.LABELLED, store.Part.UNLABELLED


class StoreTestCase(unittest.TestCase):
  """Each test has a folder with an empty store."""

  def setUp(self):
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    self.path = self.folder / 'images.sqlite'
    self.store = store.Store(self.path)
    self.addCleanup(self.store.close)

  def names(self, part=None, is_good=None):
    return [each.item.image.name for each in self.store.entries(part, is_good)]

  def reopen(self):
    self.store.close()
    self.store = store.Store(self.path)
    self.addCleanup(self.store.close)


class AddTest(StoreTestCase):
  def test_entries_by_their_numbers(self):
    keys = examined.fill(
      self.store, store.Part.LABELLED, {f'{n:04d}': examined.good() for n in range(450)}
    )
    chosen = [keys[f'{n:04d}'] for n in (449, 3, 200, 3)] + list(keys.values())
    found = list(self.store.entries_of(chosen))
    self.assertEqual([entry.key for entry in found], chosen)
    self.assertEqual(found[0], self.store.entry(chosen[0]))
    self.assertEqual(found[0].item.image.name, '0449')

  def test_images_come_set_after_set_in_the_order_of_their_names(self):
    counts = examined.add(self.store, UNLABELLED, examined.item('c'), examined.item('a'))
    self.assertEqual(counts, [1, 2])
    examined.add(self.store, LABELLED, examined.item('b', boxes=(examined.box(),)))
    found = [(each.part, each.item.image.name) for each in self.store.entries()]
    self.assertEqual(found, [(LABELLED, 'b'), (UNLABELLED, 'a'), (UNLABELLED, 'c')])
    self.assertEqual(self.names(UNLABELLED), ['a', 'c'])
    (entry,) = self.store.entries(LABELLED)
    self.assertEqual(entry.item, examined.item('b', boxes=(examined.box(),)))
    self.assertEqual(self.store.entry(entry.key), entry)
    self.assertIsNone(entry.finding)

  def test_images_that_are_not_found_again_are_removed_from_their_set_only(self):
    for part in (LABELLED, UNLABELLED):
      examined.add(self.store, part, examined.item('a'), examined.item('b'))
    examined.add(self.store, LABELLED, examined.item('b'))
    self.assertEqual(self.names(LABELLED), ['b'])
    self.assertEqual(self.names(UNLABELLED), ['a', 'b'])

  def test_the_second_image_of_a_name_is_kept_with_a_fault(self):
    first, second = examined.item('a', boxes=(examined.box(),)), examined.item('a')
    examined.add(self.store, LABELLED, first, second)
    found = list(self.store.entries())
    self.assertEqual(found[0].item, first)
    self.assertEqual(found[1].item.image, second.image)
    self.assertEqual(found[1].item.faults, (faults.Fault(faults.Kind.SAME_NAME, 'a'),))

  def test_a_name_that_the_reader_has_seen_twice_is_one_fault(self):
    seen = faults.Fault(faults.Kind.SAME_NAME, 'b.xml names an image that was named before')
    examined.add(self.store, LABELLED, examined.item('a'), examined.item('a', faults=(seen,)))
    self.assertEqual([each.item.faults for each in self.store.entries()], [(), (seen,)])

  def test_two_sets_may_have_images_of_one_name(self):
    for part in (LABELLED, UNLABELLED):
      examined.add(self.store, part, examined.item('a'))
    self.assertEqual([each.item.faults for each in self.store.entries()], [(), ()])

  def test_names_that_are_no_utf_8_come_back_as_they_were(self):
    examined.add(self.store, LABELLED, examined.item('a\udcff.jpg'))
    self.assertEqual(self.names(), ['a\udcff.jpg'])

  def test_nothing_of_a_scan_that_was_cut_short_is_taken_for_all(self):
    examined.add(self.store, LABELLED, examined.item('a'), examined.item('b'))
    next(self.store.add(LABELLED, [examined.item('a')]))
    self.assertEqual(self.names(), ['a', 'b'])


class SecondScanTest(StoreTestCase):
  """What was found about an image stays as long as it is the same."""

  def setUp(self):
    super().setUp()
    self.image, self.mask = self.folder / 'a.jpg', self.folder / 'a.png'
    for path in (self.image, self.mask):
      path.write_bytes(b'1234')
      os.utime(path, ns=(10**18, 10**18))
    self.scan(self.item())
    (key,) = self.store.unexamined()
    list(self.store.set_findings([(key, examined.good())]))

  def item(self, **values):
    image = items.ImageFile('a.jpg', str(self.image))
    mask = items.ImageFile('a.png', str(self.mask))
    return items.Item(image, (examined.box(),), mask=mask, **values)

  def scan(self, item):
    examined.add(self.store, LABELLED, item)

  def is_examined(self):
    (entry,) = self.store.entries()
    self.assertEqual(self.store.unexamined(), [] if entry.finding else [entry.key])
    return entry.finding == examined.good()

  def test_findings_survive_an_unchanged_scan(self):
    self.reopen()
    self.scan(self.item())
    self.assertTrue(self.is_examined())

  def test_findings_are_lost_with_another_annotation(self):
    self.scan(self.item(source_id='7'))
    self.assertFalse(self.is_examined())
    (entry,) = self.store.entries()
    self.assertEqual(entry.item.source_id, '7')

  def test_findings_are_lost_with_another_size(self):
    for name in ('a.jpg', 'a.png'):
      with self.subTest(name=name):
        self.setUp()
        path = self.folder / name
        path.write_bytes(b'12345')
        os.utime(path, ns=(10**18, 10**18))
        self.scan(self.item())
        self.assertFalse(self.is_examined())

  def test_findings_are_lost_with_another_date(self):
    for name in ('a.jpg', 'a.png'):
      with self.subTest(name=name):
        self.setUp()
        path = self.folder / name
        os.utime(path, ns=(10**18, 10**18 + 1))
        self.scan(self.item())
        self.assertFalse(self.is_examined())

  def test_findings_are_lost_with_the_file(self):
    self.image.unlink()
    self.scan(self.item())
    self.assertFalse(self.is_examined())

  def test_findings_are_lost_when_all_are_forgotten(self):
    self.store.forget_findings()
    self.reopen()
    self.assertFalse(self.is_examined())
    self.assertEqual(self.store.count(is_good=True), 0)
    self.assertEqual(list(self.store.marks()), [])


class FindingsTest(StoreTestCase):
  def setUp(self):
    super().setUp()
    found = {
      'a': examined.good(digest=b'A', hashes=b'12345678' * 2),
      'b': examined.LOST,
      'c': examined.good(examined.box('dog'), digest=b'C'),
    }
    self.keys = examined.fill(self.store, LABELLED, found)
    examined.add(self.store, UNLABELLED, examined.item('d'))

  def test_findings_come_back(self):
    self.reopen()
    found = {each.item.image.name: each.finding for each in self.store.entries()}
    self.assertEqual(found['b'], examined.LOST)
    self.assertEqual(found['c'], examined.good(examined.box('dog'), digest=b'C'))
    self.assertIsNone(found['d'])

  def test_findings_that_are_not_final_are_forgotten(self):
    unsure = store.Finding((faults.Fault(faults.Kind.MISSING),), is_final=False)
    (waiting,) = self.store.unexamined()
    list(self.store.set_findings([(self.keys['b'], unsure), (waiting, examined.LOST)]))
    self.store.forget_unsure_findings()
    self.reopen()
    self.assertEqual(self.store.unexamined(), [self.keys['b']])
    self.assertEqual(self.names(is_good=False), ['d'])

  def test_the_set_of_an_image(self):
    (waiting,) = self.store.unexamined()
    self.assertIs(self.store.part_of(self.keys['a']), LABELLED)
    self.assertIs(self.store.part_of(waiting), UNLABELLED)

  def test_good_images_are_told_from_others(self):
    self.assertEqual(self.names(is_good=True), ['a', 'c'])
    self.assertEqual(self.names(LABELLED, is_good=False), ['b'])
    self.assertEqual(self.store.count(), 4)
    self.assertEqual(self.store.count(LABELLED), 3)
    self.assertEqual(self.store.count(LABELLED, is_good=True), 2)
    self.assertEqual(self.store.count(UNLABELLED, is_good=True), 0)

  def test_images_without_a_finding_wait(self):
    (entry,) = self.store.entries(UNLABELLED)
    self.assertEqual(self.store.unexamined(), [entry.key])

  def test_marks_are_of_good_images(self):
    expected = [
      (self.keys['a'], LABELLED, b'A', b'12345678' * 2),
      (self.keys['c'], LABELLED, b'C', b''),
    ]
    self.assertEqual(list(self.store.marks()), expected)

  def test_findings_are_on_disk_after_so_many(self):
    count = store.COMMIT_EVERY
    examined.add(self.store, UNLABELLED, *(examined.item(f'{n:04d}') for n in range(count + 1)))
    done = self.store.set_findings((key, examined.good()) for key in self.store.unexamined())
    for expected in range(1, count + 2):
      self.assertEqual(next(done), expected)
    # As after a kill: another connection sees only what is written.
    other = store.Store(self.path)
    self.addCleanup(other.close)
    self.assertEqual(other.count(UNLABELLED, is_good=True), count)
    self.assertEqual(list(done), [])
    self.assertEqual(other.count(UNLABELLED, is_good=True), count + 1)


class IsGoodTest(unittest.TestCase):
  def test_faults_that_leave_the_image_do_not_matter(self):
    for kind in (
      faults.Kind.EXTENSION,
      faults.Kind.CMYK,
      faults.Kind.NO_AREA,
      faults.Kind.UNKNOWN_CLASS,
    ):
      self.assertTrue(examined.good(faults=(faults.Fault(kind),)).is_good)

  def test_skipped_images_are_not_used(self):
    self.assertFalse(examined.good(faults=(faults.Fault(faults.Kind.MASK_SIZE),)).is_good)
    self.assertFalse(store.Finding().is_good)

  def test_the_second_image_of_a_name_is_not_used(self):
    self.assertFalse(examined.good(faults=(faults.Fault(faults.Kind.SAME_NAME),)).is_good)


class FileTest(StoreTestCase):
  def test_facts_are_kept(self):
    self.assertIsNone(self.store.fact('plan'))
    self.store.keep('plan', {'a': (1, b'2')})
    self.store.keep('plan', {'a': (1, b'3')})
    self.reopen()
    self.assertEqual(self.store.fact('plan'), {'a': (1, b'3')})

  def test_a_closed_store_stays_closed(self):
    self.store.close()
    self.store.close()
    with self.assertRaisesRegex(sqlite3.ProgrammingError, 'closed'):
      self.store.count()

  def test_another_file_of_this_name_is_refused(self):
    path = self.folder / 'photo.sqlite'
    path.write_bytes(b'not a database, but long enough to be one' * 100)
    with self.assertRaisesRegex(
      errors.DataError, r'photo\.sqlite is no work file of a preparation \(.*\); remove it'
    ):
      store.Store(path)


class OpenStoreTest(unittest.TestCase):
  def setUp(self):
    folder = self.enterContext(tempfile.TemporaryDirectory())
    self.path = pathlib.Path(folder, 'new', '.work', 'images.sqlite')
    first = store.open_store(self.path, 'one')
    examined.add(first, LABELLED, examined.item('a'))
    first.close()

  def test_the_same_preparation_finds_its_images(self):
    with_images = store.open_store(self.path, 'one')
    self.addCleanup(with_images.close)
    self.assertEqual(with_images.count(), 1)

  def test_what_another_version_has_found_is_not_used(self):
    with mock.patch.object(store, '_VERSION', 1):
      empty = store.open_store(self.path, 'one')
    self.addCleanup(empty.close)
    self.assertEqual(empty.count(), 0)

  def test_another_preparation_begins_anew(self):
    empty = store.open_store(self.path, 'two')
    self.assertEqual(empty.count(), 0)
    empty.close()
    again = store.open_store(self.path, 'one')
    self.addCleanup(again.close)
    self.assertEqual(again.count(), 0)


if __name__ == '__main__':
  unittest.main()
