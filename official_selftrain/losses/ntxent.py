"""NT-Xent, the contrastive loss of SimCLR (Chen et al. 2020, equation 1), over the batch of all replicas."""

import dataclasses

import tensorflow as tf

from official_selftrain.core import errors


@dataclasses.dataclass(frozen=True)
class NtXent:
  """Loss and accuracy of one replica's part of a batch.

  Attributes:
    loss: float32 scalar, the mean over this replica's views. Its mean over replicas is the loss of the whole batch, and
      so is that of its gradients.
    accuracy: float32 scalar, share of this replica's views whose most similar other view, among all of the whole
      batch, is the other one of their image.
  """

  loss: tf.Tensor
  accuracy: tf.Tensor


def ntxent(first: tf.Tensor, second: tf.Tensor, temperature: float, gathers: bool = True) -> NtXent:
  """Compares each view with all other views of the whole batch.

  A view's loss is the cross entropy of picking the other view of its image from all views but itself, by cosine
  similarity over the temperature.

  Args:
    first: float [n, d], one view of each of this replica's images.
    second: float [n, d], the other views, in the same order.
    temperature: above 0; the smaller, the more the most similar views count.
    gathers: all replicas' views are compared, which takes batches of one size; else each replica compares its own.

  Returns:
    `NtXent`.

  Raises:
    ConfigError: a temperature that is not above 0.
    ValueError: shapes differ, or the whole batch is known to be of one image, which has nothing to differ from.
  """
  if not temperature > 0:
    raise errors.ConfigError(f'temperature is {temperature}: it must be above 0.')
  first, second = tf.convert_to_tensor(first), tf.convert_to_tensor(second)
  if not first.shape.is_compatible_with(second.shape):
    raise ValueError(f'The views have shapes {first.shape} and {second.shape}: they must be equal.')
  context = tf.distribute.get_replica_context()
  replicas = context.num_replicas_in_sync if context and gathers else 1
  if first.shape[0] is not None and first.shape[0] * replicas < 2:
    raise ValueError('A batch of one image has no other images to compare it with: use at least 2.')
  first, second = (
    tf.math.l2_normalize(tf.cast(view, tf.float32), axis=-1) for view in (first, second)
  )
  all_first, all_second, start = first, second, 0
  if replicas > 1:
    all_first, all_second = _gather(first), _gather(second)
    start = context.replica_id_in_sync_group * tf.shape(first)[0]
  total = tf.shape(all_first)[0]
  own = tf.one_hot(start + tf.range(tf.shape(first)[0]), total)
  others = tf.concat([all_first, all_second], axis=0)
  losses, hits = [], []
  for view, partner in ((first, 1), (second, 0)):
    # The places of this view itself and of its partner among all views.
    targets = tf.concat([own * (1 - partner), own * partner], axis=1)
    itself = tf.concat([own * partner, own * (1 - partner)], axis=1)
    logits = tf.matmul(view, others, transpose_b=True) / temperature
    logits -= itself * _FAR
    losses.append(tf.nn.softmax_cross_entropy_with_logits(labels=targets, logits=logits))
    is_hit = tf.equal(tf.argmax(logits, axis=1), tf.argmax(targets, axis=1))
    hits.append(tf.cast(is_hit, tf.float32))
  return NtXent(tf.reduce_mean(losses), tf.reduce_mean(hits))


# Takes a view out of the comparison with itself: the exponential of its negative is 0 in float32.
_FAR = 1e9


@tf.custom_gradient
def _gather(local: tf.Tensor) -> tuple[tf.Tensor, object]:
  """The rows of all replicas, in their order; gradients flow back to the replica that a row came from.

  Each replica puts its rows into a batch of zeros, and the batches are summed: all replicas then have the same tensor,
  with a shape that is known, as TPUs need it. Backwards, what all replicas want of a row is summed as well. Since a
  trainer divides the loss by the number of replicas and sums gradients, that is the gradient of the whole batch's loss.
  """
  context = tf.distribute.get_replica_context()
  replicas, place = context.num_replicas_in_sync, context.replica_id_in_sync_group
  mine = tf.one_hot(place, replicas, dtype=local.dtype)
  size = local.shape[0] if local.shape[0] is not None else tf.shape(local)[0]
  spread = mine[:, tf.newaxis, tf.newaxis] * local[tf.newaxis]
  summed = context.all_reduce(tf.distribute.ReduceOp.SUM, spread)

  def backward(upstream: tf.Tensor) -> tf.Tensor:
    wanted = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, upstream)
    by_replica = tf.reshape(wanted, [replicas, size, -1])
    return tf.einsum('r,rnd->nd', mine, by_replica)

  return tf.reshape(summed, [replicas * size, local.shape[1]]), backward
