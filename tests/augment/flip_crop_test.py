"""Flip and jittered resize-and-crop: identity, exact places, the range of scales, compared with the Model Garden's."""

import functools

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from official.vision.ops import preprocess_ops

from official_selftrain.augment import flip_crop, geometry
from official_selftrain.core import keys
from official_selftrain.ops import images
from tests.augment import scenes

SIZE = (60, 80)


def _step(output_size=SIZE, **settings):
  return flip_crop.FlipCrop(output_size, **{'normalize': False, **settings})


def _in_pixels(example):
  size = tf.cast(tf.shape(example['image'])[:2], tf.float32)
  boxes = example[keys.GROUNDTRUTH_BOXES] * tf.tile(size, [2])
  return {**example, keys.GROUNDTRUTH_BOXES: boxes}


def _traced(step):
  return scenes.traced(lambda example: step(_in_pixels(example)))


@functools.cache
def _jitter(faithful):
  """Flip and large jitter to 64 x 72 pixels."""
  step = _step((64, 72), scale_min=0.5, scale_max=2.0, flip_probability=0.5, faithful=faithful)
  return _traced(step)


def tearDownModule():
  # Graphs that outlive the test would be freed after what they need.
  _jitter.cache_clear()


def _eager(step):
  return lambda example: scenes.arrays(step(_in_pixels(example)))


def _random_example(size=(40, 60), boxes=((4, 12, 20, 36),)):
  return scenes.example_of(scenes.random_image(7, size), np.array(boxes))


class FlipTest(tf.test.TestCase):
  def test_never(self):
    example = _random_example()
    out = _eager(_step((40, 60)))(example)
    self.assertAllEqual(out['image'], example['image'])
    self.assertAllClose(out[keys.GROUNDTRUTH_BOXES], [[4, 12, 20, 36]], atol=1e-4)
    self.assertFalse(out['is_flipped'])

  def test_always(self):
    example = scenes.scene(SIZE)
    out = _eager(_step(flip_probability=1.0))(example)
    self.assertAllEqual(out['image'], example['image'].numpy()[:, ::-1])
    self.assertAllEqual(out[keys.SEMANTIC_MASK], example[keys.SEMANTIC_MASK].numpy()[:, ::-1])
    self.assertAllClose(out[keys.GROUNDTRUTH_BOXES], [[10, 40, 30, 68]], atol=1e-4)
    self.assertTrue(out['is_flipped'])

  def test_twice_is_identity(self):
    example = scenes.scene(SIZE, ((10, 12, 30, 40), (5, 50, 55, 77)))
    step = _step(flip_probability=1.0)
    once = step(_in_pixels(example))
    self.assertNotAllEqual(once['image'], example['image'])
    twice = step({**once, 'image': tf.cast(once['image'], tf.uint8)})
    self.assertAllEqual(twice['image'], example['image'])
    self.assertAllEqual(twice[keys.SEMANTIC_MASK], example[keys.SEMANTIC_MASK])
    self.assertAllClose(
      twice[keys.GROUNDTRUTH_BOXES], [[10, 12, 30, 40], [5, 50, 55, 77]], atol=1e-4
    )

  def test_share(self):
    example = scenes.scene((4, 4), ())
    run = _traced(_step((4, 4), flip_probability=0.3))
    share = np.mean([run(scenes.seeded(example, i))['is_flipped'] for i in range(250)])
    self.assertAllClose(share, 0.3, atol=0.11)

  def test_leaves_a_new_seed(self):
    out = _eager(_step())(scenes.scene(SIZE))
    self.assertNotAllEqual(out[keys.SEED], [1, 11])


class WithoutJitterTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(
    ((64, 64), False), ((64, 64), True), ((33, 120), False), ((20, 20), True), ((7, 90), False)
  )
  def test_equals_the_model_garden(self, output_size, faithful):
    example = _random_example()
    out = _eager(_step(output_size, faithful=faithful))(example)
    image, info = preprocess_ops.resize_and_crop_image(example['image'], output_size, output_size)
    self.assertAllClose(out['image'], image, atol=1e-3)
    self.assertAllClose(out['image_info'], info)
    boxes = tf.constant([[4.0, 12.0, 20.0, 36.0]])
    expected = preprocess_ops.resize_and_crop_boxes(boxes, info[2], info[1], info[3])
    self.assertAllClose(out[keys.GROUNDTRUTH_BOXES], expected, atol=1e-3)

  def test_normalized(self):
    example = _random_example()
    plain = _eager(_step((64, 64)))(example)
    out = _eager(_step((64, 64), normalize=True))(example)
    # 40 rows become 43; padding is the mean colour.
    self.assertAllClose(out['image'][:43], images.normalize(plain['image'][:43]), atol=1e-5)
    self.assertTrue((out['image'][43:] == 0).all())

  def test_padding(self):
    out = _eager(_step((64, 64)))(scenes.scene((40, 60)))
    self.assertTrue((out['image'][43:] == 0).all())
    self.assertTrue((out['image'][:43].sum(-1) > 0).all())
    self.assertTrue((out[keys.SEMANTIC_MASK][43:] == 255).all())
    self.assertLess(out[keys.SEMANTIC_MASK][:43].max(), 2)
    tall = _eager(_step((64, 64)))(scenes.scene((60, 40)))
    self.assertTrue((tall[keys.SEMANTIC_MASK][:, 43:] == 255).all())
    self.assertLess(tall[keys.SEMANTIC_MASK][:, :43].max(), 2)


class JitterTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(False, True)
  def test_a_marked_rectangle_lands_where_its_box_says(self, faithful):
    example = scenes.scene((50, 80), ((10, 20, 30, 60),))
    run = _jitter(faithful)
    compared = 0
    for number in range(60):
      out = run(scenes.seeded(example, number))
      if not len(out[keys.GROUNDTRUTH_BOXES]):
        self.assertIsNone(scenes.place_of(1, out[keys.SEMANTIC_MASK]))
        continue
      box = out[keys.GROUNDTRUTH_BOXES][0]
      if (box[2:] - box[:2]).min() < 3:
        continue
      compared += 1
      bright = (out['image'][..., :1] > 170).astype(np.uint8)
      self.assertAllClose(scenes.place_of(1, bright), box, atol=1.5)
      self.assertAllClose(scenes.place_of(1, out[keys.SEMANTIC_MASK]), box, atol=1.01)
    self.assertGreater(compared, 40)

  @parameterized.parameters(False, True)
  def test_boxes_stay_inside_the_visible_part(self, faithful):
    boxes = ((0, 0, 40, 60), (36, 54, 40, 60), (12, 6, 16, 12))
    example = _random_example((40, 60), boxes)
    run = _jitter(faithful)
    for number in range(60):
      out = run(scenes.seeded(example, number))
      got, info = out[keys.GROUNDTRUTH_BOXES], out['image_info']
      visible = np.minimum(np.round(info[0] * info[2] - info[3]), [64, 72])
      self.assertTrue((got[:, :2] < got[:, 2:]).all())
      self.assertTrue((got >= 0).all())
      self.assertTrue((got[:, 2:] <= visible + 1e-3).all())
      self.assertAllClose(got[0], [0, 0, *visible], atol=1e-3)
      self.assertTrue((out['image'][int(visible[0]) :] == 0).all())
      self.assertTrue((out['image'][:, int(visible[1]) :] == 0).all())

  @parameterized.parameters(False, True)
  def test_scale_is_uniform_in_the_range(self, faithful):
    run = _jitter(faithful)
    example = _random_example((100, 100), ())
    infos = np.array([run(scenes.seeded(example, i))['image_info'] for i in range(240)])
    scales = infos[:, 2, 0] * 100 / 64
    self.assertBetween(min(scales), 0.5, 0.54)
    self.assertBetween(max(scales), 1.96, 2.03)
    self.assertAllClose(np.histogram(scales, 4, (0.5, 2.03))[0], [60] * 4, atol=27)

  def test_scale_is_isotropic_and_close_to_the_drawn_one(self):
    example = _random_example((120, 160), ())
    both = _jitter(False), _jitter(True)
    for number in range(40):
      ours, faithful = (run(scenes.seeded(example, number))['image_info'] for run in both)
      self.assertAllClose(ours[2], faithful[2], rtol=0.03)
      self.assertAllClose(ours[2, 0], ours[2, 1], rtol=0.03)
      self.assertAllClose(ours[3], faithful[3], atol=1.5)

  def test_offset_is_uniform(self):
    run = _traced(_step((50, 50), scale_min=2.0, scale_max=2.0))
    example = _random_example((100, 100), ())
    offsets = np.array(
      [run(scenes.seeded(example, i))['image_info'][3] for i in range(210)], np.float32
    )
    self.assertAllClose(offsets.min(0), [0, 0], atol=2.5)
    self.assertAllClose(offsets.max(0), [50, 50], atol=2.5)
    for axis in range(2):
      counts = np.histogram(offsets[:, axis], 3, (0, 50.01))[0]
      self.assertAllClose(counts, [70] * 3, atol=27)
    self.assertLess(abs(np.corrcoef(offsets.T)[0, 1]), 0.25)

  def test_every_window_is_as_likely(self):
    # Half of 8 pixels can start at any of the first 5.
    run = _traced(_step((8, 8), scale_min=2.0, scale_max=2.0))
    example = _random_example((8, 8), ())
    offsets = np.array(
      [run(scenes.seeded(example, i))['image_info'][3] for i in range(200)], np.float32
    )
    for axis in range(2):
      starts, counts = np.unique(offsets[:, axis] / 2, return_counts=True)
      self.assertAllEqual(starts, [0, 1, 2, 3, 4])
      self.assertAllClose(counts, [40] * 5, atol=22)

  def test_flip_scale_and_offset_are_independent(self):
    example = _random_example((100, 100), ())
    outs = [_jitter(True)(scenes.seeded(example, i)) for i in range(200)]
    drawn = np.array(
      [(out['is_flipped'], out['image_info'][2, 0], *out['image_info'][3]) for out in outs],
      np.float32,
    )
    # Scale decides how far the offset may go; only where both axes are cropped can either say something of the flip.
    cropped = drawn[(drawn[:, 2:] > 0).all(1)]
    for column in range(1, 4):
      self.assertLess(abs(np.corrcoef(cropped[:, 0], cropped[:, column])[0, 1]), 0.25)
    self.assertLess(abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]), 0.2)

  def test_image_info_places_the_boxes(self):
    example = _random_example((120, 160), ((50, 60, 60, 90),))
    compared = 0
    for number in range(40):
      out = _jitter(False)(scenes.seeded(example, number))
      _, _, scale, offset = out['image_info']
      shown = [50, 70, 60, 100] if out['is_flipped'] else [50, 60, 60, 90]
      expected = np.array(shown) * np.tile(scale, 2) - np.tile(offset, 2)
      expected = expected.clip(0, [64, 72, 64, 72])
      if len(out[keys.GROUNDTRUTH_BOXES]):
        compared += 1
        self.assertAllClose(out[keys.GROUNDTRUTH_BOXES][0], expected, atol=1e-2)
    self.assertGreater(compared, 25)


class KeptBoxesTest(tf.test.TestCase):
  # The window of scale 2 is half as wide and high as the image.
  BOXES = ((0, 0, 20, 20), (40, 40, 59, 59), (22, 22, 38, 38), (30, 30, 30, 45))

  def _outs(self, **settings):
    step = _step((60, 60), scale_min=2.0, scale_max=2.0, **settings)
    run = _traced(step)
    example = scenes.scene((60, 60), self.BOXES)
    return [run(scenes.seeded(example, number)) for number in range(40)]

  def test_what_belongs_to_a_box_travels_with_it(self):
    kept = set()
    for out in self._outs():
      rows = out[keys.GROUNDTRUTH_CLASSES] - 1
      kept.update(rows)
      self.assertLen(out[keys.GROUNDTRUTH_BOXES], len(rows))
      self.assertAllClose(out[keys.GROUNDTRUTH_SCORES], rows / 100)
      self.assertAllEqual(out[keys.GROUNDTRUTH_IS_CROWD], rows % 2 == 1)
      self.assertAllEqual(out[keys.GROUNDTRUTH_IS_IGNORED], rows % 3 == 1)
    # The fourth has no area.
    self.assertEqual(kept, {0, 1, 2})

  def test_min_visible(self):
    everything = self._outs()
    strict = self._outs(min_visible=0.5)
    dropped = 0
    for out, fewer in zip(everything, strict, strict=True):
      boxes = out[keys.GROUNDTRUTH_BOXES]
      sides = boxes[:, 2:] - boxes[:, :2]
      whole = np.array([400, 361, 256])[out[keys.GROUNDTRUTH_CLASSES] - 1] * 4
      enough = sides.prod(1) > 0.5 * whole
      self.assertAllEqual(fewer[keys.GROUNDTRUTH_CLASSES], out[keys.GROUNDTRUTH_CLASSES][enough])
      dropped += np.count_nonzero(~enough)
    self.assertGreater(dropped, 10)

  def test_without_boxes_and_mask(self):
    example = scenes.seeded({'image': tf.constant(scenes.random_image(0, (9, 9)))}, 3)
    out = _step((9, 9))(example)
    self.assertAllEqual(out['image'], example['image'])
    views = [keys.VIEW_MAP, keys.VIEW_SIZE]
    self.assertCountEqual(out, ['image', keys.SEED, 'image_info', 'is_flipped', *views])


class MapTest(tf.test.TestCase):
  """`forward`, a map that is resampled together with the crop."""

  def _moved(self, forward, example, **settings):
    step = _step(SIZE, **settings)
    return {name: value.numpy() for name, value in step(_in_pixels(example), forward).items()}

  def test_identity_changes_nothing(self):
    example = scenes.scene(SIZE)
    for settings in ({}, {'flip_probability': 1.0}, {'scale_min': 0.7, 'scale_max': 0.7}):
      plain = self._moved(None, example, **settings)
      moved = self._moved(tf.eye(3), example, **settings)
      for name, value in plain.items():
        self.assertAllEqual(moved[name], value, name)

  def test_one_resampling_equals_the_resize(self):
    # A shear too small to be seen goes the other way: through the map. Half a pixel off would differ by units.
    tiny = geometry.matrix([[1.0, 1e-6, 0.0], [0.0, 1.0, 0.0]])
    smooth = tf.image.resize(scenes.random_image(5, (6, 8)), SIZE).numpy().astype(np.uint8)
    example = _in_pixels(scenes.example_of(smooth, np.array([[4, 12, 20, 36]])))
    for scale in (0.6, 1.0, 1.7):
      step = _step(scale_min=scale, scale_max=scale, flip_probability=0.5)
      resized, warped = (scenes.arrays(step(example, forward)) for forward in (None, tiny))
      height, width = (
        (resized['image'].max(-1) > 0).any(1).sum(),
        (resized['image'] > 0).any(0).sum(),
      )
      self.assertGreater(min(height, width), 20)
      # The outermost pixels blend with the grey around the image, or with themselves.
      inner = np.s_[2 : height - 2, 2 : min(width, SIZE[1]) - 2]
      self.assertAllClose(warped['image'][inner], resized['image'][inner], atol=0.1)

  def test_translation_is_exact(self):
    example = scenes.scene(SIZE)
    forward = geometry.scaling_and_shift(tf.ones([2]), tf.constant([4.0, -7.0]))
    out = self._moved(forward, example)
    expected = np.full([*SIZE, 3], 128)
    expected[4:, :-7] = example['image'].numpy()[:-4, 7:]
    self.assertAllEqual(out['image'], expected)
    mask = np.full([*SIZE, 1], 255)
    mask[4:, :-7] = example[keys.SEMANTIC_MASK].numpy()[:-4, 7:]
    self.assertAllEqual(out[keys.SEMANTIC_MASK], mask)
    self.assertAllClose(out[keys.GROUNDTRUTH_BOXES], [[14, 5, 34, 33]], atol=1e-4)

  def test_flip_comes_after_the_map(self):
    example = scenes.scene(SIZE)
    forward = geometry.scaling_and_shift(tf.ones([2]), tf.constant([4.0, -7.0]))
    plain = self._moved(forward, example)
    flipped = self._moved(forward, example, flip_probability=1.0)
    for name in ('image', keys.SEMANTIC_MASK):
      self.assertAllEqual(flipped[name], plain[name][:, ::-1])
    self.assertAllClose(flipped[keys.GROUNDTRUTH_BOXES], [[14, 47, 34, 75]], atol=1e-4)

  def test_what_left_the_frame_does_not_come_back(self):
    # A wide output shows more than the frame, but not what was moved out of it.
    example = scenes.scene(SIZE, ((10, 60, 30, 78),))
    forward = geometry.scaling_and_shift(tf.ones([2]), tf.constant([0.0, 10.0]))
    step = _step((60, 160), flip_probability=0.0)
    out = step(_in_pixels(example), forward)
    self.assertAllClose(out[keys.GROUNDTRUTH_BOXES], [[10, 70, 30, 80]], atol=1e-4)
    self.assertTrue((out['image'].numpy()[:, 80:] == 0).all())
    self.assertTrue((out[keys.SEMANTIC_MASK].numpy()[:, 80:] == 255).all())
    gone = geometry.scaling_and_shift(tf.ones([2]), tf.constant([0.0, 25.0]))
    self.assertEmpty(step(_in_pixels(example), gone)[keys.GROUNDTRUTH_BOXES])


class SameBytesTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(False, True)
  def test_eager_and_any_parallelism(self, faithful):
    step = _step((32, 32), scale_min=0.5, scale_max=2.0, flip_probability=0.5, faithful=faithful)
    example = _in_pixels(_random_example())
    eager = [step(scenes.seeded(example, i)) for i in range(8)]
    graph = tf.function(
      lambda i: step({**example, keys.SEED: tf.stack([tf.cast(i, tf.int32), 11])})
    )
    for calls in (1, 4):
      dataset = tf.data.Dataset.range(8).map(graph, num_parallel_calls=calls)
      for left, right in zip(eager, dataset, strict=True):
        for name, value in left.items():
          self.assertAllEqual(value, right[name], name)


class ModelGardenTest(tf.test.TestCase):
  """Human and pseudo stream must not be jittered in lockstep."""

  def _scales(self, step):
    return list(tf.data.Dataset.range(8).map(step).as_numpy_iterator())

  def test_two_of_its_pipelines_draw_the_same_scales(self):
    image = tf.zeros([40, 60, 3])

    def step(_):
      return preprocess_ops.resize_and_crop_image(image, [64, 64], [64, 64], 0.5, 2.0)[1][2]

    for seed in (None, 7):
      tf.random.set_seed(seed)
      human, pseudo = self._scales(step), self._scales(step)
      self.assertAllEqual(human, pseudo)
      self.assertGreater(np.std(human), 0.05)

  def test_two_of_ours_do_not(self):
    jitter = _step((64, 64), scale_min=0.5, scale_max=2.0)
    example = _in_pixels(_random_example())

    def step(stream):
      return lambda i: jitter({**example, keys.SEED: tf.stack([tf.cast(i, tf.int32), stream])})[
        'image_info'
      ][2]

    human, pseudo, again = (self._scales(step(stream)) for stream in (1, 2, 1))
    self.assertGreater(np.abs(np.array(human) - pseudo)[:, 0].min(), 1e-4)
    self.assertAllEqual(again, human)


if __name__ == '__main__':
  tf.test.main()
