"""Steps of input pipelines."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def map_in_order(dataset: tf.data.Dataset, function: Callable[..., Any]) -> tf.data.Dataset:
  """Maps a dataset in parallel; results are in the order of the elements.

  AutoGraph stays out: it would rewrite the function, and all that it calls, at every start, which takes seconds.

  Args:
    dataset: any.
    function: of an element; without Python control flow that depends on tensors, of which TensorFlow complains.
  """
  as_written = tf.autograph.experimental.do_not_convert(function)
  return dataset.map(as_written, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
