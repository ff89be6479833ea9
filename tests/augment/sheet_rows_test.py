"""What a contact sheet shows: the draws that training would make, and single ops."""

import numpy as np
import tensorflow as tf

from official_selftrain.augment import sheet_inputs, sheet_rows
from official_selftrain.configs import augmentation
from official_selftrain.core import errors, keys

_RNG = np.random.default_rng(5)
_SETTINGS = augmentation.Augmentation


def _input(name='a', size=(24, 32), boxes=((0.25, 0.25, 0.75, 0.75),), mask=False, instances=False):
  example = {'image': tf.constant(_RNG.integers(0, 256, [*size, 3]), tf.uint8)}
  if boxes is not None:
    example[keys.GROUNDTRUTH_BOXES] = tf.reshape(tf.constant(boxes, tf.float32), [-1, 4])
    example[keys.GROUNDTRUTH_CLASSES] = tf.ones([len(boxes)], tf.int64)
  if instances:
    example[keys.GROUNDTRUTH_INSTANCE_MASKS] = tf.ones([len(boxes), *size], tf.uint8)
  if mask:
    example[keys.SEMANTIC_MASK] = tf.ones([*size, 1], tf.uint8)
  return sheet_inputs.Input(name, example)


def _make(shown, *inputs, count=4, seed=0, size=None):
  return sheet_rows.make(shown, inputs, sheet_rows.Draws(count, seed, size))


class PolicyTest(tf.test.TestCase):
  def test_rows_have_the_inputs_and_their_draws(self):
    inputs = _input('a'), _input('b', (20, 10), mask=True)
    rows = _make(sheet_rows.of_policy(_SETTINGS(policy='S4')), *inputs)
    self.assertEqual([row.title for row in rows], [('Augment-S4', 'a'), ('Augment-S4', 'b')])
    for row, (_, example) in zip(rows, inputs, strict=True):
      self.assertAllEqual(row.original['image'], example['image'])
      self.assertAllEqual(row.original[keys.GROUNDTRUTH_BOXES], example[keys.GROUNDTRUTH_BOXES])
      self.assertLen(row.draws, 4)
      self.assertEqual({draw['image'].shape for draw in row.draws}, {example['image'].shape})
      self.assertFalse(row.is_mixed)
    self.assertEqual(rows[1].draws[0][keys.SEMANTIC_MASK].shape, (20, 10, 1))

  def test_layers_of_keras_cv(self):
    settings = _SETTINGS(policy='keras_cv')
    settings.override(
      {'keras_cv': {'layers': ['AutoContrast()', 'RandomFlip(rate=1.0)', 'MixUp()']}}
    )
    rows = _make(sheet_rows.of_policy(settings), _input('a'), _input('b'), count=2)
    self.assertEqual([row.title for row in rows], [('keras_cv', 'a'), ('keras_cv', 'b')])
    self.assertTrue(rows[0].is_mixed)
    (draw, _) = rows[0].draws
    self.assertAllEqual(draw[keys.APPLIED_OPS], [b'AutoContrast', b'RandomFlip', b'KerasCvMixUp'])
    self.assertLen(draw[keys.GROUNDTRUTH_BOXES], 2)

  def test_a_layer_that_cannot_move_the_labels(self):
    settings = _SETTINGS(policy='keras_cv')
    settings.override({'keras_cv': {'layers': ['RandomZoom(height_factor=0.2)']}})
    with self.assertRaisesRegex(errors.ConfigError, 'RandomZoom cannot move boxes'):
      _make(sheet_rows.of_policy(settings), _input())

  def test_pixels_are_not_normalised(self):
    one = _input()
    (row,) = _make(sheet_rows.of_policy(_SETTINGS()), one, count=1)
    self.assertAllEqual(row.draws[0]['image'], one.example['image'])
    self.assertEqual(row.title[0], 'no policy')

  def test_draws_differ_and_a_seed_repeats_them(self):
    one = _input()
    shown = sheet_rows.of_policy(_SETTINGS(policy='S1'))
    rows = [_make(shown, one, one, seed=seed, size=(300, 400)) for seed in (0, 0, 1)]
    images = np.array([[draw['image'] for row in made for draw in row.draws] for made in rows])
    self.assertAllEqual(images[0], images[1])
    different = np.concatenate([images[0], images[2]]).reshape(16, -1)
    self.assertLen(np.unique(different, axis=0), 16)

  def test_results_have_the_size_that_is_asked_for(self):
    (row,) = _make(sheet_rows.of_policy(_SETTINGS(policy='S1')), _input(), size=(16, 48))
    self.assertEqual(row.draws[0]['image'].shape, (16, 48, 3))

  def test_settings_reach_the_policy(self):
    shown = sheet_rows.of_policy(
      _SETTINGS(policy='S1', flip_probability=1.0, scale_min=0.5, scale_max=0.5, faithful=True)
    )
    (row,) = _make(shown, _input())
    self.assertEqual(row.title[0], 'Augment-S1, faithful')
    self.assertTrue(all(draw['is_flipped'] for draw in row.draws))
    self.assertAllClose([draw['image_info'][2] for draw in row.draws], [[0.5, 0.5]] * 4)

  def test_an_unknown_op_is_refused_before_anything_is_read(self):
    with self.assertRaisesRegex(errors.ConfigError, "exclude_ops: there is no op 'Zoom'"):
      sheet_rows.of_policy(_SETTINGS(policy='S4', exclude_ops=['Zoom']))


class OpsTest(tf.test.TestCase):
  def test_a_row_for_each_op_and_level_with_nothing_else(self):
    shown = sheet_rows.of_ops(['Invert', 'Brightness'], [0.0, 5.0], _SETTINGS())
    one = _input()
    rows = _make(shown, one, count=2)
    self.assertEqual(
      [row.title[0] for row in rows],
      ['Invert, level 0', 'Invert, level 5', 'Brightness, level 0', 'Brightness, level 5'],
    )
    image = one.example['image'].numpy().astype(int)
    for row, expected in zip(rows, [255 - image] * 2 + [image // 10, image], strict=True):
      for draw in row.draws:
        self.assertAllClose(draw['image'], expected, atol=1)
        self.assertAllClose(draw[keys.GROUNDTRUTH_BOXES], [[6, 8, 18, 24]])

  def test_draws_are_the_same_at_all_levels(self):
    rows = _make(
      sheet_rows.of_ops(['TranslateX_BBox'], [1.0, 2.0], _SETTINGS(pixel_scale=0.04)), _input()
    )
    # A shift of one and of two pixels.
    lefts = np.array(
      [[draw[keys.GROUNDTRUTH_BOXES][0, 1] - 8 for draw in row.draws] for row in rows]
    )
    self.assertAllEqual(abs(lefts), [[1] * 4, [2] * 4])
    self.assertAllEqual(np.sign(lefts[0]), np.sign(lefts[1]))
    self.assertLen(np.unique(lefts[0]), 2)

  def test_levels_beyond_ten(self):
    (row,) = _make(sheet_rows.of_ops(['SolarizeAdd'], [30.0], _SETTINGS()), _input(), count=1)
    image = row.original['image']
    # 330 and more is as much as fits.
    self.assertAllEqual(row.draws[0]['image'], np.where(image < 128, 255, image))

  def test_faithful(self):
    (row,) = _make(sheet_rows.of_ops(['Solarize'], [10.0], _SETTINGS(faithful=True)), _input())
    self.assertEqual(row.title[0], 'Solarize, level 10, faithful')
    self.assertAllEqual(row.draws[0]['image'], 255 - row.original['image'])

  def test_ops_inside_boxes_are_named_only_where_a_box_was_visited(self):
    shown = sheet_rows.of_ops(['Flip_Only_BBoxes'], [2.0], _SETTINGS())
    with_box, without = _make(shown, _input(), _input('b', boxes=()), count=20)
    named = [draw[keys.APPLIED_OPS].tolist() == [b'Flip_Only_BBoxes'] for draw in with_box.draws]
    changed = [np.any(draw['image'] != with_box.original['image']) for draw in with_box.draws]
    self.assertEqual(named, changed)
    self.assertBetween(sum(named), 1, 15)
    self.assertEqual({name for draw in without.draws for name in draw[keys.APPLIED_OPS]}, {b''})

  def test_an_unknown_op(self):
    with self.assertRaisesRegex(
      errors.ConfigError, "no op 'Rotate'; there are AutoContrast, .*Rotate_BBox"
    ):
      sheet_rows.of_ops(['Invert', 'Rotate'], [2.0], _SETTINGS())


class MixingTest(tf.test.TestCase):
  def test_each_input_is_mixed_with_the_next_and_the_last_with_the_first(self):
    settings = _SETTINGS(mixup_probability=1.0)
    inputs = [_input(str(k), boxes=[[0.0, 0.0, k / 4, 1.0]], size=(24, 32)) for k in range(1, 4)]
    rows = _make(sheet_rows.of_policy(settings), *inputs, count=2)
    for row, heights in zip(rows, ([6, 12], [12, 18], [18, 6]), strict=True):
      self.assertTrue(row.is_mixed)
      for draw in row.draws:
        self.assertEqual(draw[keys.APPLIED_OPS].tolist(), [b'MixUp'])
        self.assertAllClose(draw[keys.GROUNDTRUTH_BOXES][:, 2], heights)

  def test_one_input_is_mixed_with_itself(self):
    (row,) = _make(sheet_rows.of_policy(_SETTINGS(mosaic_probability=1.0)), _input(), count=1)
    self.assertEqual(row.draws[0][keys.APPLIED_OPS].tolist(), [b'Mosaic'])
    self.assertEqual(row.draws[0]['image'].shape, (24, 32, 3))

  def test_inputs_that_cannot_be_mixed(self):
    def refused(message, settings, *inputs, size=None):
      with self.assertRaisesRegex(errors.ConfigError, message):
        _make(sheet_rows.of_policy(settings), *inputs, size=size)

    mixup, paste = _SETTINGS(mixup_probability=0.5), _SETTINGS(copy_paste_probability=0.5)
    small = _input('small', (8, 8))
    refused(
      'must have one size, and small has another one than a: give --size', mixup, _input(), small
    )
    self.assertLen(_make(sheet_rows.of_policy(mixup), _input(), small, size=(8, 8)), 2)
    refused('kinds of labels, and m has others than a', mixup, _input(), _input('m', mask=True))
    refused(
      r'copy_paste_probability needs instance masks \(image/object/mask\), and a has',
      paste,
      _input(),
    )
    self.assertLen(_make(sheet_rows.of_policy(paste), _input(instances=True)), 1)


if __name__ == '__main__':
  tf.test.main()
