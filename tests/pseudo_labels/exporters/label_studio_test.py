"""Label Studio's tasks, compared with JSON written by hand after its documentation."""

import dataclasses
import json
import unittest
from urllib import parse

import numpy as np
from lxml import etree

from official_selftrain.pseudo_labels.exporters import base, brush, label_studio
from tests.pseudo_labels.exporters import exporting

FACTS = exporting.facts(
  'cat',
  'dog & "co" <x>',
  origin=dataclasses.replace(exporting.ORIGIN, teacher_sha256='0123456789abcdef' * 4),
)

# Two objects, one of them in the ignore band; then an image without any.
EXPECTED = """
[
  {
    "data": {"image": "/data/local-files/?d=images/a%20%C3%BC%26.png", "source_id": "x/a ü&"},
    "predictions": [{
      "model_version": "official-selftrain 0.1.0, teacher 0123456789ab, cut 0.5",
      "score": 0.6,
      "result": [
        {
          "id": "1-1",
          "type": "rectanglelabels",
          "from_name": "label",
          "to_name": "image",
          "original_width": 60,
          "original_height": 40,
          "image_rotation": 0,
          "value": {
            "x": 10.0, "y": 25.0, "width": 40.0, "height": 50.0, "rotation": 0,
            "rectanglelabels": ["dog & \\"co\\" <x>"]
          },
          "score": 0.9
        },
        {
          "id": "1-2",
          "type": "rectanglelabels",
          "from_name": "label",
          "to_name": "image",
          "original_width": 60,
          "original_height": 40,
          "image_rotation": 0,
          "value": {
            "x": 0.0, "y": 0.0, "width": 33.333333, "height": 100.0, "rotation": 0,
            "rectanglelabels": ["cat"]
          },
          "score": 0.3,
          "meta": {"text": ["ignore band"]}
        }
      ]
    }]
  },
  {
    "data": {"image": "/data/local-files/?d=images/b.png", "source_id": "x/b"},
    "predictions": [{
      "model_version": "official-selftrain 0.1.0, teacher 0123456789ab, cut 0.5",
      "result": []
    }]
  }
]
"""


def _image(number: int, stem: str, height: int = 40, width: int = 60) -> base.Image:
  more = {'number': number, 'image_id': number, 'source_id': f'x/{stem}'}
  return exporting.image(stem, height, width, **more)


def _write(make, *pairs) -> dict[str, bytes]:
  return exporting.written(make, FACTS, pairs)


class RectanglesTest(unittest.TestCase):
  def test_the_tasks_by_hand(self):
    boxes = base.Boxes(
      (base.Box(2, 0.9, False, 0.25, 0.1, 0.75, 0.5), base.Box(1, 0.3, True, 0.0, 0.0, 1.0, 1 / 3))
    )
    files = _write(
      label_studio.Rectangles, (_image(1, 'a ü&'), boxes), (_image(2, 'b'), base.Boxes(()))
    )
    self.assertEqual(json.loads(files['tasks.json']), json.loads(EXPECTED))

  def test_the_address_leads_to_the_file(self):
    files = _write(label_studio.Rectangles, (_image(1, 'a ü&?#%'), base.Boxes(())))
    address = parse.urlsplit(json.loads(files['tasks.json'])[0]['data']['image'])
    self.assertEqual(parse.parse_qs(address.query), {'d': ['images/a ü&?#%.png']})

  def test_the_configuration_has_the_names_of_the_tasks(self):
    root = etree.fromstring(_write(label_studio.Rectangles)['config.xml'])
    control, image = root.find('RectangleLabels'), root.find('Image')
    self.assertEqual((control.get('name'), control.get('toName')), ('label', 'image'))
    self.assertEqual((image.get('name'), image.get('value')), ('image', '$image'))
    values = [label.get('value') for label in control]
    self.assertEqual(values, ['cat', 'dog & "co" <x>'])
    self.assertEqual([label.get('background') for label in control], ['#800000', '#008000'])


class BrushesTest(unittest.TestCase):
  def test_one_region_for_all_pixels_of_a_class(self):
    classes = np.array([[0, 2, 2], [1, 255, 2]], np.uint8)
    confidences = np.array([[255, 204, 204], [153, 255, 204]], np.uint8)
    background = base.Mask(np.zeros([2, 3], np.uint8), confidences)
    images = [_image(1, 'a', height=2, width=3), _image(2, 'b', height=2, width=3)]
    masks = [base.Mask(classes, confidences), background]
    files = _write(label_studio.Brushes, *zip(images, masks, strict=True))
    first, second = json.loads(files['tasks.json'])
    (prediction,) = first['predictions']
    self.assertEqual(
      [region['value'] for region in prediction['result']],
      [
        {'format': 'rle', 'rle': brush.encode(classes == 1), 'brushlabels': ['cat']},
        {'format': 'rle', 'rle': brush.encode(classes == 2), 'brushlabels': ['dog & "co" <x>']},
      ],
    )
    self.assertEqual({region['type'] for region in prediction['result']}, {'brushlabels'})
    self.assertEqual([region['score'] for region in prediction['result']], [0.6, 0.8])
    self.assertAlmostEqual(prediction['score'], 0.7)
    self.assertEqual(second['predictions'][0]['result'], [])
    self.assertIsNotNone(etree.fromstring(files['config.xml']).find('BrushLabels'))


if __name__ == '__main__':
  unittest.main()
