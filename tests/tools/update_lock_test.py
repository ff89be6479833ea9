import itertools
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
  def test_the_lock_has_digests_for_all_and_names_no_index(self):
    text = update_lock.LOCK.read_text()
    self.assertNotRegex(text, r'://|--index|--find-links|@ file')
    lines = text.removeprefix(update_lock.HEADER).split('\n')
    for line, following in itertools.pairwise(lines):
      if '==' in line:
        self.assertRegex(following, r'^    --hash=sha256:[0-9a-f]{64}( \\)?$', line)


if __name__ == '__main__':
  unittest.main()
