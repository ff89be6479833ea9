import os
import pathlib
import stat
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _outside_make() -> dict[str, str]:
  """The environment without what a make above these tests has put there."""
  return {name: value for name, value in os.environ.items() if not name.startswith('MAKE')}


class PythonVersionTest(unittest.TestCase):
  """`make` with interpreters that only pretend."""

  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)

  def script(self, name: str, body: str) -> pathlib.Path:
    path = self.folder / name
    path.write_text(f'#!/bin/sh\n{body}\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path

  def make_setup(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
      ['make', '--no-print-directory', 'setup', f'VENV={self.folder / "venv"}', *arguments],
      cwd=ROOT,
      env={**_outside_make(), **environment},
      capture_output=True,
      text=True,
      check=False,
      timeout=60,
    )

  def assert_refused(self, result: subprocess.CompletedProcess[str], pattern: str) -> None:
    self.assertNotEqual(result.returncode, 0)
    ours = [line for line in result.stderr.splitlines() if not line.startswith('make: ***')]
    self.assertEqual(len(ours), 1, result.stderr)
    self.assertRegex(ours[0], pattern)
    self.assertFalse((self.folder / 'venv').exists())

  def test_an_older_python_is_refused_with_its_version(self):
    python = self.script('python3.9', 'echo 3.9.18')
    self.assert_refused(
      self.make_setup(f'PYTHON={python}'),
      rf'^Set-up failed: Python 3\.11 is needed, found 3\.9\.18 \({python}\); install it, or name '
      r'it: make PYTHON=/path/to/python3\.11$',
    )

  def test_a_newer_python_is_refused_too(self):
    python = self.script('python3.12', 'echo 3.12.1')
    self.assert_refused(self.make_setup(f'PYTHON={python}'), r'found 3\.12\.1 ')

  def test_python_3_1_is_not_taken_for_3_11(self):
    python = self.script('python3.1', 'echo 3.1.1')
    self.assert_refused(self.make_setup(f'PYTHON={python}'), r'found 3\.1\.1 ')

  def test_an_interpreter_that_does_not_exist_is_named(self):
    python = self.folder / 'absent'
    self.assert_refused(self.make_setup(f'PYTHON={python}'), rf'found none \(tried {python}\)')

  def test_every_interpreter_that_was_tried_is_named(self):
    # As under a version manager: python3.11 is a name on PATH that does not start.
    self.script('python3.11', 'echo "version 3.11 is not installed" >&2; exit 127')
    self.script('python3', 'echo 3.13.0')
    path = f'{self.folder}:{os.environ["PATH"]}'
    script = ROOT / 'tools' / 'setup_environment.sh'
    result = subprocess.run(
      [script, self.folder / 'venv'],
      cwd=ROOT,
      env={**os.environ, 'PATH': path},
      capture_output=True,
      text=True,
      check=False,
      timeout=60,
    )
    self.assert_refused(result, r'found 3\.13\.0 \(python3\);')

  def test_a_python_without_venv_names_the_package_to_install(self):
    body = 'case "$2" in *version_info*) echo 3.11.9;; *) exit 1;; esac'
    python = self.script('python3.11', body)
    self.assert_refused(self.make_setup(f'PYTHON={python}'), r'apt install python3\.11-venv$')


if __name__ == '__main__':
  unittest.main()
