import importlib.metadata
import os
import pathlib
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
      "'no_such_module'); to fix it: pip install 'no-such-distribution<2' 'other==1', "
      'or: make clean setup',
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

  def test_a_package_that_leaves_the_program_is_a_problem(self):
    def importer(name: str) -> types.ModuleType:
      raise SystemExit(f'{name} wants a password')

    problem = check_environment.first_problem([PRESENT], importer)
    self.assertIn('(SystemExit: absl wants a password)', problem)


class PublicModulesTest(unittest.TestCase):
  def assert_modules(self, files: list[str], expected: list[str]) -> None:
    found = check_environment.public_modules(map(pathlib.PurePosixPath, files))
    self.assertEqual(found, expected)

  def test_packages_and_single_modules_but_nothing_inside_a_package(self):
    files = ['pkg/__init__.py', 'pkg/inner/__init__.py', 'pkg/a.py', 'pkg/loose/b.py', 'six.py']
    self.assert_modules(files, ['pkg', 'six'])

  def test_native_modules_lose_their_tag(self):
    self.assert_modules(['tree.cpython-311-x86_64-linux-gnu.so'], ['tree'])

  def test_a_package_in_a_namespace(self):
    files = ['google/auth/__init__.py', 'google/auth/x.py', 'google/oauth2/__init__.py']
    self.assert_modules(files, ['google.auth', 'google.oauth2'])

  def test_modules_scattered_over_a_namespace_are_represented_by_the_first(self):
    files = ['google/rpc/code_pb2.py', 'google/api/http_pb2.py', 'google/api/auth_pb2.py']
    self.assert_modules(files, ['google.api.auth_pb2'])

  def test_a_package_is_preferred_to_scattered_modules(self):
    self.assert_modules(['google/api/x.py', 'proto/__init__.py'], ['proto'])

  def test_private_names_libraries_programs_and_stubs_are_left_out(self):
    self.assert_modules(
      [
        '_hidden/__init__.py',
        '_hidden.py',
        '__editable___finder.py',
        'numpy.libs/libgfortran-040039e1.so',
        '6ec57f84__mypyc.cpython-311-x86_64-linux-gnu.so',
        '../../../bin/tool.py',
        'yaml-stubs/__init__.pyi',
        'tool-1.0.dist-info/METADATA',
      ],
      [],
    )


class LockedRequirementsTest(unittest.TestCase):
  def locked(self, text: str) -> list[check_environment.Requirement]:
    return list(check_environment.locked_requirements(text))

  def test_every_module_is_paired_with_the_locked_version(self):
    text = '# made with x==1\nsetuptools==65.5.0 \\\n    --hash=sha256:00\nsix==1.17.0 \\\n'
    self.assertEqual(
      self.locked(text),
      [
        ('pkg_resources', 'setuptools', ('setuptools==65.5.0',)),
        ('setuptools', 'setuptools', ('setuptools==65.5.0',)),
        ('six', 'six', ('six==1.17.0',)),
      ],
    )

  def test_what_is_not_installed_or_cannot_be_imported_is_left_out(self):
    self.assertEqual(self.locked('no-such-distribution==1 \\\nkaggle==2.2.4 \\\n'), [])

  def test_only_what_is_listed_with_a_reason_or_has_no_code_is_left_out_of_this_lock(self):
    text = check_environment.LOCK.read_text()
    names = {line.partition('==')[0] for line in text.splitlines() if line[0].isalpha()}
    covered = {requirement.distribution for requirement in self.locked(text)}
    self.assertEqual(names - covered, {*check_environment.NOT_IMPORTED, 'types-pyyaml'})

  def test_what_users_reach_for_is_covered(self):
    modules = {item.module for item in self.locked(check_environment.LOCK.read_text())}
    wanted = {'cv2', 'google.protobuf', 'matplotlib', 'pandas', 'PIL', 'pyarrow', 'pylab', 'scipy'}
    wanted |= {'tensorflow_datasets', 'tensorflow_hub', 'tensorflow_text', 'orbit', 'official'}
    self.assertLessEqual(wanted, modules)


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
  def test_one_line_with_python_every_version_and_the_rest(self):
    line = check_environment.summary([PRESENT], 144, 25.6)
    version = importlib.metadata.version('absl-py')
    rest = '144 more locked packages import, 26 s'
    self.assertRegex(line, rf'^Environment: Python 3\.\d+\.\d+, absl-py {version}; {rest}$')


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
