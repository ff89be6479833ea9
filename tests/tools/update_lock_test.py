import configparser
import itertools
import re
import tomllib
import unittest

from tools import update_lock

LOCK = """\
# Written for six==0.0.0
absl-py==1.4.0 \\
    --hash=sha256:aa
pyarrow==25.0.1 \\
    --hash=sha256:bb \\
    --hash=sha256:cc
"""


class PinsTest(unittest.TestCase):
  def test_names_and_versions_without_comments_and_digests(self):
    pins = list(update_lock.pinned(LOCK))
    self.assertEqual(pins, [('absl-py', '1.4.0'), ('pyarrow', '25.0.1')])

  def test_preferences_are_a_pylock_file(self):
    pylock = tomllib.loads(update_lock.preferences(update_lock.pinned(LOCK)))
    self.assertEqual(pylock['lock-version'], '1.0')
    self.assertEqual(
      pylock['packages'],
      [{'name': 'absl-py', 'version': '1.4.0'}, {'name': 'pyarrow', 'version': '25.0.1'}],
    )


class EntryTest(unittest.TestCase):
  WHEELS = [{'url': 'files/b.whl', 'hashes': {'sha256': digest}} for digest in 'cac']
  SOURCE = {'url': 'files/b.tar.gz', 'hashes': {'sha256': 'd'}}

  def test_wheels_sorted_once_each_and_no_address(self):
    package = {'name': 'x', 'version': '1', 'wheels': self.WHEELS, 'sdist': self.SOURCE}
    lines = ['x==1 \\', '    --hash=sha256:a \\', '    --hash=sha256:c', '']
    self.assertEqual(update_lock.entry(package), '\n'.join(lines))

  def test_the_source_archive_where_there_is_no_wheel(self):
    package = {'name': 'x', 'version': '1', 'sdist': self.SOURCE}
    self.assertEqual(update_lock.entry(package), 'x==1 \\\n    --hash=sha256:d\n')


class LockTest(unittest.TestCase):
  def test_locks_have_digests_for_all_and_name_no_index(self):
    self.assertEqual(len(update_lock.LOCKS), 2)
    for lock, extras in update_lock.LOCKS.items():
      header = update_lock.HEADER % {'extras': ' and '.join(extras), 'name': lock.name}
      text = lock.read_text()
      self.assertTrue(text.startswith(header), lock.name)
      self.assertNotRegex(text, r'://|--index|--find-links|@ file')
      lines = text.removeprefix(header).split('\n')
      for line, following in itertools.pairwise(lines):
        if '==' in line:
          self.assertRegex(following, r'^    --hash=sha256:[0-9a-f]{64}( \\)?$', line)

  def test_the_second_lock_differs_where_beam_makes_it(self):
    first, second = (dict(update_lock.pinned(lock.read_text())) for lock in update_lock.LOCKS)
    self.assertEqual(second['apache-beam'], '2.71.0')
    setup = configparser.ConfigParser()
    setup.read(update_lock.ROOT / 'setup.cfg')
    for needed in (setup['options']['install_requires'], setup['options.extras_require']['dev']):
      names = set(re.findall(r'^([\w-]+)', needed, re.MULTILINE))
      self.assertGreater(len(names), 10)
      self.assertEqual({name.lower() for name in names} - second.keys(), set())
    differing = {name for name, version in first.items() if second.get(name, version) != version}
    self.assertEqual(
      differing, {'cryptography', 'grpcio', 'httplib2', 'pyarrow', 'python-dateutil'}
    )


if __name__ == '__main__':
  unittest.main()
