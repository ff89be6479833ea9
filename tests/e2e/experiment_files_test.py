"""Every file in experiments/ loads, checks, and says how it is run."""

import importlib.util
import pathlib
import re
import unittest

import yaml

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.core import config, override_text

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


def _repeated(own, below):
  """Dotted names of values in `own` that `below` has, too."""
  found = []
  for name, value in own.items():
    if isinstance(value, dict) and isinstance(below.get(name), dict):
      found += [f'{name}.{inner}' for inner in _repeated(value, below[name])]
    elif name in below and below[name] == value:
      found.append(name)
  return found


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
          self.assertEqual(flags['config_file'], [f'experiments/{path.name}'])
          self.assertIn(flags['mode'][0], ('train', 'eval', 'train_and_eval'))
          bases = yaml.safe_load(text).get('base', [])
          bases = [f'experiments/{base}' for base in ([bases] if isinstance(bases, str) else bases)]
          before = config.flatten(load({**flags, 'config_file': bases}))
          self.assertNotEqual(config.flatten(load(flags)), before)
        self.assertLessEqual(len(text.splitlines()), 45)
        self.assertRegex(text, r'(Result: experiments/results/README\.md|Not run here)')

  def test_what_files_share_is_in_their_bases(self):
    for path in sorted(_FOLDER.glob('base/*.yaml')):
      text = path.read_text(encoding='utf-8')
      self.assertRegex(text, r'^# Settings that .* share')
      users = [
        p
        for p in _FOLDER.glob('**/*.yaml')
        if re.search(rf'\nbase: .*\b{path.name}\n', p.read_text())
      ]
      self.assertGreater(len(users), 1, path.name)
    # A setting that a recipe repeats from its base would hide a change of the base.
    for path in sorted(_FOLDER.glob('*.yaml')):
      own, below = yaml.safe_load(path.read_text(encoding='utf-8')), {}
      base = own.pop('base', None)
      if base:
        below = override_text.read_override_file(_FOLDER / base)
      self.assertEqual(_repeated(own, below), [], path.name)

  def test_every_recipe_is_in_the_readme_and_has_its_experiment(self):
    readme = (_FOLDER / 'README.md').read_text(encoding='utf-8')
    recipes = [*_FOLDER.glob('coco_*.yaml'), *_FOLDER.glob('pascal_*.yaml')]
    self.assertEqual(len(recipes), 20)
    for path in recipes:
      self.assertRegex(readme, rf'\n\| (\+ )?`{path.stem}` \|')
      kind = 'retinanet_resnetfpn' if path.stem.startswith('coco') else 'segmentation_efficientnet'
      kind = 'retinanet_spinenet' if 'spinenet' in path.stem else kind
      settings = override_text.read_override_file(path)
      self.assertEqual(settings['experiment'], f'{kind}_selftrain')
      text = path.read_text(encoding='utf-8')
      self.assertIn(f'--experiment={kind}_selftrain ', text)
      # The mark of a recipe that builds on another one.
      self.assertEqual('base: base/' not in text, f'| + `{path.stem}` |' in readme)

  def test_estimates_of_recipes_are_those_of_the_table(self):
    readme = (_FOLDER / 'README.md').read_text(encoding='utf-8')
    rows = re.findall(r'\n\| `(\w+)` \| .* \| ([\d.]+) \+ ([\d.]+) \| (\d+), (\d+) \|', readme)
    self.assertEqual(len(rows), 8)
    for name, *figures in rows:
      text = (_FOLDER / f'{name}.yaml').read_text(encoding='utf-8').replace('\n#', '')
      found = re.search(
        r'([\d.]+) GiB per image and ([\d.]+) fixed, so at least (\d+) devices of 80 GiB for the student, (\d+) for',
        text,
      )
      self.assertEqual(list(found.groups()), figures, name)

  def test_recipes_of_backbones(self):
    readme = (_FOLDER / 'README.md').read_text(encoding='utf-8')
    for name, experiment in (
      ('imagenet_efficientnet_b7', 'classification_pretrain'),
      ('simclr_resnet50', 'simclr_pretrain'),
    ):
      self.assertIn(f'\n| `{name}` |', readme)
      path = _FOLDER / f'{name}.yaml'
      self.assertEqual(override_text.read_override_file(path)['experiment'], experiment)
      self.assertIn(f'--experiment={experiment} ', path.read_text(encoding='utf-8'))

  def test_commands_of_the_readme_are_accepted(self):
    readme = (_FOLDER / 'README.md').read_text(encoding='utf-8')
    ours = [f for f in commands(readme) if f['config_file'][0].startswith('experiments/')]
    self.assertEqual(len(ours), 2)
    for flags in ours:
      self.assertEqual(load(flags).task.model.family, 'original')
    programs = set(re.findall(r'python -m ([\w.]+)', readme))
    self.assertEqual(len(programs), 6)
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
