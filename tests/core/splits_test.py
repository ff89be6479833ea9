"""Tests for the ranking of images, of which every part of a data set is a beginning."""

import collections
import hashlib
import unittest

import hypothesis
from hypothesis import strategies as st

from official_selftrain.core import errors, splits

_NAMES = st.lists(st.text(min_size=1, max_size=5), unique=True, max_size=30)


@st.composite
def _groups(draw):
  """Names of images with the one class of each."""
  sizes = draw(st.lists(st.integers(1, 25), min_size=1, max_size=12))
  return {
    f'{group}/{index}': (str(group),) for group, size in enumerate(sizes) for index in range(size)
  }


class CountOfTest(unittest.TestCase):
  def test_the_nearest_whole_number_is_taken(self):
    for fraction, total, expected in (
      (0.5, 5, 3),
      (0.1, 364, 36),
      (0.29, 100, 29),
      (0.2, 12, 2),
      (1.0, 7, 7),
    ):
      self.assertEqual(splits.count_of(fraction, total), expected)

  def test_a_fraction_has_at_least_one_image(self):
    self.assertEqual(splits.count_of(0.001, 10), 1)

  def test_there_are_no_more_than_all(self):
    self.assertEqual(splits.count_of(1.0, 0), 0)
    self.assertEqual(splits.count_of(0.3, 0), 0)

  def test_fractions_out_of_range_are_refused(self):
    for fraction in (0, -0.1, 1.01, float('nan')):
      with self.assertRaisesRegex(
        errors.ConfigError, f'The fraction is {fraction:g}; it must be above 0 and at most 1'
      ):
        splits.count_of(fraction, 10)


class RankingTest(unittest.TestCase):
  @hypothesis.given(_NAMES, st.integers(0, 5), st.randoms())
  def test_the_order_of_the_input_is_irrelevant_and_no_image_comes_twice(self, names, seed, random):
    shuffled = random.sample(names, len(names))
    ranked = splits.ranking(names, seed)
    self.assertEqual(ranked, splits.ranking(shuffled, seed))
    self.assertEqual(sorted(ranked), sorted(names))

  @hypothesis.given(_groups(), st.integers(0, 5), st.randoms())
  def test_the_order_of_the_input_is_irrelevant_for_a_stratified_draw(self, classes, seed, random):
    names = list(classes)
    shuffled = random.sample(names, len(names))
    ranked = splits.ranking(names, seed, classes)
    self.assertEqual(ranked, splits.ranking(shuffled, seed, classes))
    self.assertEqual(sorted(ranked), sorted(names))

  @hypothesis.given(
    st.integers(1, 60), st.floats(0.01, 1), st.floats(0.01, 1), st.booleans(), st.integers(0, 3)
  )
  def test_a_smaller_fraction_lies_within_a_larger_one(self, total, one, other, stratify, seed):
    classes = {f'{n}.jpg': (str(n % 4),) for n in range(total)} if stratify else None
    ranked = splits.ranking([f'{n}.jpg' for n in range(total)], seed, classes)
    smaller, larger = (set(ranked[: splits.count_of(each, total)]) for each in sorted((one, other)))
    self.assertLessEqual(smaller, larger)
    self.assertEqual(len(larger), splits.count_of(max(one, other), total))

  def test_ranks_are_those_of_the_digests_of_seed_and_name(self):
    names = ['a.jpg', 'b/c.png', 'd é.jpg', 'e', 'f']
    for seed in (0, 7):
      expected = sorted(
        names, key=lambda name: hashlib.sha256(f'{seed}:{name}'.encode()).hexdigest()
      )
      self.assertEqual(splits.ranking(names, seed), expected)

  def test_seeds_give_different_orders(self):
    names = [str(number) for number in range(50)]
    orders = {tuple(splits.ranking(names, seed)) for seed in range(20)}
    self.assertEqual(len(orders), 20)

  def test_each_image_is_as_likely_as_any_other_to_come_first(self):
    names = list('abcde')
    firsts = collections.Counter(splits.ranking(names, seed)[0] for seed in range(2000))
    # 400 expected; the standard deviation is 18.
    self.assertEqual(set(firsts), set(names))
    for count in firsts.values():
      self.assertAlmostEqual(count, 400, delta=90)

  def test_names_that_are_no_utf_8_have_ranks(self):
    names = ['a\udcff.jpg', 'b.jpg']
    self.assertEqual(sorted(splits.ranking(names, 0)), sorted(names))


class StratifiedTest(unittest.TestCase):
  @hypothesis.given(_groups(), st.integers(0, 3))
  def test_each_beginning_has_the_share_of_each_group_to_within_an_image(self, classes, seed):
    sizes = collections.Counter(group for (group,) in classes.values())
    ranked = splits.ranking(list(classes), seed, classes)
    found = collections.Counter()
    for length, name in enumerate(ranked, 1):
      found[classes[name][0]] += 1
      for group, size in sizes.items():
        self.assertLess(abs(found[group] - length * size / len(classes)), 1)

  def test_a_hand_worked_example(self):
    # Shares of the beginnings: 3/4, 6/4, 9/4 and 3 cats. Only with a cat at both ends all are within half an image.
    classes = {'1': ('cat',), '2': ('cat',), '3': ('dog',), '4': ('cat',)}
    middles = set()
    for seed in range(20):
      first, *middle, last = (classes[each][0] for each in splits.ranking('1234', seed, classes))
      self.assertEqual((first, last), ('cat', 'cat'))
      middles.add(tuple(middle))
    self.assertEqual(middles, {('cat', 'dog'), ('dog', 'cat')})

  def test_many_rare_classes_take_their_share_of_each_beginning(self):
    classes = {f'cat{n}': ('cat',) for n in range(20)} | {f'rare{n}': (f'{n}',) for n in range(20)}
    ranked = splits.ranking(list(classes), 0, classes)
    for length in (8, 20, 32):
      rare = sum(name.startswith('rare') for name in ranked[:length])
      self.assertAlmostEqual(rare, length / 2, delta=1)

  def test_an_image_counts_for_the_rarest_of_its_classes(self):
    # Each dog is in an image with cats. As a group of their own, half of them are in half of the images.
    classes = {f'{n:02d}': ('cat', 'cat', 'dog') if n < 10 else ('cat',) for n in range(100)}
    for seed in range(5):
      ranked = splits.ranking(list(classes), seed, classes)
      for length in (10, 50, 90):
        dogs = sum('dog' in classes[name] for name in ranked[:length])
        self.assertAlmostEqual(dogs, length / 10, delta=0.99)

  def test_images_without_objects_are_a_group(self):
    classes = {f'{n:02d}': ('cat',) if n < 30 else () for n in range(40)}
    ranked = splits.ranking(list(classes), 3, classes)
    self.assertEqual(sum(not classes[name] for name in ranked[:20]), 5)

  def test_images_that_no_mapping_names_have_no_objects(self):
    names = [f'{n:02d}' for n in range(8)]
    ranked = splits.ranking(names, 0, dict.fromkeys(names[:4], ('cat',)))
    self.assertEqual(sum(name in names[:4] for name in ranked[:4]), 2)

  def test_the_seed_matters_within_groups(self):
    classes = {f'{n:02d}': (str(n % 2),) for n in range(20)}
    orders = {tuple(splits.ranking(list(classes), seed, classes)) for seed in range(10)}
    self.assertEqual(len(orders), 10)

  def test_no_images_have_no_ranks(self):
    self.assertEqual(splits.ranking([], 0, {}), [])


if __name__ == '__main__':
  unittest.main()
