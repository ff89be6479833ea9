"""Tests for the search for images that are there twice."""

import tempfile
import unittest
from unittest import mock

import numpy as np

from official_selftrain.datasets import faults
from official_selftrain.datasets.checks import similarity
from official_selftrain.datasets.preparation import overlaps, store
from tests.datasets.preparation import examined

DUPLICATE, NEAR, LEAK = (
  faults.Kind.DUPLICATE,
  faults.Kind.NEAR_DUPLICATE,
  faults.Kind.LEAK,
)
# Two hashes that differ in all bits, and those of their mirror images.
_ONE, _ONE_MIRRORED = 0x0F0F_3333_5555_00FF, 0x1234_5678_9ABC_DEF1
_OTHER, _OTHER_MIRRORED = ~_ONE & 2**64 - 1, 0xCAFE_0123_4567_89AB


def _hashes(plain, mirrored=_ONE_MIRRORED):
  return np.array([plain, mirrored], np.uint64).tobytes()


class OverlapsTest(unittest.TestCase):
  def setUp(self):
    folder = self.enterContext(tempfile.TemporaryDirectory())
    self.store = examined.new_store(folder)
    self.addCleanup(self.store.close)
    self.keys = {}

  def add(self, part, **found):
    """Images by name, with digest and hashes."""
    findings = {
      name: examined.good(digest=digest, hashes=hashes) for name, (digest, hashes) in found.items()
    }
    self.keys |= examined.fill(self.store, part, findings)

  def find(self, validation='', unused=''):
    """The pairs, with names instead of numbers."""
    names = {key: name for name, key in self.keys.items()}
    used = frozenset(key for name, key in self.keys.items() if name not in unused)
    found = overlaps.find(self.store, frozenset(self.keys[name] for name in validation), used)
    self.similar = found.similar
    return [
      (each.kind, names[each.first], names[each.second], each.distance, each.is_mirrored)
      for each in found.pairs
    ]

  def test_different_images_are_in_no_pair(self):
    self.add(
      store.Part.LABELLED, a=(b'A', _hashes(_ONE)), b=(b'B', _hashes(_OTHER, _OTHER_MIRRORED))
    )
    self.assertEqual(self.find(validation='b'), [])
    self.assertEqual(self.similar, {})

  def test_equal_files_are_duplicates_of_the_first(self):
    self.add(store.Part.LABELLED, a=(b'A', b''), b=(b'A', b''), c=(b'A', b''), d=(b'D', b''))
    self.assertEqual(
      self.find(), [(DUPLICATE, 'a', 'b', 0, False), (DUPLICATE, 'a', 'c', 0, False)]
    )

  def test_equal_files_are_not_told_again_as_similar(self):
    self.add(store.Part.LABELLED, a=(b'A', _hashes(_ONE)), b=(b'A', _hashes(_ONE)))
    self.assertEqual(self.find(), [(DUPLICATE, 'a', 'b', 0, False)])
    self.assertEqual(self.similar, {})

  def test_similar_images_are_near_duplicates_with_their_distance(self):
    self.add(store.Part.LABELLED, a=(b'A', _hashes(_ONE)), b=(b'B', _hashes(_ONE ^ 0b1011, _OTHER)))
    self.assertEqual(self.find(), [(NEAR, 'a', 'b', 3, False)])
    self.assertEqual(self.similar, {store.Part.LABELLED: 2})

  def test_mirrored_images_are_near_duplicates(self):
    self.add(
      store.Part.LABELLED, a=(b'A', _hashes(_ONE)), b=(b'B', _hashes(_ONE_MIRRORED ^ 1, _ONE ^ 1))
    )
    self.assertEqual(self.find(), [(NEAR, 'a', 'b', 1, True)])

  def test_the_first_of_a_leak_is_the_one_for_training(self):
    self.add(store.Part.LABELLED, a=(b'A', b''), b=(b'A', b''))
    self.assertEqual(self.find(validation='a'), [(LEAK, 'b', 'a', 0, False)])
    self.assertEqual(self.find(validation='b'), [(LEAK, 'a', 'b', 0, False)])

  def test_the_first_of_a_leak_of_similar_images_is_the_one_for_training(self):
    self.add(store.Part.LABELLED, a=(b'A', _hashes(_ONE)), b=(b'B', _hashes(_ONE ^ 1)))
    self.assertEqual(self.find(validation='a'), [(LEAK, 'b', 'a', 1, False)])
    self.assertEqual(self.find(validation='b'), [(LEAK, 'a', 'b', 1, False)])
    self.assertEqual(self.similar, {})

  def test_an_image_like_many_validation_images_is_one_leak_with_the_one_most_like_it(self):
    self.add(store.Part.LABELLED, a=(b'A', _hashes(_ONE)), b=(b'w', _hashes(_ONE ^ 0b11)))
    alike = {'u': 0b111, 'v': 0b1, 'w': 0b11}
    self.add(
      store.Part.VALIDATION,
      **{name: (name.encode(), _hashes(_ONE ^ bits)) for name, bits in alike.items()},
    )
    found = self.find(validation='uvw')
    leaks = [each for each in found if each[0] is LEAK]
    self.assertEqual(leaks, [(LEAK, 'b', 'w', 0, False), (LEAK, 'a', 'v', 1, False)])
    self.assertEqual(self.similar, {store.Part.LABELLED: 2, store.Part.VALIDATION: 3})

  def test_unlabelled_images_are_for_training(self):
    self.add(store.Part.VALIDATION, v=(b'A', b''))
    self.add(store.Part.UNLABELLED, u=(b'A', b''))
    self.assertEqual(self.find(validation='v'), [(LEAK, 'u', 'v', 0, False)])

  def test_each_training_image_that_is_a_validation_image_is_a_leak(self):
    same = (b'A', b'')
    self.add(store.Part.LABELLED, a=same, b=same, c=same, d=same)
    expected = [
      (DUPLICATE, 'a', 'd', 0, False),
      (LEAK, 'a', 'b', 0, False),
      (DUPLICATE, 'b', 'c', 0, False),
      (LEAK, 'd', 'b', 0, False),
    ]
    self.assertCountEqual(self.find(validation='bc'), expected)

  def test_images_in_no_set_are_not_compared(self):
    self.add(
      store.Part.LABELLED, a=(b'A', _hashes(_ONE)), b=(b'A', _hashes(_ONE)), c=(b'C', _hashes(_ONE))
    )
    self.assertEqual(self.find(unused='bc'), [])

  def test_lost_images_are_not_compared(self):
    lost = {'a': examined.LOST, 'b': examined.LOST}
    self.keys |= examined.fill(self.store, store.Part.LABELLED, lost)
    self.assertEqual(self.find(), [])

  def test_of_many_similar_images_only_some_are_listed_but_all_leaks(self):
    images = {f'{n:02d}': (bytes([n]), _hashes(_ONE, _OTHER)) for n in range(6)}
    self.add(store.Part.LABELLED, **images)
    self.add(store.Part.VALIDATION, v=(b'V', _hashes(_ONE, _OTHER)))
    with mock.patch.object(overlaps, '_MAX_LISTED', 4):
      found = self.find(validation='v')
    kinds = [kind for kind, *_ in found]
    self.assertEqual(kinds.count(LEAK), 6)
    self.assertLessEqual(kinds.count(NEAR), 4)
    # All images count, though not all of their 15 pairs are listed.
    self.assertEqual(self.similar, {store.Part.LABELLED: 6})

  def test_leaks_leave_room_for_near_duplicates_in_the_list(self):
    images = {f'{n}': (bytes([n]), _hashes(_ONE, _OTHER)) for n in range(3)}
    self.add(store.Part.LABELLED, **images)
    self.add(store.Part.VALIDATION, v=(b'V', _hashes(_ONE, _OTHER)))
    with mock.patch.object(overlaps, '_MAX_LISTED', 3):
      kinds = [kind for kind, *_ in self.find(validation='v')]
    self.assertEqual((kinds.count(LEAK), kinds.count(NEAR)), (3, 3))

  def test_copies_of_a_file_are_compared_once(self):
    copies = {f'{n:03d}': (b'A', _hashes(_ONE)) for n in range(300)}
    self.add(store.Part.LABELLED, **copies, b=(b'B', _hashes(_ONE ^ 1)))
    with mock.patch.object(
      similarity, 'find_near_duplicates', wraps=similarity.find_near_duplicates
    ) as search:
      found = self.find()
    self.assertEqual(search.call_args.args[0].shape, (2, 2))
    self.assertEqual([each for each in found if each[0] is NEAR], [(NEAR, '000', 'b', 1, False)])
    self.assertEqual(self.similar, {store.Part.LABELLED: 2})

  def test_every_copy_that_looks_like_a_validation_image_is_a_leak(self):
    one, other = (b'A', _hashes(_ONE)), (b'B', _hashes(_ONE ^ 1))
    self.add(store.Part.LABELLED, a=one, b=one, c=other)
    self.add(store.Part.VALIDATION, v=other, w=other)
    expected = [
      (DUPLICATE, 'a', 'b', 0, False),
      (DUPLICATE, 'v', 'w', 0, False),
      (LEAK, 'c', 'v', 0, False),
      (NEAR, 'a', 'c', 1, False),
      (LEAK, 'a', 'v', 1, False),
      (LEAK, 'b', 'v', 1, False),
    ]
    self.assertCountEqual(self.find(validation='vw'), expected)

  def test_pairs_are_in_the_order_of_their_distances(self):
    self.add(
      store.Part.LABELLED,
      a=(b'A', _hashes(_ONE)),
      b=(b'B', _hashes(_ONE ^ 0b111111)),
      c=(b'C', _hashes(_ONE ^ 0b11)),
      d=(b'A', _hashes(_ONE)),
    )
    # The copy of a is told once, and not compared again.
    self.assertEqual([each[3] for each in self.find()], [0, 2, 4, 6])


if __name__ == '__main__':
  unittest.main()
