"""Tests for what is known of PASCAL VOC."""

import numpy as np
import tensorflow as tf

from official_selftrain.datasets import voc_layout


class ColourMapTest(tf.test.TestCase):
  def test_colours_of_the_development_kit(self):
    colours = voc_layout.colour_map()
    self.assertEqual((colours.shape, colours.dtype), ((256, 3), np.uint8))
    self.assertAllEqual(colours[:4], [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]])
    known = {'car': (128, 128, 128), 'cat': (64, 0, 0), 'person': (192, 128, 128)}
    known |= {'diningtable': (192, 128, 0), 'tvmonitor': (0, 64, 128)}
    self.assertEqual(
      {name: tuple(colours[voc_layout.CLASS_NAMES.index(name)]) for name in known}, known
    )
    self.assertAllEqual(colours[voc_layout.IGNORE], [224, 224, 192])
    self.assertLen({tuple(colour) for colour in colours}, 256)


if __name__ == '__main__':
  tf.test.main()
