"""The page of hyperparameters in TensorBoard: what its files say."""

import glob
import os

import tensorflow as tf
from tensorboard.plugins.hparams import plugin_data_pb2

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.core import config
from official_selftrain.pipeline import trial


def _written(folder):
  """Columns, metrics and values of the only event file."""
  (path,) = glob.glob(os.path.join(folder, 'events*'))
  parts = {}
  for event in tf.compat.v1.train.summary_iterator(path):
    for value in event.summary.value:
      data = plugin_data_pb2.HParamsPluginData.FromString(value.metadata.plugin_data.content)
      parts[data.WhichOneof('data')] = data
  columns = [each.name for each in parts['experiment'].experiment.hparam_infos]
  metrics = [
    (each.name.group, each.name.tag) for each in parts['experiment'].experiment.metric_infos
  ]
  values = {
    name: getattr(each, each.WhichOneof('kind'))
    for name, each in parts['session_start_info'].session_start_info.hparams.items()
  }
  return columns, metrics, values


class TrialTest(tf.test.TestCase):
  def _values(self, experiment, override=''):
    folder = self.create_tempdir().full_path
    trial.write(config.load_experiment(experiment, [], override), 'student', 3, folder)
    return _written(folder)

  def test_self_training(self):
    override = 'task.self_training.alpha=2.0,trainer.train_steps=7,task.pseudo_data.cut=0.4'
    columns, metrics, values = self._values('retinanet_selftrain', override)
    self.assertEqual((values['model'], values['seed']), ('student', 3.0))
    self.assertEqual(values['task.self_training.alpha'], 2.0)
    self.assertEqual(values['trainer.train_steps'], 7.0)
    self.assertEqual(values['task.pseudo_data.cut'], 0.4)
    self.assertEqual(values['task.model.backbone.type'], 'resnet')
    self.assertIs(values['task.self_training.normalize_loss'], True)
    self.assertEqual(values['learning_rate'], 0.12)
    self.assertContainsSubset(values, columns)
    # Where the Model Garden's trainer writes its curves.
    self.assertIn(('validation', 'AP'), metrics)
    self.assertIn(('train', 'training_loss'), metrics)

  def test_a_model_without_pseudo_labels_has_the_same_columns(self):
    columns, _, values = self._values('retinanet_supervised')
    others, _, _ = self._values('retinanet_selftrain')
    self.assertEqual(columns, others)
    self.assertNotIn('task.pseudo_data.cut', values)


if __name__ == '__main__':
  tf.test.main()
