"""What a policy draws, in which order it applies it, and that the same seed gives the same bytes wherever it runs."""

import collections

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_selftrain.augment import flip_crop, geometry, ops, pixels, policy, tables
from official_selftrain.core import errors, keys
from tests.augment import scenes

SIZE = (60, 80)
SMALL = tables.Constants().scaled(0.2)
SAME_SIZE = flip_crop.FlipCrop(SIZE, normalize=False)


def _policy(*texts, faithful=False, num_draws=1, last=SAME_SIZE):
  return policy.Policy(scenes.sub_policies(*texts), num_draws, last, SMALL, faithful)


def _applied(out):
  return [name.decode() for name in out[keys.APPLIED_OPS] if name]


class DrawsTest(tf.test.TestCase):
  def test_sub_policies_are_drawn_uniformly(self):
    names = ('Invert', 'AutoContrast', 'Brightness', 'Posterize', 'Solarize')
    last = flip_crop.FlipCrop((2, 2))
    drawn = _policy(*[f'{name}(1, 5)' for name in names], num_draws=2, last=last)
    outs = scenes.draws(drawn, scenes.scene((2, 2), ()), 250)
    for place in range(2):
      counts = collections.Counter(out[keys.APPLIED_OPS][place].decode() for out in outs)
      self.assertCountEqual(counts, names)
      self.assertAllClose(list(counts.values()), [50] * 5, atol=26)
    pairs = collections.Counter(tuple(out[keys.APPLIED_OPS]) for out in outs)
    self.assertLen(pairs, 25)

  def test_an_op_happens_with_its_probability(self):
    last = flip_crop.FlipCrop((2, 2))
    drawn = _policy('Invert(0.3, 0) Brightness(0.8, 0)', last=last)
    outs = scenes.draws(drawn, scenes.scene((2, 2), ()), 300)
    happened = np.array([[bool(name) for name in out[keys.APPLIED_OPS]] for out in outs])
    self.assertAllClose(happened.mean(0), [0.3, 0.8], atol=0.1)
    self.assertAllClose((happened[:, 0] & happened[:, 1]).mean(), 0.24, atol=0.1)

  def test_places_say_nothing_of_whether_an_op_happens(self):
    last = flip_crop.FlipCrop((40, 40), normalize=False)
    outs = scenes.draws(_policy('Cutout(0.25, 1)', last=last), scenes.scene((40, 40), ()), 120)
    cut = [scenes.place_of(1, (out['image'] == 128).all(-1, keepdims=True)) for out in outs]
    centres = np.array([(box[:2] + box[2:]) / 2 for box in cut if box is not None])
    self.assertBetween(len(centres), 18, 42)
    self.assertTrue((centres.min(0) < 8).all())
    self.assertTrue((centres.max(0) > 32).all())

  def test_order_of_ops(self):
    example = scenes.example_of(scenes.random_image(0, SIZE), np.zeros([0, 4]))
    image = example['image']
    added = pixels.solarize_add(image, tf.constant(110.0))
    expected = {
      'SolarizeAdd(1, 10) Invert(1, 0)': 255 - added,
      'Invert(1, 0) SolarizeAdd(1, 10)': pixels.solarize_add(255 - image, tf.constant(110.0)),
    }
    self.assertNotAllEqual(*expected.values())
    for text, result in expected.items():
      self.assertAllEqual(_policy(text)(example)['image'], result, text)

  def test_two_draws_apply_both(self):
    example = scenes.example_of(scenes.random_image(0, SIZE), np.zeros([0, 4]))
    out = scenes.arrays(_policy('Invert(1, 0)', num_draws=2)(example))
    self.assertEqual(_applied(out), ['Invert', 'Invert'])
    self.assertAllEqual(out['image'], example['image'])

  def test_no_sub_policy(self):
    example = scenes.scene(SIZE)
    out = policy.Policy((), 0, SAME_SIZE)(example)
    self.assertAllEqual(out['image'], example['image'])
    self.assertAllClose(out[keys.GROUNDTRUTH_BOXES], [[10, 12, 30, 40]], atol=1e-4)
    self.assertEmpty(out[keys.APPLIED_OPS])

  def test_ops_inside_boxes_are_named_where_they_changed_something(self):
    drawn = _policy('Flip_Only_BBoxes(1, 0)')
    # The flat rectangle shows no flip; half of the box is on the ground.
    example = scenes.scene(SIZE, ((10, 12, 30, 40),))
    run = scenes.traced(drawn)
    image = scenes.random_image(0, SIZE)
    flipped = 0
    for number in range(60):
      out = run({**scenes.seeded(example, number), 'image': image})
      changed = not np.array_equal(out['image'], image)
      self.assertEqual(_applied(out), ['Flip_Only_BBoxes'] if changed else [])
      flipped += changed
    self.assertBetween(flipped, 8, 32)  # A third of 60.

  def test_the_same_op_twice_visits_boxes_anew(self):
    drawn = _policy('Solarize_Only_BBoxes(1, 0) Solarize_Only_BBoxes(1, 0)')
    example = scenes.scene(SIZE, ((10, 12, 30, 40),))
    counts = collections.Counter(
      len(_applied(scenes.arrays(drawn(scenes.seeded(example, number))))) for number in range(20)
    )
    # Of 20: 8.9 never, 8.9 once, 2.2 twice.
    self.assertGreater(counts[0], 3)
    self.assertGreater(counts[1], 3)

  def test_unknown_op(self):
    with self.assertRaisesRegex(
      errors.ConfigError, r"unknown op 'Swirl'; there are AutoContrast, BBox_Cutout, .*, TranslateY"
    ):
      _policy('Invert(1, 0) Swirl(1, 2)')


# Parameter and value at level 10.
MOTIONS = {
  'Rotate_BBox': ('degrees', 30.0),
  'ShearX_BBox': ('shear_x', 0.3),
  'ShearY_BBox': ('shear_y', 0.3),
  'TranslateX_BBox': ('left', 50.0),
  'TranslateY_BBox': ('up', 50.0),
}


class MotionsTest(parameterized.TestCase, tf.test.TestCase):
  def _expected(self, example, parameter, value, faithful):
    """Image and boxes moved by the map, in one step."""
    size = tf.constant(SIZE)
    limits = tf.constant(SIZE, tf.float32)
    forward = geometry.motion(
      tf.constant([value * (parameter == other) for other in geometry.MOTIONS]), limits
    )
    box = geometry.warp_boxes(tf.constant([[25.0, 35.0, 35.0, 45.0]]), forward)
    box = geometry.clip_boxes(box, limits)
    if faithful or parameter in ('left', 'up'):
      return geometry.warp_nearest(example['image'], forward, size, 128), box
    values = tf.cast(example['image'], tf.float32)
    return geometry.warp_bilinear(values, forward, size, 128), box

  @parameterized.parameters(False, True)
  def test_moves_in_both_directions_by_its_argument(self, faithful):
    example = scenes.scene(SIZE, ((25, 35, 35, 45),))
    drawn = _policy(*[f'{name}(1, 10)' for name in MOTIONS], faithful=faithful)
    expected = {
      name: [self._expected(example, parameter, sign * value, faithful) for sign in (1.0, -1.0)]
      for name, (parameter, value) in MOTIONS.items()
    }
    seen = set()
    for out in scenes.draws(drawn, example, 60):
      (name,) = _applied(out)
      results = expected[name]
      distances = [np.abs(out['image'] - image).mean() for image, _ in results]
      sign = int(np.argmin(distances))
      seen.add((name, sign))
      self.assertLess(distances[sign], 1e-2)
      # The shifts leave nothing of the box.
      if not name.startswith('Translate'):
        self.assertAllClose(out[keys.GROUNDTRUTH_BOXES], results[sign][1], atol=1e-3)
    self.assertLen(seen, 10)

  @parameterized.parameters(False, True)
  def test_one_motion_after_the_other(self, faithful):
    example = scenes.scene(SIZE, ((25, 35, 35, 45),))
    limits = tf.constant(SIZE, tf.float32)
    drawn = _policy('TranslateX_BBox(1, 4) Rotate_BBox(1, 10)', faithful=faithful)
    expected = [
      geometry.motion(tf.constant([turn, 0.0, 0.0, 0.0, 0.0, 0.0]), limits)
      @ geometry.motion(tf.constant([0.0, 0.0, 0.0, left, 0.0, 0.0]), limits)
      for turn in (30.0, -30.0)
      for left in (20.0, -20.0)
    ]
    centres = np.stack([(forward @ [[40.0], [30.0], [1.0]])[:2, 0] for forward in expected])
    seen = set()
    for number in range(8):
      top, left, bottom, right = drawn(scenes.seeded(example, number))[keys.GROUNDTRUTH_BOXES][0]
      distances = np.abs(centres - [(left + right) / 2, (top + bottom) / 2]).max(1)
      seen.add(int(np.argmin(distances)))
      self.assertLess(distances.min(), 1e-2)
    self.assertGreater(len(seen), 2)


IDENTITIES = (
  *('Rotate_BBox', 'ShearX_BBox', 'ShearY_BBox', 'TranslateX_BBox', 'TranslateY_BBox'),
  *('Rotate_Only_BBoxes', 'ShearX_Only_BBoxes', 'ShearY_Only_BBoxes'),
  *('TranslateX_Only_BBoxes', 'TranslateY_Only_BBoxes'),
  *('SolarizeAdd', 'Cutout', 'Cutout_Only_BBoxes', 'BBox_Cutout', 'Identity'),
)


class IdentityTest(tf.test.TestCase):
  def _check(self, drawn, count):
    """Counts what was applied without changing anything."""
    boxes = ((5, 6, 20, 30), (30, 40, 55, 79))
    example = scenes.example_of(
      scenes.random_image(0, SIZE), np.array(boxes), scenes.random_image(1, SIZE)[..., :1]
    )
    seen = collections.Counter()
    for out in scenes.draws(drawn, example, count):
      seen.update(_applied(out) or ['nothing'])
      self.assertAllEqual(out['image'], example['image'], str(_applied(out)))
      self.assertAllEqual(out[keys.SEMANTIC_MASK], example[keys.SEMANTIC_MASK])
      self.assertAllClose(out[keys.GROUNDTRUTH_BOXES], boxes, atol=1e-4)
    return seen

  def test_level_zero_factor_one_and_probability_zero(self):
    texts = [f'{name}(1, 0)' for name in IDENTITIES]
    texts += [f'{name}(1, 5)' for name in ('Color', 'Brightness', 'Sharpness', 'Contrast')]
    texts += ['Solarize(1, 10)', *(f'{name}(0, 10)' for name in ops.NAMES)]
    seen = self._check(_policy(*texts), 130)
    self.assertGreater(seen['nothing'], 30)
    self.assertGreater(len(seen), 14)

  def test_faithful_motions(self):
    texts = [f'{name}(1, 0)' for name in MOTIONS] + [f'{name}(0, 10)' for name in MOTIONS]
    seen = self._check(_policy(*texts, faithful=True), 80)
    self.assertCountEqual(seen, [*MOTIONS, 'nothing'])


class SameBytesTest(parameterized.TestCase, tf.test.TestCase):
  def assert_same_bytes(self, transform, graph):
    example = scenes.scene((90, 110), ((3, 4, 60, 30), (30, 50, 88, 99), (1, 60, 28, 109)))
    rows = [scenes.seeded(example, i) for i in range(6)]
    expected = [transform(row) for row in rows]
    dataset = tf.data.Dataset.from_generator(
      lambda: rows, output_signature={k: scenes.SIGNATURE[k] for k in example}
    )
    for calls in (1, 4):
      outs = list(dataset.map(graph, num_parallel_calls=calls))
      self.assertLen(outs, len(rows))
      for out, result in zip(outs, expected, strict=True):
        self.assertCountEqual(out, result)
        for key, value in result.items():
          self.assertAllEqual(out[key], value, key)
    self.assertEqual(len({out['image'].numpy().tobytes() for out in expected}), len(rows))

  @parameterized.parameters(False, True)
  def test_eager_and_any_parallelism(self, faithful):
    self.assert_same_bytes(
      scenes.untraced('RandAugment', faithful), scenes.everything('RandAugment', faithful)
    )

  def test_ops_inside_boxes_too(self):
    transform = _policy(
      *('Rotate_Only_BBoxes(1, 9)', 'Cutout_Only_BBoxes(1, 4)', 'BBox_Cutout(1, 6)'),
      last=flip_crop.FlipCrop((64, 72), 0.5, 2.0, 0.5),
    )
    self.assert_same_bytes(transform, tf.function(transform, input_signature=[scenes.SIGNATURE]))

  def test_a_fixed_size_gives_the_same_bytes(self):
    # Constants of a graph may be folded; the divisions that they enter must not change.
    last = flip_crop.FlipCrop((50, 70), 0.5, 2.0, 0.5)
    drawn = _policy('Rotate_BBox(1, 7) Contrast(1, 9)', 'ShearX_BBox(1, 3)', last=last)
    example = scenes.scene((30, 44), ((3, 4, 20, 30),))
    fixed = tf.function(lambda seed: drawn({**example, keys.SEED: seed}))
    for number in range(8):
      expected = drawn(scenes.seeded(example, number))
      for key, value in fixed(tf.constant([number, 11])).items():
        self.assertAllEqual(value, expected[key], key)


class AnySizeTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(*scenes.KINDS)
  def test_odd_sizes(self, name, faithful):
    run = scenes.everything(name, faithful)
    for size in ((1, 1), (7, 300), (300, 7), (2, 3)):
      boxes = np.array([[0, 0, *size]])
      for rows in (boxes, boxes[:0]):
        example = scenes.example_of(scenes.random_image(0, size), rows)
        for number in range(5):
          out = scenes.arrays(run(scenes.seeded(example, number)))
          self.assertAllEqual(out['image'].shape, [64, 72, 3])
          self.assertAllEqual(out[keys.SEMANTIC_MASK].shape, [64, 72, 1])
          self.assertTrue(np.isfinite(out['image']).all())
          self.assertLessEqual(set(np.unique(out[keys.SEMANTIC_MASK])), {0, 255})
          self.assertLessEqual(len(out[keys.GROUNDTRUTH_BOXES]), len(rows))

  @parameterized.parameters(False, True)
  def test_without_boxes_and_mask(self, faithful):
    drawn = _policy(
      'Rotate_BBox(1, 5) Equalize(1, 0)', 'TranslateX_Only_BBoxes(1, 5)', faithful=faithful
    )
    full = scenes.scene(SIZE, ())
    image_only = {'image': full['image'], keys.SEED: full[keys.SEED]}
    names = set()
    for number in range(8):
      expected = drawn(scenes.seeded(full, number))
      out = drawn(scenes.seeded(image_only, number))
      own = [keys.SEED, keys.APPLIED_OPS, keys.VIEW_MAP, keys.VIEW_SIZE]
      self.assertCountEqual(out, ['image', 'image_info', 'is_flipped', *own])
      names.update(_applied(scenes.arrays(out)))
      for name, value in out.items():
        self.assertAllEqual(value, expected[name], name)
    self.assertEqual(names, {'Rotate_BBox', 'Equalize'})


if __name__ == '__main__':
  tf.test.main()
