"""Initialisation from checkpoints tells what it restored, and never pretends."""

import os

import tensorflow as tf
from absl.testing import parameterized

from official_selftrain.checkpoints import restore
from official_selftrain.core import errors
from tests.checkpoints import tiny


class RestoreTest(parameterized.TestCase, tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.source = tiny.build()
    for index, variable in enumerate(cls.source.variables):
      variable.assign(tf.fill(variable.shape, index / 1000.0))

  def _save(self, **items):
    folder = self.create_tempdir().full_path
    return tf.train.Checkpoint(**items).save(os.path.join(folder, 'ckpt'))

  def _save_model(self):
    step = tf.Variable(5, dtype=tf.int64)
    return self._save(model=self.source, global_step=step, **self.source.checkpoint_items)

  def _assert_equal(self, left, right):
    for ours, theirs in zip(left.variables, right.variables, strict=True):
      self.assertAllEqual(ours, theirs, ours.name)

  def test_a_whole_model(self):
    model = tiny.shared()
    accounting = restore.restore(model, self._save_model())
    self._assert_equal(model, self.source)
    self.assertLen(accounting.restored, len(model.variables))
    self.assertEqual(accounting.fresh, ())
    counters = [f'{name}/.ATTRIBUTES/VARIABLE_VALUE' for name in ('global_step', 'save_counter')]
    self.assertCountEqual(accounting.unused, counters)
    self.assertEqual(
      accounting.text(),
      f'{len(model.variables)} variables restored, 0 left fresh, 2 values of the checkpoint not used',
    )

  def test_a_damaged_checkpoint_is_named(self):
    for ending in ('.data-00000-of-00001', '.index'):
      prefix = self._save_model()
      whole = os.path.getsize(prefix + ending)
      for size in (whole - 1, whole // 2, 0):
        os.truncate(prefix + ending, size)
        with self.assertRaisesRegex(errors.DataError, 'ckpt-1 cannot be read .*Put a copy'):
          restore.restore(tiny.shared(), prefix)
      os.remove(prefix + ending)
      with self.assertRaisesRegex(errors.DataError, 'ckpt-1 cannot be read'):
        restore.restore(tiny.shared(), prefix)

  @parameterized.parameters('backbone', (['backbone'],))
  def test_the_backbone_alone(self, modules):
    model = tiny.shared(num_classes=7)
    head = [variable.numpy() for variable in model.head.variables]
    accounting = restore.restore(model, self._save_model(), modules)
    self._assert_equal(model.backbone, self.source.backbone)
    for before, variable in zip(head, model.head.variables, strict=True):
      self.assertAllEqual(before, variable)
    self.assertLen(accounting.restored, len(model.backbone.variables))
    self.assertLen(accounting.fresh, len(head))
    self.assertLen(accounting.unused, len(head) + 2)

  def test_without_moving_statistics(self):
    model = tiny.shared(num_classes=7)
    variables = model.backbone.variables
    is_moving = ['moving_' in variable.name for variable in variables]
    before = [variable.numpy() for variable in variables]
    accounting = restore.restore(model, self._save_model(), 'backbone', statistics=False)
    self.assertGreater(sum(is_moving), 2)
    self.assertLen(accounting.restored, len(variables) - sum(is_moving))
    for moves, old, variable, theirs in zip(
      is_moving, before, variables, self.source.backbone.variables, strict=True
    ):
      self.assertAllEqual(variable, old if moves else theirs)
      self.assertEqual(variable.name in accounting.fresh, moves)

  def test_another_head_changes_nothing(self):
    model = tiny.shared(num_classes=7)
    before = model.backbone.variables[0].numpy()
    with self.assertRaisesRegex(
      errors.DataError, r'has shape \[3, 3, 8, 4\] there and \[3, 3, 8, 7\] in task.model.*modules'
    ):
      restore.restore(model, self._save_model())
    self.assertAllEqual(model.backbone.variables[0], before)

  def test_a_part_is_missing(self):
    model = tiny.shared()
    prefix = self._save(backbone=self.source.backbone)
    total, head = len(model.variables), len(model.head.variables)
    with self.assertRaisesRegex(errors.DataError, f'lacks {head} of the {total} variables of'):
      restore.restore(model, prefix)
    accounting = restore.restore(model, prefix, 'backbone')
    self.assertLen(accounting.restored, total - head)

  def test_nothing_fits(self):
    prefix = self._save(other=tf.Variable([1.0]))
    with self.assertRaisesRegex(errors.DataError, 'holds no variable of backbone and head'):
      restore.restore(tiny.shared(), prefix)

  def test_a_tf1_checkpoint(self):
    folder = self.create_tempdir().full_path
    prefix = tiny.write(os.path.join(folder, 'model.ckpt'), tiny.values(self.source))
    with self.assertRaisesRegex(
      errors.DataError, 'is a TF1 checkpoint. Import it first: python -m'
    ):
      restore.restore(tiny.shared(), prefix)


class ModulesTest(tf.test.TestCase):
  def test_all_of_a_model(self):
    for modules in ('all', ['all']):
      self.assertTrue(restore.is_whole(modules))
      self.assertEqual(list(restore.modules_of(tiny.shared(), modules)), ['backbone', 'head'])
    for modules in ('backbone', ['backbone', 'decoder']):
      self.assertFalse(restore.is_whole(modules))

  def test_a_part_that_the_model_lacks(self):
    for modules in ('decoder', ['backbone', 'decoder']):
      with self.assertRaisesRegex(
        errors.ConfigError, "names 'decoder', and this model has backbone and head: name one of"
      ):
        restore.modules_of(tiny.shared(), modules)


class AveragesTest(tf.test.TestCase):
  def test_the_model_gardens_copies_have_them_in_place_of_the_weights(self):
    value, optimizer = tf.Variable(1.0), tf.keras.optimizers.legacy.SGD()
    optimizer.add_slot(value, 'average', tf.constant_initializer(7.0))
    written = tf.train.Checkpoint(value=value, optimizer=optimizer)
    folder = self.create_tempdir().full_path
    for name, expected in (('ckpt-5', 7.0), ('best_ckpt-5', 1.0), ('average_weights-5', 1.0)):
      found = tf.Variable(0.0)
      is_there = restore.restore_if_there(
        tf.train.Checkpoint(value=found), written.write(os.path.join(folder, name))
      )
      self.assertTrue(is_there)
      self.assertEqual(float(found), expected, name)


class FindTest(tf.test.TestCase):
  def test_prefix_index_or_folder(self):
    folder = self.create_tempdir().full_path
    prefix = tf.train.Checkpoint(step=tf.Variable(1)).save(os.path.join(folder, 'ckpt'))
    for path in (prefix, prefix + '.index', folder):
      self.assertEqual(restore.find(path), prefix)

  def test_nothing_there(self):
    folder = self.create_tempdir().full_path
    for path in (folder, os.path.join(folder, 'ckpt-1')):
      with self.assertRaisesRegex(errors.DataError, f'There is no checkpoint at {path}'):
        restore.find(path)


if __name__ == '__main__':
  tf.test.main()
