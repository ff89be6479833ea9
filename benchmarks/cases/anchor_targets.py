"""Targets of anchors: processor time of our assignment over the Model Garden's `AnchorLabeler`.

The anchors of RetinaNet for 640 pixels (levels 3 to 7, nine per location, 76,725), and as many boxes as a photograph of
COCO has on average, or as many as a teacher finds with an ignore band. Both give the classes, offsets and weights of
all anchors; ours also knows boxes of an ignore band, and here has none. One thread.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from official.vision.ops import anchor as stock

from benchmarks import results, timing, workbench
from official_selftrain.ops import anchor_targets

NEEDS_WORKBENCH = True
_TARGET = results.Target(at_most=0.5)
_SIZE = 640
_BOXES = (7, 40)
_REPEATS = 5
_ROUNDS = 15


def run(bench: workbench.Workbench) -> list[results.Row]:
  """Measures."""
  by_level = stock.build_anchor_generator(3, 7, 3, [0.5, 1.0, 2.0], 4.0)(image_size=(_SIZE, _SIZE))
  flat = tf.concat([tf.reshape(boxes, [-1, 4]) for boxes in by_level.values()], axis=0)
  labeler = stock.AnchorLabeler()
  rows = []
  for count in _BOXES:
    boxes, classes = _boxes(count)
    contenders = {
      'ours': lambda boxes, classes: anchor_targets.assign(
        flat, boxes, classes, tf.zeros_like(classes, tf.bool)
      ),
      'stock': lambda boxes, classes: labeler.label_anchors(by_level, boxes, classes[:, None]),
    }
    seconds = timing.interleave(
      {
        name: timing.cpu(_drain(boxes, classes, assign, bench.effort.rounds(_REPEATS)))
        for name, assign in contenders.items()
      },
      bench.effort.rounds(_ROUNDS),
    )
    rows.append(
      results.compare(
        'anchor_targets',
        f'our assignment : AnchorLabeler, {len(flat):,} anchors, {count} boxes',
        'ms/image',
        seconds['ours'],
        seconds['stock'],
        figure=lambda value: 1000 * value / bench.effort.rounds(_REPEATS),
        target=_TARGET,
      )
    )
  return rows


def _boxes(count: int) -> tuple[tf.Tensor, tf.Tensor]:
  """Boxes in pixels and their classes."""
  rng = np.random.default_rng(count)
  corner = rng.uniform(0, _SIZE * 0.8, [count, 2])
  size = rng.uniform(10, _SIZE * 0.5, [count, 2])
  boxes = np.concatenate([corner, np.minimum(corner + size, _SIZE)], axis=1)
  return tf.constant(boxes, tf.float32), tf.constant(rng.integers(1, 91, count))


def _drain(
  boxes: tf.Tensor, classes: tf.Tensor, assign: Callable[..., Any], repeats: int
) -> Callable[[], None]:
  """A function that assigns so many times."""
  dataset = tf.data.Dataset.from_tensors((boxes, classes)).repeat().map(assign)
  return workbench.drain(dataset, repeats)
