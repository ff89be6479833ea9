"""Soft-NMS: ours against the Model Garden's, and against hard suppression, in milliseconds per image.

All get the same decoded boxes and scores from memory, in a `tf.function` on one batch, so only the suppression counts.
`v1` with the same `soft_nms_sigma` is the Model Garden's only Soft-NMS and gives the same detections; `batched` is its
fastest hard suppression, and there for information. Where there are many boxes, ours first leaves out those without a
score above the threshold, which is compared with it, too. Two inputs: what a trained teacher of the default experiment
finds, and made-up boxes of the size of COCO at 640 x 640 pixels (76,725 anchors, 90 classes, 40 objects per image).
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from official.vision.modeling.layers import detection_generator

from benchmarks import results, timing, workbench
from benchmarks.cases import nms as hard_nms
from official_selftrain.ops import nms

NEEDS_WORKBENCH = True
_SIGMA = 0.15  # 0.3 in the formula of Bodla et al.
# The generators' default.
_THRESHOLD = 0.05
_TARGET = results.Target(at_most=1.0)
# v1 repeats its graph for every image and class, so a large batch takes long to trace.
_BATCH_SIZE = 4
_ROUNDS = 9
_COCO_SIDE, _COCO_CLASSES, _COCO_OBJECTS, _BOXES_PER_OBJECT = 640, 90, 40, 30


def run(bench: workbench.Workbench) -> list[results.Row]:
  """Measures."""
  inputs = {'digits': lambda: _of_a_teacher(bench), 'COCO size': _of_coco_size}
  rows = []
  for name, make in inputs.items():
    boxes, scores = make()
    rows += _compare(name, boxes, scores, bench.effort.rounds(_ROUNDS))
  return rows


def _compare(name: str, boxes: tf.Tensor, scores: tf.Tensor, rounds: int) -> list[results.Row]:
  """Rows for boxes [batch, n, 1, 4] and scores [batch, n, num_classes]."""
  # The Model Garden's generator around boxes that are decoded already: only its suppression is left.
  references = {
    'v1 with sigma': {'nms_version': 'v1', 'soft_nms_sigma': _SIGMA},
    'hard batched': {'nms_version': 'batched'},
  }
  functions = {'soft': tf.function(functools.partial(_ours, boxes, scores))}
  for reference, settings in references.items():
    generator = detection_generator.MultilevelDetectionGenerator(**settings)
    generator._decode_multilevel_outputs = lambda *_: (boxes, scores, {})
    functions[reference] = tf.function(functools.partial(generator, {}, {}, {}, None))
  ours = detection_generator.MultilevelDetectionGenerator(nms_version='batched')
  ours._decode_multilevel_outputs = lambda *_: (*nms.promising(boxes, scores, _THRESHOLD), {})
  functions['hard ours'] = tf.function(functools.partial(ours, {}, {}, {}, None))
  for function, each in functions.items():
    found = each()
    number = float(tf.reduce_mean(tf.cast(found['num_detections'], tf.float32)))
    best = float(tf.reduce_mean(tf.reduce_sum(tf.nn.relu(found['detection_scores']), axis=1)))
    workbench.say(f'{name}, {function}: {number:.1f} detections per image, scores {best:.3f}')
  seconds = timing.interleave(
    {which: timing.wall(_call(function)) for which, function in functions.items()}, rounds
  )
  return [
    results.compare(
      'soft_nms',
      f'{name}: soft : {reference}',
      'ms/image',
      seconds['soft'],
      seconds[reference],
      figure=lambda value: 1000 * value / _BATCH_SIZE,
      target=None if reference.startswith('hard') else _TARGET,
    )
    for reference in references
  ] + [
    results.compare(
      'soft_nms',
      f'{name}: hard, fewer boxes : batched',
      'ms/image',
      seconds['hard ours'],
      seconds['hard batched'],
      figure=lambda value: 1000 * value / _BATCH_SIZE,
    )
  ]


def _ours(boxes: tf.Tensor, scores: tf.Tensor) -> dict[str, tf.Tensor]:
  found = nms.soft_nms(boxes[:, :, 0], scores, _SIGMA)
  return {'num_detections': found.num_detections, 'detection_scores': found.scores}


def _call(function: Callable[[], Any]) -> Callable[[], Any]:
  """Waits for the result too."""
  return lambda: function()['detection_scores'].numpy()


def _of_a_teacher(bench: workbench.Workbench) -> tuple[tf.Tensor, tf.Tensor]:
  """Decoded boxes and scores of validation images."""
  raw, anchors, shapes = hard_nms.raw_outputs(bench, _BATCH_SIZE)
  decode = detection_generator.MultilevelDetectionGenerator(apply_nms=False)
  found = decode(raw['box_outputs'], raw['cls_outputs'], anchors, shapes)
  return found['decoded_boxes'], found['decoded_box_scores']


def _of_coco_size() -> tuple[tf.Tensor, tf.Tensor]:
  """Boxes that crowd around objects, with scores above the threshold for one class each, and a lot of background."""
  rng = np.random.default_rng(0)
  count = sum(9 * (_COCO_SIDE // 2**level) ** 2 for level in range(3, 8))
  corner = rng.uniform(0, 0.8 * _COCO_SIDE, [_BATCH_SIZE, count, 2])
  size = rng.uniform(8, 0.2 * _COCO_SIDE, [_BATCH_SIZE, count, 2])
  scores = rng.uniform(0, 0.04, [_BATCH_SIZE, count, _COCO_CLASSES]).astype(np.float32)
  for i in range(_BATCH_SIZE):
    picked = rng.choice(count, [_COCO_OBJECTS, _BOXES_PER_OBJECT], replace=False)
    classes = rng.integers(0, _COCO_CLASSES, [_COCO_OBJECTS, 1])
    scores[i, picked, classes] = rng.uniform(0.05, 0.95, picked.shape)
    corner[i, picked] = corner[i, picked[:, :1]] + rng.normal(0, 4, [*picked.shape, 2])
    size[i, picked] = size[i, picked[:, :1]] * rng.uniform(0.8, 1.25, [*picked.shape, 2])
  boxes = np.concatenate([corner, corner + size], axis=-1).clip(0, _COCO_SIDE)
  return tf.constant(boxes[:, :, None], tf.float32), tf.constant(scores)
