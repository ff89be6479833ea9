"""Examples that transforms map to examples.

An example is a dictionary with the keys of `core.keys`: `image` uint8 [h, w, 3]; `seed` int32 [2]; optional
`semantic_mask` uint8 [h, w, 1]; optional entries whose names start with `groundtruth_` and have one row per box, among
them `groundtruth_boxes` float32 [n, 4], yxyx. A transform is a frozen dataclass that maps an example to an
example, uses only stateless random ops, and leaves a fresh seed behind. So the same seed gives the same bytes in eager
mode, inside `Dataset.map` at any parallelism, and after a resume.
"""

from collections.abc import Callable

import tensorflow as tf

from official_selftrain.core import keys

Example = dict[str, tf.Tensor]
Transform = Callable[[Example], Example]


def take_seed(example: Example) -> tuple[Example, tf.Tensor]:
  """Splits the example's seed: returns the example with its next seed, and an int32 [2] seed to use now."""
  seeds = tf.random.split(example[keys.SEED], 2)
  return {**example, keys.SEED: seeds[0]}, seeds[1]


def keep_boxes(example: Example, keep: tf.Tensor) -> Example:
  """Drops boxes and everything that belongs to them.

  Args:
    example: any entry whose name starts with `groundtruth_` has the boxes in its first dimension.
    keep: bool [n].

  Returns:
    The example with the rows where `keep` is True.
  """
  per_box = {
    k: tf.boolean_mask(v, keep) for k, v in example.items() if k.startswith('groundtruth_')
  }
  return {**example, **per_box}
