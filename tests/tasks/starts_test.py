"""What tasks start from besides `checkpoint_items`: heads of pre-training, and the classifier of joint training."""

import os
from unittest import mock

import tensorflow as tf

from official_selftrain.configs import classification as class_configs
from official_selftrain.configs import contrastive as contrastive_configs
from official_selftrain.configs import joint as joint_configs
from official_selftrain.core import console
from official_selftrain.modeling import classification as modeling
from official_selftrain.modeling import contrastive as contrastive_modeling
from official_selftrain.tasks import classification, contrastive
from tests.tasks import tiny

_PROJECTION = contrastive_configs.Projection(num_layers=2, hidden_size=12, output_size=8)


def _built(head):
  model = modeling.ClassificationModel(tiny.TinyBackbone(), head)
  model(tf.zeros([1, 16, 16, 3]))
  return model


def _classifier(num_classes=5):
  return _built(modeling.ClassHead(num_classes))


def _simclr():
  return _built(contrastive_modeling.ProjectionHead(_PROJECTION, use_sync_bn=False))


class _Case(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.said = []
    self.enterContext(mock.patch.object(console, 'note', self.said.append))

  def written(self, model):
    """A checkpoint as training writes it, of a model whose variables are all 0.5."""
    for variable in model.variables:
      variable.assign(tf.fill(variable.shape, 0.5))
    items = getattr(model, 'checkpoint_items', {'backbone': model.backbone})
    folder = self.create_tempdir().full_path
    return tf.train.Checkpoint(model=model, **items).save(os.path.join(folder, 'ckpt'))

  def start(self, task, model, checkpoint, modules):
    task.task_config.init_checkpoint = checkpoint
    task.task_config.init_checkpoint_modules = modules
    task.initialize(model)

  def assert_all(self, part, is_from_there):
    for variable in part.variables:
      self.assertEqual(bool(tf.reduce_all(variable == 0.5)), is_from_there, variable.name)


class ClassificationTest(_Case):
  def _start(self, model, checkpoint, modules='all'):
    task = classification.ClassificationTask(class_configs.ClassificationTask())
    self.start(task, model, checkpoint, modules)
    self.assert_all(model.backbone, True)

  def test_a_whole_classifier(self):
    model = _classifier()
    self._start(model, self.written(_classifier()))
    self.assert_all(model.head, True)
    self.assertEqual(self.said[1:], ['the head starts from there, too'])

  def test_other_heads_do_not_fit(self):
    for source in (_classifier(num_classes=4), _simclr()):
      del self.said[:]
      model = _classifier()
      checkpoint = self.written(source)
      self._start(model, checkpoint)
      self.assert_all(model.head, False)
      self.assertEqual(self.said[1:], [f'the head starts afresh: {checkpoint} has none that fits'])

  def test_the_backbone_alone(self):
    model = _classifier()
    self._start(model, self.written(_classifier()), 'backbone')
    self.assert_all(model.head, False)
    self.assertLen(self.said, 1)


class ContrastiveTest(_Case):
  def test_a_whole_network(self):
    for statistics in (True, False):
      model = _simclr()
      task = contrastive.ContrastiveTask(contrastive_configs.ContrastiveTask())
      task.task_config.init_statistics = statistics
      self.start(task, model, self.written(_simclr()), 'all')
      moving = [v for v in model.head.variables if 'moving_' in v.name]
      self.assertLen(moving, 4)
      for variable in model.head.variables:
        is_from_there = bool(tf.reduce_all(variable == 0.5))
        self.assertEqual(is_from_there, statistics or 'moving_' not in variable.name)


class _TinyModel(tiny.TinyModel):
  """Of which the backbone alone is started from by other models."""

  @property
  def checkpoint_items(self):
    return {'backbone': self.backbone}


class JointTest(_Case):
  def _task(self, weight=0.5):
    config = tiny.config()
    config.joint = joint_configs.Joint(weight=weight, num_classes=5, input_size=[16, 16])
    task = tiny.TinyTask(config)
    task.make_variables = lambda model: None
    with mock.patch.object(tiny, 'TinyModel', _TinyModel):
      return task, task.build_model()

  def test_all_as_a_word_and_as_a_list(self):
    _, source = self._task()
    checkpoint = self.written(source)
    for modules in ('all', ['all']):
      del self.said[:]
      task, model = self._task()
      self.start(task, model, checkpoint, modules)
      self.assert_all(model.class_head, True)
      self.assertEqual(self.said[1:], ['the classifier of joint training starts from there, too'])

  def test_a_model_that_was_not_trained_jointly(self):
    _, source = self._task(weight=0.0)
    checkpoint = self.written(source)
    task, model = self._task()
    self.start(task, model, checkpoint, 'all')
    self.assert_all(model.class_head, False)
    self.assertRegex(self.said[1], 'classifier of joint training starts afresh: .*none that fits$')


if __name__ == '__main__':
  tf.test.main()
