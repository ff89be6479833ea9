import pathlib
import tempfile
import unittest

from tools import draw_results

STUDY = {
  'title': 'Bolts',
  'metric': 'mean_iou',
  'axes': {'cut': ['low', 'high'], 'init': ['random']},
  'effects': [
    {
      'choice': 'self-training',
      'model': 'student',
      'baseline': 'control',
      'context': {'cut': cut, 'init': 'random'},
      'effect': {'mean': mean, 'outcome': outcome, 'over_images': {'low': -0.1, 'high': 0.4}},
    }
    for cut, mean, outcome in (('low', 0.1, 'noise'), ('high', 0.3, 'helps'))
  ]
  + [
    {'choice': 'high', 'model': 'control', 'baseline': 'low', 'context': {}, 'effect': {}},
    {
      'choice': 'self-training',
      'model': 'student',
      'baseline': 'teacher',
      'context': {},
      'effect': {},
    },
  ],
  'results': [
    {
      'status': status,
      'values': {'cut': cut, 'init': 'random'},
      'metrics': {'control': 0.5, 'student': student},
    }
    for cut, status, student in (
      ('low', 'done', 0.75),
      ('low', 'done', 0.25),
      ('low', 'left', 0.9),
      ('high', 'done', 1.0),
    )
  ],
}


class DrawResultsTest(unittest.TestCase):
  def test_rows(self):
    low, high = draw_results.rows(STUDY)
    self.assertEqual(low.name, 'Bolts\ncut low (mIoU)')
    self.assertEqual((low.mean, low.low, low.high), (0.1, -0.1, 0.4))
    self.assertEqual(low.seeds, (0.25, -0.25))
    self.assertEqual((high.outcome, high.seeds), ('helps', (0.5,)))

  def test_the_picture_in_readme_shows_the_committed_studies(self):
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder, 'drawn.svg')
      draw_results.draw(draw_results.all_rows(), path)
      drawn = path.read_bytes()
    message = 'Draw it anew: python tools/draw_results.py'
    self.assertEqual(draw_results.PICTURE.read_bytes() == drawn, True, message)
    self.assertGreater(drawn.count(b'<use'), 100)


if __name__ == '__main__':
  unittest.main()
