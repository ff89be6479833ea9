"""Published results: every command exists, and tables are those of the committed studies."""

import itertools
import json
import pathlib
import re
import shlex
import shutil
import tempfile
import unittest

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.core import config
from official_selftrain.report import study_markdown
from official_selftrain.studies import collecting, definition, places

_ROOT = pathlib.Path(__file__).parents[2]
_RESULTS = _ROOT / 'experiments' / 'results'
_TEXT = (_RESULTS / 'README.md').read_text(encoding='utf-8')


def _commands():
  """The indented commands, with their continuation lines joined."""
  text = _TEXT.replace('\\\n', ' ')
  return [line.strip() for line in text.splitlines() if line.startswith('    python ')]


class CommandsTest(unittest.TestCase):
  def test_settings_exist(self):
    checked = 0
    for command in _commands():
      words = shlex.split(command)
      flags = dict(word.removeprefix('--').split('=', 1) for word in words if word.startswith('--'))
      if words[1] != 'train.py':
        continue
      with self.subTest(command):
        # Letters stand for what changes from run to run.
        override = flags.get('params_override', '').replace('=N', '=1').replace('=P', '=S1')
        override = override.replace('=CUT', '=0.5')
        files = [str(_ROOT / name) for name in [flags.get('config_file')] if name]
        config.load_experiment(flags['experiment'], files, override)
        checked += 1
    self.assertGreaterEqual(checked, 4)

  def test_studies_exist(self):
    for command in _commands():
      for path in re.findall(r'--study=(\S+)', command):
        self.assertTrue((_ROOT / path).exists(), path)


class StudiesTest(unittest.TestCase):
  def test_tables_and_sentences_are_those_of_the_committed_studies(self):
    committed = sorted(_RESULTS.glob('*.json'))
    if not committed:
      self.skipTest('no study has been run to its end and committed yet')
    for path in committed:
      study = definition.load(str(_ROOT / 'experiments' / 'studies' / f'{path.stem}.yaml'))
      with self.subTest(path.name), tempfile.TemporaryDirectory() as folder:
        where = places.Places(folder)
        shutil.copy(path, where.results)
        facts = collecting.gather(study, where, 'again')
        command = json.loads(path.read_text(encoding='utf-8'))['command']
        self.assertIn(f' --study=experiments/studies/{path.stem}.yaml --model_dir=runs/', command)
        self.assertTrue(facts.done)
        # Made with the settings that the study has today.
        self.assertEqual([r.name for r in facts.done], [cell.name for cell in study.cells])
        for line in study_markdown.render(facts).splitlines():
          if line.startswith(('|', '- ')):
            self.assertIn(f'{line}\n', _TEXT)


# First lines of tables by seed, or of rows in them, of runs that belong to no committed study.
_OF_OTHER_RUNS = (
  '| seed | teacher | control | student | student - teacher',  # The defaults, seed by seed.
  '| seed | teacher | control | student | student - control [90%] |\n|---|---|---|---|---|\n| 0 |',
  '| start | seed 1 | seed 2 | seed 3 |',
  '| seed | teacher | control | student, labels on disk |',
  '| seed | loss at | T | C, S |',
  '| seed | teacher | 400 steps of 8 + 8: control | student | 800 steps',
  '| seed | teacher with S3, S4 |',
)


class FiguresBySeedTest(unittest.TestCase):
  """Figures of one seed, in tables that were written by hand."""

  def test_they_are_those_of_the_committed_studies(self):
    checked, left_out = 0, set()
    for section in re.split(r'(?m)^(?=##)', _TEXT):
      cells = _cells(section)
      for table in re.findall(r'(?m)(?:^\|.*\n)+', section):
        other = [start for start in _OF_OTHER_RUNS if table.startswith(start)]
        left_out.update(other)
        if not cells or other:
          continue
        for seed, text in _of_seeds(table):
          of_seed = [cell for cell in cells if cell['seed'] == seed]
          if not of_seed:
            continue  # A seed that settings were tried on.
          found = re.findall(r'[+-]?\d\.\d{3}', text)
          self.assertEqual(
            set(found) - _figures(of_seed), set(), f'{seed} in {table.splitlines()[0]}'
          )
          checked += len(found)
    self.assertGreater(checked, 250)
    self.assertEqual(left_out, set(_OF_OTHER_RUNS))


def _cells(section):
  """The runs of all committed studies that a section names."""
  names = set(re.findall(r'studies/(\w+)\.yaml|`(\w+)`', section))
  paths = [_RESULTS / f'{name}.json' for name in sorted(set(itertools.chain(*names)) - {''})]
  found = [json.loads(path.read_text(encoding='utf-8')) for path in paths if path.exists()]
  return [cell for study in found for cell in study['results']]


def _of_seeds(table):
  """Seeds, and the part of a table that is about each: a row, or a cell."""
  rows = [[cell.strip(' *') for cell in row.strip('|').split('|')] for row in table.splitlines()]
  head = rows[0]
  seeds = [re.search(r'\bseed (\d)$', name) for name in head]
  for row in rows[2:]:
    if 'seed' in head and row[head.index('seed')].isdigit():
      pairs = zip(head, row, strict=True)
      # Intervals of ceilings are in no file.
      yield int(row[head.index('seed')]), ' | '.join(v for k, v in pairs if 'ceiling -' not in k)
    for seed, text in zip(seeds, row, strict=True):
      if seed:
        yield int(seed[1]), text


def _figures(cells):
  """What may be said of runs, as text: metrics, differences of metrics, and intervals of student - control."""
  metrics = [value for cell in cells for value in cell['metrics'].values()]
  classes = [v for cell in cells for kind in cell['per_class'].values() for v in kind.values()]
  intervals = [value for cell in cells for value in (cell['lead'] or {}).values()]
  differences = [a - b for a, b in itertools.product(metrics, metrics)]
  return {f'{value:.3f}' for value in metrics + classes} | {
    f'{value:+.3f}' for value in differences + intervals
  }


if __name__ == '__main__':
  unittest.main()
