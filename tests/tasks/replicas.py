"""Two replicas on one machine."""

import functools

import tensorflow as tf


@functools.cache
def two_replicas() -> tf.distribute.MirroredStrategy:
  """One strategy for all tests of a process; see `pipeline.training` on why there must not be two."""
  return tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'])
