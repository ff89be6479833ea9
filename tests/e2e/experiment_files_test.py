"""Every file in experiments/ loads, checks, and says how it is run."""

import pathlib
import re
import unittest

import yaml

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.core import config

_FOLDER = pathlib.Path(__file__).parents[2] / 'experiments'


class ExperimentFilesTest(unittest.TestCase):
  def test_every_file_loads_and_changes_something(self):
    paths = sorted(_FOLDER.glob('*.yaml'))
    self.assertGreater(len(paths), 0)
    for path in paths:
      with self.subTest(path.name):
        text = path.read_text(encoding='utf-8')
        command = re.search(r'--experiment=(\w+)[\s\S]*--config_file=experiments/([\w.]+)', text)
        self.assertEqual(command.group(2), path.name)
        default = config.flatten(config.load_experiment(command.group(1)))
        changed = config.flatten(config.load_experiment(command.group(1), [str(path)]))
        self.assertNotEqual(changed, default)
        self.assertLessEqual(len(text.splitlines()), 60)
        self.assertRegex(text, r'(Result: experiments/results/README\.md|Not run here)')
        self.assertIsInstance(yaml.safe_load(text), dict)


if __name__ == '__main__':
  unittest.main()
