"""Settings of detection: messages of `check`, and the task that teacher and control train."""

import dataclasses

import tensorflow as tf

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.configs import detection
from official_selftrain.core import config, errors


def _load(override, experiment='retinanet_selftrain'):
  return config.load_experiment(experiment, [], override)


class CheckTest(tf.test.TestCase):
  def _refused(self, override, pattern, experiment='retinanet_selftrain'):
    with self.assertRaisesRegex(errors.ConfigError, pattern):
      _load(override, experiment)

  def test_cut(self):
    self._refused('task.pseudo_data.cut=1.5', r'task\.pseudo_data\.cut is 1\.5: scores lie in')
    self._refused('task.pseudo_data.cut=0', r'task\.pseudo_data\.cut is 0')
    self.assertEqual(_load('task.pseudo_data.cut=1').task.pseudo_data.cut, 1)

  def test_ignore_cut(self):
    self._refused(
      'task.pseudo_data.cut=0.5,task.pseudo_data.ignore_cut=0.6',
      r'ignore_cut is 0\.6: it must lie in .*cut = 0\.5',
    )
    self._refused('task.pseudo_data.ignore_cut=0', r'ignore_cut is 0')
    # An empty band is a mistake, too.
    self._refused(
      'task.pseudo_data.cut=0.5,task.pseudo_data.ignore_cut=0.5', r'ignore_cut is 0\.5: it must lie'
    )
    params = _load('task.pseudo_data.cut=0.5,task.pseudo_data.ignore_cut=0.3')
    self.assertEqual(params.task.pseudo_data.ignore_cut, 0.3)

  def test_batch_sizes(self):
    for name in ('train_data', 'pseudo_data', 'validation_data'):
      self._refused(
        f'task.{name}.global_batch_size=0', rf'task\.{name}\.global_batch_size is 0.*at least 1'
      )

  def test_input_size(self):
    self._refused(
      'task.model.input_size=[192, 256, 3]', r'input_size is \[192, 256, 3\].*multiples of 128'
    )
    self._refused(
      'task.model.backbone.type=resnet,task.model.input_size=[48, 64, 3]',
      r'multiples of 32.*resnet',
    )
    self._refused('task.model.input_size=[128, 128]', r'there are 3 channels')
    self.assertEqual(
      _load(
        'task.model.backbone.type=resnet,task.model.input_size=[96, 64, 3]'
      ).task.model.input_size,
      [96, 64, 3],
    )

  def test_jitter(self):
    self._refused(
      'task.train_data.parser.aug_scale_min=2.0', r'train_data\.parser\.aug_scale_min is 2\.0'
    )
    self._refused('task.pseudo_data.parser.aug_scale_min=0', r'pseudo_data\.parser\.aug_scale_min')

  def test_attribute_heads(self):
    task = _load('').task.replace()
    task.override({'model': {'head': {'attribute_heads': [{'name': 'depth'}]}}})
    with self.assertRaisesRegex(errors.ConfigError, 'attribute heads are not supported'):
      task.check()


class SupervisedTest(tf.test.TestCase):
  def test_all_shared_fields_are_the_same_and_a_copy(self):
    parent = _load(
      'task.losses.l2_weight_decay=0.5,task.model.head.num_filters=7,task.train_data.skip_errors=true'
    ).task
    task = parent.supervised()
    self.assertIs(type(task), detection.DetectionTask)
    ours, theirs = task.as_dict(), parent.as_dict()
    self.assertEqual({name: theirs[name] for name in ours}, ours)
    self.assertEqual(set(theirs) - set(ours), {'pseudo_data', 'self_training'})
    task.model.head.num_filters = 9
    self.assertEqual(parent.model.head.num_filters, 7)
    self.assertIsInstance(task.train_data, detection.DataConfig)

  def test_every_field_of_the_parent_is_shared(self):
    names = {field.name for field in dataclasses.fields(detection.DetectionTask)}
    self.assertTrue(
      {'model', 'losses', 'train_data', 'validation_data', 'annotation_file'} <= names
    )
    self.assertEqual(set(detection.DetectionTask().as_dict()), names)


if __name__ == '__main__':
  tf.test.main()
