"""Every benchmark is listed, documented and can be asked for; nothing is measured here."""

import ast
import contextlib
import io
import pathlib
import unittest
from unittest import mock

from benchmarks import __main__ as program
from benchmarks import cases, results

_FOLDER = pathlib.Path(cases.__file__).parent


def modules() -> dict[str, ast.Module]:
  """The benchmarks' syntax trees by name: importing them would import TensorFlow."""
  files = sorted(_FOLDER.glob('[!_]*.py'))
  return {path.stem: ast.parse(path.read_text(encoding='utf-8')) for path in files}


class CasesTest(unittest.TestCase):
  def test_every_benchmark_is_listed_once(self):
    self.assertCountEqual(cases.NAMES, modules())

  def test_every_benchmark_says_what_it_compares_and_has_what_the_program_needs(self):
    for name, tree in modules().items():
      with self.subTest(name):
        self.assertGreater(len(ast.get_docstring(tree) or ''), 200)
        functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
        self.assertIn('run', functions)
        assigned = [
          node.targets[0].id
          for node in tree.body
          if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        ]
        self.assertIn('NEEDS_WORKBENCH', assigned)


class ProgramTest(unittest.TestCase):
  def test_runs_what_is_asked_for_and_writes_the_figures(self):
    row = results.Row('startup', 'a', 's', ours=0.5, target=results.Target(at_most=1.0))
    case = mock.Mock(NEEDS_WORKBENCH=False, IS_OF_ONE_SIZE=False)
    case.run.return_value = [row]
    output = io.StringIO()
    with (
      mock.patch.object(program.importlib, 'import_module', return_value=case) as load,
      mock.patch.object(program.files, 'write_json') as write,
      # It changes the warnings of the whole process.
      mock.patch.object(program.console, 'quiet'),
      contextlib.redirect_stdout(output),
    ):
      status = program.main(['startup', '--output', 'figures.json'])
    self.assertEqual(status, 0)
    load.assert_called_once_with('benchmarks.cases.startup')
    self.assertRegex(output.getvalue(), r'startup +a +s +0\.500 .*met')
    path, content = write.call_args.args
    self.assertEqual(path, 'figures.json')
    self.assertEqual(content['rows'], results.as_json([row]))
    self.assertFalse(content['machine']['quick'])

  def test_a_smoke_run_leaves_out_what_has_no_smaller_size(self):
    sized = mock.Mock(NEEDS_WORKBENCH=False, IS_OF_ONE_SIZE=True)
    output = io.StringIO()
    with (
      mock.patch.object(program.importlib, 'import_module', return_value=sized),
      mock.patch.object(program.console, 'quiet'),
      contextlib.redirect_stdout(output),
    ):
      self.assertEqual(program.main(['late_start', '--quick']), 0)
    sized.run.assert_not_called()
    self.assertIn('left out: it is about a large amount of data', output.getvalue())

  def test_an_unknown_name_is_refused_with_those_that_exist(self):
    message = io.StringIO()
    with contextlib.redirect_stderr(message), self.assertRaises(SystemExit):
      program.main(['labeling'])
    self.assertRegex(
      message.getvalue(), "unknown benchmark 'labeling'; allowed are startup, labelling"
    )


if __name__ == '__main__':
  unittest.main()
