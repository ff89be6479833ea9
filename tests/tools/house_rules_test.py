"""The rules of CONTRIBUTING.md that ruff and mypy do not know: sizes, `Any`, and tests that assert something."""

import ast
import functools
import pathlib
import unittest
from collections.abc import Iterable, Iterator

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = 'official_selftrain'
MAX_LINES_OF_A_FILE = 400
MAX_LINES_OF_A_FUNCTION = 80
# A ratchet: lower it when there are fewer, never raise it.
MAX_ANY_PARAMETERS = 40

Function = ast.FunctionDef | ast.AsyncFunctionDef


@functools.cache
def sources(*folders: str) -> dict[str, ast.Module]:
  """Parsed files below folders of the repository by relative path."""
  paths = sorted(path for folder in folders for path in (ROOT / folder).rglob('*.py'))
  return {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in paths}


def functions(tree: ast.Module) -> Iterator[Function]:
  """Every function and method of a file."""
  return (node for node in ast.walk(tree) if isinstance(node, Function))


def parameters(function: Function) -> list[ast.arg]:
  """What a function takes, `self` and `cls` aside."""
  spec = function.args
  named = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs]
  packed = [parameter for parameter in (spec.vararg, spec.kwarg) if parameter is not None]
  return [parameter for parameter in [*named, *packed] if parameter.arg not in ('self', 'cls')]


def is_any(annotation: ast.expr | None) -> bool:
  """Whether an annotation is `Any` itself, in quotes or not; `dict[str, Any]` says more than that."""
  if isinstance(annotation, ast.Constant):
    return annotation.value == 'Any'
  return getattr(annotation, 'id', getattr(annotation, 'attr', None)) == 'Any'


def any_parameters(trees: dict[str, ast.Module]) -> list[str]:
  """Parameters that say `Any`, as file:line name."""
  return [
    f'{path}:{parameter.lineno} {parameter.arg}'
    for path, tree in trees.items()
    for function in functions(tree)
    for parameter in parameters(function)
    if is_any(parameter.annotation)
  ]


def calls(function: Function) -> set[str]:
  """The last names of what a function calls: `b` for `a.b()`."""
  called = (node.func for node in ast.walk(function) if isinstance(node, ast.Call))
  names = (getattr(target, 'attr', getattr(target, 'id', None)) for target in called)
  return {name for name in names if name is not None}


def asserts_itself(function: Function) -> bool:
  """Whether a function has an assertion of its own."""
  if any(isinstance(node, ast.Assert) for node in ast.walk(function)):
    return True
  return any(name.startswith('assert') or name in ('fail', 'raises') for name in calls(function))


def asserting_names(several: list[Function], known: set[str]) -> set[str]:
  """Names of functions that assert something, themselves or through one another or a known one."""
  names = known | {function.name for function in several if asserts_itself(function)}
  before = -1
  while len(names) != before:
    before = len(names)
    names |= {function.name for function in several if calls(function) & names}
  return names


def without_assertions(trees: dict[str, ast.Module]) -> list[str]:
  """Test functions that assert nothing, neither themselves nor through what they call.

  What they call is looked up by name in their own file and in the files that are no tests.
  """
  helpers = [f for path, tree in trees.items() if not _is_test(path) for f in functions(tree)]
  shared = asserting_names(helpers, set())
  found = []
  for path, tree in trees.items():
    if _is_test(path):
      own = list(functions(tree))
      names = asserting_names(own, shared)
      found += [
        f'{path}:{f.lineno} {f.name}' for f in own if f.name[:4] == 'test' and f.name not in names
      ]
  return found


def _is_test(path: str) -> bool:
  return path.endswith('_test.py')


def parse(*lines: str) -> dict[str, ast.Module]:
  """Lines as the one file `x_test.py`."""
  return {'x_test.py': ast.parse('\n'.join(lines))}


class RulesTest(unittest.TestCase):
  """The rules find what they are for."""

  def test_any_is_found_where_it_is_the_whole_annotation(self):
    tree = parse(
      'def a(self, x: Any, y: dict[str, Any], *args: t.Any, **more: "Any"): ...',
      'def b(x: int, y, z: "AnyHow" = Any) -> Any: ...',
    )
    names = [entry.split()[1] for entry in any_parameters(tree)]
    self.assertEqual(names, ['x', 'args', 'more'])

  def test_assertions_are_found_in_helpers_and_their_helpers(self):
    tree = parse(
      'def check(x): assert x',
      'def run(x): check(x)',
      'class T:',
      '  def verify(self): self.assertEqual(1, 1)',
      '  def test_helper(self): run(1)',
      '  def test_method(self): self.verify()',
      '  def test_raises(self):',
      '    with pytest.raises(ValueError): f()',
      '  def test_nothing(self): f(self)',
    )
    found = without_assertions(tree)
    self.assertEqual(found, ['x_test.py:9 test_nothing'])


class SizeTest(unittest.TestCase):
  def all_sources(self) -> dict[str, ast.Module]:
    return {
      **sources(PACKAGE),
      **sources('tests'),
      **sources('benchmarks', 'tools'),
      'train.py': ast.parse((ROOT / 'train.py').read_text()),
    }

  def assert_none_above(self, limit: int, sizes: Iterable[tuple[str, int]]) -> None:
    self.assertEqual([f'{name}: {size} lines' for name, size in sizes if size > limit], [])

  def test_files(self):
    sizes = [(path, len((ROOT / path).read_text().splitlines())) for path in self.all_sources()]
    self.assert_none_above(MAX_LINES_OF_A_FILE, sizes)

  def test_functions(self):
    sizes = [
      (f'{path}:{function.lineno} {function.name}', function.end_lineno - function.lineno + 1)
      for path, tree in self.all_sources().items()
      for function in functions(tree)
    ]
    self.assertGreater(len(sizes), 1000)
    self.assert_none_above(MAX_LINES_OF_A_FUNCTION, sizes)


class AnyTest(unittest.TestCase):
  def test_parameters_without_a_type_are_few(self):
    found = any_parameters(sources(PACKAGE))
    self.assertLess(len(found), MAX_ANY_PARAMETERS, '\n'.join(found))


class AssertionTest(unittest.TestCase):
  def test_every_test_asserts_something(self):
    self.assertEqual(without_assertions(sources('tests')), [])


if __name__ == '__main__':
  unittest.main()
