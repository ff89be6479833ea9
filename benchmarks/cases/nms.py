"""NMS versions: the Model Garden's four on the same raw outputs of a trained model, in milliseconds per image.

Each is the whole detection generator (decoding boxes, scores, suppression), with the settings of the default
experiment and only `nms_version` changed, in a `tf.function` on one batch in memory. The default experiment says that
`batched` is the fastest on a CPU, so the other versions are its references. All find as many detections, up to the
approximation that v3 makes; the numbers are printed.
"""

import tensorflow as tf
from official.vision.modeling.layers import detection_generator

from benchmarks import results, timing, workbench
from official_selftrain.dataloaders import detection as parsing
from official_selftrain.pipeline import labelling

NEEDS_WORKBENCH = True
OURS = 'batched'
REFERENCES = ('v1', 'v2', 'v3')
_TARGET = results.Target(at_most=1.0)
# v1 repeats its graph for every image, so a large batch takes long to trace.
_BATCH_SIZE = 4
_CALLS = 2
_ROUNDS = 9


Tensors = dict[str, tf.Tensor]


def raw_outputs(
  bench: workbench.Workbench, batch_size: int
) -> tuple[dict[str, Tensors], Tensors, tf.Tensor]:
  """The raw outputs of a trained teacher for validation images, before suppression.

  Args:
    bench: data and teacher.
    batch_size: images.

  Returns:
    `box_outputs` and `cls_outputs` of the model by level, anchors [batch, h, w, anchors * 4] by level, and the images'
    sizes [batch, 2].
  """
  params = bench.params()
  task = workbench.self_training_task(params)
  model = labelling.load_model(task, bench.teacher)
  params.task.validation_data.global_batch_size = batch_size
  images, labels = next(iter(task.build_inputs(params.task.validation_data)))
  shapes = labels['image_info'][:, 1, :]
  raw = model(images, image_shape=shapes, training=False)
  by_level = parsing.Anchors.build(params.task.model).by_level
  anchors = {name: tf.tile(boxes[None], [batch_size, 1, 1, 1]) for name, boxes in by_level.items()}
  return raw, anchors, shapes


def run(bench: workbench.Workbench) -> list[results.Row]:
  """Measures."""
  raw, anchors, shapes = raw_outputs(bench, _BATCH_SIZE)
  settings = bench.params().task.model.detection_generator

  def _generate(version: str) -> tf.types.experimental.PolymorphicFunction:
    generator = detection_generator.MultilevelDetectionGenerator(
      apply_nms=True,
      pre_nms_top_k=settings.pre_nms_top_k,
      pre_nms_score_threshold=settings.pre_nms_score_threshold,
      nms_iou_threshold=settings.nms_iou_threshold,
      max_num_detections=settings.max_num_detections,
      nms_version=version,
    )
    return tf.function(lambda boxes, scores: generator(boxes, scores, anchors, shapes))

  def _call(function: tf.types.experimental.PolymorphicFunction) -> None:
    for _ in range(_CALLS):
      found = function(raw['box_outputs'], raw['cls_outputs'])
    found['detection_scores'].numpy()

  functions = {version: _generate(version) for version in (*REFERENCES, OURS)}
  for version, function in functions.items():
    found = function(raw['box_outputs'], raw['cls_outputs'])
    number = float(tf.reduce_mean(tf.cast(found['num_detections'], tf.float32)))
    workbench.say(f'{version}: {number:.1f} detections per image')
  seconds = timing.interleave(
    {version: timing.wall(lambda f=function: _call(f)) for version, function in functions.items()},
    bench.effort.rounds(_ROUNDS),
  )
  return [
    results.compare(
      'nms',
      f'{OURS} : {version}',
      'ms/image',
      seconds[OURS],
      seconds[version],
      figure=lambda value: 1000 * value / (_CALLS * _BATCH_SIZE),
      target=_TARGET,
    )
    for version in REFERENCES
  ]
