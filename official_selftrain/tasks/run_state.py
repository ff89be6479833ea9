"""State of a training run that travels with the model's checkpoints."""

import tensorflow as tf

from official_selftrain.losses import normalized

# No loss has been non-finite so far.
NEVER = -1


class FirstNonFinite(tf.__internal__.tracking.AutoTrackable):
  """Remembers the first step at which a loss was not finite, and which one.

  Losses are logged as means over many steps, so the log alone cannot name the step.

  Attributes:
    step: int64 scalar variable, the 1-based step, `NEVER` if all were finite.
    source: int32 scalar variable, index of the first loss that was not finite.
  """

  def __init__(self) -> None:
    super().__init__()
    options = {'trainable': False, 'aggregation': tf.VariableAggregation.ONLY_FIRST_REPLICA}
    self.step = tf.Variable(NEVER, name='first_non_finite_step', dtype=tf.int64, **options)
    self.source = tf.Variable(0, name='first_non_finite_source', dtype=tf.int32, **options)

  def observe(self, losses: list[tf.Tensor], step: tf.Tensor) -> None:
    """Takes in one step.

    Args:
      losses: float32 scalars of this replica, in the order of the sources.
      step: int64 scalar, the steps finished before this one.
    """
    # The mean over replicas is not finite as soon as one replica's value is not.
    stacked = tf.stack([normalized.mean_over_replicas(loss) for loss in losses])
    is_bad = tf.logical_not(tf.math.is_finite(stacked))
    is_first = tf.logical_and(tf.reduce_any(is_bad), tf.equal(self.step, NEVER))
    source = tf.argmax(tf.cast(is_bad, tf.int32), output_type=tf.int32)
    self.step.assign(tf.where(is_first, tf.cast(step, tf.int64) + 1, self.step))
    self.source.assign(tf.where(is_first, source, self.source))


def attach(model: tf.keras.Model) -> tf.keras.Model:
  """Gives a model its `first_non_finite`, once, and returns the model."""
  if not hasattr(model, 'first_non_finite'):
    model.first_non_finite = FirstNonFinite()
  return model
