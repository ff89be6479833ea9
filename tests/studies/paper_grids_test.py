"""The paper's grids, which are not run here: every cell loads, and has the steps and alpha of the tables."""

import pathlib
import tempfile
import unittest

import pytest

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.studies import cells, definition, places, runner

_STUDIES = pathlib.Path(__file__).parents[2] / 'experiments' / 'studies'


@pytest.mark.slow
class PaperGridsTest(unittest.TestCase):
  def setUp(self):
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.where = places.Places(folder.name)

  def _study(self, name):
    return definition.load(str(_STUDIES / f'{name}.yaml'))

  def _params(self, study, names):
    found = {cell.name: cell for cell in study.cells}
    return {name: cells.load(study, found[f'{name}_seed1'], self.where) for name in names}

  def test_coco(self):
    study = self._study('coco')
    plan = runner.plan(study, self.where)
    self.assertEqual(len(plan.keys), 36)
    for stages in plan.keys.values():
      self.assertEqual(list(stages), ['teacher', 'labels', 'student'])
    # No two cells of one seed have an equal teacher.
    self.assertEqual((plan.total, plan.unique), (108, 108))
    self.assertIn('36 runs, 108 products, of which 108 different; 108 are left.', plan.text(study))
    start = 'imported/efficientnet_b7'
    expected = {
      'S1_random_100-': (45000, 45000, 1.0, 1.0, 'S1', 'S1', ''),
      'S2_imagenet_100-': (45000, 90000, 1.0, 1.0, 'S2', 'S2', start),
      'S4_imagenet_100-': (90000, None, 1.0, 1.0, 'S4', 'S4', start),
      'S4_random_20-': (45000, None, 3.0, 0.2, 'S4', 'S4', ''),
      'S4_imagenet_50-': (22500, 45000, 1.0, 0.5, 'S4', 'S4', start),
    }
    for name, params in self._params(study, expected).items():
      task = params.task
      found = (
        params.teacher.trainer.train_steps,
        params.trainer.train_steps if expected[name][1] else None,
        task.self_training.alpha,
        task.train_data.fraction,
        task.train_data.augmentation.policy,
        task.pseudo_data.augmentation.policy,
        params.teacher.init_checkpoint,
      )
      self.assertEqual(found, expected[name], name)

  def test_pascal(self):
    study = self._study('pascal')
    plan = runner.plan(study, self.where)
    self.assertEqual(len(plan.keys), 18)
    names = ('S1_random', 'S1_imagenet', 'S4_random', 'S4_noisy-student')
    params = self._params(study, names)
    starts = [params[name].teacher.init_checkpoint for name in names]
    self.assertEqual((starts[0], starts[2], len(set(starts))), ('', '', 3))
    for name in names:
      task = params[name].task
      policies = task.train_data.augmentation.policy, task.pseudo_data.augmentation.policy
      self.assertEqual(policies, (name[:2], name[:2]))


if __name__ == '__main__':
  unittest.main()
