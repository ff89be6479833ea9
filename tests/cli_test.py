"""The command `selftrain`, and what the doctor says of an environment."""

import contextlib
import importlib.util
import io
import os
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

from official_selftrain import cli, doctor


def _printed(work, *arguments):
  """Exit status, and what was printed to both streams."""
  with (
    contextlib.redirect_stdout(io.StringIO()) as out,
    contextlib.redirect_stderr(io.StringIO()) as err,
  ):
    code = work(arguments)
  return code, out.getvalue(), err.getvalue()


class CommandsTest(unittest.TestCase):
  def test_usage_names_all_commands(self):
    for arguments in ((), ('--help',), ('help',)):
      code, out, _ = _printed(cli.main, *arguments)
      self.assertEqual(code, 0)
      for name in cli.COMMANDS:
        self.assertRegex(out, rf'(?m)^  {name} +\w')

  def test_whoever_reads_may_stop(self):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, 'wb') as closed:
      done = subprocess.run(
        [sys.executable, '-m', 'official_selftrain.cli'],
        stdout=closed, stderr=subprocess.PIPE, text=True,
      )  # fmt: skip
    self.assertEqual((done.returncode, done.stderr), (0, ''))

  def test_an_unknown_command(self):
    for given in (('trian',), ('labels',), ('labels', 'exprot')):
      code, _, err = _printed(cli.main, *given)
      self.assertEqual(code, 2)
      self.assertIn(f'error: there is no command {given[0]!r}', err)

  def test_every_module_exists(self):
    for module, _ in cli.COMMANDS.values():
      self.assertIsNotNone(importlib.util.find_spec(f'official_selftrain.{module}'), module)

  def test_each_runs_as_the_main_program_from_any_folder(self):
    names = {
      'train --help': '--params_override',
      'labels export --help': '--with_images',
      'predict --help': '--test_dev',
    }
    with tempfile.TemporaryDirectory() as folder:
      for words, expected in names.items():
        done = subprocess.run(
          [sys.executable, '-m', 'official_selftrain.cli', *words.split()],
          cwd=folder,
          capture_output=True,
          text=True,
        )
        self.assertIn(expected, done.stdout, done.stderr)
      self.assertEqual(os.listdir(folder), [])

  def test_the_status_of_a_program_is_that_of_the_command(self):
    done = subprocess.run(
      [sys.executable, '-m', 'official_selftrain.cli', 'predict', '--model=x', '--input=/nowhere']
      + ['--output=y'],
      capture_output=True,
      text=True,
    )
    self.assertEqual(done.returncode, 2)
    self.assertIn('error: --input: /nowhere names no file', done.stderr)


class DoctorTest(unittest.TestCase):
  def test_this_environment_is_well(self):
    code, out, _ = _printed(doctor.main)
    self.assertEqual(code, 0, out)
    self.assertIn('Everything fits together.', out)
    self.assertRegex(out, r'(?m)^tensorflow +2\.15\.1 ')
    self.assertRegex(out, r'(?m)^GPU')

  def test_what_does_not_fit_is_named_with_its_cure(self):
    installed = {'tensorflow': '2.16.1', 'numpy': '1.26.4'}

    def version(name):
      if name not in installed:
        raise doctor.importlib.metadata.PackageNotFoundError(name)
      return installed[name]

    asked = ['tensorflow>=2.15.1,<2.16', 'numpy<2', 'lxml', 'hypothesis; extra == "dev"']
    with (
      mock.patch.object(doctor.importlib.metadata, 'requires', return_value=asked),
      mock.patch.object(doctor.importlib.metadata, 'version', side_effect=version),
    ):
      rows = doctor.versions()
      code, out, _ = _printed(doctor.main)
    self.assertEqual(
      [(row[0], row[3]) for row in rows],
      [('tensorflow', 'does not fit'), ('numpy', 'ok'), ('lxml', 'missing')],
    )
    self.assertEqual(code, 2)
    self.assertIn("pip install 'tensorflow<2.16,>=2.15.1'", out)
    self.assertIn("lxml is -, and any is needed.\n  To mend it: pip install 'lxml'", out)
    self.assertIn('2 problem(s) found.', out)

  def test_a_package_that_fits_and_does_not_import(self):
    rows = [('tensorflow', '2.15.1', '<2.16', 'ok')]
    with mock.patch.object(
      doctor.importlib, 'import_module', side_effect=AttributeError('np.bool')
    ):
      (problem,) = doctor.problems(rows)
    self.assertEqual(problem.what, 'tensorflow cannot be imported: AttributeError: np.bool')

  def test_a_checkout_that_is_not_installed(self):
    missing = doctor.importlib.metadata.PackageNotFoundError('official-selftrain')
    with mock.patch.object(doctor.importlib.metadata, 'requires', side_effect=missing):
      code, _, err = _printed(doctor.main)
    self.assertEqual(code, 2)
    self.assertIn('error: official-selftrain is not installed here', err)

  def test_a_driver_without_a_gpu(self):
    rows = [('lxml', '6', '', 'ok')]
    with mock.patch.object(doctor, '_NVIDIA', __file__):
      (problem,) = doctor.problems(rows)
    self.assertEqual(problem.what, 'There is an NVIDIA driver, and TensorFlow finds no GPU.')

  def test_another_python(self):
    with mock.patch.object(doctor.sys, 'version_info', (3, 12, 1)):
      problem = doctor.problems([])[0]
    self.assertEqual(problem.cure, 'make an environment with Python 3.11')


if __name__ == '__main__':
  unittest.main()
