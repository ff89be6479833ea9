"""Streams that tasks declare: their seeds, where they start, and what they say of themselves."""

import tensorflow as tf

from official_selftrain.core import keys
from official_selftrain.tasks import contract, stream_specs, streams
from tests.tasks import tiny


def _task(**start):
  return tiny.TinyTask(tiny.config(), start=stream_specs.Start(**start))


def _options(task, stream):
  return task._stream_options(stream.config, stream.seed_offset)


class DeclarationTest(tf.test.TestCase):
  def test_self_training_declares_human_and_pseudo_labels(self):
    human, pseudo = _task().training_streams()
    self.assertEqual((human.name, pseudo.name), keys.SOURCES)
    self.assertEqual((human.dotted, pseudo.dotted), ('task.train_data', 'task.pseudo_data'))
    self.assertEqual((human.role, pseudo.role), (stream_specs.Role.HUMAN, stream_specs.Role.PSEUDO))
    self.assertIsNotNone(human.check_record)
    self.assertIsNone(pseudo.check_record)
    self.assertIs(pseudo.config, pseudo.config)
    self.assertIn('positives_per_image', pseudo.log_names)

  def test_a_supervised_task_declares_one(self):
    config = tiny.config().supervised()
    (human,) = contract.make(config).training_streams()
    self.assertEqual(human.name, keys.HUMAN)

  def test_what_is_logged_is_declared(self):
    task = _task()
    names = {metric.name for metric in task.build_metrics(training=True)}
    for stream in task.training_streams():
      for name in stream.log_names:
        self.assertIn(f'{stream.name}_{name}', names)


class SeedTest(tf.test.TestCase):
  def seeds(self, **start):
    task = _task(**start)
    return [_options(task, stream).seed for stream in task.training_streams()]

  def test_seed_family_and_stream_all_change_the_draws(self):
    found = [
      *self.seeds(),
      *self.seeds(seed=1),
      *self.seeds(family=1),
      *self.seeds(seed=1, family=1),
    ]
    self.assertLen(set(found), 8)
    self.assertEqual(self.seeds(seed=3), self.seeds(seed=3, step=9))

  def test_seeds_are_those_of_earlier_versions(self):
    # Another formula would give every run of the past another order of images.
    self.assertEqual(
      self.seeds(seed=2, family=1), [2 * 7_919 + 104_729, 2 * 7_919 + 104_729 + 500_000_003]
    )

  def test_neighbouring_numbers_do_not_meet(self):
    found = [
      seed for s in range(12) for family in range(4) for seed in self.seeds(seed=s, family=family)
    ]
    self.assertLen(set(found), len(found))


class StartTest(tf.test.TestCase):
  def test_a_stream_starts_behind_the_images_that_earlier_steps_took(self):
    task = _task(step=5)
    task.task_config.train_data.global_batch_size = 8
    task.task_config.pseudo_data.global_batch_size = 6
    starts = [_options(task, stream).start for stream in task.training_streams()]
    self.assertEqual(starts, [40, 30])

  def test_validation_always_starts_at_the_beginning(self):
    task = _task(step=5)
    options = task._stream_options(task.task_config.validation_data, streams.HUMAN_OFFSET)
    self.assertEqual(options.start, 0)


if __name__ == '__main__':
  tf.test.main()
