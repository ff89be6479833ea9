"""Schedules of the registered experiments."""

import dataclasses

from official.core import config_definitions as cfg
from official.modeling import optimization

# Labelled images of a step in the paper, to which its learning rates belong.
PAPER_BATCH = 256


@dataclasses.dataclass(frozen=True)
class Sgd:
  """Momentum SGD with linear warm-up, and cosine decay to zero at the last step.

  Attributes:
    learning_rate: at the end of the warm-up.
    warmup_steps: length of the warm-up.
    warmup_learning_rate: at its first step.
    clip_norm: largest norm of all gradients together, or None for any.
  """

  learning_rate: float
  warmup_steps: int
  warmup_learning_rate: float = 0.0
  clip_norm: float | None = 10.0

  def at_batch(self, labelled: int) -> 'Sgd':
    """The paper's schedule for a smaller batch: both learning rates scale linearly with the images of a step.

    Only labelled images count, because the paper keeps its rate when as many pseudo-labelled ones are added (section
    3.2 and appendix).

    Args:
      labelled: labelled images of a step, of which the paper has `PAPER_BATCH`.
    """
    factor = labelled / PAPER_BATCH
    return dataclasses.replace(
      self,
      learning_rate=self.learning_rate * factor,
      warmup_learning_rate=self.warmup_learning_rate * factor,
    )


@dataclasses.dataclass(frozen=True)
class Rhythm:
  """After how many steps something happens.

  Attributes:
    loop: control returns from the device, and summaries are written.
    checkpoint: a checkpoint is written.
    validation: the model is evaluated; None for once, at the end.
  """

  loop: int = 25
  checkpoint: int = 200
  validation: int | None = None


# Of trainings that take hours instead of minutes.
LONG = Rhythm(loop=100, checkpoint=2000, validation=10_000)


def trainer(train_steps: int, sgd: Sgd, rhythm: Rhythm = Rhythm()) -> cfg.TrainerConfig:
  """A training of so many steps.

  `decay_steps` stays null, which the pipeline reads as `train_steps`, so only one of them has to be changed.
  """
  return cfg.TrainerConfig(
    train_steps=train_steps,
    steps_per_loop=rhythm.loop,
    summary_interval=rhythm.loop,
    checkpoint_interval=rhythm.checkpoint,
    validation_interval=rhythm.validation or train_steps,
    validation_steps=-1,
    max_to_keep=2,
    recovery_max_trials=-1,
    optimizer_config=optimization.OptimizationConfig(
      {
        'optimizer': {'type': 'sgd', 'sgd': {'momentum': 0.9, 'global_clipnorm': sgd.clip_norm}},
        'learning_rate': {
          'type': 'cosine',
          'cosine': {'initial_learning_rate': sgd.learning_rate, 'decay_steps': None},
        },
        'warmup': {
          'type': 'linear',
          'linear': {
            'warmup_steps': sgd.warmup_steps,
            'warmup_learning_rate': sgd.warmup_learning_rate,
          },
        },
      }
    ),
  )


def sgd_trainer(train_steps: int, learning_rate: float, warmup_steps: int) -> cfg.TrainerConfig:
  """A short training of the embedded data, warmed up from 0 and evaluated once at the end."""
  return trainer(train_steps, Sgd(learning_rate, warmup_steps))


def bfloat16() -> cfg.RuntimeConfig:
  """All local devices, computing in bfloat16 as the paper does."""
  return cfg.RuntimeConfig(mixed_precision_dtype='bfloat16')
