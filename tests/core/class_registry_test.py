"""Things found by the class of a config, or by the nearest of its parents."""

import dataclasses
import unittest

from official_selftrain.core import class_registry, errors


@dataclasses.dataclass
class Shape:
  sides: int = 0


class Square(Shape):
  pass


class SmallSquare(Square):
  pass


class Circle:
  pass


class ClassRegistryTest(unittest.TestCase):
  def setUp(self):
    super().setUp()
    self.registry = class_registry.ClassRegistry('drawer')

  def test_what_is_registered_is_found_and_handed_back_unchanged(self):
    @self.registry.register(Square)
    class Drawer:
      pass

    self.assertEqual(Drawer.__name__, 'Drawer')
    self.assertIs(self.registry.lookup(Square(4)), Drawer)

  def test_a_subclass_takes_the_entry_of_its_nearest_parent(self):
    self.registry.register(Shape)('of shapes')
    self.assertEqual(self.registry.lookup(SmallSquare()), 'of shapes')
    self.registry.register(Square)('of squares')
    self.assertEqual(self.registry.lookup(SmallSquare()), 'of squares')
    self.assertEqual(self.registry.lookup(Shape()), 'of shapes')
    self.registry.register(SmallSquare)('of small ones')
    self.assertEqual(self.registry.lookup(SmallSquare()), 'of small ones')
    self.assertEqual(self.registry.lookup(Square()), 'of squares')

  def test_a_parent_does_not_take_the_entry_of_its_subclass(self):
    self.registry.register(Square)('of squares')
    with self.assertRaisesRegex(errors.ConfigError, 'No drawer is registered for Shape'):
      self.registry.lookup(Shape())

  def test_a_second_entry_for_a_class_is_refused(self):
    self.registry.register(Square)('first')
    with self.assertRaisesRegex(ValueError, 'The drawer for Square is registered already'):
      self.registry.register(Square)('second')
    self.assertEqual(self.registry.lookup(Square()), 'first')

  def test_a_failed_lookup_names_what_is_known_and_what_may_be_missing(self):
    with self.assertRaisesRegex(
      errors.ConfigError, r'registered for Circle\. Known are those for: none\. Is the module .*'
    ):
      self.registry.lookup(Circle())
    self.registry.register(Square)('of squares')
    self.registry.register(Shape)('of shapes')
    with self.assertRaisesRegex(errors.ConfigError, r'Shape, Square\. .*registry_imports\.py'):
      self.registry.lookup(Circle())

  def test_find_has_the_same_entry_or_none(self):
    self.registry.register(Square)('of squares')
    self.assertEqual(self.registry.find(SmallSquare()), 'of squares')
    self.assertIsNone(self.registry.find(Shape()))

  def test_registries_do_not_share_entries(self):
    self.registry.register(Square)('of squares')
    with self.assertRaisesRegex(errors.ConfigError, 'No painter is registered for Square'):
      class_registry.ClassRegistry('painter').lookup(Square())


if __name__ == '__main__':
  unittest.main()
