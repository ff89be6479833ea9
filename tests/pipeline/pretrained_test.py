"""Tests for what models started from, in words."""

import unittest

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.core import config
from official_selftrain.pipeline import pretrained

_MODELS = ('teacher', 'control', 'student', 'ceiling')


def _starts(override=''):
  return pretrained.starts(config.load_experiment('retinanet_selftrain', [], override), _MODELS)


class StartsTest(unittest.TestCase):
  def test_one_round(self):
    self.assertEqual(
      _starts(),
      {
        'teacher': 'random weights',
        'control': 'the teacher',
        'student': 'the teacher',
        'ceiling': 'random weights',
      },
    )

  def test_the_last_of_several_rounds(self):
    found = _starts('rounds=2')
    self.assertEqual(found['control'], 'the control of the round before')
    self.assertEqual(found['student'], 'the student of the round before')
    self.assertEqual(found['teacher'], 'random weights')
    self.assertEqual(
      _starts('rounds=2,task.self_training.student_init=random')['student'], 'random weights'
    )


if __name__ == '__main__':
  unittest.main()
