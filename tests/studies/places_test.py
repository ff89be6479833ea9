"""Tests for the names of files and folders of a study."""

import os
import pathlib
import tempfile
import unittest

from official_selftrain.core import files
from official_selftrain.studies import places


class ModelTest(unittest.TestCase):
  def test_the_model_of_the_last_round(self):
    where = places.Places(self.enterContext(tempfile.TemporaryDirectory()))
    # Of an earlier start with more rounds.
    pathlib.Path(where.run('a'), 'student-3').mkdir(parents=True)
    for rounds, expected in (
      (None, ['teacher', 'control', 'student']),
      ([], ['teacher', 'control', 'student']),
      ([{'number': 1}, {'number': 2}], ['teacher', 'control-2', 'student-2']),
    ):
      if rounds is not None:
        files.write_json(os.path.join(where.run('a'), 'report.json'), {'rounds': rounds})
      found = [where.model('a', kind) for kind in ('teacher', 'control', 'student')]
      self.assertEqual([os.path.basename(each) for each in found], expected)


if __name__ == '__main__':
  unittest.main()
