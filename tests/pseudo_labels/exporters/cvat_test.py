"""CVAT's XML, validated by a DTD after its documentation and read back by lxml."""

import io
import json
import unittest

from lxml import etree

from official_selftrain.pseudo_labels.exporters import base, cvat
from tests.pseudo_labels.exporters import exporting

FACTS = exporting.facts('cat', 'dog & "co" <x>')

# "XML annotation format" in CVAT's documentation, version 1.1, annotation of images; `pseudo_labels` in `meta` is ours.
DTD = """
<!ELEMENT annotations (version, meta, image*)>
<!ELEMENT version (#PCDATA)>
<!ELEMENT meta (task, dumped?, pseudo_labels)>
<!ELEMENT task (id?, name, size, mode, overlap?, bugtracker?, flipped?, created?, updated?, labels, segments?, owner?)>
<!ELEMENT labels (label+)>
<!ELEMENT label (name, attributes)>
<!ELEMENT attributes (attribute*)>
<!ELEMENT attribute (#PCDATA | name | mutable | input_type | default_value | values)*>
<!ATTLIST attribute name CDATA #IMPLIED>
<!ELEMENT name (#PCDATA)>
<!ELEMENT size (#PCDATA)>
<!ELEMENT mode (#PCDATA)>
<!ELEMENT mutable (#PCDATA)>
<!ELEMENT input_type (#PCDATA)>
<!ELEMENT default_value (#PCDATA)>
<!ELEMENT values (#PCDATA)>
<!ELEMENT pseudo_labels ANY>
<!ELEMENT teacher_sha256 (#PCDATA)>
<!ELEMENT teacher_step (#PCDATA)>
<!ELEMENT labelled_with (#PCDATA)>
<!ELEMENT exported_with (#PCDATA)>
<!ELEMENT labels_sha256 (#PCDATA)>
<!ELEMENT cut (#PCDATA)>
<!ELEMENT ignore_cut (#PCDATA)>
<!ELEMENT image (box*)>
<!ATTLIST image id CDATA #REQUIRED name CDATA #REQUIRED width CDATA #REQUIRED height CDATA #REQUIRED>
<!ELEMENT box (attribute*)>
<!ATTLIST box label CDATA #REQUIRED source (manual|auto) #REQUIRED occluded (0|1) #REQUIRED z_order CDATA #REQUIRED
  xtl CDATA #REQUIRED ytl CDATA #REQUIRED xbr CDATA #REQUIRED ybr CDATA #REQUIRED>
"""


def _image(number: int, stem: str) -> base.Image:
  return exporting.image(stem, extension='.jpg', number=number, image_id=number)


def _write(*pairs) -> dict[str, bytes]:
  return exporting.written(cvat.Annotations, FACTS, pairs)


BOXES = base.Boxes(
  (base.Box(2, 0.9, False, 0.25, 0.1, 0.75, 0.5), base.Box(1, 0.3, True, 0.0, 0.0, 1.0, 1 / 3))
)


class CvatTest(unittest.TestCase):
  def setUp(self):
    super().setUp()
    self.files = _write((_image(1, 'a "ü" & b'), BOXES), (_image(2, 'c'), base.Boxes(())))
    self.root = etree.fromstring(self.files['annotations.xml'])

  def test_the_file_is_what_the_documentation_says(self):
    dtd = etree.DTD(io.StringIO(DTD))
    self.assertTrue(dtd.validate(self.root), dtd.error_log)
    self.assertEqual(self.root.findtext('version'), '1.1')

  def test_images_and_boxes(self):
    first, second = self.root.findall('image')
    expected = {'id': '0', 'name': 'a "ü" & b.jpg', 'width': '60', 'height': '40'}
    self.assertEqual(dict(first.attrib), expected)
    self.assertEqual((second.get('id'), second.get('name'), len(second)), ('1', 'c.jpg', 0))
    box, ignored = first
    self.assertEqual(box.get('label'), 'dog & "co" <x>')
    edges = [float(box.get(name)) for name in ('xtl', 'ytl', 'xbr', 'ybr')]
    self.assertEqual(edges, [6.0, 10.0, 30.0, 30.0])
    self.assertEqual([ignored.get(name) for name in ('xbr', 'ybr')], ['20.0', '40.0'])

  def test_score_and_ignore_band_are_attributes(self):
    found = [
      {attribute.get('name'): attribute.text for attribute in box} for box in self.root.iter('box')
    ]
    expected = [{'score': '0.9', 'ignored': 'false'}, {'score': '0.3', 'ignored': 'true'}]
    self.assertEqual(found, expected)

  def test_a_task_must_have_these_labels(self):
    labels = json.loads(self.files['labels.json'])
    self.assertEqual([label['name'] for label in labels], ['cat', 'dog & "co" <x>'])
    in_meta = [label.findtext('name') for label in self.root.iter('label')]
    self.assertEqual(in_meta, ['cat', 'dog & "co" <x>'])
    for label in labels:
      kinds = {each['name']: each['input_type'] for each in label['attributes']}
      self.assertEqual(kinds, {'score': 'text', 'ignored': 'checkbox'})
    declared = [each.findtext('name') for each in self.root.find('.//label').find('attributes')]
    self.assertEqual(declared, ['score', 'ignored'])

  def test_meta_says_where_labels_come_from(self):
    meta = self.root.find('meta')
    self.assertEqual(meta.findtext('task/size'), '2')
    origin = {each.tag: each.text for each in meta.find('pseudo_labels')}
    self.assertEqual(origin['teacher_sha256'], 'ab' * 32)
    self.assertEqual(origin['labelled_with'], 'official-selftrain 0.1.0')
    self.assertEqual((origin['cut'], origin['ignore_cut']), ('0.5', '0.25'))


if __name__ == '__main__':
  unittest.main()
