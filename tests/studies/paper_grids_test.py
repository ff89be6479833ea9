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

  def _params(self, study):
    return {cell.name: cells.load(study, cell, self.where) for cell in study.cells}

  def test_coco(self):
    study = self._study('coco')
    plan = runner.plan(study, self.where)
    self.assertEqual(len(plan.keys), 36)
    for stages in plan.keys.values():
      self.assertEqual(list(stages), ['teacher', 'labels', 'student'])
    # No two cells of one seed have an equal teacher.
    self.assertEqual((plan.total, plan.unique), (108, 108))
    self.assertIn('36 runs, 108 products, of which 108 different; 108 are left.', plan.text(study))
    found = {
      name.removesuffix('-_seed1'): (
        params.teacher.trainer.train_steps,
        params.trainer.train_steps,
        params.task.self_training.alpha,
        params.task.train_data.fraction,
        params.task.train_data.augmentation.policy,
        params.task.pseudo_data.augmentation.policy,
        params.teacher.init_checkpoint,
      )
      for name, params in self._params(study).items()
      if name.endswith('_seed1')
    }
    self.assertEqual(len(found), 12)
    start = 'imported/efficientnet_b7'
    for name, expected in {
      'S1_random_100': (45000, 45000, 1.0, 1.0, 'S1', 'S1', ''),
      'S2_imagenet_100': (45000, None, 1.0, 1.0, 'S2', 'S2', start),
      'S4_imagenet_100': (90000, None, 1.0, 1.0, 'S4', 'S4', start),
      'S4_random_20': (45000, None, 3.0, 0.2, 'S4', 'S4', ''),
      'S4_imagenet_50': (22500, 45000, 1.0, 0.5, 'S4', 'S4', start),
    }.items():
      given = found[name]
      self.assertEqual(
        [e for e in expected if e is not None],
        [g for g, e in zip(given, expected, strict=True) if e is not None],
        name,
      )

  def test_pascal(self):
    study = self._study('pascal')
    plan = runner.plan(study, self.where)
    self.assertEqual(len(plan.keys), 18)
    params = self._params(study)
    starts = {p.teacher.init_checkpoint for p in params.values()}
    self.assertEqual(len(starts), 3)
    self.assertIn('', starts)
    policies = {
      (p.task.train_data.augmentation.policy, p.task.pseudo_data.augmentation.policy)
      for p in params.values()
    }
    self.assertEqual(policies, {('S1', 'S1'), ('S4', 'S4')})

  def test_digits_full(self):
    study = self._study('digits_full')
    plan = runner.plan(study, self.where)
    self.assertEqual(len(plan.keys), 42)
    # Of 27 runs with a backbone of their own, those of one seed share the one of labels and the one of SimCLR.
    self.assertEqual(plan.total - plan.unique, 27 - 6)


if __name__ == '__main__':
  unittest.main()
