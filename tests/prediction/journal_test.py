import dataclasses
import json
import pathlib
import tempfile
import unittest
from unittest import mock

import numpy as np

from official_selftrain.core import errors
from official_selftrain.prediction import images, journal
from official_selftrain.pseudo_labels.exporters import base

BOXES = base.Boxes((base.Box(3, 0.7, False, 0.1, 0.2, 0.30000000000000004, 0.9),))
MASK = base.Mask(
  np.array([[0, 1, 2], [2, 255, 0]], np.uint8), np.array([[9, 8, 7], [255, 0, 128]], np.uint8)
)
IMAGES = {name: images.Image(f'{name}.png', f'{name}.png', name, '7 bytes, 1') for name in 'ab'}


class JournalTest(unittest.TestCase):
  def setUp(self):
    self.folder = self.enterContext(tempfile.TemporaryDirectory())
    self.path = pathlib.Path(self.folder, journal.FILE)

  def test_boxes_come_back_as_they_were(self):
    first = journal.Journal(self.folder, 'model')
    first.add([(journal.Entry('a.png', 4, 6, '', BOXES), IMAGES['a'])])
    first.add([(journal.Entry('b.png', reason='torn'), IMAGES['b'])])
    second = journal.Journal(self.folder, 'model')
    for each in (first, second):
      self.assertEqual(each.predicted, {'a.png'})
      self.assertEqual(
        list(each),
        [journal.Entry('a.png', 4, 6, '', BOXES), journal.Entry('b.png', reason='torn')],
      )

  def test_which_images_need_a_prediction(self):
    first = journal.Journal(self.folder, 'model')
    self.assertFalse(first.has(IMAGES['a']))
    first.add([(journal.Entry('a.png', 4, 6, '', BOXES), IMAGES['a'])])
    first.add([(journal.Entry('b.png', reason='torn'), IMAGES['b'])])
    for each in (first, journal.Journal(self.folder, 'model')):
      self.assertTrue(each.has(IMAGES['a']))
      # What was left out is tried again, and so is another file under the name, or one that nothing is known of.
      self.assertFalse(each.has(IMAGES['b']))
      for version in ('7 bytes, 2', '8 bytes, 1', ''):
        self.assertFalse(each.has(dataclasses.replace(IMAGES['a'], version=version)))

  def test_of_an_image_that_was_tried_again_the_last_line_counts(self):
    whole = journal.Entry('b.png', 4, 6, '', BOXES)
    first = journal.Journal(self.folder, 'model')
    first.add([(journal.Entry('b.png', reason='torn'), IMAGES['b'])])
    second = journal.Journal(self.folder, 'model')
    second.add([(whole, IMAGES['b'])])
    for each in (second, journal.Journal(self.folder, 'model')):
      self.assertEqual(list(each), [whole])
      self.assertEqual(each.predicted, {'b.png'})

  def test_masks_come_back_as_they_were(self):
    journal.Journal(self.folder, 'model').add(
      [(journal.Entry('a.png', 2, 3, '', MASK), IMAGES['a'])]
    )
    (found,) = journal.Journal(self.folder, 'model')
    np.testing.assert_array_equal(found.prediction.classes, MASK.classes)
    np.testing.assert_array_equal(found.prediction.confidences, MASK.confidences)
    self.assertEqual((found.height, found.width), (2, 3))

  def test_a_line_that_was_not_finished_is_forgotten(self):
    written = journal.Journal(self.folder, 'model')
    written.add([(journal.Entry('a.png', 4, 6, '', BOXES), IMAGES['a'])])
    whole = self.path.read_bytes()
    written.add([(journal.Entry('b.png', 4, 6, '', BOXES), IMAGES['b'])])
    for kept in range(len(whole), len(self.path.read_bytes())):
      with self.subTest(bytes=kept):
        content = self.path.read_bytes()
        self.path.write_bytes(content[:kept])
        with mock.patch.object(journal, '_CHUNK', 16):
          self.assertEqual(journal.Journal(self.folder, 'model').predicted, {'a.png'})
        self.assertEqual(self.path.read_bytes(), whole)
        self.path.write_bytes(content)

  def test_another_model(self):
    journal.Journal(self.folder, 'model')
    with self.assertRaisesRegex(errors.ConfigError, 'has predictions of another model'):
      journal.Journal(self.folder, 'other')

  def test_lines_of_earlier_versions_that_do_not_say_which_file_it_was(self):
    line = {'name': 'a.png', 'height': 4, 'width': 6, 'boxes': [], 'classes': [], 'scores': []}
    self.path.write_text('{"model": "model"}\n' + json.dumps(line) + '\n')
    self.assertTrue(journal.Journal(self.folder, 'model').has(IMAGES['a']))

  def test_remote_storage(self):
    with self.assertRaisesRegex(errors.ConfigError, '^--output=gs://bucket/x: .* a local path'):
      journal.Journal('gs://bucket/x', 'model')

  def test_a_folder_with_other_files(self):
    pathlib.Path(self.folder, 'mine.txt').touch()
    with self.assertRaisesRegex(errors.ConfigError, 'holds other files'):
      journal.Journal(self.folder, 'model')
    self.assertFalse(self.path.exists())


if __name__ == '__main__':
  unittest.main()
