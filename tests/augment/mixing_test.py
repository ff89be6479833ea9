"""Mixers against second implementations in NumPy, their distributions, and how they go through a stream."""

import functools

import numpy as np
import tensorflow as tf
from official.vision.ops import augment as model_garden

from official_selftrain.augment import examples, mixing
from official_selftrain.configs import augmentation
from official_selftrain.core import keys
from tests.augment import mixable

_HEIGHT, _WIDTH = mixable.HEIGHT, mixable.WIDTH
_INFO = 'image_info'
_MASKS = keys.GROUNDTRUTH_INSTANCE_MASKS


def _traced(mixer):
  return tf.function(mixer, reduce_retracing=True)


def _own_seed(example):
  """The seed that `_mix` gets."""
  return tf.random.split(examples.take_seed(example)[1], 2)[1]


def _numpy(example):
  return {name: value.numpy() for name, value in example.items()}


def _assert_same(test, first, second):
  test.assertEqual(set(first), set(second))
  for name in first:
    test.assertAllEqual(first[name], second[name], name)


_ALL = (mixing.MixUp(1.0), mixing.Mosaic(1.0), mixing.CopyPaste(1.0))


class MixerTest(tf.test.TestCase):
  def test_without_probability_only_the_seed_changes(self):
    for kind in (mixing.MixUp, mixing.Mosaic, mixing.CopyPaste):
      given = [mixable.example(i) for i in range(kind.num_examples)]
      result = kind(0.0)(given)
      self.assertNotAllEqual(result.pop(keys.SEED), given[0].pop(keys.SEED))
      self.assertAllEqual(result.pop(keys.APPLIED_OPS), [b'Rotate_BBox', b''])
      given[0].pop(keys.APPLIED_OPS)
      _assert_same(self, result, given[0])

  def test_happens_with_its_probability_and_says_so(self):
    mix = _traced(mixing.MixUp(0.3))
    first, second = mixable.example(1), mixable.example(2)
    counts = 0
    for seed in range(400):
      result = mix([{**first, keys.SEED: tf.constant([seed, 1])}, second])
      is_mixed = bool(np.any(result['image'] != first['image']))
      self.assertEqual(result[keys.APPLIED_OPS][1].numpy(), b'MixUp' if is_mixed else b'')
      counts += is_mixed
    self.assertBetween(counts, 120 - 37, 120 + 37)  # Four standard deviations.

  def test_follows_the_first_seed_alone(self):
    for mixer in _ALL:
      given = [mixable.example(i) for i in range(mixer.num_examples)]
      others = [{**example, keys.SEED: tf.constant([9, 9])} for example in given[1:]]
      _assert_same(self, mixer(given), mixer([given[0], *others]))
      moved = mixer([{**given[0], keys.SEED: tf.constant([9, 8])}, *given[1:]])
      self.assertNotAllEqual(mixer(given)['image'], moved['image'])

  def test_wrong_number_of_examples(self):
    with self.assertRaisesRegex(ValueError, 'Mosaic mixes 4 examples, got 2'):
      mixing.Mosaic(1.0)([mixable.example(1), mixable.example(2)])

  def test_images_without_boxes(self):
    for mixer in _ALL:
      for counts in ((0, 3), (3, 0), (0, 0)):
        given = [mixable.example(i, counts[min(i, 1)]) for i in range(mixer.num_examples)]
        result = mixer(given)
        rows = {value.shape[0] for name, value in result.items() if name.startswith('groundtruth_')}
        self.assertLen(rows, 1)
        self.assertTrue(np.all(np.isfinite(result['image'])))

  def test_only_an_image(self):
    for mixer in (mixing.MixUp(1.0), mixing.Mosaic(1.0)):
      given = [
        {k: mixable.example(i)[k] for k in ('image', keys.SEED)} for i in range(mixer.num_examples)
      ]
      whole = [mixable.example(i) for i in range(mixer.num_examples)]
      self.assertAllEqual(mixer(given)['image'], mixer(whole)['image'])


class MixUpTest(tf.test.TestCase):
  def test_equals_numpy(self):
    mix = _traced(mixing.MixUp(1.0, alpha=0.8))
    seen = set()
    for number in range(40):
      first, second = _numpy(mixable.example(number)), _numpy(mixable.example(number + 1, 2))
      result = _numpy(mix([mixable.example(number), mixable.example(number + 1, 2)]))
      weight = float(mixing.sample_beta(0.8, _own_seed(mixable.example(number))))
      blend = weight * first['image'] + (1 - weight) * second['image']
      self.assertAllClose(result['image'], blend, atol=1e-6)
      for name in first:
        if name.startswith('groundtruth_') and name != keys.GROUNDTRUTH_IS_IGNORED:
          self.assertAllEqual(result[name], np.concatenate([first[name], second[name]]), name)
      faint = [weight < 0.1] * 3 + [1 - weight < 0.1] * 2
      self.assertAllEqual(result[keys.GROUNDTRUTH_IS_IGNORED], faint)
      labels = np.empty([_HEIGHT, _WIDTH, 1], np.uint8)
      for place in np.ndindex(labels.shape):
        pair = [first[keys.SEMANTIC_MASK][place], second[keys.SEMANTIC_MASK][place]]
        heavy, light = pair if weight >= 0.5 else pair[::-1]
        shows_two = heavy != light and min(weight, 1 - weight) >= 1 / 3
        labels[place] = 255 if shows_two else heavy
      self.assertAllEqual(result[keys.SEMANTIC_MASK], labels)
      seen.add((any(faint), bool((labels == 255).any()), weight >= 0.5))
    self.assertContainsSubset({(True, False, True), (False, True, False)}, seen)

  def test_flags_stay_and_unlabelled_pixels_do_not_spread(self):
    first, second = mixable.example(3), mixable.example(4)
    first[keys.GROUNDTRUTH_IS_IGNORED] = tf.constant([True, False, False])
    second[keys.GROUNDTRUTH_IS_CROWD] = tf.constant([False, True, False])
    unlabelled = tf.fill([_HEIGHT, _WIDTH, 1], tf.constant(255, tf.uint8))
    mix = _traced(mixing.MixUp(1.0, alpha=50.0))
    result = mix([first, {**second, keys.SEMANTIC_MASK: unlabelled}])
    self.assertAllEqual(result[keys.GROUNDTRUTH_IS_IGNORED], [1, 0, 0, 0, 0, 0])
    self.assertAllEqual(result[keys.GROUNDTRUTH_IS_CROWD], [0, 0, 0, 0, 1, 0])
    weight = float(mixing.sample_beta(50.0, _own_seed(first)))
    expected = first[keys.SEMANTIC_MASK] if weight >= 0.5 else unlabelled
    self.assertAllEqual(result[keys.SEMANTIC_MASK], expected)


class BetaTest(tf.test.TestCase):
  def _draws(self, alpha, count=3000):
    seeds = tf.stack([tf.range(count), tf.ones([count], tf.int32)], 1)
    sample = functools.partial(mixing.sample_beta, alpha)
    return tf.function(lambda: tf.map_fn(sample, seeds, fn_output_signature=tf.float32))().numpy()

  def test_distribution(self):
    for alpha in (0.2, 1.5, 8.0):
      draws = np.sort(self._draws(alpha))
      reference = np.random.default_rng(0).beta(alpha, alpha, 200_000)
      below = np.searchsorted(np.sort(reference), draws) / len(reference)
      distance = np.abs(below - np.arange(len(draws)) / len(draws)).max()
      # Of Kolmogorov and Smirnov, at the level of 1 %.
      self.assertLess(distance, 1.63 / np.sqrt(len(draws)), alpha)

  def test_tiny_alpha_stays_finite(self):
    draws = self._draws(1e-3)
    self.assertBetween(draws.mean(), 0.46, 0.54)
    self.assertGreater(np.mean((draws < 0.01) | (draws > 0.99)), 0.98)

  def test_the_model_gardens_distribution_is_another(self):
    theirs = model_garden.MixupAndCutmix(num_classes=2)
    tf.random.set_seed(1)
    spread = np.std([theirs._sample_from_beta(0.2, 0.2, [500])])
    expected = np.sqrt(1 / (4 * (2 * 0.2 + 1)))
    self.assertLess(spread, expected - 0.1)
    self.assertAllClose(self._draws(0.2).std(), expected, atol=0.01)


class MosaicTest(tf.test.TestCase):
  def _check(self, number, visible, mixer):
    given = [mixable.example(number + i, 2 + i % 2, visible) for i in range(4)]
    result, *given = [_numpy(example) for example in (self._mix[mixer](given), *given)]
    draws = tf.random.stateless_uniform([5, 2], _own_seed(given[0])).numpy()
    size = np.array([_HEIGHT, _WIDTH])
    centre = np.round((0.25 + 0.5 * draws[0]) * size).astype(int)
    image, semantic = np.empty([_HEIGHT, _WIDTH, 3]), np.empty([_HEIGHT, _WIDTH, 1])
    offsets = []
    for place in range(4):
      shown = np.where([place < 2, place % 2 == 0], centre, size - centre)
      room = np.maximum(np.array(visible) - shown, 0)
      offsets.append(np.minimum(np.floor(draws[place + 1] * (room + 1)), room).astype(int))
    for y, x in np.ndindex(_HEIGHT, _WIDTH):
      place = 2 * (y >= centre[0]) + (x >= centre[1])
      start = centre * [place >= 2, place % 2]
      source = tuple([y, x] - start + offsets[place])
      image[y, x] = given[place]['image'][source]
      semantic[y, x] = given[place][keys.SEMANTIC_MASK][source]
    self.assertAllClose(result['image'], image)
    self.assertAllEqual(result[keys.SEMANTIC_MASK], semantic)
    self.assertAllEqual(result[_INFO], [[_HEIGHT, _WIDTH], [_HEIGHT, _WIDTH], [1, 1], [0, 0]])
    boxes, classes = [], []
    for place, example in enumerate(given):
      start = centre * [place >= 2, place % 2]
      stop = np.where([place < 2, place % 2 == 0], centre, size)
      for box, label in zip(
        example[keys.GROUNDTRUTH_BOXES], example[keys.GROUNDTRUTH_CLASSES], strict=True
      ):
        move = np.tile(start - offsets[place], 2)
        cut = np.clip(box + move, np.tile(start, 2), np.tile(stop, 2))
        sides = cut[2:] - cut[:2]
        if (sides >= 1).all() and sides.prod() > mixer.min_visible * np.prod(box[2:] - box[:2]):
          boxes.append(cut)
          classes.append(label)
    self.assertAllClose(result[keys.GROUNDTRUTH_BOXES], np.reshape(boxes, [-1, 4]), atol=1e-5)
    self.assertAllEqual(result[keys.GROUNDTRUTH_CLASSES], classes)
    return len(classes)

  def test_equals_numpy(self):
    mixers = [mixing.Mosaic(1.0), mixing.Mosaic(1.0, min_visible=0.6)]
    self._mix = {mixer: _traced(mixer) for mixer in mixers}
    counts = np.array(
      [
        [self._check(number, visible, mixer) for mixer in mixers]
        for number, visible in enumerate([(24, 32), (10, 14), (24, 20), (5, 32)] * 4)
      ]
    )
    self.assertGreater(counts.sum(0)[0], 1.2 * counts.sum(0)[1])

  def test_boxes_hold_their_masks(self):
    mix = _traced(mixing.Mosaic(1.0))
    for number in range(20):
      result = _numpy(mix([mixable.example(number + i) for i in range(4)]))
      for box, mask in zip(result[keys.GROUNDTRUTH_BOXES], result[_MASKS], strict=True):
        rows, columns = np.nonzero(mask)
        if rows.size:
          hull = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
          self.assertTrue((box[:2] - 1 < hull[:2]).all() and (box[2:] + 1 > hull[2:]).all())
      # The objects are where their labels are; only objects along a cut may have lost their boxes.
      is_object, is_labelled = np.any(result[_MASKS], 0), result[keys.SEMANTIC_MASK][..., 0] > 0
      self.assertFalse(np.any(is_object & ~is_labelled))
      self.assertLess(np.sum(is_labelled & ~is_object), 9)


class CopyPasteTest(tf.test.TestCase):
  def test_equals_numpy(self):
    mix = _traced(mixing.CopyPaste(1.0))
    dropped = shrunk = 0
    for number in range(40):
      pair = [mixable.example(number, 4), mixable.example(number + 1, 3)]
      result = _numpy(mix(pair))
      draws = tf.random.stateless_uniform([3], _own_seed(pair[0])).numpy()
      first, second = (_numpy(example) for example in pair)
      chosen = np.flatnonzero((draws < 0.5) & second[_MASKS].any((1, 2)))
      cover = second[_MASKS][chosen].any(0)
      image = np.where(cover[..., None], second['image'], first['image'])
      self.assertAllEqual(result['image'], image)
      labels = np.where(cover[..., None], second[keys.SEMANTIC_MASK], first[keys.SEMANTIC_MASK])
      self.assertAllEqual(result[keys.SEMANTIC_MASK], labels)
      rows, boxes = [], []
      for i, (box, mask) in enumerate(
        zip(first[keys.GROUNDTRUTH_BOXES], first[_MASKS], strict=True)
      ):
        left = (mask > 0) & ~cover
        if left.sum() < mask.sum():
          if left.sum() < 0.1 * mask.sum():
            dropped += 1
            continue
          y, x = np.nonzero(left)
          hull = [y.min(), x.min(), y.max() + 1, x.max() + 1]
          box = [*np.maximum(box[:2], hull[:2]), *np.minimum(box[2:], hull[2:])]
          shrunk += 1
        rows.append(i)
        boxes.append(box)
      expected = np.concatenate(
        [np.reshape(boxes, [-1, 4]), second[keys.GROUNDTRUTH_BOXES][chosen]]
      )
      self.assertAllClose(result[keys.GROUNDTRUTH_BOXES], expected)
      for name in (keys.GROUNDTRUTH_CLASSES, keys.GROUNDTRUTH_SCORES, keys.GROUNDTRUTH_AREA):
        self.assertAllEqual(result[name], np.concatenate([first[name][rows], second[name][chosen]]))
    self.assertGreater(min(dropped, shrunk), 3)

  def test_occlusion_by_hand(self):
    masks = np.zeros([5, _HEIGHT, _WIDTH], np.uint8)
    masks[0, 2:6, 2:12] = 1  # 36 of 40 pixels are covered: 10 % is left.
    masks[1, 8:12, 1:11] = 1  # 37 of 40.
    masks[2, 15:18, 4:8] = 1  # All.
    masks[3, 20:22, 20:25] = 1  # None; its box is larger than its mask.
    boxes = np.array(
      [[2, 2, 6, 12], [8, 1, 12, 11], [15, 4, 18, 8], [19, 19, 23, 26], [1, 1, 2, 2]], np.float32
    )  # The last object is too small to have a pixel in its mask.
    pasted = np.zeros([1, _HEIGHT, _WIDTH], np.uint8)
    pasted[0, :18, :11] = 1
    pasted[0, 11, 8:11] = 0
    first = {
      **mixable.example(1, 5),
      _MASKS: tf.constant(masks),
      keys.GROUNDTRUTH_BOXES: tf.constant(boxes),
    }
    second = {**mixable.example(2, 1), _MASKS: tf.constant(pasted)}
    mix = _traced(mixing.CopyPaste(1.0))
    kept = set()
    for seed in range(12):
      result = mix([{**first, keys.SEED: tf.constant([seed, 0])}, second])
      kept.add(tuple(result[keys.GROUNDTRUTH_CLASSES].numpy()))
      if len(result[keys.GROUNDTRUTH_CLASSES]) == 4:
        self.assertAllEqual(result[keys.GROUNDTRUTH_BOXES][:3], [[2, 11, 6, 12], *boxes[3:]])
    self.assertEqual(kept, {(100, 103, 104, 200), (100, 101, 102, 103, 104)})

  def test_crowds_the_ignore_band_and_objects_without_pixels_are_not_pasted(self):
    second = mixable.example(2, 4)
    second[keys.GROUNDTRUTH_IS_CROWD] = tf.constant([True, False, False, False])
    second[keys.GROUNDTRUTH_IS_IGNORED] = tf.constant([False, True, False, False])
    second[_MASKS] *= tf.constant([1, 1, 0, 1], tf.uint8)[:, None, None]
    first = mixable.example(1, 0)
    mix = _traced(mixing.CopyPaste(1.0))
    pasted = [
      mix([{**first, keys.SEED: tf.constant([seed, 3])}, second])[keys.GROUNDTRUTH_CLASSES].numpy()
      for seed in range(200)
    ]
    self.assertEqual({tuple(each) for each in pasted}, {(), (203,)})
    self.assertBetween(sum(map(len, pasted)), 100 - 29, 100 + 29)  # Four standard deviations.


class StreamTest(tf.test.TestCase):
  _MIXERS = (mixing.CopyPaste(0.6), mixing.Mosaic(0.6), mixing.MixUp(0.6))
  _LENGTH = 12

  def _dataset(self, start=0, calls=1):
    def read(number):
      return [array.numpy() for array in mixable.example(int(number), int(number) % 4).values()]

    signature = mixable.signature()

    def load(number):
      values = tf.py_function(read, [number], [spec.dtype for spec in signature.values()])
      return {
        name: tf.ensure_shape(value, spec.shape)
        for (name, spec), value in zip(signature.items(), values, strict=True)
      }

    numbers = tf.data.Dataset.range(start, self._LENGTH)
    return numbers.map(load, num_parallel_calls=calls, deterministic=True)

  def _mixed(self, **options):
    return list(mixing.mix_stream(self._dataset(**options), self._MIXERS))

  def test_each_example_is_mixed_with_those_that_follow(self):
    mixed = self._mixed()
    self.assertLen(mixed, self._LENGTH - 1 - 3 - 1)
    stage = [mixable.example(i, i % 4) for i in range(self._LENGTH)]
    for mixer in self._MIXERS:
      count = mixer.num_examples
      stage = [mixer(stage[i : i + count]) for i in range(len(stage) - count + 1)]
    for graph, eager in zip(mixed, stage, strict=True):
      _assert_same(self, graph, eager)
    applied = np.array([list(each[keys.APPLIED_OPS].numpy()) for each in mixed])
    names = [{b'Rotate_BBox'}, {b'CopyPaste', b''}, {b'Mosaic', b''}, {b'MixUp', b''}]
    self.assertEqual([set(column) for column in applied.T], names)

  def test_same_bytes_at_any_parallelism_and_after_a_resume(self):
    mixed = self._mixed()
    again = self._mixed(start=3, calls=4)
    for first, second in zip(mixed[3:], again, strict=True):
      _assert_same(self, first, second)

  def test_shapes_stay_known_and_nothing_happens_without_mixers(self):
    dataset = self._dataset()
    self.assertIs(mixing.mix_stream(dataset, ()), dataset)
    spec = mixing.mix_stream(dataset, self._MIXERS).element_spec
    self.assertEqual(spec['image'].shape, [_HEIGHT, _WIDTH, 3])
    self.assertEqual(spec[keys.SEMANTIC_MASK].shape, [_HEIGHT, _WIDTH, 1])
    self.assertEqual(spec[_MASKS].shape.as_list(), [None, _HEIGHT, _WIDTH])
    self.assertEqual(spec[keys.GROUNDTRUTH_BOXES].shape.as_list(), [None, 4])


class BuildTest(tf.test.TestCase):
  def test_default_is_off(self):
    self.assertEqual(mixing.build(augmentation.Augmentation()), ())

  def test_settings_and_order(self):
    config = augmentation.Augmentation(
      mixup_probability=0.1,
      mixup_alpha=0.4,
      mosaic_probability=0.2,
      copy_paste_probability=0.3,
      min_visible=0.25,
    )
    self.assertEqual(
      mixing.build(config),
      (mixing.CopyPaste(0.3), mixing.Mosaic(0.2, min_visible=0.25), mixing.MixUp(0.1, alpha=0.4)),
    )
    self.assertTrue(config.mixes())
    self.assertFalse(augmentation.Augmentation(policy='S4').mixes())


if __name__ == '__main__':
  tf.test.main()
