"""Masks of other programs become label shards."""

import numpy as np
import tensorflow as tf
from PIL import Image

from official_selftrain.core import keys
from tests.pseudo_labels.importers import imported

# An image of 16 x 24 pixels: class 1 above, class 2 below, and a row that nobody labelled.
MASK = np.full([16, 24], 1, np.uint8)
MASK[8:], MASK[15] = 2, keys.IGNORE_LABEL


class MasksTest(imported.ImportCase):
  def save(self, name, values):
    self.write(name, '')
    Image.fromarray(values).save(self.path(name))

  def decoded(self, number):
    record = self.records()[number]
    names = (keys.SEGMENTATION_MASK, keys.CONFIDENCE_MASK)
    return [tf.io.decode_png(record[name][0]).numpy()[..., 0] for name in names]

  def test_pixels_that_nobody_labelled_are_below_every_cut(self):
    self.save('out/1.png', MASK)
    manifest = self.load('png', self.path('out'), names='cat,dog')
    self.assertEqual(self.statuses(), ['dead', 'labelled', 'dead', 'dead'])
    self.assertIn('do not mention', manifest.dead_letters[0].reason)
    classes, steps = self.decoded(1)
    self.assertAllEqual(classes, np.where(keys.IGNORE_LABEL == MASK, 0, MASK))
    self.assertAllEqual(steps, np.where(keys.IGNORE_LABEL == MASK, 0, 255))
    counts = {name: sum(values) for name, values in manifest.summary['scores'].items()}
    self.assertEqual(counts, {'1': 8 * 24, '2': 7 * 24})

  def test_confidences(self):
    self.save('out/SegmentationClass/1.png', MASK)
    steps = np.arange(16 * 24).reshape(16, 24).astype(np.uint8)
    self.save('out/Confidence/1.png', steps)
    self.load('png', self.path('out'), names='cat,dog')
    self.assertAllEqual(self.decoded(1)[1][:15], steps[:15])
    self.save('out/SegmentationClass/2.png', MASK)
    self.assert_refused('Confidence/2.png does not exist', 'png', self.path('out'), names='cat,dog')

  def test_a_mask_that_does_not_fit_costs_its_image(self):
    self.save('out/0.png', MASK)
    self.save('out/1.png', MASK[:8])
    self.save('out/2.png', np.full([16, 24], 7, np.uint8))
    manifest = self.load('png', self.path('out'), names='cat,dog')
    self.assertEqual(self.statuses(), ['labelled', 'dead', 'dead', 'dead'])
    reasons = [letter.reason for letter in manifest.dead_letters]
    self.assertRegex(reasons[0], '1.png')
    self.assertRegex(reasons[1], '2.png.*7')

  def test_masks_of_other_images_are_refused_with_their_names(self):
    self.save('out/other.png', MASK)
    for _ in range(2):  # Nothing of the first attempt stays.
      self.assert_refused(
        "None of the 1 images of the labels is among the 4 images.*such as 'other",
        'png',
        self.path('out'),
        names='cat,dog',
      )

  def test_masks_that_all_do_not_fit_are_refused(self):
    self.save('out/1.png', MASK[:8])
    self.assert_refused(
      'None of the 4 images could be used. The first one, record 0 of images.tfrecord: the labels do not mention',
      'png',
      self.path('out'),
      names='cat,dog',
    )


if __name__ == '__main__':
  tf.test.main()
