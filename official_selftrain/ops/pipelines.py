"""Steps of input pipelines."""

import functools
import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.python.data.ops import multi_device_iterator_ops

# Batches that are ready before they are asked for, for each replica.
BATCHES_AHEAD = 2
# As many as tf.data makes without its tuner; each holds a decoded image.
_MOST_CALLS = 16


def map_in_order(dataset: tf.data.Dataset, function: Callable[..., Any]) -> tf.data.Dataset:
  """Maps a dataset in parallel; results are in the order of the elements.

  AutoGraph stays out: it would rewrite the function, and all that it calls, at every start, which takes seconds.

  Args:
    dataset: any.
    function: of an element; without Python control flow that depends on tensors, of which TensorFlow complains.
  """
  as_written = tf.autograph.experimental.do_not_convert(function)
  calls = min(len(os.sched_getaffinity(0)), _MOST_CALLS)
  return dataset.map(as_written, num_parallel_calls=calls, deterministic=True)


def without_tuner(dataset: tf.data.Dataset) -> tf.data.Dataset:
  """The same dataset, and all that is made of it, without tf.data's tuner.

  The tuner is a thread that sleeps for longer and longer, up to a minute. An iterator that is given up wakes it before
  it says so, and the thread may go to sleep again; until it wakes the whole process waits (TensorFlow 2.15,
  `Model::OptimizeLoop` and `CancellationManager::StartCancel`). So parallel calls are given as numbers here.
  """
  options = tf.data.Options()
  options.autotune.enabled = False
  return dataset.with_options(options)


def remove_tuner_of_devices() -> None:
  """Takes tf.data's tuner from the iterators that hand a strategy's batches to its devices.

  TensorFlow makes one for each device, of a dataset of its own that does not follow the options of the dataset it is
  given and says nothing of its own options; at the end of a training each can wait for a minute, see `without_tuner`.
  So the function that makes them is replaced, for the whole process. Doing it again changes nothing.
  """
  original = multi_device_iterator_ops._create_device_dataset
  if hasattr(original, '__wrapped__'):
    return

  @functools.wraps(original)
  def create(*args: object) -> tf.data.Dataset:
    return without_tuner(original(*args))

  multi_device_iterator_ops._create_device_dataset = create
