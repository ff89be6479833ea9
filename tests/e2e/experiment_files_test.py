"""Every file in experiments/ loads, checks, and says how it is run."""

import importlib.util
import pathlib
import re
import unittest

import yaml

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.core import config

_FOLDER = pathlib.Path(__file__).parents[2] / 'experiments'
_FLAG = re.compile(r'--(\w+)=(\S+)')


def commands(text):
  """The flags of each `python train.py` of a text, as `{name: [values]}`; lines may end in a backslash."""
  joined = re.sub(r'\\\n#? +', ' ', text)
  found = []
  for line in re.findall(r'python train\.py .*', joined):
    flags = {}
    for name, value in _FLAG.findall(line):
      flags.setdefault(name, []).append(value)
    found.append(flags)
  return found


def load(flags):
  """The settings of a command."""
  paths = [str(_FOLDER.parent / path) for path in flags['config_file']]
  overrides = flags.get('params_override', [''])
  return config.load_experiment(flags['experiment'][0], paths, overrides[-1])


class ExperimentFilesTest(unittest.TestCase):
  def test_every_file_loads_and_changes_something(self):
    paths = sorted(_FOLDER.glob('*.yaml'))
    self.assertGreater(len(paths), 20)
    for path in paths:
      with self.subTest(path.name):
        text = path.read_text(encoding='utf-8')
        found = commands(text)
        self.assertGreater(len(found), 0)
        for flags in found:
          self.assertEqual(flags['config_file'][-1], f'experiments/{path.name}')
          self.assertIn(flags['mode'][0], ('train', 'eval', 'train_and_eval'))
          before = config.flatten(load({**flags, 'config_file': flags['config_file'][:-1]}))
          self.assertNotEqual(config.flatten(load(flags)), before)
        self.assertLessEqual(len(text.splitlines()), 60)
        self.assertRegex(text, r'(Result: experiments/results/README\.md|Not run here)')
        self.assertIsInstance(yaml.safe_load(text), dict)

  def test_every_recipe_is_in_the_readme_and_names_its_experiment_first(self):
    readme = (_FOLDER / 'README.md').read_text(encoding='utf-8')
    recipes = [*_FOLDER.glob('coco_*.yaml'), *_FOLDER.glob('pascal_*.yaml')]
    self.assertEqual(len(recipes), 16)
    for path in recipes:
      self.assertRegex(readme, rf'\n\| (\.\.\. )?`{path.stem}` \|')
      kind = 'retinanet' if path.stem.startswith('coco') else 'segmentation'
      settings = yaml.safe_load(path.read_text(encoding='utf-8'))
      self.assertEqual(next(iter(settings.items())), ('experiment', f'{kind}_selftrain'))

  def test_commands_of_the_readme_are_accepted(self):
    readme = (_FOLDER / 'README.md').read_text(encoding='utf-8')
    ours = [f for f in commands(readme) if f['config_file'][0].startswith('experiments/')]
    self.assertEqual(len(ours), 3)
    for flags in ours:
      self.assertEqual(load(flags).task.model.family, 'original')
    programs = set(re.findall(r'python -m ([\w.]+)', readme))
    self.assertEqual(len(programs), 4)
    joined = re.sub(r'\\\n +', ' ', readme)
    for name in programs:
      spec = importlib.util.find_spec(name)
      origin = spec.origin.replace('__init__', '__main__')
      source = pathlib.Path(origin).read_text(encoding='utf-8')
      for line in re.findall(rf'python -m {re.escape(name)} .*', joined):
        for flag, _ in _FLAG.findall(line):
          self.assertTrue(f"'--{flag}'" in source or f"'{flag}'" in source, f'{name} --{flag}')


if __name__ == '__main__':
  unittest.main()
