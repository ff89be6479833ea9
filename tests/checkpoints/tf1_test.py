"""Values of TF1 checkpoints: where each goes, and what is refused."""

import os
import re

import numpy as np
import tensorflow as tf

from official_selftrain.checkpoints import tf1, tf1_names
from official_selftrain.core import errors
from tests.checkpoints import tiny

HEAD = 'retinanet/class_net/class-predict/bias'


class AssignTest(tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.model = tiny.shared()
    cls.named = tf1_names.variables(cls.model)
    cls.values = tiny.values(cls.model)

  def _write(self, tensors):
    return tiny.write(os.path.join(self.create_tempdir().full_path, 'model.ckpt'), tensors)

  def assert_refused(self, tensors, *patterns, **kwargs):
    before = self.named[HEAD].numpy()
    prefix = self._write(tensors)
    with self.assertRaises(errors.DataError) as caught:
      tf1.assign(self.named, prefix, **kwargs)
    for pattern in patterns:
      self.assertRegex(str(caught.exception), pattern)
    self.assertAllEqual(self.named[HEAD], before)

  def test_every_value_is_accounted_for(self):
    accounting = tf1.assign(self.named, self._write(tiny.with_extras(self.values)))
    for name, variable in self.named.items():
      self.assertAllEqual(variable, self.values[name])
    kernels = sum('kernel' in name for name in self.values)
    skipped = {kind: len(names) for kind, names in accounting.skipped.items()}
    self.assertEqual(
      skipped,
      {'counters': 1, 'moving averages of weights': len(self.named), 'optimizer slots': kernels},
    )
    self.assertCountEqual(accounting.used, self.named)
    self.assertEqual(accounting.num_values, sum(v.size for v in self.values.values()))
    self.assertEqual(accounting.step, 123)
    first = f'{len(self.named)} variables imported, {accounting.num_values:,} values, step 123'
    self.assertEqual(accounting.text().splitlines()[0], first)

  def test_moving_averages_instead_of_weights(self):
    prefix = self._write(tiny.with_extras(self.values))
    tf1.assign(self.named, prefix, use_averages=True)
    self.assertAllClose(self.named[HEAD], self.values[HEAD] + 1)

  def test_no_moving_averages(self):
    self.assert_refused(self.values, 'holds no moving averages', use_averages=True)

  def test_one_module(self):
    named = tf1_names.of_layers(tf1_names.backbone(self.model.backbone))
    accounting = tf1.assign(named, self._write(self.values), scope='spinenet/')
    self.assertCountEqual(accounting.used, named)
    self.assertLen(accounting.skipped['other modules'], len(self.named) - len(named))

  def test_missing_unknown_and_differing_variables_are_listed(self):
    tensors = dict(self.values)
    del tensors['spinenet/conv2d/kernel']
    tensors['spinenet/conv2d_99/kernel'] = np.zeros([1, 1, 2, 2], np.float32)
    tensors[HEAD] = np.zeros([7], np.float32)
    self.assert_refused(
      tensors,
      '1 variables are only in the model, 1 only in the checkpoint, 1 differ in shape',
      re.escape(f'{HEAD}: [7] in the checkpoint, [4] in the model'),
      'only in the model: spinenet/conv2d/kernel',
      'only in the checkpoint: spinenet/conv2d_99/kernel',
    )

  def test_a_long_list_is_cut(self):
    named = sorted(self.values)
    self.assert_refused({HEAD: self.values[HEAD]}, rf'and {len(named) - 1 - 20} more$')

  def test_values_that_are_not_finite(self):
    for value in (np.nan, np.inf):
      tensors = {**self.values, 'spinenet/conv2d/kernel': self.values['spinenet/conv2d/kernel'] * 0}
      tensors['spinenet/conv2d/kernel'][0, 0, 0, 0] = value
      self.assert_refused(tensors, r'holds NaN or infinity in spinenet/conv2d/kernel\.$')

  def test_a_checkpoint_of_tf2(self):
    folder = self.create_tempdir().full_path
    prefix = tf.train.Checkpoint(step=tf.Variable(1)).save(os.path.join(folder, 'ckpt'))
    with self.assertRaisesRegex(
      errors.DataError, 'is a TF2 checkpoint: give it as init_checkpoint'
    ):
      tf1.assign(self.named, prefix)


class SpellingTest(tf.test.TestCase):
  def _assign(self, *names):
    variables = {'segmentation/conv-0/bias': tf.Variable([0.0, 0.0])}
    tensors = {name: np.array([1.0, 2.0], np.float32) for name in names}
    prefix = tiny.write(os.path.join(self.create_tempdir().full_path, 'model.ckpt'), tensors)
    accounting = tf1.assign(variables, prefix)
    return variables['segmentation/conv-0/bias'].numpy().tolist(), accounting.used

  def test_released_and_published_names_of_the_segmentation_head(self):
    for name in ('segmentation/class-0/bias', 'segmentation/conv-0/bias'):
      self.assertEqual(self._assign(name), ([1.0, 2.0], (name,)))

  def test_both_spellings_in_one_file(self):
    with self.assertRaisesRegex(errors.DataError, 'one is a copy'):
      self._assign('segmentation/class-0/bias', 'segmentation/conv-0/bias')

  def test_the_classifier_of_imagenet_is_skipped(self):
    name = 'efficientnet-b7/head/dense/kernel'
    _, used = self._assign('segmentation/conv-0/bias', name)
    self.assertEqual(used, ('segmentation/conv-0/bias',))


class NamesTest(tf.test.TestCase):
  def test_a_model_of_another_family(self):
    model = tiny.build()
    model.head.extra = tf.Variable([1.0], name='extra')
    with self.assertRaisesRegex(
      errors.DataError, '1 variables of the model have no TF1 name.*extra'
    ):
      tf1_names.variables(model)
    stock = tf.keras.Sequential([tf.keras.layers.Dense(1)])
    with self.assertRaisesRegex(errors.DataError, 'Sequential is not a backbone of the authors'):
      tf1_names.backbone(stock)


if __name__ == '__main__':
  tf.test.main()
