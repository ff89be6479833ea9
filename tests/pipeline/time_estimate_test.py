"""How long a run takes: which stages count, the arithmetic, and one real measurement."""

import contextlib
import io
import os
import unittest
from unittest import mock

import pytest

from official_selftrain import estimate_time
from official_selftrain.core import errors
from official_selftrain.pipeline import label_probe, time_estimate
from tests.testing import tiny_run

_STEPS = time_estimate.Steps(start=10.0, step=0.5, batch=4, evaluation=0.01)
_LABELS = label_probe.Probe(
  shards=1, images=300, images_per_second=20.0, label_bytes=1.0, start_seconds=5.0
)
_OVERRIDES = (
  'task.train_data.global_batch_size=2,task.pseudo_data.global_batch_size=6,'
  'teacher.global_batch_size=4,teacher.trainer.train_steps=40,trainer.train_steps=20,'
  'teacher.trainer.validation_interval=20,trainer.validation_interval=20,trainer.validation_steps=3,'
  'task.validation_data.global_batch_size=8'
)


def _rows(override=''):
  """Seconds by stage for made-up measurements, and the jobs that were measured."""
  params = tiny_run.load(override=','.join(filter(None, [_OVERRIDES, override])))
  with (
    mock.patch.object(time_estimate, 'measure', return_value=_STEPS) as measure,
    mock.patch.object(label_probe, 'measure', return_value=_LABELS),
    mock.patch('tensorflow.train.latest_checkpoint', return_value='ckpt'),
  ):
    found = time_estimate.estimate(params, os.path.join(tiny_run.shared(), 'estimated'), 1.0)
  return {row.stage: row.seconds for row in found}, [call.args[0] for call in measure.mock_calls]


class ArithmeticTest(unittest.TestCase):
  def test_steps_batches_and_evaluations(self):
    found, measured = _rows()
    # 10 s to start; 40 steps of 4 images, of which two evaluations of 24; half as many steps of twice the images.
    self.assertEqual(
      found,
      {
        'teacher': 10 + 40 * 0.5 + 2 * 24 * 0.01,
        'labels': 5 + 300 / 20,
        'control': 10 + 20 * 0.5 * 2 + 24 * 0.01,
        'student': 10 + 20 * 0.5 * 2 + 24 * 0.01,
      },
    )
    self.assertEqual([job.name for job in measured], ['teacher', 'control'])

  def test_a_student_in_parts_looks_twice(self):
    found, _ = _rows('task.gradient_accumulation_steps=2')
    self.assertAlmostEqual(found['student'] - found['control'], 20 * 0.5 * 2 / 3)

  def test_an_online_teacher_labels_its_part_of_the_batch(self):
    found, _ = _rows('task.self_training.online_teacher.enabled=true')
    # 20 steps, of 8 images in place of the 4 measured, 6 of them unlabelled.
    self.assertAlmostEqual(found['student'] - found['control'], 20 * 0.5 * 2 * 2 / 3 * 6 / 8)

  def test_rounds_and_a_missing_control(self):
    found, _ = _rows('rounds=2,control.enabled=false')
    self.assertEqual(list(found), ['teacher', 'labels', 'student', 'labels-2', 'student-2'])

  def test_a_ceiling_trains_as_long_as_teacher_and_control(self):
    images = tiny_run.data().train
    found, measured = _rows(f'ceiling.input_path={images}')
    # Three evaluations in 60 steps.
    self.assertAlmostEqual(found['ceiling'], 10 + 60 * 0.5 + 3 * 24 * 0.01)
    self.assertEqual(len(measured), 2)

  def test_the_table_has_the_sum(self):
    rows = [
      time_estimate.Row('teacher', '4 steps', 61.0),
      time_estimate.Row('labels', '9 images', 3600),
    ]
    text = time_estimate.text(rows)
    self.assertRegex(text, r'teacher +4 steps +1:01')
    self.assertRegex(text, r'together +1:01:01')

  def test_other_experiments_are_refused(self):
    with self.assertRaisesRegex(errors.ConfigError, 'does not self-train'):
      time_estimate.estimate(tiny_run.load(tiny_run.SUPERVISED), 'nowhere', 1.0)


class ProgramTest(unittest.TestCase):
  @pytest.mark.slow
  def test_a_real_measurement_leaves_no_trace(self):
    model_dir = os.path.join(tiny_run.shared(), 'never_made')
    tiny_run.data()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
      status = estimate_time.main(
        [
          f'--experiment={tiny_run.SELFTRAIN}',
          *(f'--config_file={path}' for path in tiny_run.config_files()),
          f'--params_override=dataset.directory={tiny_run.shared()}',
          f'--model_dir={model_dir}',
          '--probe_seconds=0.1',
        ]
      )
    self.assertEqual(status, 0)
    self.assertFalse(os.path.exists(model_dir))
    for stage in ('teacher', 'labels', 'control', 'student', 'together'):
      self.assertRegex(printed.getvalue(), rf'(?m)^{stage} .* [0-9]+:[0-9][0-9]$')
    # What the evaluator says about a network that has learned nothing stays out of it.
    self.assertNotIn('Average Precision', printed.getvalue())

  def test_no_time_to_measure(self):
    with contextlib.redirect_stderr(io.StringIO()) as said, self.assertRaises(SystemExit):
      estimate_time.main(['--experiment=retinanet_selftrain', '--probe_seconds=0'])
    self.assertIn('it must be above 0', said.getvalue())


if __name__ == '__main__':
  unittest.main()
