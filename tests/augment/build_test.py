"""Every setting reaches the policy that is built from it."""

from unittest import mock

import numpy as np
import tensorflow as tf
import tensorflow_addons as tfa
from absl.testing import parameterized
from official.vision.ops import preprocess_ops

from official_selftrain.augment import build, ops, tables
from official_selftrain.configs import augmentation
from official_selftrain.core import errors, keys
from official_selftrain.ops import images
from tests.augment import scenes


def _config(**settings):
  config = augmentation.Augmentation()
  config.override(settings)
  return config


def _build(output_size=(64, 72), **settings):
  return build.build(_config(**settings), output_size)


def _names(drawn):
  return [[entry.name for entry in sub_policy] for sub_policy in drawn.sub_policies]


class NamedPoliciesTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(
    ('S1', (0.8, 1.2)), ('S2', (0.8, 1.2)), ('S3', (0.5, 2.0)), ('S4', (0.5, 2.0))
  )
  def test_jitter_and_flip(self, name, jitter):
    last = _build(policy=name).flip_crop
    self.assertEqual((last.scale_min, last.scale_max), jitter)
    self.assertEqual(last.flip_probability, 0.5)
    self.assertEqual(last.output_size, (64, 72))
    self.assertTrue(last.normalize)
    other = _build(policy=name, scale_min=0.1, scale_max=1.9, flip_probability=0.2).flip_crop
    self.assertEqual((other.scale_min, other.scale_max, other.flip_probability), (0.1, 1.9, 0.2))

  def test_s1_draws_no_op(self):
    self.assertEqual(_build(policy='S1').sub_policies, ())

  @parameterized.parameters('S2', 'S3')
  def test_auto_augment(self, name):
    default = _build(policy=name)
    self.assertEqual(default.sub_policies, tables.AUTO_AUGMENT['v0'])
    self.assertEqual(default.num_draws, 1)
    self.assertEqual(default.constants, tables.Constants(250.0, 100.0, 120.0, 50.0))
    for version, expected in tables.AUTO_AUGMENT.items():
      self.assertEqual(
        _build(policy=name, auto_augment={'version': version}).sub_policies, expected
      )

  def test_own_sub_policies(self):
    texts = ['Invert(1, 0) Color(0.5, 3)', 'Equalize(1, 0)']
    drawn = _build(policy='S2', auto_augment={'sub_policies': texts})
    self.assertEqual(drawn.sub_policies, scenes.sub_policies(*texts))

  @parameterized.parameters('automl10', 'ra14', 'tfm16')
  def test_rand_augment(self, name):
    preset = tables.RAND_AUGMENT[name]
    drawn = _build(policy='S4', rand_augment={'preset': name})
    self.assertEqual(_names(drawn), [[op] for op in preset.ops])
    self.assertEqual(drawn.num_draws, preset.num_ops)
    self.assertEqual(drawn.constants, preset.constants)
    for (entry,) in drawn.sub_policies:
      self.assertEqual((entry.probability, entry.level), (1.0, 10.0))

  def test_default_of_s4_is_automl10(self):
    self.assertEqual(_build(policy='S4'), _build(policy='S4', rand_augment={'preset': 'automl10'}))

  def test_number_magnitude_and_probability(self):
    settings = {'num_ops': 3, 'magnitude': 15.0, 'probability': 0.4}
    drawn = _build(policy='S4', rand_augment=settings)
    self.assertEqual(drawn.num_draws, 3)
    self.assertEqual(
      {(entry.probability, entry.level) for (entry,) in drawn.sub_policies}, {(0.4, 15.0)}
    )

  def test_magnitude_15_solarizes_at_128_when_faithful(self):
    image = scenes.random_image(0, (20, 20))
    example = scenes.example_of(image, np.zeros([0, 4]))
    exclude = [name for name in tables.RAND_AUGMENT['automl10'].ops if name != 'Solarize']
    for magnitude, expected in (
      (10.0, 255 - image),
      (15.0, np.where(image < 128, image, 255 - image)),
    ):
      drawn = build.build(
        _config(
          policy='S4',
          scale_min=1.0,
          scale_max=1.0,
          flip_probability=0.0,
          faithful=True,
          exclude_ops=exclude,
          rand_augment={'magnitude': magnitude},
        ),
        (20, 20),
        normalize=False,
      )
      self.assertAllEqual(drawn(example)['image'], expected)


class ConstantsTest(tf.test.TestCase):
  def test_scale_and_constants(self):
    drawn = _build(policy='S4', pixel_scale=0.5, translate_const=200.0, cutout_const=10.0)
    self.assertEqual(drawn.constants, tables.Constants(100.0, 5.0, 60.0, 25.0))
    self.assertEqual(
      _build(policy='S2', pixel_scale=0.2).constants, tables.Constants(50.0, 20.0, 24.0, 10.0)
    )
    preset = _build(policy='S4', rand_augment={'preset': 'tfm16'}, translate_const=60.0)
    self.assertEqual((preset.constants.translate, preset.constants.cutout), (60.0, 40.0))

  def test_they_move_the_image_that_far(self):
    settings = {'policy': 'S2', 'scale_min': 1.0, 'scale_max': 1.0, 'flip_probability': 0.0}
    settings['auto_augment'] = {'sub_policies': ['TranslateX_BBox(1, 10)']}
    example = scenes.scene((60, 100), ((10, 40, 30, 60),))
    for more, distance in (
      ({'pixel_scale': 0.1}, 25),
      ({'translate_const': 30.0, 'pixel_scale': 1.0}, 30),
      ({'translate_const': 30.0, 'pixel_scale': 0.5}, 15),
      # By default relative to the longer side: 250 pixels of 640, so 39 of 100.
      ({}, 39),
      ({'translate_const': 192.0}, 30),
      ({'translate_const': 30.0, 'faithful': True}, 30),
    ):
      out = _build((60, 100), **settings, **more)(example)
      left = float(out[keys.GROUNDTRUTH_BOXES][0, 1])
      self.assertAllClose(abs(left - 40), distance, atol=1e-3)


class TwoMotionsTest(tf.test.TestCase):
  def test_what_left_the_frame_comes_back_unless_faithful(self):
    settings = {'policy': 'S2', 'scale_min': 1.0, 'scale_max': 1.0, 'flip_probability': 0.0}
    settings['auto_augment'] = {'sub_policies': ['TranslateX_BBox(1, 10) TranslateX_BBox(1, 10)']}
    example = scenes.scene((40, 100), ((10, 20, 30, 30),))
    widths = {False: set(), True: set()}
    for faithful, seen in widths.items():
      drawn = build.build(
        _config(**settings, faithful=faithful, translate_const=25.0, pixel_scale=1.0), (40, 100)
      )
      for seed in range(12):
        out = drawn(scenes.seeded(example, seed))
        seen |= {round(float(box[3] - box[1]), 3) for box in out[keys.GROUNDTRUTH_BOXES].numpy()}
    # 25 to the left and back: the whole box, or what was left of it at the border.
    self.assertEqual(widths[False], {10.0})
    self.assertEqual(widths[True], {5.0, 10.0})


class LastStepTest(tf.test.TestCase):
  def test_min_visible_faithful_and_normalize(self):
    drawn = _build(policy='S3', min_visible=0.3)
    self.assertEqual((drawn.flip_crop.min_visible, drawn.flip_crop.faithful), (0.3, False))
    self.assertFalse(drawn.faithful)
    faithful = _build(policy='S3', faithful=True)
    self.assertTrue(faithful.faithful)
    self.assertTrue(faithful.flip_crop.faithful)
    plain = build.build(_config(policy='S1'), (64, 72), normalize=False)
    self.assertFalse(plain.flip_crop.normalize)

  def test_none_takes_jitter_and_flip_of_the_parser(self):
    last = build.build(_config(), (64, 72), jitter=(0.7, 1.3), flip=True).flip_crop
    self.assertEqual((last.scale_min, last.scale_max, last.flip_probability), (0.7, 1.3, 0.5))
    self.assertEqual(build.build(_config(), (64, 72)).flip_crop.flip_probability, 0.0)
    # The other policies have their own.
    named = build.build(_config(policy='S1'), (64, 72), jitter=(0.7, 1.3), flip=False).flip_crop
    self.assertEqual((named.scale_min, named.scale_max, named.flip_probability), (0.8, 1.2, 0.5))

  def test_none_without_jitter_equals_the_model_garden(self):
    example = scenes.scene((40, 60), ((4, 12, 20, 36),))
    out = build.build(_config(), (64, 64))(example)
    image, info = preprocess_ops.resize_and_crop_image(
      images.normalize(example['image']), [64, 64], [64, 64]
    )
    self.assertAllClose(out['image'], image, atol=1e-4)
    self.assertAllClose(out['image_info'], info)
    boxes = preprocess_ops.resize_and_crop_boxes(
      tf.constant([[4.0, 12.0, 20.0, 36.0]]), info[2], info[1], info[3]
    )
    self.assertAllClose(out[keys.GROUNDTRUTH_BOXES], boxes, atol=1e-3)


class CoreOpsTest(tf.test.TestCase):
  def test_resamples_the_same_without_addons(self):
    example = scenes.scene((60, 100), ((10, 40, 30, 60),))
    settings = {'policy': 'S2', 'auto_augment': {'sub_policies': ['Rotate_BBox(1, 6)']}}
    with_addons = scenes.traced(_build(**settings))
    with mock.patch.object(tfa.image, 'resampler', side_effect=AssertionError('addons')):
      without = scenes.traced(_build(**settings, core_ops=True))
      found = [without(scenes.seeded(example, number)) for number in range(20)]
      with self.assertRaisesRegex(AssertionError, 'addons'):
        scenes.traced(_build(**settings))(scenes.seeded(example, 0))
    for number, one in enumerate(found):
      other = with_addons(scenes.seeded(example, number))
      self.assertAllClose(one['image'], other['image'], atol=2e-3)
      self.assertAllEqual(one[keys.GROUNDTRUTH_BOXES], other[keys.GROUNDTRUTH_BOXES])


class ExcludeTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters('S1', 'S2', 'S4')
  def test_flip(self, name):
    drawn = _build(policy=name, exclude_ops=['Flip'])
    self.assertEqual(drawn.flip_crop.flip_probability, 0.0)
    self.assertEqual(drawn.sub_policies, _build(policy=name).sub_policies)

  def test_flip_of_policy_none(self):
    drawn = build.build(_config(exclude_ops=['Flip']), (64, 72), flip=True)
    self.assertEqual(drawn.flip_crop.flip_probability, 0.0)

  def test_op_of_rand_augment(self):
    drawn = _build(policy='S4', exclude_ops=['Rotate_BBox', 'Cutout', 'Invert'])
    expected = tables.RAND_AUGMENT['automl10'].ops
    expected = [[name] for name in expected if name not in ('Rotate_BBox', 'Cutout')]
    self.assertEqual(_names(drawn), expected)
    self.assertLen(expected, 8)

  def test_op_of_a_sub_policy_leaves_its_place(self):
    drawn = _build(policy='S2', exclude_ops=['Equalize', 'Rotate_BBox'])
    self.assertEqual(
      _names(drawn),
      [
        ['TranslateX_BBox', 'Identity'],
        ['TranslateY_Only_BBoxes', 'Cutout'],
        ['Sharpness', 'ShearX_BBox'],
        ['ShearY_BBox', 'TranslateY_Only_BBoxes'],
        ['Identity', 'Color'],
      ],
    )
    self.assertEqual(drawn.sub_policies[0][1].probability, 0.0)

  def test_op_of_own_sub_policies(self):
    settings = {'sub_policies': ['Invert(1, 0) Color(0.5, 3)']}
    drawn = _build(policy='S3', auto_augment=settings, exclude_ops=['Invert'])
    self.assertEqual(_names(drawn), [['Identity', 'Color']])

  @parameterized.parameters('none', 'S1', 'S2', 'S4')
  def test_unknown(self, name):
    with self.assertRaisesRegex(
      errors.ConfigError,
      r"exclude_ops: there is no op 'Rotate'; there are Flip, AutoContrast, BBox",
    ):
      _build(policy=name, exclude_ops=['Flip', 'Rotate'])

  def test_nothing_left(self):
    with self.assertRaisesRegex(
      errors.ConfigError, r'exclude_ops leaves no op of rand_augment\.preset=ra14\.'
    ):
      _build(policy='S4', rand_augment={'preset': 'ra14'}, exclude_ops=list(ops.NAMES))

  def test_unknown_op_of_a_sub_policy(self):
    with self.assertRaisesRegex(errors.ConfigError, r"unknown op 'Rotate'; there are AutoContrast"):
      _build(policy='S2', auto_augment={'sub_policies': ['Rotate(1, 3)']})

  def test_sub_policy_of_another_form(self):
    with self.assertRaisesRegex(errors.ConfigError, r"sub-policy 'Rotate': expected something"):
      _build(policy='S2', auto_augment={'sub_policies': ['Rotate']})


if __name__ == '__main__':
  tf.test.main()
