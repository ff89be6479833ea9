"""The experiment of a cell: what is refused before anything runs. No training."""

import tempfile
import unittest

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.core import errors, files, lease
from official_selftrain.pipeline import directories
from official_selftrain.studies import cells, places
from tests.studies import study_files


class LoadTest(unittest.TestCase):
  def _load(self, **changes):
    study = study_files.load(
      axes={'cut': {'low': {}, 'high': {'task.pseudo_data.cut': 0.8}}}, **changes
    )
    return cells.load(study, study.cells[1], places.Places('nowhere'))

  def test_settings_of_the_value_and_the_seed(self):
    params = self._load()
    self.assertEqual((params.task.pseudo_data.cut, params.seed), (0.6, 5))

  def test_a_value_may_name_another_experiment(self):
    study = study_files.load(
      axes={'more data': {'none': {}, 'classes': {'experiment': 'retinanet_selftrain_joint'}}},
      overrides={'experiment': 'retinanet_selftrain'},
    )
    where = places.Places('nowhere')
    plain, joint = (cells.load(study, cell, where) for cell in study.cells[::2])
    self.assertEqual((plain.task.joint.weight, joint.task.joint.weight), (0.0, 0.2))
    self.assertEqual(joint.experiment, 'retinanet_selftrain_joint')
    command = cells.command(study, study.cells[2], where)
    self.assertIn('--experiment=retinanet_selftrain_joint', command)
    self.assertIn(
      'experiment: retinanet_selftrain_joint', cells.settings(study, study.cells[2], where)
    )

  def test_an_experiment_without_a_student(self):
    with self.assertRaisesRegex(errors.ConfigError, 'retinanet_supervised does not self-train'):
      study = study_files.load(
        experiment='retinanet_supervised', axes={'seed2': {'a': {}, 'b': {'seed': 3}}}
      )
      cells.load(study, study.cells[0], places.Places('nowhere'))

  def test_several_workers(self):
    workers = {
      'runtime.distribution_strategy': 'multi_worker_mirrored',
      'runtime.worker_hosts': 'a:1,b:1',
      'runtime.task_index': 0,
    }
    with self.assertRaisesRegex(errors.ConfigError, 'cell .* has runtime.worker_hosts'):
      self._load(overrides=workers)

  def test_a_setting_that_does_not_exist_names_the_cell(self):
    with self.assertRaisesRegex(errors.ConfigError, r'study\.yaml: .*cell low_seed5.*cuts'):
      self._load(overrides={'task.pseudo_data.cuts': 0.5})


class ExecuteTest(unittest.TestCase):
  def test_a_run_that_another_process_works_in_is_waited_for(self):
    """As when the runner of a study was killed and the process of its cell lives on."""
    where = places.Places(self.enterContext(tempfile.TemporaryDirectory()))
    study = study_files.load(axes={'cut': {'low': {}, 'high': {'task.pseudo_data.cut': 0.8}}})
    cell = study.cells[0]
    with directories.occupied(where.run(cell.name)):
      self.assertEqual(cells.execute(study, cell, where), cells.BUSY)
      waits_for = files.read_json(where.waiting(cell.name))['lease']
      self.assertTrue(lease.is_held(waits_for))
    self.assertFalse(lease.is_held(waits_for))
    self.assertEqual(cells.failure(cell, where), '')


if __name__ == '__main__':
  unittest.main()
