"""The import command: from a TF1 checkpoint to a model directory that everything else takes."""

import contextlib
import io
import json
import os
from unittest import mock

import pytest
import tensorflow as tf
import yaml
from official.core import task_factory

from official_selftrain import import_tf1
from official_selftrain.checkpoints import restore, write
from official_selftrain.core import config, errors
from tests.checkpoints import tiny


class ImportTest(tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.model = tiny.shared()
    cls.values = tiny.values(cls.model)

  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.settings = os.path.join(self.folder, 'settings.yaml')
    overrides = {'experiment': 'retinanet_selftrain', 'task': {'model': tiny.settings().as_dict()}}
    with open(self.settings, 'w', encoding='utf-8') as stream:
      yaml.safe_dump(overrides, stream)
    self.checkpoint = os.path.join(self.folder, 'model.ckpt')
    self.output = os.path.join(self.folder, 'imported')

  def _import(self, *flags):
    """Exit status, standard output and standard error of the command."""
    texts = io.StringIO(), io.StringIO()
    arguments = [f'--checkpoint={self.checkpoint}', f'--output={self.output}', *flags]
    with contextlib.redirect_stdout(texts[0]), contextlib.redirect_stderr(texts[1]):
      status = import_tf1.main(arguments)
    return status, texts[0].getvalue(), texts[1].getvalue()

  def test_the_classifier_of_joint_training(self):
    tiny.write(self.checkpoint, self.values)
    model = mock.Mock(spec=['checkpoint_items', 'class_head'], checkpoint_items={})
    with self.assertRaisesRegex(errors.DataError, r'--params_override=task\.joint\.weight=0'):
      write.import_model(model, self.checkpoint, self.output, 'all', use_averages=False)

  @pytest.mark.slow
  def test_a_whole_model(self):
    tiny.write(self.checkpoint, tiny.with_extras(self.values))
    status, said, _ = self._import(f'--config_file={self.settings}')
    self.assertEqual(status, 0)
    self.assertIn(f'{len(self.values)} variables imported', said)
    self.assertEqual(os.path.basename(tf.train.latest_checkpoint(self.output)), 'ckpt-123')
    with open(os.path.join(self.output, 'import.json'), encoding='utf-8') as report:
      self.assertCountEqual(json.load(report)['used'], self.values)

    params = config.load_experiment(
      'retinanet_supervised', [os.path.join(self.output, 'params.yaml')]
    )
    self.assertEqual(params.experiment, 'retinanet_supervised')
    self.assertEqual(params.task.model.as_dict(), tiny.settings().as_dict())
    task = task_factory.get_task(params.task)
    model = task.build_model()
    restored = restore.restore(model, restore.find(self.output))
    self.assertLen(restored.restored, len(self.values))
    for name, value in tiny.tf1_names.variables(model).items():
      self.assertAllEqual(value, self.values[name])

  @pytest.mark.slow
  def test_the_backbone_of_a_classifier(self):
    named = tiny.tf1_names.of_layers(tiny.tf1_names.backbone(self.model.backbone))
    tiny.write(self.checkpoint, {name: self.values[name] for name in named})
    status, said, _ = self._import(f'--config_file={self.settings}', '--modules=backbone')
    self.assertEqual((status, said.count(f'{len(named)} variables imported')), (0, 1))
    model = tiny.shared(num_classes=7)
    accounting = restore.restore(model, restore.find(self.output), 'backbone')
    self.assertLen(accounting.restored, len(named))
    self.assertLen(accounting.fresh, len(model.head.variables))

  @pytest.mark.slow
  def test_a_checkpoint_of_another_model_leaves_nothing_behind(self):
    tiny.write(self.checkpoint, tiny.values(tiny.build(num_filters=16)))
    status, _, complaint = self._import(f'--config_file={self.settings}')
    self.assertEqual(status, 2)
    self.assertIn('does not fit task.model', complaint)
    self.assertFalse(os.path.exists(self.output))

  def test_messages(self):
    tiny.write(self.checkpoint, self.values)
    os.makedirs(self.output)
    self.assertIn('exists already', self._import(f'--config_file={self.settings}')[2])
    os.rmdir(self.output)
    self.assertIn('--experiment is not given', self._import()[2])
    self.assertIn(
      'task.model.family to original', self._import('--experiment=retinanet_supervised')[2]
    )
    self.checkpoint = os.path.join(self.folder, 'nothing')
    self.assertIn('There is no checkpoint at', self._import(f'--config_file={self.settings}')[2])


if __name__ == '__main__':
  tf.test.main()
