"""Schedules: the rule of the learning rate, and what a trainer config gets."""

import unittest

from official_selftrain.configs import trainers


class SgdTest(unittest.TestCase):
  def test_rates_follow_the_batch(self):
    paper = trainers.Sgd(learning_rate=0.32, warmup_steps=1000, warmup_learning_rate=0.0032)
    self.assertEqual(paper.at_batch(256), paper)
    small = paper.at_batch(8)
    self.assertAlmostEqual(small.learning_rate, 0.01)
    self.assertAlmostEqual(small.warmup_learning_rate, 0.0001)
    self.assertEqual((small.warmup_steps, small.clip_norm), (1000, 10.0))


class TrainerTest(unittest.TestCase):
  def test_long(self):
    sgd = trainers.Sgd(0.02, warmup_steps=300, warmup_learning_rate=0.001, clip_norm=None)
    trainer = trainers.trainer(5000, sgd, trainers.LONG)
    self.assertEqual((trainer.train_steps, trainer.validation_steps), (5000, -1))
    self.assertEqual((trainer.steps_per_loop, trainer.summary_interval), (100, 100))
    self.assertEqual((trainer.checkpoint_interval, trainer.validation_interval), (2000, 10_000))
    settings = trainer.optimizer_config
    self.assertEqual(settings.optimizer.type, 'sgd')
    self.assertEqual(settings.optimizer.get().momentum, 0.9)
    self.assertIsNone(settings.optimizer.get().global_clipnorm)
    self.assertEqual(settings.learning_rate.get().initial_learning_rate, 0.02)
    self.assertIsNone(settings.learning_rate.get().decay_steps)
    warmup = settings.warmup.get()
    self.assertEqual((warmup.warmup_steps, warmup.warmup_learning_rate), (300, 0.001))

  def test_short(self):
    trainer = trainers.sgd_trainer(650, learning_rate=0.12, warmup_steps=50)
    self.assertEqual((trainer.steps_per_loop, trainer.checkpoint_interval), (25, 200))
    self.assertEqual(trainer.validation_interval, 650)
    self.assertEqual(trainer.optimizer_config.optimizer.get().global_clipnorm, 10.0)
    self.assertEqual(trainer.optimizer_config.warmup.get().warmup_learning_rate, 0.0)


if __name__ == '__main__':
  unittest.main()
