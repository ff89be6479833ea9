"""`retinanet_supervised` in all modes, and data in training that is wrong, through the real path."""

import contextlib
import io
import json
import os
import pathlib
from unittest import mock

import pytest
import tensorflow as tf

from official_selftrain.core import errors
from official_selftrain.pipeline import run, training
from tests.testing import damage, tiny_run


def _run(mode, model_dir, override='', **options):
  """Runs and returns what was printed to standard output."""
  printed = io.StringIO()
  with contextlib.redirect_stdout(printed):
    run.run(tiny_run.load(tiny_run.SUPERVISED, override), mode, model_dir, **options)
  return printed.getvalue()


@pytest.mark.slow
class ModesTest(tf.test.TestCase):
  def test_all_modes_in_turn(self):
    folder = os.path.join(tiny_run.root(), 'supervised')
    with self.assertRaisesRegex(
      errors.DataError, 'supervised: there is no checkpoint in .*Train it'
    ):
      _run('eval', folder)
    self.assertEqual(_run('train', folder, 'trainer.train_steps=2'), '')
    self.assertEqual(training.finished_steps(folder), 2)
    self.assertFalse(os.path.exists(os.path.join(folder, 'metrics.json')))

    printed = _run('train_and_eval', folder)
    self.assertEqual(training.finished_steps(folder), 6)
    self.assertRegex(printed, r'^supervised +value\n[- ]+\n')
    self.assertRegex(printed, r'AP +\d\.\d{4}')
    measured = json.loads(pathlib.Path(folder, 'metrics.json').read_text())
    self.assertEqual(measured['step'], 6)
    self.assertBetween(measured['metrics']['AP50'], 0.0, 1.0)

    trained = tiny_run.times(folder, 'ckpt*')
    again = _run('train_and_eval', folder)
    self.assertIn('is trained already (6 steps): evaluating it.', again)
    self.assertEqual(tiny_run.times(folder, 'ckpt*'), trained)
    table = printed[printed.index('AP ') :]
    self.assertEndsWith(again, table)
    self.assertEndsWith(_run('continuous_eval', folder), table)
    text = pathlib.Path(folder, 'params.yaml').read_text()
    self.assertIn('experiment: retinanet_supervised', text)

  def test_stages_are_for_self_training(self):
    for options in ({'stage': 'teacher'}, {'restart': 'teacher'}):
      with self.assertRaisesRegex(errors.ConfigError, 'this one trains one model'):
        _run('train', os.path.join(tiny_run.root(), 'none'), **options)


class WrongTrainingDataTest(tf.test.TestCase):
  """Each error comes from a training that was really started."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.number = 0

  def _train(self, edit, override='', mode='train'):
    """Damages a fresh copy of the data by `edit(training file)` and trains on it."""
    type(self).number += 1
    folder = os.path.join(tiny_run.root(), f'wrong-{self.number}')
    copy, paths = tiny_run.copy_of_data(folder + '-data')
    paths = ','.join(part for part in paths.split(',') if 'pseudo_data' not in part)
    self.file = damage.one_file(copy.train)
    edit(copy)
    parts = filter(None, ['trainer.train_steps=4', paths, override])
    return _run(mode, folder, ','.join(parts))

  def assert_refused(self, pattern, edit, override='', mode='train'):
    with self.assertRaises(errors.DataError) as caught:
      self._train(edit, override, mode)
    message = str(caught.exception)
    self.assertRegex(message, pattern)
    self.assertNotIn('{{', message)
    self.assertLess(len(message), 600)
    return message

  @pytest.mark.slow
  def test_corrupt_record_names_file_and_record(self):
    message = self.assert_refused('corrupted record', lambda _: damage.break_checksum(self.file, 5))
    self.assertIn(f'{self.file}, record 5: ', message)
    self.assertIn('task.train_data.skip_errors', message)

  def test_image_that_does_not_decode_names_file_and_record(self):
    edit = lambda _: damage.change(self.file, 2, damage.break_image)  # noqa: E731
    message = self.assert_refused('(?i)unknown image file format', edit)
    self.assertIn(f'{self.file}, record 2: ', message)

  def test_class_outside_the_model_names_file_record_and_class(self):
    edit = lambda _: damage.change(self.file, 7, damage.set_class(11))  # noqa: E731
    message = self.assert_refused(r'task\.model\.num_classes is 11\); ids found: \[11\]', edit)
    self.assertIn(f'{self.file}, record 7: class id outside 1..10', message)

  @pytest.mark.slow
  def test_validation_data_is_searched_too(self):
    def edit(copy):
      damage.change(damage.one_file(copy.validation), 4, damage.break_image)

    message = self.assert_refused(r'validation.*, record 4: ', edit, mode='train_and_eval')
    self.assertIn('task.validation_data.skip_errors', message)

  @pytest.mark.slow
  def test_bad_records_can_be_skipped(self):
    def edit(_):
      damage.change(self.file, 2, damage.break_image)
      damage.break_checksum(self.file, 7)

    self._train(edit, 'task.train_data.skip_errors=true')
    folder = os.path.join(tiny_run.root(), f'wrong-{self.number}')
    self.assertEqual(training.finished_steps(folder), 4)


class WrongPathsTest(tf.test.TestCase):
  """Refused before any model is built, even when they are read last."""

  def assert_refused(self, pattern, override, experiment=tiny_run.SELFTRAIN):
    with mock.patch.object(training, 'run', side_effect=AssertionError('trains')):
      with self.assertRaisesRegex(errors.SelfTrainError, pattern):
        params = tiny_run.load(experiment, override)
        run.run(params, 'train_and_eval', os.path.join(tiny_run.root(), 'paths'))

  def _paths(self, **replaced):
    data = tiny_run.data()
    paths = {'train': data.train, 'pseudo': data.unlabelled, 'validation': data.validation}
    return ','.join(f'task.{k}_data.input_path={v}' for k, v in {**paths, **replaced}.items())

  def test_no_file_matches(self):
    for name in ('train', 'pseudo', 'validation'):
      self.assert_refused(
        rf"task\.{name}_data\.input_path: no file matches '/nowhere/\*\.tfrecord'",
        self._paths(**{name: '/nowhere/*.tfrecord'}),
      )

  def test_empty_data_set(self):
    empty = os.path.join(tiny_run.root(), 'empty.tfrecord')
    pathlib.Path(empty).touch()
    for name in ('train', 'pseudo', 'validation'):
      self.assert_refused(
        rf'task\.{name}_data\.input_path: the data set is empty: 1 file.* {empty}',
        self._paths(**{name: empty}),
      )

  def test_only_some_paths_are_given(self):
    self.assert_refused(
      r'task\.pseudo_data\.input_path, task\.validation_data\.input_path: empty although',
      f'task.train_data.input_path={tiny_run.data().train}',
    )

  def test_annotation_file(self):
    self.assert_refused(
      r'task\.annotation_file: /nowhere\.json does not exist',
      self._paths() + ',task.annotation_file=/nowhere.json',
    )

  def test_supervised(self):
    data = tiny_run.data()
    paths = f'task.train_data.input_path=/no/file,task.validation_data.input_path={data.validation}'
    self.assert_refused(
      r"train_data\.input_path: no file matches '/no/file'", paths, tiny_run.SUPERVISED
    )

  def test_teacher_checkpoint(self):
    self.assert_refused('There is no checkpoint at /nowhere', 'teacher.checkpoint=/nowhere')


if __name__ == '__main__':
  tf.test.main()
