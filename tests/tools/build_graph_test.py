import ast
import configparser
import pathlib
import re
import sys
import unittest
from collections.abc import Iterator
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = 'official_selftrain'
# Distributions whose name is not that of the module.
DISTRIBUTIONS = {
  'google': 'protobuf',
  'grpc': 'grpcio',
  'tensorflow_serving': 'tensorflow_serving_api',
  'PIL': 'pillow',
  'absl': 'absl_py',
  'official': 'tf_models_official',
  'orbit': 'tf_models_official',
  'sklearn': 'scikit_learn',
  'tensorflow_models': 'tf_models_official',
  'yaml': 'pyyaml',
}


# In a lock of their own, which the rules do not use (`make test-beam`).
ELSEWHERE = ('apache_beam',)


def build_rules() -> dict[str, dict[str, Any]]:
  """The rules of BUILD by name; its language is a subset of Python, so Python can run it."""
  rules = {}

  def rule(**attributes: Any) -> None:
    rules[attributes['name']] = attributes

  def glob(patterns: list[str], exclude: tuple[str, ...] = ()) -> list[str]:
    def files(pattern: str) -> set[str]:
      return {str(path.relative_to(ROOT)) for path in ROOT.glob(pattern) if path.is_file()}

    excluded = set().union(*map(files, exclude))
    return sorted(set().union(*map(files, patterns)) - excluded)

  def ignored(*_: Any, **__: Any) -> None:
    pass

  scope = dict.fromkeys(('exports_files', 'licenses', 'load', 'package'), ignored)
  scope |= dict.fromkeys(('filegroup', 'py_binary', 'py_library', 'py_test'), rule)
  exec((ROOT / 'BUILD').read_text(), scope | {'glob': glob})
  return rules


def imported_modules(path: pathlib.Path) -> Iterator[str]:
  """Dotted names that a file imports; `from a import b` counts as `a.b`."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{path}: relative import'
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def file_of(module: str) -> str:
  """The file of a module, or of the module in which a dotted name is defined."""
  path = pathlib.PurePath(*module.split('.')).with_suffix('.py')
  return str(path if (ROOT / path).is_file() else path.parent.with_suffix('.py'))


def label_of(module: str) -> str | None:
  """The label or file in BUILD that provides a module; None for the standard library and `ELSEWHERE`."""
  first, *rest = module.split('.')
  if first in (*sys.stdlib_module_names, '__future__', *ELSEWHERE):
    return None
  if first == PACKAGE:
    layer = rest[0] if rest else ''
    return ':core' if layer in ('', '__version__') else f':{layer}'
  if first == 'tests' and rest[0] != 'testing':
    return file_of(module)  # A helper among the tests of its layer.
  if first == 'tests':
    return ':testing'
  if list(ROOT.glob(f'examples/*/{first}.py')):
    return ':examples'  # A script finds what lies beside it.
  if (ROOT / first).is_dir() or (ROOT / f'{first}.py').is_file():
    return f':{first}'
  return f'@pypi//{DISTRIBUTIONS.get(first, first)}'


class BuildTest(unittest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.rules = build_rules()

  def closure(self, labels: list[str]) -> set[str]:
    """Labels and everything that they depend on."""
    found: set[str] = set()
    waiting = list(labels)
    while waiting:
      label = waiting.pop()
      if label not in found:
        found.add(label)
        waiting += self.rules.get(label.removeprefix(':'), {}).get('deps', [])
    return found

  def undeclared(self, rule: dict[str, Any], declared: set[str]) -> list[str]:
    return [
      f'{source} imports {module}: add {label} to {rule["name"]}'
      for source in rule.get('srcs', [])
      if source.endswith('.py') and (ROOT / source).is_file()
      for module in imported_modules(ROOT / source)
      if (label := label_of(module)) not in declared | {None, f':{rule["name"]}', *rule['srcs']}
    ]

  def test_libraries_declare_what_they_import(self):
    problems = []
    for rule in self.rules.values():
      if not rule['name'].startswith('tests_'):
        problems += self.undeclared(rule, set(rule.get('deps', [])))
    self.assertEqual(problems, [])

  def test_tests_import_only_their_layer_and_what_is_below_it(self):
    problems = []
    for rule in self.rules.values():
      if rule['name'].startswith('tests_'):
        problems += self.undeclared(rule, self.closure(rule['deps']))
    self.assertEqual(problems, [])

  def test_every_file_of_the_package_belongs_to_exactly_one_library(self):
    sources = [source for rule in self.rules.values() for source in rule.get('srcs', [])]
    files = [str(path.relative_to(ROOT)) for path in (ROOT / PACKAGE).rglob('*.py')]
    self.assertEqual([file for file in files if sources.count(file) != 1], [])

  def test_every_file_of_tests_is_used(self):
    sources = {source for rule in self.rules.values() for source in rule.get('srcs', [])}
    files = {str(path.relative_to(ROOT)) for path in (ROOT / 'tests').rglob('*.py')}
    self.assertEqual(files - sources, set())

  def test_only_the_training_program_is_public(self):
    public = [rule['name'] for rule in self.rules.values() if 'visibility' in rule]
    self.assertEqual(public, ['train'])


class LayersTest(unittest.TestCase):
  def test_no_library_depends_on_a_layer_next_to_or_above_it(self):
    config = configparser.ConfigParser()
    config.read(ROOT / 'setup.cfg')
    lines = config['importlinter:contract:layers']['layers'].split('\n')
    layers = [re.findall(r'\w+', line) for line in lines if line.strip()]
    height = {layer: -row for row, line in enumerate(layers) for layer in line}
    rules = build_rules()
    for layer, own in height.items():
      for label in rules[layer]['deps']:
        if label.startswith(':'):
          self.assertLess(height[label[1:]], own, f'{layer} depends on {label}')


if __name__ == '__main__':
  unittest.main()
