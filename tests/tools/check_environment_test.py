import importlib.metadata
import os
import sys
import types
import unittest

from tools import check_environment

PRESENT = check_environment.Requirement('absl', 'absl-py', ('absl-py==1.4.0',))
ABSENT = check_environment.Requirement(
  'no_such_module', 'no-such-distribution', ('no-such-distribution<2', 'other==1')
)


class FirstProblemTest(unittest.TestCase):
  def test_nothing_to_say_when_everything_imports(self):
    self.assertIsNone(check_environment.first_problem([PRESENT]))

  def test_one_line_names_the_package_the_error_and_the_pins(self):
    problem = check_environment.first_problem([PRESENT, ABSENT])
    self.assertEqual(
      problem,
      'Environment: no-such-distribution does not import (ModuleNotFoundError: No module named '
      "'no_such_module'); mend it with: pip install 'no-such-distribution<2' 'other==1', "
      'or with: make clean setup',
    )

  def test_any_error_at_import_is_reported_on_one_line(self):
    def importer(name: str) -> types.ModuleType:
      raise AttributeError(f'{name} has\n  no attribute')

    problem = check_environment.first_problem([PRESENT], importer)
    self.assertIn('(AttributeError: absl has no attribute)', problem)
    self.assertNotIn('\n', problem)

  def test_an_error_without_text_is_reported(self):
    def importer(name: str) -> types.ModuleType:
      raise ImportError

    problem = check_environment.first_problem([PRESENT], importer)
    self.assertIn('(ImportError: no message)', problem)

  def test_the_first_failure_is_the_one_reported(self):
    later = check_environment.Requirement('neither_this', 'neither-this', ())
    problem = check_environment.first_problem([ABSENT, later])
    self.assertIn('no-such-distribution', problem)
    self.assertNotIn('neither-this', problem)

  def test_a_module_that_pip_did_not_install_is_a_problem(self):
    stray = check_environment.Requirement('json', 'no-such-distribution', ('x==1',))
    self.assertRegex(check_environment.first_problem([stray]), 'PackageNotFoundError')


class RequirementsTest(unittest.TestCase):
  def test_every_distribution_is_installed_with_a_version_its_first_pin_allows(self):
    for requirement in check_environment.REQUIREMENTS:
      version = importlib.metadata.version(requirement.distribution)
      name, _, exact = requirement.pins[0].partition('==')
      if exact and name == requirement.distribution:
        self.assertEqual(version, exact, requirement.distribution)

  def test_every_pin_agrees_with_the_lock(self):
    root = os.path.dirname(os.path.dirname(check_environment.__file__))
    with open(os.path.join(root, 'requirements.lock'), encoding='utf-8') as stream:
      locked = dict(line.split()[0].split('==') for line in stream if line[0].isalpha())
    for requirement in check_environment.REQUIREMENTS:
      for pin in requirement.pins:
        name, _, exact = pin.partition('==')
        if exact:
          self.assertEqual(locked[name], exact, pin)
        elif '<' in pin:
          name, _, below = pin.partition('<')
          locked_version = [int(part) for part in locked[name].split('.')]
          self.assertLess(locked_version, [int(part) for part in below.split('.')], pin)


class SummaryTest(unittest.TestCase):
  def test_one_line_with_python_and_every_version(self):
    line = check_environment.summary([PRESENT])
    version = importlib.metadata.version('absl-py')
    self.assertRegex(line, rf'^Environment: Python 3\.\d+\.\d+, absl-py {version}$')


class QuietTest(unittest.TestCase):
  def test_nothing_reaches_the_native_streams_and_they_come_back(self):
    reader, writer = os.pipe()
    saved = os.dup(2)
    os.dup2(writer, 2)
    try:
      with check_environment.quiet():
        os.write(2, b'hidden')
        print('hidden', file=sys.stdout)
      os.write(2, b'shown')
    finally:
      os.dup2(saved, 2)
      os.close(saved)
      os.close(writer)
    with os.fdopen(reader, 'rb') as stream:
      self.assertEqual(stream.read(), b'shown')


if __name__ == '__main__':
  unittest.main()
