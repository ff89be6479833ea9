"""Policies, presets and the texts of sub-policies, against the paper's code written down once more."""

import re

import tensorflow as tf
from absl.testing import parameterized
from official.vision.ops import augment

from official_selftrain.augment import ops, tables
from official_selftrain.core import errors

# One sub-policy a line; op(probability,level) from first to last.
_V0 = """
  TranslateX_BBox(.6,4) + Equalize(.8,10)
  TranslateY_Only_BBoxes(.2,2) + Cutout(.8,8)
  Sharpness(0,8) + ShearX_BBox(.4,0)
  ShearY_BBox(1,2) + TranslateY_Only_BBoxes(.6,6)
  Rotate_BBox(.6,10) + Color(1,6)
"""
_V1_BEYOND_V0 = """
  Color(0,0) + ShearX_Only_BBoxes(.8,4)
  ShearY_Only_BBoxes(.8,2) + Flip_Only_BBoxes(0,10)
  Equalize(.6,10) + TranslateX_BBox(.2,2)
  Color(1,10) + TranslateY_Only_BBoxes(.4,6)
  Rotate_BBox(.8,10) + Contrast(0,10)
  Cutout(.2,2) + Brightness(.8,10)
  Color(1,6) + Equalize(1,2)
  Cutout_Only_BBoxes(.4,6) + TranslateY_Only_BBoxes(.8,2)
  Color(.2,8) + Rotate_BBox(.8,10)
  Sharpness(.4,4) + TranslateY_Only_BBoxes(0,4)
  Sharpness(1,4) + SolarizeAdd(.4,4)
  Rotate_BBox(1,8) + Sharpness(.2,8)
  ShearY_BBox(.6,10) + Equalize_Only_BBoxes(.6,8)
  ShearX_BBox(.2,6) + TranslateY_Only_BBoxes(.2,10)
  SolarizeAdd(.6,8) + Brightness(.8,10)
"""
_V2 = """
  Color(0,6) + Cutout(.6,8) + Sharpness(.4,8)
  Rotate_BBox(.4,8) + Sharpness(.4,2) + Rotate_BBox(.8,10)
  TranslateY_BBox(1,8) + AutoContrast(.8,2)
  AutoContrast(.4,6) + ShearX_BBox(.8,8) + Brightness(0,10)
  SolarizeAdd(.2,6) + Contrast(0,10) + AutoContrast(.6,0)
  Cutout(.2,0) + Solarize(.8,8) + Color(1,4)
  TranslateY_BBox(0,4) + Equalize(.6,8) + Solarize(0,10)
  TranslateY_BBox(.2,2) + ShearY_BBox(.8,8) + Rotate_BBox(.8,8)
  Cutout(.8,8) + Brightness(.8,8) + Cutout(.2,2)
  Color(.8,4) + TranslateY_BBox(1,6) + Rotate_BBox(.6,6)
  Rotate_BBox(.6,10) + BBox_Cutout(1,4) + Cutout(.2,8)
  Rotate_BBox(0,0) + Equalize(.6,6) + ShearY_BBox(.6,8)
  Brightness(.8,8) + AutoContrast(.4,2) + Brightness(.2,2)
  TranslateY_BBox(.4,8) + Solarize(.4,6) + SolarizeAdd(.2,10)
  Contrast(1,10) + SolarizeAdd(.2,8) + Equalize(.2,4)
"""
_V3 = """
  Posterize(.8,2) + TranslateX_BBox(1,8)
  BBox_Cutout(.2,10) + Sharpness(1,8)
  Rotate_BBox(.6,8) + Rotate_BBox(.8,10)
  Equalize(.8,10) + AutoContrast(.2,10)
  SolarizeAdd(.2,2) + TranslateY_BBox(.2,8)
  Sharpness(0,2) + Color(.4,8)
  Equalize(1,8) + TranslateY_BBox(1,8)
  Posterize(.6,2) + Rotate_BBox(0,10)
  AutoContrast(.6,0) + Rotate_BBox(1,6)
  Equalize(0,4) + Cutout(.8,10)
  Brightness(1,2) + TranslateY_BBox(1,6)
  Contrast(0,2) + ShearY_BBox(.8,0)
  AutoContrast(.8,10) + Contrast(.2,10)
  Rotate_BBox(1,10) + Cutout(1,10)
  SolarizeAdd(.8,6) + Equalize(.8,8)
"""


def _written(text):
  """[(name, probability, level), ...] for each line."""
  return [
    [
      (name, float(probability), float(level))
      for name, probability, level in re.findall(r'(\w+)\(([.\d]+),(\d+)\)', line)
    ]
    for line in text.strip().split('\n')
  ]


def _tuples(sub_policies):
  return [
    [(entry.name, entry.probability, entry.level) for entry in sub_policy]
    for sub_policy in sub_policies
  ]


# Ops that move a whole image, whose names end otherwise in the Model Garden's classification.
_MOVES = ('Rotate', 'Shear', 'Translate')


class AutoAugmentTest(tf.test.TestCase):
  def test_every_op_of_every_version(self):
    expected = {
      'v0': _written(_V0),
      'v1': _written(_V0) + _written(_V1_BEYOND_V0),
      'v2': _written(_V2),
      'v3': _written(_V3),
      'imagenet': [
        [(name + '_BBox' * name.startswith(_MOVES), *numbers) for name, *numbers in sub_policy]
        for sub_policy in augment.AutoAugment.policy_v0()
      ],
    }
    self.assertEqual(list(tables.AUTO_AUGMENT), list(expected))
    for version, sub_policies in tables.AUTO_AUGMENT.items():
      self.assertEqual(_tuples(sub_policies), expected[version], version)

  def test_sizes(self):
    sizes = {version: len(policy) for version, policy in tables.AUTO_AUGMENT.items()}
    self.assertEqual(sizes, {'v0': 5, 'v1': 20, 'v2': 15, 'v3': 15, 'imagenet': 25})
    lengths = {version: sum(map(len, policy)) for version, policy in tables.AUTO_AUGMENT.items()}
    self.assertEqual(lengths, {'v0': 10, 'v1': 40, 'v2': 44, 'v3': 30, 'imagenet': 50})

  def test_v0_is_also_the_model_gardens(self):
    theirs = augment.AutoAugment.detection_policy_v0()
    self.assertEqual(_tuples(tables.AUTO_AUGMENT['v0']), theirs)

  def test_names_are_ops(self):
    for version, sub_policies in tables.AUTO_AUGMENT.items():
      self.assertLessEqual(set(tables.names_in(sub_policies)), set(ops.NAMES), version)


class RandAugmentTest(tf.test.TestCase):
  def test_automl10(self):
    preset = tables.RAND_AUGMENT['automl10']
    self.assertCountEqual(
      preset.ops,
      [
        'Equalize',
        'Solarize',
        'Color',
        'Cutout',
        'SolarizeAdd',
        'TranslateX_BBox',
        'TranslateY_BBox',
        'ShearX_BBox',
        'ShearY_BBox',
        'Rotate_BBox',
      ],
    )
    self.assertEqual(preset.num_ops, 1)
    self.assertEqual((preset.constants.cutout, preset.constants.translate), (100, 250))

  def test_ra14(self):
    preset = tables.RAND_AUGMENT['ra14']
    self.assertCountEqual(
      preset.ops,
      [
        'Identity',
        'AutoContrast',
        'Equalize',
        'Rotate_BBox',
        'Solarize',
        'Color',
        'Posterize',
        'Contrast',
        'Brightness',
        'Sharpness',
        'ShearX_BBox',
        'ShearY_BBox',
        'TranslateX_BBox',
        'TranslateY_BBox',
      ],
    )
    self.assertEqual(preset.num_ops, 1)
    self.assertEqual((preset.constants.cutout, preset.constants.translate), (100, 250))

  def test_tfm16(self):
    preset = tables.RAND_AUGMENT['tfm16']
    # The 14 but for the identity, and three more; the identity again, as one more branch.
    expected = [*tables.RAND_AUGMENT['ra14'].ops, 'Invert', 'Cutout', 'SolarizeAdd']
    self.assertCountEqual(preset.ops, expected)
    self.assertLen(preset.ops, 17)
    self.assertEqual(preset.num_ops, 2)
    self.assertEqual((preset.constants.cutout, preset.constants.translate), (40, 100))

  def test_tfm16_is_the_model_gardens(self):
    theirs = augment.RandAugment.build_for_detection()
    preset = tables.RAND_AUGMENT['tfm16']
    self.assertCountEqual(preset.ops, [*theirs.available_ops, 'Identity'])
    self.assertEqual(preset.num_ops, theirs.num_layers)
    self.assertEqual(preset.constants.cutout, theirs.cutout_const)
    self.assertEqual(preset.constants.translate, theirs.translate_const)

  def test_constants_inside_boxes(self):
    for name, preset in tables.RAND_AUGMENT.items():
      constants = preset.constants
      self.assertEqual((constants.translate_boxes, constants.cutout_boxes), (120, 50), name)

  def test_scaled(self):
    self.assertEqual(tables.Constants().scaled(0.2), tables.Constants(50.0, 20.0, 24.0, 10.0))


class ParseTest(parameterized.TestCase):
  def test_numbers_and_order(self):
    self.assertEqual(
      tables.parse_sub_policy('  Equalize(0.8, 10) Rotate_BBox( .6,4.5 )Color(1., 0)\n'),
      (
        tables.Entry('Equalize', 0.8, 10.0),
        tables.Entry('Rotate_BBox', 0.6, 4.5),
        tables.Entry('Color', 1.0, 0.0),
      ),
    )

  def test_names_are_not_looked_up_here(self):
    self.assertEqual(tables.parse_sub_policy('Foo(1, 1)')[0].name, 'Foo')

  @parameterized.parameters(
    ('Equalize', "at 'Equalize'"),
    ('Equalize(1)', r"at 'Equalize\(1\)'"),
    ('Equalize(1, 2, 3)', r"at 'Equalize\(1, 2, 3\)'"),
    ('Equalize(0.8, 10), Color(1, 6)', r"at ', Color\(1, 6\)'"),
    ('Equalize(-0.1, 10)', r"at 'Equalize\(-0.1, 10\)'"),
    ('Equalize(1.2.3, 10)', r"at 'Equalize\(1.2.3, 10\)'"),
    ('Equalize(., 10)', r"at 'Equalize\(., 10\)'"),
    ('Color(1, 6) Equalize(half, 10)', r"at 'Equalize\(half, 10\)'"),
  )
  def test_not_of_that_form(self, text, pattern):
    with self.assertRaisesRegex(
      errors.ConfigError,
      rf'sub-policy .*: expected something like "Equalize\(0.8, 10\) .* {pattern}',
    ):
      tables.parse_sub_policy(text)

  @parameterized.parameters('Color(1, 6) Equalize(1.1, 10)', 'Equalize(1, 10.5)')
  def test_out_of_range(self, text):
    with self.assertRaisesRegex(
      errors.ConfigError,
      r'probabilities must be in \[0, 1\] and levels in \[0, 10\]; Equalize\(1.*\) is not',
    ):
      tables.parse_sub_policy(text)

  @parameterized.parameters('', '  \n')
  def test_empty(self, text):
    with self.assertRaisesRegex(errors.ConfigError, r'a sub-policy is empty: .*Identity\(1, 0\)'):
      tables.parse_sub_policy(text)

  def test_names_in(self):
    sub_policies = (
      tables.parse_sub_policy('Color(1, 6) Equalize(1, 1)'),
      tables.parse_sub_policy('Color(0, 0)'),
    )
    self.assertEqual(tables.names_in(sub_policies), ['Color', 'Equalize'])
    self.assertEqual(tables.names_in([]), [])


if __name__ == '__main__':
  tf.test.main()
