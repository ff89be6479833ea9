"""XML files of PASCAL VOC, read back by lxml and checked against the definition of the format."""

import dataclasses
import unittest

import hypothesis
from hypothesis import strategies as st
from lxml import etree

from official_selftrain.pseudo_labels.exporters import base, voc
from tests.pseudo_labels.exporters import exporting

FACTS = exporting.facts(
  'cat',
  'dog & <co>',
  'Eule "ü"',
  origin=dataclasses.replace(exporting.ORIGIN, teacher_step=None),
)

# The children of every element of VOC's annotations of detection, with what is added here: score, and facts in source.
CHILDREN = {
  'annotation': ['folder', 'filename', 'source', 'size', 'segmented', 'object', 'object'],
  'source': [
    *('database', 'annotation', 'image', 'teacher_sha256', 'labelled_with', 'exported_with'),
    *('labels_sha256', 'cut', 'ignore_cut'),
  ],
  'size': ['width', 'height', 'depth'],
  'object': ['name', 'pose', 'truncated', 'difficult', 'score', 'bndbox'],
  'bndbox': ['xmin', 'ymin', 'xmax', 'ymax'],
}


def _image(stem: str, height: int = 40, width: int = 60) -> base.Image:
  return exporting.image(stem, height, width, source_id=f'x/{stem}\0.png', channels=1)


def _write(*pairs) -> dict[str, bytes]:
  return exporting.written(voc.Annotations, FACTS, pairs)


def _parse(image: base.Image, *boxes: base.Box) -> etree._Element:
  files = _write((image, base.Boxes(boxes)))
  return etree.fromstring(files[f'Annotations/{image.stem}.xml'])


def _corners(entry: etree._Element) -> dict[str, int]:
  return {corner.tag: int(corner.text) for corner in entry.find('bndbox')}


class VocTest(unittest.TestCase):
  def test_elements_are_those_of_the_format_in_its_order(self):
    boxes = [base.Box(1, 0.9, False, 0.0, 0.0, 0.5, 0.5), base.Box(2, 0.3, True, 0, 0, 1, 1)]
    root = _parse(_image('a'), *boxes)
    for name, children in CHILDREN.items():
      found = list(root.iter(name)) if name != 'annotation' else [root]
      self.assertGreater(len(found), 0, name)
      for element in found:
        self.assertEqual([child.tag for child in element], children, name)

  def test_values_by_hand(self):
    # In pixels 6 to 30 across and 10 to 20 down: the 7th to the 30th column, the 11th to the 20th row.
    root = _parse(_image('a'), base.Box(3, 0.6, False, 0.25, 0.1, 0.5, 0.5))
    self.assertEqual(root.findtext('folder'), 'JPEGImages')
    self.assertEqual(root.findtext('filename'), 'a.png')
    self.assertEqual([each.text for each in root.find('size')], ['60', '40', '1'])
    entry = root.find('object')
    self.assertEqual(entry.findtext('name'), 'Eule "ü"')
    self.assertEqual(entry.findtext('score'), '0.6')
    self.assertEqual(entry.findtext('difficult'), '0')
    self.assertEqual(_corners(entry), {'xmin': 7, 'ymin': 11, 'xmax': 30, 'ymax': 20})

  def test_the_whole_image_is_from_1_to_its_size(self):
    entry = _parse(_image('a'), base.Box(1, 1.0, False, 0.0, 0.0, 1.0, 1.0)).find('object')
    self.assertEqual(_corners(entry), {'xmin': 1, 'ymin': 1, 'xmax': 60, 'ymax': 40})

  def test_an_object_in_the_ignore_band_is_difficult(self):
    entry = _parse(_image('a'), base.Box(2, 0.3, True, 0, 0, 1, 1)).find('object')
    self.assertEqual(entry.findtext('difficult'), '1')
    self.assertEqual(entry.findtext('name'), 'dog & <co>')
    self.assertEqual(entry.findtext('score'), '0.3')

  def test_the_source_says_where_labels_come_from(self):
    source = _parse(_image('a')).find('source')
    self.assertEqual(source.findtext('teacher_sha256'), 'ab' * 32)
    self.assertEqual((source.findtext('cut'), source.findtext('ignore_cut')), ('0.5', '0.25'))
    short = 'official-selftrain 0.1.0, teacher abababababab, cut 0.5'
    self.assertEqual(source.findtext('annotation'), short)
    # XML has no null character.
    self.assertEqual(source.findtext('image'), 'x/a_.png')

  def test_all_images_are_listed(self):
    files = _write((_image('a'), base.Boxes(())), (_image('b ü'), base.Boxes(())))
    self.assertEqual(files['ImageSets/Main/pseudo.txt'].decode(), 'a\nb ü\n')
    self.assertEqual(etree.fromstring(files['Annotations/b ü.xml']).findall('object'), [])
    self.assertEqual(len(files), 3)

  @hypothesis.given(
    st.integers(1, 5000), st.floats(0, 1, width=32), st.floats(0, 1, width=32), st.booleans()
  )
  def test_edges_come_back_within_half_a_pixel(self, size, one, other, is_vertical):
    low, high = sorted([one, other])
    if is_vertical:
      box, image = base.Box(1, 0.5, False, low, 0.0, high, 1.0), _image('a', height=size)
    else:
      box, image = base.Box(1, 0.5, False, 0.0, low, 1.0, high), _image('a', width=size)
    corners = _corners(_parse(image, box).find('object'))
    first, last = (corners[f'{"y" if is_vertical else "x"}{side}'] for side in ('min', 'max'))
    # Pixels count from 1 and the last one is inside.
    self.assertTrue(1 <= first <= last <= size)
    if high * size - low * size >= 1:
      self.assertLessEqual(abs(first - 1 - low * size), 0.5 + 1e-4)
      self.assertLessEqual(abs(last - high * size), 0.5 + 1e-4)
    else:
      # A box of less than a pixel is at most one pixel too large on either side.
      self.assertLessEqual(abs(first - 1 - low * size), 1.0)
      self.assertLessEqual(abs(last - high * size), 1.0)


if __name__ == '__main__':
  unittest.main()
