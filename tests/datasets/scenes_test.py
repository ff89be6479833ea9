"""Tests for the composing of scenes."""

import itertools
import unittest

import numpy as np

from official_selftrain.configs import datasets as dataset_configs
from official_selftrain.datasets import scenes

_FIRST_FOR_VALIDATION = 1198  # Two thirds of 1,797.

_KNOWN_GLYPHS = [763, 612, 323, 368, 49]
_KNOWN_BOXES = [
  [93, 70, 126, 93],
  [94, 97, 125, 115],
  [19, 73, 69, 105],
  [60, 36, 111, 65],
  [22, 4, 62, 32],
]


def _scenes(config: dataset_configs.Digits, split: scenes.Split, count: int) -> list[scenes.Scene]:
  return [scenes.compose(config, split, index) for index in range(count)]


class LoadGlyphsTest(unittest.TestCase):
  def test_training_and_validation_share_no_digit(self):
    training, validation = np.arange(_FIRST_FOR_VALIDATION), np.arange(_FIRST_FOR_VALIDATION, 1797)
    indices = {split: scenes.load_glyphs(split).indices for split in scenes.Split}
    np.testing.assert_array_equal(indices[scenes.Split.LABELLED], training)
    np.testing.assert_array_equal(indices[scenes.Split.UNLABELLED], training)
    np.testing.assert_array_equal(indices[scenes.Split.VALIDATION], validation)
    # Classification holds out digits of its own, so that a network that was pre-trained
    # has seen no digit of the validation scenes.
    np.testing.assert_array_equal(indices[scenes.Split.CLASSES], training[:998])
    np.testing.assert_array_equal(indices[scenes.Split.CLASSES_VALIDATION], training[998:])

  def test_ink_and_digits_are_those_of_the_source(self):
    glyphs = scenes.load_glyphs(scenes.Split.LABELLED)
    np.testing.assert_array_equal(glyphs.digits[:12], [*range(10), 0, 1])
    # The first row of the first image of the set, of 16 levels.
    np.testing.assert_array_equal(glyphs.ink[0, 0] * 16, [0, 0, 5, 13, 9, 1, 0, 0])
    self.assertEqual((glyphs.ink.min(), glyphs.ink.max()), (0.0, 1.0))


class DrawGlyphTest(unittest.TestCase):
  def test_full_square_keeps_its_size(self):
    opacity = scenes.draw_glyph(np.ones([8, 8]), 24.0, 0.0)
    # Three pixels a cell. The first pixel outside the field is 2/3 of a cell away from ink and has
    # 1/3 of it, an opacity of (1/3 - 0.2) / 0.4; the corners have 1/9, which is paper.
    self.assertEqual(opacity.shape, (26, 26))
    np.testing.assert_allclose(opacity[0, 5:-5], 1 / 3, atol=1e-6)
    np.testing.assert_allclose(opacity[5:-5, 0], 1 / 3, atol=1e-6)
    np.testing.assert_array_equal(opacity[1:-1, 5:-5], 1.0)
    np.testing.assert_array_equal(opacity[[0, 0, -1, -1], [0, -1, 0, -1]], 0.0)
    np.testing.assert_array_equal(opacity > 0.5, np.pad(np.ones([24, 24], bool), 1))

  def test_rotation_is_counter_clockwise(self):
    bar = np.zeros([8, 8])
    bar[:, 3:5] = 1.0
    mask = scenes.draw_glyph(bar, 64.0, 15.0) > 0.5
    rows = np.arange(16, len(mask) - 16)
    slope = np.polyfit(rows, [np.flatnonzero(mask[row]).mean() for row in rows], deg=1)[0]
    # Its upper end goes to the left.
    self.assertAlmostEqual(slope, np.tan(np.radians(15.0)), delta=0.01)

  def test_ink_stays_within_the_promised_extent_and_is_not_cut_off(self):
    ink = scenes.load_glyphs(scenes.Split.LABELLED).ink[:40]
    for size, rotation in itertools.product((28.0, 41.3, 64.0), (-15.0, 0.0, 15.0)):
      extent = dataset_configs.digit_extent(size, 15.0)
      for glyph in (*ink, np.ones([8, 8])):
        opacity = scenes.draw_glyph(glyph, size, rotation)
        self.assertLessEqual(max(opacity.shape), extent)
        # A digit that ran over the edge of its canvas would end in opaque pixels.
        edges = (opacity[0], opacity[-1], opacity[:, 0], opacity[:, -1])
        self.assertLess(max(edge.max() for edge in edges), 1.0)


class ComposeTest(unittest.TestCase):
  def test_first_scene_is_the_known_one(self):
    # Data on disk is reused by version: when these values change, raise the version in digits.py.
    scene = scenes.compose(dataset_configs.Digits(), scenes.Split.LABELLED, 0)
    np.testing.assert_array_equal(scene.glyph_indices, _KNOWN_GLYPHS)
    np.testing.assert_array_equal(scene.instances.boxes, _KNOWN_BOXES)

  def test_same_arguments_same_scene(self):
    config = dataset_configs.Digits()
    first, second = (scenes.compose(config, scenes.Split.UNLABELLED, 7) for _ in range(2))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.instances.masks, second.instances.masks)

  def test_scene_does_not_depend_on_the_numbers_of_images(self):
    few = dataset_configs.Digits(num_labelled=8, num_unlabelled=8, num_validation=8)
    for split in scenes.Split:
      np.testing.assert_array_equal(
        scenes.compose(few, split, 5).image,
        scenes.compose(dataset_configs.Digits(), split, 5).image,
      )

  def test_seeds_splits_and_indices_give_different_scenes(self):
    images = [
      scenes.compose(dataset_configs.Digits(seed=seed), split, index).image
      for seed, split, index in itertools.product((0, 1), scenes.Split, (0, 1))
    ]
    for first, second in itertools.combinations(images, 2):
      self.assertGreater(np.abs(first.astype(float) - second).mean(), 5.0)

  def test_boxes_are_tight(self):
    for scene in _scenes(dataset_configs.Digits(), scenes.Split.LABELLED, 20):
      for (ymin, xmin, ymax, xmax), mask in zip(
        scene.instances.boxes, scene.instances.masks, strict=True
      ):
        inside = mask[ymin:ymax, xmin:xmax]
        self.assertEqual(inside.sum(), mask.sum())
        for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
          self.assertTrue(edge.any())

  def test_numbers_and_sizes_are_as_configured(self):
    config = dataset_configs.Digits()
    made = _scenes(config, scenes.Split.UNLABELLED, 60)
    self.assertEqual({len(scene.glyph_indices) for scene in made}, {1, 2, 3, 4, 5})
    boxes = np.concatenate([scene.instances.boxes for scene in made])
    heights = boxes[:, 2] - boxes[:, 0]
    self.assertGreaterEqual(heights.min(), 0.75 * config.min_size)
    self.assertLessEqual(heights.max(), dataset_configs.digit_extent(config.max_size, 15.0))
    # Large digits are there too, not only those that are easy to place.
    self.assertGreater(np.percentile(heights, 90), 52)

  def test_digits_do_not_overlap_even_when_they_barely_fit(self):
    crowded = dataset_configs.Digits(min_digits=9, max_digits=9)
    for config, count in ((dataset_configs.Digits(), 20), (crowded, 5)):
      for scene in _scenes(config, scenes.Split.LABELLED, count):
        self.assertLessEqual(scene.instances.masks.sum(axis=0).max(), 1)
        for first, second in itertools.combinations(scene.instances.boxes, 2):
          common = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
          self.assertLessEqual(common.min(), 0)
    self.assertEqual(len(scene.glyph_indices), 9)

  def test_classes_are_those_of_the_drawn_digits(self):
    for split in scenes.Split:
      glyphs = scenes.load_glyphs(split)
      digit_of = dict(zip(glyphs.indices.tolist(), glyphs.digits.tolist(), strict=True))
      for scene in _scenes(dataset_configs.Digits(image_size=64), split, 30):
        expected = [digit_of[index] + 1 for index in scene.glyph_indices.tolist()]
        self.assertEqual(scene.instances.classes.tolist(), expected)

  def test_validation_draws_from_the_last_third_only(self):
    config = dataset_configs.Digits(image_size=64)
    for split in scenes.Split:
      made = _scenes(config, split, 60)
      drawn = np.concatenate([scene.glyph_indices for scene in made])
      is_held_back = drawn >= _FIRST_FOR_VALIDATION
      self.assertEqual(is_held_back.all(), split is scenes.Split.VALIDATION)
      self.assertEqual(is_held_back.any(), split is scenes.Split.VALIDATION)

  def test_digits_contrast_with_their_surroundings(self):
    contrasts = []
    for scene in _scenes(dataset_configs.Digits(), scenes.Split.LABELLED, 30):
      brightness = scene.image @ np.array([0.299, 0.587, 0.114])
      free = ~scene.instances.masks.any(axis=0)
      for (ymin, xmin, ymax, xmax), mask in zip(
        scene.instances.boxes, scene.instances.masks, strict=True
      ):
        window = (slice(ymin, ymax), slice(xmin, xmax))
        around = brightness[window][free[window]].mean()
        contrasts.append(abs(brightness[mask].mean() - around))
    self.assertGreater(np.percentile(contrasts, 5), 40)

  def test_sizes_scale_with_the_image(self):
    heights = {}
    for image_size in (64, 256):
      made = _scenes(dataset_configs.Digits(image_size=image_size), scenes.Split.LABELLED, 30)
      self.assertEqual(made[0].image.shape, (image_size, image_size, 3))
      boxes = np.concatenate([scene.instances.boxes for scene in made])
      heights[image_size] = (boxes[:, 2] - boxes[:, 0]).mean()
    self.assertAlmostEqual(heights[256] / heights[64], 4.0, delta=0.6)


if __name__ == '__main__':
  unittest.main()
