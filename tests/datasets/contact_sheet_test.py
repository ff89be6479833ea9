"""Tests for the contact sheet."""

import pathlib
import tempfile
import unittest

import numpy as np
from PIL import Image

from official_selftrain.core import drawing, files
from official_selftrain.datasets import contact_sheet, tf_examples

_TITLE_HEIGHT = 16
_TILE = 192


class WriteTest(unittest.TestCase):
  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    mask = np.zeros((1, 10, 10), dtype=bool)
    mask[0, 2:6, 1:5] = True
    instances = tf_examples.Instances(np.array([1]), np.array([[2, 1, 6, 5]]), mask)
    image = tf_examples.image_features(np.zeros((10, 10, 3), np.uint8), 7)
    annotated = {**image, **tf_examples.annotation_features(instances)}
    for name, features in (('bare', image), ('annotated', annotated)):
      shard = self.root / tf_examples.shard_name(name, 0, 1)
      tf_examples.write_shard(shard, [tf_examples.serialize(features)] * 9)
    collected = tf_examples.CocoAnnotations(('background', 'a'))
    collected.add(7, instances)
    files.write_json(self.root / 'truth.json', collected.as_dict())

  def box_pixels(self, row: contact_sheet.Row) -> np.ndarray:
    """Where the sheet of one row has the colour of class 1, bool `[height, width]`."""
    sheet = self.root / 'sheet.png'
    contact_sheet.write(sheet, [row], ('background', 'a'))
    return np.all(np.asarray(Image.open(sheet)) == drawing.class_colour(1), axis=-1)

  def test_boxes_of_records_and_of_json_are_drawn_at_their_places(self):
    rows = [
      contact_sheet.Row('records', str(self.root / 'annotated-*-of-00001.tfrecord')),
      contact_sheet.Row(
        'JSON', str(self.root / 'bare-*-of-00001.tfrecord'), str(self.root / 'truth.json')
      ),
    ]
    for row in rows:
      with self.subTest(row.title):
        pixels = self.box_pixels(row)
        self.assertEqual(pixels.shape, (_TITLE_HEIGHT + 2 * _TILE, 8 * _TILE))
        # The image is drawn on 190 x 190 pixels: 0.2 of them is row 38, 0.1 column 19, and so on.
        # The ninth image begins the second line; there is no tenth.
        for line in range(2):
          top = _TITLE_HEIGHT + line * _TILE
          tile = pixels[top : top + _TILE, :_TILE]
          for edge in (tile[38, 19:95], tile[113, 19:95], tile[38:114, 19], tile[38:114, 94]):
            self.assertTrue(edge.all())
          # The name is above the box, and nothing is inside.
          self.assertEqual(tf_examples.tight_box(tile[38:]), (0, 19, 76, 95))
          self.assertTrue(tile[20:38].any())
          self.assertFalse(tile[40:112, 21:93].any())
        self.assertTrue(pixels[_TITLE_HEIGHT : _TITLE_HEIGHT + _TILE, _TILE:].any())
        self.assertFalse(pixels[_TITLE_HEIGHT + _TILE :, _TILE:].any())

  def test_records_without_annotations_have_no_boxes(self):
    row = contact_sheet.Row('bare', str(self.root / 'bare-*-of-00001.tfrecord'))
    self.assertFalse(self.box_pixels(row).any())


if __name__ == '__main__':
  unittest.main()
