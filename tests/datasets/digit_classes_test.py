"""Images of single digits: classes, disjoint sets, made once."""

import tempfile

import numpy as np
import tensorflow as tf

from official_selftrain.configs import datasets as configs
from official_selftrain.core import errors, keys
from official_selftrain.datasets import digit_classes, scenes
from tests.testing import records

_LOOK = configs.Digits(image_size=64)
_FEW = configs.DigitClasses(num_training=40, num_validation=12, num_shards=3)


def _read(pattern):
  paths = sorted(tf.io.gfile.glob(pattern))
  return paths, [
    records.parse(record) for record in tf.data.TFRecordDataset(paths).as_numpy_iterator()
  ]


class DigitClassesTest(tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory())
    cls.files = digit_classes.prepare(_LOOK, _FEW, cls.folder)
    cls.shards, cls.training = _read(cls.files.training)
    _, cls.validation = _read(cls.files.validation)

  def test_numbers_of_shards_images_and_classes(self):
    self.assertLen(self.shards, 3)
    self.assertLen(self.training, 40)
    self.assertLen(self.validation, 12)
    self.assertEqual(digit_classes.CLASS_NAMES, tuple('0123456789'))
    labels = [record[keys.IMAGE_CLASS][0] for record in self.training]
    self.assertContainsSubset(labels, range(10))
    self.assertGreaterEqual(len(set(labels)), 8)

  def test_the_class_is_the_digit_that_was_drawn(self):
    look = digit_classes._of_one_digit(_LOOK, _FEW)
    for index in (0, 17, 39):
      scene = scenes.compose(look, scenes.Split.CLASSES, index)
      (glyph,) = scene.glyph_indices
      ours = scenes.load_glyphs(scenes.Split.CLASSES)
      digit = ours.digits[ours.indices == glyph][0]
      self.assertEqual(self.training[index][keys.IMAGE_CLASS], [digit])

  def test_no_id_is_used_twice(self):
    ids = [record[keys.SOURCE_ID][0] for record in self.training + self.validation]
    self.assertLen(set(ids), 52)
    # Beyond those of the scenes, which may be read in the same run.
    self.assertGreater(min(map(int, ids)), 3 * configs.MAX_IMAGES_PER_SPLIT)

  def test_no_digit_is_in_two_of_training_held_out_and_validation_scenes(self):
    splits = scenes.Split.CLASSES, scenes.Split.CLASSES_VALIDATION, scenes.Split.VALIDATION
    indices = [scenes.load_glyphs(split).indices for split in splits]
    joined = np.concatenate(indices)
    self.assertLen(set(joined.tolist()), len(joined))
    self.assertEqual([len(each) for each in indices], [998, 200, 599])

  def test_numbers_of_scenes_do_not_matter(self):
    other = configs.Digits(image_size=64, num_labelled=5, num_unlabelled=9, max_digits=3)
    self.assertEqual(
      digit_classes.directory_name(_LOOK, _FEW), digit_classes.directory_name(other, _FEW)
    )
    digit_classes.prepare(other, _FEW, self.folder)

  def test_other_settings_are_refused(self):
    other = configs.DigitClasses(num_training=41, num_validation=12, num_shards=3)
    with self.assertRaisesRegex(
      errors.ConfigError, 'dataset.digit_classes.num_training is 40 there and 41 here'
    ):
      digit_classes.prepare(_LOOK, other, self.folder)

  def test_numbers_out_of_range(self):
    for changes, message in (
      ({'num_training': 0}, 'dataset.digit_classes.num_training is 0; allowed are values from 1'),
      ({'num_shards': 41}, 'num_shards is 41; allowed are values from 1 to 40'),
      ({'max_size': 120}, 'dataset.digits.max_size is 120'),
    ):
      settings = configs.DigitClasses(**{'num_training': 40, **changes})
      with self.assertRaisesRegex(errors.ConfigError, message):
        digit_classes.prepare(_LOOK, settings, self.folder)


if __name__ == '__main__':
  tf.test.main()
