"""Published results: every command exists, and tables are those of the committed studies."""

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


if __name__ == '__main__':
  unittest.main()
