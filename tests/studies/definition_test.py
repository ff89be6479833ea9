"""Study files: what they mean, and what is refused."""

import pathlib
import tempfile
import unittest

from official_selftrain.core import errors
from official_selftrain.report import study_contents
from official_selftrain.studies import definition
from tests.studies.study_files import load

_STUDIES = pathlib.Path(__file__).parents[2] / 'experiments' / 'studies'


class CellsTest(unittest.TestCase):
  def test_every_combination_with_every_seed(self):
    study = load()
    self.assertEqual(
      [cell.name for cell in study.cells],
      [
        *('low_random_seed3', 'low_random_seed5', 'low_simclr_seed3', 'low_simclr_seed5'),
        *('high_random_seed3', 'high_random_seed5', 'high_simclr_seed3', 'high_simclr_seed5'),
      ],
    )
    last = study.cells[-1]
    self.assertEqual((last.values, last.seed), ({'cut': 'high', 'init': 'simclr'}, 5))
    self.assertEqual(
      last.overrides,
      {
        'seed': 5,
        'init': 'simclr',
        'task': {'pseudo_data': {'cut': 0.8}, 'losses': {'weight': 2}},
      },
    )
    self.assertEqual(last.title, 'cut high, init simclr, seed 5')

  def test_excluded(self):
    study = load(exclude=[{'cut': 'high', 'init': ['simclr']}, {'cut': ['low'], 'init': 'random'}])
    self.assertEqual(
      [cell.name for cell in study.cells[::2]], ['low_simclr_seed3', 'high_random_seed3']
    )

  def test_adjusted_where_several_values_meet(self):
    study = load(
      adjust=[
        {'when': {'cut': 'high', 'init': 'simclr'}, 'overrides': {'trainer.train_steps': 7}},
        {'when': {'init': ['random', 'simclr']}, 'overrides': {'task.pseudo_data.cut': 0.3}},
      ]
    )
    found = {cell.name: cell.overrides for cell in study.cells}
    self.assertEqual(found['high_simclr_seed3']['trainer'], {'train_steps': 7})
    self.assertNotIn('trainer', found['high_random_seed3'])
    # Wins over the axis.
    self.assertEqual(found['high_random_seed3']['task'], {'pseudo_data': {'cut': 0.3}})

  def test_settings_that_follow_the_seed(self):
    study = load(seed_settings={'seed': '{seed}', 'dataset.card': 'data/split-{seed}'})
    self.assertEqual(study.cells[1].overrides, {'seed': 5, 'dataset': {'card': 'data/split-5'}})
    study = load(seed_settings=['seed', 'dataset.digits.seed'])
    self.assertEqual(study.cells[0].overrides, {'seed': 3, 'dataset': {'digits': {'seed': 3}}})

  def test_names_of_values_become_names_of_directories(self):
    study = load(axes={'labels': {'20 %': {}, '100 %': {}}, 'x': {'a/b': {}}})
    self.assertEqual(study.cells[0].name, '20-_a-b_seed3')
    self.assertEqual(study.cell('20-_a-b_seed3').values['labels'], '20 %')
    with self.assertRaisesRegex(errors.ConfigError, '--cell=z: .* has no such cell'):
      study.cell('z')

  def test_base_of_files_and_overrides(self):
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder) / 'base.yaml'
      path.write_text('task: {losses: {weight: 1, other: 4}}\ninit: random\n', encoding='utf-8')
      study = load(config_files=[str(path)], overrides={'task.losses.weight': 7, 'rounds': 2})
    self.assertEqual(
      study.base, {'task': {'losses': {'weight': 7, 'other': 4}}, 'init': 'random', 'rounds': 2}
    )

  def test_digest_tells_settings_apart_and_forgets_the_place(self):
    first, again, other = load(), load(title='Another'), load(overrides={'rounds': 2})
    self.assertEqual(first.cells[0].digest(first), again.cells[0].digest(again))
    digests = {cell.digest(study) for study in (first, other) for cell in study.cells}
    self.assertEqual(len(digests), 16)


class LayoutTest(unittest.TestCase):
  def test_tables_and_plots(self):
    study = load(
      tables=[
        {'title': 'T', 'rows': ['init'], 'columns': 'cut', 'paper': {'random student': {'low': 40}}}
      ],
      plots=[{'title': 'P', 'effect': 'self-training', 'x': 'cut'}],
    )
    (table,), (plot,) = study.layout.tables, study.layout.plots
    self.assertEqual(
      (table.rows, table.columns, table.models), (('init',), 'cut', study_contents.MODELS)
    )
    self.assertEqual(table.paper, {('random student', 'low'): 40.0})
    self.assertEqual((plot.effect, plot.x), (study_contents.SELF_TRAINING, 'cut'))


class RefusedTest(unittest.TestCase):
  def test_messages(self):
    table = {'title': 'T', 'rows': [], 'columns': 'cut'}
    for changes, message in (
      ({'seeds': None}, r'study\.yaml: seeds is missing'),
      ({'seeds': [1, 1]}, r'seeds has one twice: \[1, 1\]'),
      ({'seeds': ['a']}, r"seeds is \['a'\]: it must be a list of int"),
      ({'axis': {}}, r"'axis' is unknown; there are title, experiment"),
      ({'axes': {'cut': ['low']}}, 'axes must be names with values'),
      ({'axes': {'cut': {'low': 3}}}, r'axes\.cut\.low is 3: it must be settings'),
      (
        {'axes': {'cut': {'a b': {}, 'a-b': {}}}},
        'two combinations would have the directory a-b_seed0',
      ),
      ({'exclude': [{'cuts': 'low'}]}, r"exclude\[0\]: 'cuts' is no axis; there are cut, init"),
      ({'adjust': [{'when': {'cut': 'x'}}]}, r"adjust\[0\]\.cut is 'x': the axis has low, high"),
      ({'adjust': [{'where': {}}]}, r"adjust\[0\]: 'where' is unknown; there are when, overrides"),
      ({'exclude': [{}]}, r'exclude\[0\] names no axis, so that it is for every run'),
      ({'exclude': [{'cut': ['low', 'high']}]}, 'exclude leaves no run'),
      ({'seed_settings': []}, 'seed_settings is empty, so that all seeds would give the same run'),
      ({'seed_settings': {}}, 'seed_settings is empty'),
      (
        {'overrides': {'experiment': 'x'}},
        "experiment is 'retinanet_selftrain', and overrides .* say 'x'",
      ),
      ({'exclude': [{'cut': 'x'}]}, r"exclude\[0\]\.cut is 'x': the axis has low, high"),
      ({'tables': [table | {'columns': 'x'}]}, r"tables\[0\]: 'x' is no axis"),
      ({'tables': [table | {'models': ['best']}]}, r"tables\[0\]\.models has 'best'"),
      ({'tables': [table | {'row': []}]}, r"tables\[0\]: 'row' is unknown"),
      ({'plots': [{'effect': 'luck', 'x': 'cut'}]}, r"plots\[0\]\.effect: 'luck' is no axis"),
      ({'seconds': ['student']}, 'tables, plots or seconds are not as docs/study.md has them'),
      (
        {'seconds': {'student': 'fast'}},
        'seconds are not as .* .could not convert string to float',
      ),
      ({'tables': [table | {'rows': 5}]}, 'tables, plots or seconds are not'),
      ({'tables': [table | {'paper': {'low': 5}}]}, 'tables, plots or seconds are not'),
      ({'seed_settings': {'seed': 3}}, r'seed_settings\.seed is 3: it must have \{seed\} in it'),
    ):
      with self.subTest(message), self.assertRaisesRegex(errors.ConfigError, message):
        load(**changes)

  def test_a_missing_file(self):
    with self.assertRaisesRegex(errors.ConfigError, '--study=nowhere.yaml: there is no such file'):
      definition.load('nowhere.yaml')


class ShippedTest(unittest.TestCase):
  def test_all_can_be_read_and_show_something(self):
    paths = sorted(_STUDIES.glob('*.yaml'))
    self.assertGreaterEqual(len(paths), 4)
    for path in paths:
      with self.subTest(path.name):
        study = definition.load(str(path))
        self.assertGreaterEqual(len(study.seeds), 3)
        self.assertTrue(study.question)
        self.assertTrue(study.layout.tables)


if __name__ == '__main__':
  unittest.main()
