"""Damaged and hostile input ends in an error for users or is passed over; it never crashes a reader."""

import pathlib
import tempfile
import unittest

from absl.testing import parameterized

from official_selftrain.core import errors, override_text
from official_selftrain.pseudo_labels.importers import registry
from tests.faults import fuzzing

# These go on after damage by design: they report it, or take the file for not written.
_TOLERANT = ('image', 'mask', 'yolo', 'image_list', 'records', 'marker')


class FuzzTest(parameterized.TestCase):
  @parameterized.parameters(*fuzzing.TARGETS)
  def test_reader(self, name):
    outcome = fuzzing.fuzz(fuzzing.TARGETS[name], 20, seed=1)
    self.assertEqual(outcome.inputs, 20)
    self.assertEqual(outcome.failures, {})
    if name not in _TOLERANT:
      self.assertGreater(outcome.refused, 3)

  def test_other_errors_are_found(self):
    def _read(content, folder):
      del folder
      if content == b'refused':
        raise errors.DataError('damaged')
      if content != b'[1, 2, 3]':
        raise KeyError('id')

    outcome = fuzzing.fuzz(fuzzing.Target('broken', (b'[1, 2, 3]',), _read), 20)
    (place,) = outcome.failures
    self.assertRegex(place, r'KeyError in .*fuzz_test\.py')
    self.assertEqual(outcome.inputs, 20)


class HostileTest(unittest.TestCase):
  def test_aliases_that_stand_for_billions_of_values(self):
    levels = ['a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]']
    levels += [f'a{n}: &a{n} [{", ".join([f"*a{n - 1}"] * 9)}]' for n in range(1, 12)]
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder, 'a.yaml')
      path.write_text('\n'.join(levels))
      with self.assertRaisesRegex(
        errors.ConfigError, r'a\.yaml: there are more than 100,000 values'
      ):
        override_text.read_override_file(path)
      path.write_text('a: &a [*a]')
      with self.assertRaisesRegex(errors.ConfigError, 'more than 100,000 values'):
        override_text.read_override_file(path)

  def test_deep_nesting(self):
    with self.assertRaisesRegex(errors.ConfigError, '--params_override: is nested too deeply'):
      override_text.parse_override('a=' + '[' * 5000 + ']' * 5000)

  def test_python_objects(self):
    with self.assertRaisesRegex(errors.ConfigError, 'could not determine a constructor'):
      override_text.parse_override('a=!!python/object/apply:os.getcwd []')

  def test_entities_of_xml_are_not_resolved(self):
    bomb = (
      '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b SYSTEM "file:///etc/hostname">'
      + ''.join(
        f'<!ENTITY a{n} "{"&a;" * 10 if n == 1 else f"&a{n - 1};" * 10}">' for n in range(1, 12)
      )
      + ']><annotations><version>1.1</version><image id="0" name="&b;&a11;.jpg" width="8" height="6"/></annotations>'
    )
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder, 'a.xml')
      path.write_text(bomb)
      try:
        found = registry.read('cvat', str(path), ('cat',), {})
      except errors.DataError as error:
        self.assertIn('a.xml', str(error))
      else:
        self.assertLess(len(found.examples(1)[0]), 100)


if __name__ == '__main__':
  unittest.main()
