"""A teacher that follows its student: moving averages of all weights (Tarvainen & Valpola 2017)."""

from collections.abc import Callable, Iterator

import tensorflow as tf

from official_selftrain.configs import self_training as configs


class OnlineTeacher(tf.__internal__.tracking.AutoTrackable):
  """A second copy of a model, whose weights are moving averages of the first one's.

  Moving statistics of batch norm are averaged, too. A plain trackable, for the reason that
  `losses.normalized.LossAverages` gives; checkpoints of the student carry it.

  Attributes:
    model: the copy.
    updates: int64 scalar variable, how often it followed.
  """

  def __init__(
    self,
    build: Callable[[], tf.keras.Model],
    settings: configs.OnlineTeacher,
  ):
    """Builds the copy; `copy` gives it its first weights.

    Args:
      build: makes a model like the student, with its variables.
      settings: decay and warm-up.
    """
    super().__init__()
    self._settings = settings
    with tf.variable_creator_scope(_followed):
      self.model = build()
      self.updates = tf.Variable(0, name='online_teacher_updates', dtype=tf.int64, trainable=False)

  def copy(self, student: tf.keras.Model) -> None:
    """Takes the weights of the student as they are; outside of a step."""
    for mine, other in self._pairs(student):
      mine.assign(other)

  def is_ready(self) -> tf.Tensor:
    """Whether the warm-up is over, bool scalar."""
    return self.updates >= self._settings.warmup_steps

  def follow(self, student: tf.keras.Model) -> None:
    """Takes in the weights of the student after its step, on each replica."""
    number = tf.cast(self.updates, tf.float32)
    early = (1.0 + number) / (10.0 + number)
    decay = tf.constant(self._settings.decay, tf.float32)
    decay = tf.where(self.is_ready(), decay, tf.minimum(decay, early))
    for mine, other in self._pairs(student):
      mine.assign(decay * mine + (1.0 - decay) * other if mine.dtype.is_floating else other)
    self.updates.assign_add(1)

  def _pairs(self, student: tf.keras.Model) -> Iterator[tuple[tf.Variable, tf.Variable]]:
    return zip(self.model.weights, student.weights, strict=True)


def _followed(next_creator: Callable[..., tf.Variable], **kwargs: object) -> tf.Variable:
  """Makes a variable that all replicas assign; the first one's value counts.

  Weights are the same on all of them. Moving statistics differ without synchronised batch norm: then the teacher has
  those of the first replica.
  """
  kwargs |= {
    'synchronization': tf.VariableSynchronization.AUTO,
    'aggregation': tf.VariableAggregation.ONLY_FIRST_REPLICA,
  }
  return next_creator(**kwargs)
