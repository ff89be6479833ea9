"""Tests for the division of images into sets and files."""

import tempfile
import unittest

from official_selftrain.core import errors, splits
from official_selftrain.datasets.preparation import plan, store
from tests.datasets.preparation import examined

LABELLED, UNLABELLED, VALIDATION = (
  store.Part.LABELLED,
  store.Part.UNLABELLED,
  store.Part.VALIDATION,
)
_NAMES = [f'{number:02d}.jpg' for number in range(20)]


class PlanTestCase(unittest.TestCase):
  def setUp(self):
    folder = self.enterContext(tempfile.TemporaryDirectory())
    self.store = examined.new_store(folder)
    self.addCleanup(self.store.close)

  def fill(self, part, names, finding=None, **values):
    finding = finding or examined.good()
    return examined.fill(self.store, part, dict.fromkeys(names, finding), **values)

  def divide(self, **settings):
    return plan.divide(self.store, plan.SplitSettings(**settings))

  def names(self, keys):
    return [self.store.entry(key).item.image.name for key in keys]


class DivideTest(PlanTestCase):
  def test_without_shares_each_set_has_its_own_images(self):
    self.fill(LABELLED, _NAMES)
    self.fill(UNLABELLED, ['b', 'a', 'c'])
    keys = self.fill(VALIDATION, ['z', 'y'])
    sets = self.divide(seed=3)
    self.assertEqual(list(sets), [LABELLED, UNLABELLED, VALIDATION])
    self.assertEqual(self.names(sets[LABELLED].keys), splits.ranking(_NAMES, 3))
    self.assertEqual(self.names(sets[UNLABELLED].keys), splits.ranking(['a', 'b', 'c'], 3))
    self.assertEqual(sets[VALIDATION].keys, (keys['y'], keys['z']))
    self.assertEqual([each.origin for each in sets.values()], ['all', '3 unlabelled images', 'all'])
    self.assertEqual(sets[LABELLED].from_labelled, frozenset(sets[LABELLED].keys))
    self.assertEqual(sets[VALIDATION].from_labelled, frozenset())

  def test_a_share_for_validation_is_the_end_of_the_ranking(self):
    self.fill(LABELLED, _NAMES)
    sets = self.divide(validation_share=0.2)
    ranked = splits.ranking(_NAMES, 0)
    self.assertEqual(self.names(sets[LABELLED].keys), ranked[:16])
    # In the order of their names.
    self.assertEqual(self.names(sets[VALIDATION].keys), sorted(ranked[16:]))
    self.assertEqual(sets[VALIDATION].origin, '20% of the labelled images (seed 0)')
    self.assertEqual(sets[VALIDATION].from_labelled, frozenset(sets[VALIDATION].keys))

  def test_a_fraction_is_of_what_validation_leaves(self):
    self.fill(LABELLED, _NAMES)
    sets = self.divide(validation_share=0.2, fraction=0.25, seed=5)
    ranked = splits.ranking(_NAMES, 5)
    self.assertEqual(self.names(sets[LABELLED].keys), ranked[:4])
    self.assertEqual(self.names(sets[VALIDATION].keys), sorted(ranked[16:]))
    self.assertEqual(sets[LABELLED].origin, '4 of 16 (seed 5)')
    self.assertNotIn(UNLABELLED, sets)

  def test_validation_images_are_the_same_for_each_fraction(self):
    self.fill(LABELLED, _NAMES)
    halves, all_of_them = (
      self.divide(validation_share=0.2, fraction=fraction) for fraction in (0.5, 1.0)
    )
    self.assertEqual(halves[VALIDATION], all_of_them[VALIDATION])
    self.assertEqual(halves[LABELLED].keys, all_of_them[LABELLED].keys[:8])

  def test_the_rest_may_join_the_unlabelled_images(self):
    self.fill(LABELLED, _NAMES)
    self.fill(UNLABELLED, ['u', 'v'])
    sets = self.divide(validation_share=0.2, fraction=0.25, rest_is_unlabelled=True)
    ranked = splits.ranking(_NAMES, 0)
    expected = splits.ranking(['u', 'v'], 0) + ranked[4:16]
    self.assertEqual(self.names(sets[UNLABELLED].keys), expected)
    self.assertEqual(sets[UNLABELLED].from_labelled, frozenset(sets[UNLABELLED].keys[2:]))
    self.assertEqual(
      sets[UNLABELLED].origin,
      '2 unlabelled images and 12 labelled images without their annotations',
    )

  def test_a_stratified_fraction_has_its_share_of_each_class(self):
    cats, dogs = _NAMES[:15], _NAMES[15:]
    found = dict.fromkeys(cats, examined.good(examined.box('cat')))
    found |= dict.fromkeys(dogs, examined.good(examined.box('cat'), examined.box('dog')))
    examined.fill(self.store, LABELLED, found)
    for seed in range(5):
      sets = self.divide(fraction=0.4, is_stratified=True, seed=seed)
      drawn = self.names(sets[LABELLED].keys)
      self.assertEqual(sum(name in dogs for name in drawn), 2)
      self.assertEqual(len(drawn), 8)

  def test_masks_are_stratified_by_the_classes_of_their_pixels(self):
    found = dict.fromkeys(_NAMES[:16], examined.good(pixel_counts=((0, 90), (1, 100), (255, 10))))
    found |= dict.fromkeys(_NAMES[16:], examined.good(pixel_counts=((1, 199), (2, 1))))
    examined.fill(self.store, LABELLED, found)
    for seed in range(5):
      drawn = self.names(self.divide(fraction=0.5, is_stratified=True, seed=seed)[LABELLED].keys)
      self.assertEqual(sum(name in _NAMES[16:] for name in drawn), 2)

  def test_images_of_classes_are_stratified_by_these(self):
    examined.add(
      self.store,
      LABELLED,
      *(examined.item(name, class_name='ab'[n < 5]) for n, name in enumerate(_NAMES)),
    )
    list(self.store.set_findings((key, examined.good()) for key in self.store.unexamined()))
    for seed in range(5):
      drawn = self.names(self.divide(fraction=0.4, is_stratified=True, seed=seed)[LABELLED].keys)
      self.assertEqual(sum(name in _NAMES[:5] for name in drawn), 2)

  def test_lost_images_are_in_no_set(self):
    self.fill(LABELLED, _NAMES)
    self.fill(UNLABELLED, ['u'], examined.LOST)
    lost = {name: examined.LOST if name == '03.jpg' else examined.good() for name in _NAMES}
    examined.fill(self.store, LABELLED, lost)
    sets = self.divide()
    self.assertEqual(list(sets), [LABELLED])
    self.assertEqual(sorted(self.names(sets[LABELLED].keys)), [*_NAMES[:3], *_NAMES[4:]])

  def test_of_two_images_of_one_name_the_first_is_used(self):
    first, second = examined.item('a', source_id='1'), examined.item('a', source_id='2')
    for part in (LABELLED, UNLABELLED, VALIDATION):
      examined.add(self.store, part, first, second)
    found = [
      (key, examined.good(faults=self.store.entry(key).item.faults))
      for key in self.store.unexamined()
    ]
    list(self.store.set_findings(found))
    for each in self.divide().values():
      (key,) = each.keys
      self.assertEqual(self.store.entry(key).item.source_id, '1')

  def test_without_images_there_are_no_sets(self):
    self.assertEqual(self.divide(), {})
    self.assertEqual(self.divide(validation_share=0.5), {})

  def test_a_share_that_leaves_no_image_for_training_is_refused(self):
    self.fill(LABELLED, ['a'])
    with self.assertRaisesRegex(
      errors.DataError, '40% of 1 labelled images for validation leave none for training'
    ):
      self.divide(validation_share=0.4)

  def test_shares_out_of_range_are_refused(self):
    for share in (-0.1, 1.0):
      with self.assertRaisesRegex(
        errors.ConfigError, f'validation is {share:g}; it must be above 0 and below 1'
      ):
        self.divide(validation_share=share)
    with self.assertRaisesRegex(errors.ConfigError, 'The fraction is 0;'):
      self.divide(fraction=0)

  def test_settings_are_named_in_the_card(self):
    self.assertEqual(
      plan.SplitSettings(1, 0.2, 0.5, True).as_dict(),
      {
        'seed': 1,
        'validation_share': 0.2,
        'fraction': 0.5,
        'is_stratified': True,
        'rest_is_unlabelled': False,
      },
    )


class JobsTest(PlanTestCase):
  def jobs(self, part, images_per_file=1000, **settings):
    return list(plan.jobs(self.store, self.divide(**settings)[part], 'out', images_per_file))

  def test_files_have_nearly_equal_lengths(self):
    self.fill(LABELLED, _NAMES[:10])
    jobs = self.jobs(LABELLED, images_per_file=4)
    paths = [f'out/labelled-0000{number}-of-00003.tfrecord' for number in range(3)]
    self.assertEqual([job.path for job in jobs], paths)
    self.assertEqual([len(job.places) for job in jobs], [3, 3, 4])
    written = [place.source_id for job in jobs for place in job.places]
    self.assertEqual(written, splits.ranking(_NAMES[:10], 0))

  def test_only_unlabelled_images_have_no_annotations(self):
    self.fill(LABELLED, _NAMES)
    sets = {'validation_share': 0.2, 'fraction': 0.5, 'rest_is_unlabelled': True}
    for part in store.Part:
      (job,) = self.jobs(part, **sets)
      self.assertEqual(job.has_annotations, part is not UNLABELLED)

  def test_ids_of_validation_images_are_those_of_the_source_if_all_are_numbers(self):
    examined.add(
      self.store, VALIDATION, examined.item('a', source_id='42'), examined.item('b', source_id='7')
    )
    list(self.store.set_findings((key, examined.good()) for key in self.store.unexamined()))
    (job,) = self.jobs(VALIDATION)
    self.assertEqual([place.source_id for place in job.places], ['42', '7'])
    sets = self.divide()
    self.assertEqual(list(plan.ids_of(self.store, sets[VALIDATION]).values()), [42, 7])

  def test_ids_of_validation_images_are_else_from_one_on(self):
    for ids in (
      ['7', ''],
      ['7', '7'],
      ['7', '07'],
      ['7', 'x7'],
      ['7', '²'],
      ['7', str(2**63)],
      ['7', '-1'],
    ):
      with self.subTest(ids=ids):
        self.setUp()
        examined.add(
          self.store,
          VALIDATION,
          *(examined.item(name, source_id=each) for name, each in zip('ab', ids, strict=True)),
        )
        list(self.store.set_findings((key, examined.good()) for key in self.store.unexamined()))
        found = plan.ids_of(self.store, self.divide()[VALIDATION])
        self.assertEqual(list(found.values()), [1, 2])

  def test_training_images_have_their_names_as_ids(self):
    keys = self.fill(LABELLED, ['cats/a.jpg', 'b\udcff.jpg'], source_id='7')
    found = plan.ids_of(self.store, self.divide()[LABELLED])
    self.assertEqual(found, {keys['cats/a.jpg']: 'cats/a.jpg', keys['b\udcff.jpg']: 'b?.jpg'})

  def test_unlabelled_images_of_one_name_are_told_apart_by_their_place(self):
    self.fill(LABELLED, ['a', 'b'])
    self.fill(UNLABELLED, ['a', 'b', 'labelled/a'])
    sets = self.divide(fraction=0.5, rest_is_unlabelled=True)
    found = list(plan.ids_of(self.store, sets[UNLABELLED]).values())
    self.assertEqual(sorted(found[:3]), ['a', 'b', 'labelled/a'])
    left = splits.ranking(['a', 'b'], 0)[1]
    self.assertEqual(found[3], 'labelled/labelled/a' if left == 'a' else 'labelled/b')


if __name__ == '__main__':
  unittest.main()
