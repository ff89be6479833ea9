"""Schedules that the registered experiments share."""

from official.core import config_definitions as cfg
from official.modeling import optimization


def sgd_trainer(train_steps: int, learning_rate: float, warmup_steps: int) -> cfg.TrainerConfig:
  """Momentum SGD with linear warm-up and cosine decay to zero at the last step, evaluated once at the end.

  `decay_steps` stays null, which the pipeline reads as `train_steps`: whoever changes the one need not know the other.
  """
  return cfg.TrainerConfig(
    train_steps=train_steps,
    steps_per_loop=25,
    summary_interval=25,
    checkpoint_interval=200,
    validation_interval=train_steps,
    validation_steps=-1,
    max_to_keep=2,
    recovery_max_trials=-1,
    optimizer_config=optimization.OptimizationConfig(
      {
        'optimizer': {'type': 'sgd', 'sgd': {'momentum': 0.9, 'global_clipnorm': 10.0}},
        'learning_rate': {
          'type': 'cosine',
          'cosine': {'initial_learning_rate': learning_rate, 'decay_steps': None},
        },
        'warmup': {
          'type': 'linear',
          'linear': {'warmup_steps': warmup_steps, 'warmup_learning_rate': 0.0},
        },
      }
    ),
  )


def runtime() -> cfg.RuntimeConfig:
  """All local devices, or one without a strategy."""
  return cfg.RuntimeConfig(distribution_strategy='mirrored')
