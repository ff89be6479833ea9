"""Steps of input pipelines."""

import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

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
