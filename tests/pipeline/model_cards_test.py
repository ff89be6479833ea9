"""The card in an export of a finished run, and of a model that is exported by hand."""

import os
import tempfile
import unittest

from official_selftrain import export
from official_selftrain.configs import segmentation
from official_selftrain.core import files
from official_selftrain.pipeline import model_cards
from tests.testing import tiny_run


class ModelCardsTest(unittest.TestCase):
  def test_a_network_of_keras_cv_is_named_by_what_is_built(self):
    override = 'task.model.family=keras_cv'
    params = tiny_run.load(override=override)
    self.assertEqual(
      model_cards._network(params.task.model),
      'keras_cv, backbone ResNetV2Backbone resnet18_v2, decoder fpn',
    )

  def test_masks_are_predicted_at_the_size_of_evaluation(self):
    task = segmentation.SegmentationTask()
    task.model.input_size = [64, 96, 3]
    self.assertEqual(model_cards._input_size(task), [64, 96, 3])
    task.validation_data.output_size = [32, 48]
    self.assertEqual(model_cards._input_size(task), [32, 48, 3])

  def test_the_export_of_a_run(self):
    run_dir = tiny_run.finished()
    card = files.read_json(os.path.join(run_dir, 'export', 'model_card.json'))
    report = files.read_json(os.path.join(run_dir, 'report.json'))
    self.assertEqual((card['name'], card['task'], card['step']), ('student', 'detection', 6))
    self.assertEqual(card['metrics']['AP'], report['student']['AP'])
    self.assertEqual(card['class_names'], list(report['per_class']['student']))
    self.assertEqual(card['network'], 'model_garden, backbone resnet 10, decoder fpn')
    self.assertEqual(card['pseudo_labels']['num_images'], 24)
    self.assertEqual(card['settings'].keys(), report['settings_not_default'].keys())
    self.assertEqual(card['settings']['trainer.train_steps'], 6)
    self.assertEqual(card['settings']['task.model.input_size'], card['input_size'])
    self.assertRegex(card['weights_sha256'], '^[0-9a-f]{64}$')

  def test_a_teacher_that_is_exported_by_hand(self):
    run_dir = tiny_run.finished()
    with tempfile.TemporaryDirectory() as folder:
      output = os.path.join(folder, 'teacher')
      self.assertEqual(
        export.main([f'--run={run_dir}', '--model=teacher', f'--output={output}']), 0
      )
      card = files.read_json(os.path.join(output, 'model_card.json'))
      older = os.path.join(folder, 'older')
      prefix = os.path.join(run_dir, 'teacher', 'ckpt-2')
      self.assertEqual(
        export.main(
          [f'--run={run_dir}', '--model=teacher', f'--output={older}', f'--checkpoint={prefix}']
        ),
        0,
      )
      # The report is not about these weights.
      self.assertEqual(files.read_json(os.path.join(older, 'model_card.json'))['metrics'], {})
    self.assertEqual((card['name'], card['step']), ('teacher', 4))
    self.assertIsNone(card['pseudo_labels'])
    self.assertIn('AP', card['metrics'])


if __name__ == '__main__':
  unittest.main()
