"""Tests for what goes into a report."""

import types
import unittest

from official_selftrain.pipeline import reporting

_EMBEDDED = {
  'dataset.card': '',
  'dataset.name': 'digits',
  'dataset.digits.num_labelled': 60,
  'task.train_data.input_path': '',
  'trainer.train_steps': 400,
  'trainer.steps_per_loop': 10,
}


class ShownSettingsTest(unittest.TestCase):
  def _shown(self, embedded='', **changes):
    settings = _EMBEDDED | {name.replace('__', '.'): value for name, value in changes.items()}
    data = types.SimpleNamespace(embedded=embedded)
    return reporting._shown_settings(types.SimpleNamespace(settings=settings, data=data))

  def test_sizes_of_the_embedded_data_are_shown_for_these_alone(self):
    self.assertEqual(
      self._shown('runs'),
      {'dataset.name': 'digits', 'dataset.digits.num_labelled': 60, 'trainer.train_steps': 400},
    )
    self.assertEqual(
      self._shown(dataset__card='data/mine'),
      {'dataset.card': 'data/mine', 'trainer.train_steps': 400},
    )
    self.assertEqual(
      self._shown(task__train_data__input_path='mine-*'),
      {'dataset.card': '', 'trainer.train_steps': 400},
    )


if __name__ == '__main__':
  unittest.main()
