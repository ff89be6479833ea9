"""Two replicas on one machine."""

import functools

import tensorflow as tf


@functools.cache
def two_replicas() -> tf.distribute.MirroredStrategy:
  """One strategy for all tests of a process; see `pipeline.training` on why there must not be two."""
  return tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'])


def make_devices() -> None:
  """Makes two logical CPUs, unless there are: for tests run as scripts, before anything touches the devices."""
  cpu = tf.config.list_physical_devices('CPU')[0]
  if not tf.config.get_logical_device_configuration(cpu):
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
