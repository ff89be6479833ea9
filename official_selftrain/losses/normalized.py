"""The normalised two-source loss (Zoph et al. 2020, section 3.2 and appendix B).

    L = 1/(1+alpha) * (L_h + alpha * stop_gradient(avg_h / avg_p) * L_p)

`avg_h` and `avg_p` are exponential moving averages of the two losses. They start at zero and are updated before they
are used, so the start-up bias 1 - decay^t is the same in both and cancels in the ratio: no debiasing is needed. The
paper leaves the initial value, the gradient of the ratio and the averaging over replicas open; the ratio is a constant
here and both losses are averaged over replicas first, so that all replicas scale by the same number.
"""

from typing import NamedTuple

import tensorflow as tf

# Guards the ratio when the pseudo loss has been zero from the start; far below any loss a detector reports.
_EPSILON = 1e-12


class CombinedLoss(NamedTuple):
  """The combined loss and what went into it; all float32 scalars.

  Attributes:
    loss: the loss to minimise, without weight decay.
    ratio: `avg_h / avg_p`, 1 when normalisation is off.
    average_human: moving average of the human loss after this step.
    average_pseudo: moving average of the pseudo loss after this step.
  """

  loss: tf.Tensor
  ratio: tf.Tensor
  average_human: tf.Tensor
  average_pseudo: tf.Tensor


def mean_over_replicas(value: tf.Tensor) -> tf.Tensor:
  """Mean of a scalar over the replicas in sync; the value itself outside a replica context."""
  context = tf.distribute.get_replica_context()
  if context is None or context.num_replicas_in_sync == 1:
    return value
  return context.all_reduce(tf.distribute.ReduceOp.MEAN, value)


class LossAverages(tf.__internal__.tracking.AutoTrackable):
  """Moving averages of the two losses, kept in the checkpoint of the model they are attached to.

  A plain trackable and not a `tf.Module`: Keras would count a module's variables among the model's weights, and an
  optimizer that averages weights would average these too.

  Attributes:
    decay: weight of the past in each update; the paper uses 0.9997 (a memory of about 3,300 steps).
    human: float32 scalar variable, average of the human loss.
    pseudo: float32 scalar variable, average of the pseudo loss.
  """

  def __init__(self, decay: float):
    super().__init__()
    self.decay = decay
    # Every replica assigns the same value, which has been averaged over replicas before.
    options = {'trainable': False, 'aggregation': tf.VariableAggregation.ONLY_FIRST_REPLICA}
    self.human = tf.Variable(0.0, name='average_human_loss', dtype=tf.float32, **options)
    self.pseudo = tf.Variable(0.0, name='average_pseudo_loss', dtype=tf.float32, **options)

  def update(self, human_loss: tf.Tensor, pseudo_loss: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Takes in this step's losses and returns the new averages.

    A loss that is not finite leaves both averages as they are: the run is about to be stopped, and its last
    checkpoint must stay usable.

    Args:
      human_loss: float32 scalar of this replica.
      pseudo_loss: float32 scalar of this replica.

    Returns:
      `(average_human, average_pseudo)`, float32 scalars without gradient.
    """
    human_loss = mean_over_replicas(tf.stop_gradient(human_loss))
    pseudo_loss = mean_over_replicas(tf.stop_gradient(pseudo_loss))
    is_finite = tf.math.is_finite(human_loss + pseudo_loss)
    averages = []
    for variable, loss in ((self.human, human_loss), (self.pseudo, pseudo_loss)):
      old = tf.convert_to_tensor(variable)
      new = tf.where(is_finite, self.decay * old + (1.0 - self.decay) * loss, old)
      variable.assign(new)
      averages.append(new)
    return averages[0], averages[1]


def batch_share(
  count: tf.Tensor, offset: float, whole: tf.Tensor | None = None, parts: int = 1
) -> tf.Tensor:
  """Turns a mean over the labels of a part of a batch into its part of the mean over the whole batch's.

  A loss that each replica divides by its own count depends on how a batch is split. Times this factor, and then
  averaged over replicas, it is the sum over all of them divided by the count of all; so it is when each replica splits
  its batch into parts that are trained on one after the other.

  Args:
    count: float32 scalar, what this part divides by, without `offset`.
    offset: what it adds to the count, to avoid a division by zero.
    whole: float32 scalar, what all parts of this replica's batch divide by; None without parts.
    parts: how many there are.

  Returns:
    float32 scalar; 1 without replicas and parts.
  """
  context = tf.distribute.get_replica_context()
  replicas = 1 if context is None else context.num_replicas_in_sync
  if replicas == 1 and whole is None:
    return tf.ones([], tf.float32)
  everyone = count if whole is None else whole
  if replicas > 1:
    everyone = context.all_reduce(tf.distribute.ReduceOp.SUM, everyone)
  return replicas * parts * (count + offset) / (everyone + offset)


def falling(alpha: float, step: tf.Tensor, steps: int) -> tf.Tensor:
  """Alpha on its linear way to 0.

  Args:
    alpha: at step 0.
    step: integer scalar, steps that are done.
    steps: after which it is 0; at least 1.

  Returns:
    float32 scalar.
  """
  return alpha * tf.maximum(1.0 - tf.cast(step, tf.float32) / steps, 0.0)


def combine(
  human_loss: tf.Tensor,
  pseudo_loss: tf.Tensor,
  averages: LossAverages,
  alpha: float | tf.Tensor,
  normalize: bool = True,
) -> CombinedLoss:
  """Combines the losses of the two sources (appendix B).

  Args:
    human_loss: float32 scalar, normalised by the human half's own positives.
    pseudo_loss: float32 scalar, normalised by the pseudo half's own positives.
    averages: updated by this call, also when `normalize` is off, so that logs can be compared.
    alpha: weight of the pseudo loss, >= 0; float32 scalar.
    normalize: False gives the plain sum L_h + alpha * L_p that the paper compares with.

  Returns:
    `CombinedLoss`.
  """
  average_human, average_pseudo = averages.update(human_loss, pseudo_loss)
  if not normalize:
    ratio = tf.ones([], tf.float32)
    return CombinedLoss(human_loss + alpha * pseudo_loss, ratio, average_human, average_pseudo)
  ratio = tf.stop_gradient(average_human / (average_pseudo + _EPSILON))
  loss = (human_loss + alpha * ratio * pseudo_loss) / (1.0 + alpha)
  return CombinedLoss(loss, ratio, average_human, average_pseudo)
