"""YOLO files, read back by the definition of the format."""

import unittest

import hypothesis
import numpy as np
import yaml
from hypothesis import strategies as st

from official_selftrain.pseudo_labels.exporters import base, yolo
from tests.pseudo_labels.exporters import exporting

FACTS = exporting.facts('cat', 'no', 'dog: "ü"', '7')

# What is written has eight decimals: half of the last one, in the centre and in half of a side.
TOLERANCE = 1e-8


def _write(*pairs) -> dict[str, str]:
  found = exporting.written(yolo.Labels, FACTS, pairs)
  return {name: content.decode('utf-8') for name, content in found.items()}


def _read(text: str) -> list[tuple[int, list[float], float]]:
  """Class, edges (ymin, xmin, ymax, xmax) relative to the image, and confidence of each line."""
  entries = []
  for line in text.splitlines():
    fields = line.split(' ')
    assert len(fields) == 6, line
    x, y, width, height, confidence = map(float, fields[1:])
    edges = [y - height / 2, x - width / 2, y + height / 2, x + width / 2]
    entries.append((int(fields[0]), edges, confidence))
  return entries


@st.composite
def _boxes(draw) -> base.Box:
  sides = st.floats(0, 1, width=32)
  ymin, ymax = sorted([draw(sides), draw(sides)])
  xmin, xmax = sorted([draw(sides), draw(sides)])
  score = base.shortest(np.float32(draw(st.floats(0, 1, width=32))))
  return base.Box(draw(st.integers(1, 4)), score, False, ymin, xmin, ymax, xmax)


class YoloTest(unittest.TestCase):
  def test_lines_by_hand(self):
    boxes = base.Boxes(
      (
        base.Box(3, 0.9, False, 0.25, 0.5, 0.75, 1.0),
        base.Box(1, 0.50001, False, 0.0, 0.0, 1.0, 0.125),
      )
    )
    found = _write((exporting.image('a'), boxes), (exporting.image('b'), base.Boxes(())))
    self.assertEqual(
      found['labels/a.txt'],
      '2 0.75000000 0.50000000 0.50000000 0.50000000 0.9\n'
      '0 0.06250000 0.50000000 0.12500000 1.00000000 0.50001\n',
    )
    self.assertEqual(found['labels/b.txt'], '')
    self.assertEqual(sorted(found), ['data.yaml', 'labels/a.txt', 'labels/b.txt'])

  @hypothesis.given(st.lists(_boxes(), max_size=4))
  def test_boxes_and_scores_come_back(self, boxes):
    text = _write((exporting.image('a'), base.Boxes(tuple(boxes))))['labels/a.txt']
    found = _read(text)
    self.assertEqual(len(found), len(boxes))
    for (class_index, edges, confidence), box in zip(found, boxes, strict=True):
      self.assertEqual(class_index, box.class_id - 1)
      exact = [box.ymin, box.xmin, box.ymax, box.xmax]
      np.testing.assert_allclose(edges, exact, rtol=0, atol=TOLERANCE)
      self.assertEqual(np.float32(confidence), np.float32(box.score))

  def test_names_count_from_0_and_stay_text(self):
    settings = yaml.safe_load(_write()['data.yaml'])
    self.assertEqual(settings['names'], {0: 'cat', 1: 'no', 2: 'dog: "ü"', 3: '7'})
    self.assertEqual(settings['train'], 'images')
    self.assertNotIn('val', settings)


if __name__ == '__main__':
  unittest.main()
