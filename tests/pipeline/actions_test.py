"""Actions: the guard against losses that are not finite, progress, and the history of a training."""

import os
import types
from unittest import mock

import tensorflow as tf
from official.core import config_definitions as cfg

from official_selftrain.core import errors, files
from official_selftrain.pipeline import actions
from official_selftrain.tasks import run_state


def _trainer(step, bad_step=run_state.NEVER, source=0, weights=1.0):
  state = types.SimpleNamespace(step=tf.constant(bad_step), source=tf.constant(source))
  weight = tf.Variable(weights, name='kernel')
  model = types.SimpleNamespace(first_non_finite=state, trainable_variables=[weight])
  return types.SimpleNamespace(model=model, global_step=tf.constant(step))


def _losses(**values):
  return {name: tf.constant(value) for name, value in values.items()}


def _progress(folder, train_steps, start_step):
  config = cfg.DataConfig(global_batch_size=3)
  streams = [types.SimpleNamespace(name='human', config=config)]
  return actions.TrainingProgress('teacher', train_steps, start_step, streams, folder)


class NonFiniteGuardTest(tf.test.TestCase):
  def _guard(self, trainer, trials=0, begin=0):
    self.folder = self.create_tempdir().full_path
    config = cfg.TrainerConfig(recovery_max_trials=trials, recovery_begin_steps=begin)
    return actions.NonFiniteGuard(
      'student', trainer, self.folder, config, ['human', 'pseudo', 'classes']
    )

  def _save(self):
    checkpoint = tf.train.Checkpoint(step=tf.Variable(10))
    return tf.train.CheckpointManager(checkpoint, self.folder, 1).save(checkpoint_number=10)

  def test_names_step_source_losses_and_advice(self):
    guard = self._guard(_trainer(step=200, bad_step=173, source=1))
    with self.assertRaises(errors.NonFiniteLossError) as caught:
      guard(_losses(training_loss=float('nan'), human_loss=1.25, pseudo_loss=float('inf')))
    message = str(caught.exception)
    self.assertStartsWith(message, 'student: the pseudo loss became NaN or infinite at step 173.')
    self.assertIn('training_loss nan, human_loss 1.25, pseudo_loss inf', message)
    self.assertIn('Last good checkpoint: none yet', message)
    self.assertIn('--restart=student', message)
    self.assertIn('trainer.recovery_max_trials', message)

  def test_before_the_checkpoint_on_ctrl_c_there_are_no_losses(self):
    for trials in (0, 1):
      for bad_step in (run_state.NEVER, 7):
        guard = self._guard(_trainer(step=20, bad_step=bad_step), trials)
        self._save()
        if bad_step == run_state.NEVER:
          self.assertIsNone(guard({}))
        else:
          # What recovery has not seen is not saved.
          with self.assertRaisesRegex(errors.NonFiniteLossError, 'the human loss .* at step 7'):
            guard({})

  def test_names_any_stream_that_the_task_declares(self):
    guard = self._guard(_trainer(step=20, bad_step=7, source=2))
    with self.assertRaisesRegex(
      errors.NonFiniteLossError, 'the classes loss .* at step 7.*classes_loss 4'
    ):
      guard(_losses(training_loss=float('nan'), classes_loss=4.0))

  def test_names_the_last_checkpoint(self):
    guard = self._guard(_trainer(step=20, bad_step=15))
    prefix = self._save()
    with self.assertRaisesRegex(
      errors.NonFiniteLossError, f'the human loss .* step 15.*checkpoint: {prefix}'
    ):
      guard(_losses(training_loss=float('nan')))

  def test_weights_are_looked_at_too(self):
    guard = self._guard(_trainer(step=20, weights=float('inf')))
    with self.assertRaisesRegex(errors.NonFiniteLossError, 'weights .* by step 20 .first: kernel'):
      guard(_losses(training_loss=2.0))

  def test_leaves_finite_losses_alone(self):
    self.assertIsNone(self._guard(_trainer(step=20))(_losses(training_loss=2.0)))

  def test_leaves_recovery_to_the_model_garden(self):
    for loss in ('nan', 'inf'):
      guard = self._guard(_trainer(step=20, bad_step=13), trials=2)
      self._save()
      self.assertIsNone(guard(_losses(training_loss=float(loss))))

  def test_stops_what_recovery_would_go_on_with(self):
    nan, inf = {'training_loss': float('nan')}, {'training_loss': float('inf')}
    # Nothing to go back to, a loss before recovery looks at it, and weights that no loss shows yet.
    for trainer, losses, saves, begin, trials in (
      (_trainer(step=20, bad_step=3), nan, False, 0, 2),
      (_trainer(step=20, bad_step=13), inf, True, 21, 2),
      (_trainer(step=20, weights=float('nan')), {'training_loss': 2.0}, True, 0, 2),
      # No recovery; the experiments have -1.
      (_trainer(step=20, bad_step=13), nan, True, 0, 0),
      (_trainer(step=20, bad_step=13), nan, True, 0, -1),
    ):
      guard = self._guard(trainer, trials=trials, begin=begin)
      if saves:
        self._save()
      with self.assertRaises(errors.NonFiniteLossError):
        guard(_losses(**losses))


class LossWatchTest(tf.test.TestCase):
  def said(self, *reports, train_steps=99):
    """What the reports of a training led to, one for each step, with the number of the report that did."""
    notes = []
    progress = _progress(self.create_tempdir().full_path, train_steps, start_step=0)
    for number, losses in enumerate(reports, 1):
      progress.bind(_trainer(step=number), mock.Mock())
      with mock.patch.object(actions.loss_watch.console, 'note') as note:
        progress(_losses(**losses))
      notes += [(number, call.args[0]) for call in note.mock_calls]
    progress.close()
    return notes

  def test_nothing_to_learn_from_is_told_once_and_at_the_third_report_in_a_row(self):
    # The ratio of a human loss to none.
    none, some = {'pseudo_loss': 0.0, 'loss_ratio': 4e10}, {'pseudo_loss': 0.1, 'loss_ratio': 1.0}
    ((number, said),) = self.said(none, none, some, none, none, none, none, some, none, none, none)
    self.assertEqual(number, 6)
    self.assertStartsWith(said, 'teacher: the pseudo loss has been 0 for 3 reports')

  def test_a_ratio_out_of_bounds(self):
    for ratio, is_told in ((0.009, True), (0.011, False), (99.0, False), (101.0, True)):
      found = self.said(*[{'pseudo_loss': 0.1, 'loss_ratio': ratio}] * 5)
      self.assertEqual([number for number, _ in found], [3] if is_told else [])
    self.assertIn('is 1e+02 times the pseudo loss', found[0][1])

  def test_simclr_that_does_no_better_than_guessing_is_told_at_the_end(self):
    # Three images are six views, each of which could be with one of five: 0.2 by guessing, and 1% of the other 0.8.
    for accuracy, is_told in ((0.2079, True), (0.2081, False), (0.0, True), (1.0, False)):
      found = self.said(*[{'contrastive_accuracy': accuracy}] * 5, train_steps=5)
      self.assertEqual([number for number, _ in found], [5] if is_told else [])
    ((_, said),) = self.said({'contrastive_accuracy': 0.1}, train_steps=1)
    self.assertIn('10.00% of the views find their partner at best, by guessing 20.00% would', said)
    # One of the last three reports that is better than guessing is enough.
    low, high = {'contrastive_accuracy': 0.2}, {'contrastive_accuracy': 0.3}
    self.assertEqual(self.said(low, high, low, low, train_steps=4), [])
    self.assertLen(self.said(high, low, low, low, train_steps=4), 1)
    self.assertEqual(self.said({'contrastive_accuracy': 0.1}, train_steps=2), [])

  def test_other_trainings_have_no_such_losses(self):
    self.assertEqual(self.said(*[{'training_loss': 0.0}] * 5, train_steps=5), [])


class HistoryTest(tf.test.TestCase):
  def test_what_is_logged_can_be_read_again(self):
    folder = self.create_tempdir().full_path
    trainer, guard = _trainer(step=2), mock.Mock()
    progress = _progress(folder, train_steps=4, start_step=0)
    progress.bind(trainer, guard)
    progress({**_losses(training_loss=3.0, learning_rate=0.5), 'picture': tf.zeros([2, 2])})
    trainer.global_step = tf.constant(4)
    progress(_losses(training_loss=2.0, learning_rate=0.25))
    progress.close()
    self.assertEqual(guard.call_count, 2)
    self.assertEqual(
      actions.read_history(folder),
      {'training_loss': [(2, 3.0), (4, 2.0)], 'learning_rate': [(2, 0.5), (4, 0.25)]},
    )

  def test_the_guard_comes_before_the_history(self):
    folder = self.create_tempdir().full_path
    progress = _progress(folder, train_steps=4, start_step=0)
    progress.bind(_trainer(step=2), mock.Mock(side_effect=errors.NonFiniteLossError('bad')))
    with self.assertRaisesRegex(errors.NonFiniteLossError, 'bad'):
      progress(_losses(training_loss=float('nan')))
    self.assertEqual(actions.read_history(folder), {})

  def test_a_step_that_a_resumed_run_repeats_counts_once(self):
    folder = self.create_tempdir().full_path
    lines = ['{"step": 2, "loss": 5.0}', '{"step": 4, "loss": 4.0}', '{"step": 6, "loss": 3.0}',
             '{"step": 4, "loss": 4.5}']  # fmt: skip
    files.write_text(os.path.join(folder, actions.HISTORY_FILE), '\n'.join(lines) + '\n')
    self.assertEqual(actions.read_history(folder), {'loss': [(2, 5.0), (4, 4.5), (6, 3.0)]})

  def test_a_line_that_a_kill_cut_short_is_left_out(self):
    folder = self.create_tempdir().full_path
    path = os.path.join(folder, actions.HISTORY_FILE)
    files.write_text(path, '{"step": 2, "loss": 5.0}\n{"step": 4, "lo')
    self.assertEqual(actions.read_history(folder), {'loss': [(2, 5.0)]})
    # The run continues and appends to the piece.
    progress = _progress(folder, train_steps=6, start_step=2)
    progress.bind(_trainer(step=4), mock.Mock())
    progress(_losses(loss=4.0))
    progress(_losses(loss=3.5))
    self.assertEqual(actions.read_history(folder)['loss'], [(2, 5.0), (4, 3.5)])

  def test_no_history(self):
    self.assertEqual(actions.read_history(self.create_tempdir().full_path), {})


if __name__ == '__main__':
  tf.test.main()
