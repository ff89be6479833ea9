"""Turns records into images and RetinaNet targets, in the same way for human and pseudo labels.

The Model Garden's parser cannot serve two streams: its jitter has a fixed op seed, so both streams and every run draw
the same numbers, and it knows no scores. Decoding, evaluation parsing and anchors stay the Model Garden's; training
augmentation and targets are ours.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from official.vision.dataloaders import retinanet_input
from official.vision.ops import anchor as anchor_ops
from official.vision.ops import box_ops, preprocess_ops

from official_selftrain.augment import build, examples
from official_selftrain.configs import detection as detection_configs
from official_selftrain.core import keys
from official_selftrain.dataloaders import decoders, parsing
from official_selftrain.ops import anchor_targets, images

# Start of the message for records from which objects cannot be cut out.
MASKS_MESSAGE = (
  'task.train_data.augmentation.copy_paste_probability needs a mask of the size of the image for each box '
  f'({keys.BOX_MASK}); count, height and width that are needed, and those found:'
)
# In pixels: what several anchors say of one box differs by less.
_SAME_BOX = 0.1
_ENCODED_MASKS = 'groundtruth_instance_masks_png'

# Height and width.
Size = tuple[int, int]
# Names of an image that is ready for inference, and of what was done to it.
INFERENCE_NAMES = ('image', 'image_info')

Example = parsing.Example
Labels = parsing.Labels


def build_decoder(
  params: detection_configs.DataConfig,
) -> decoders.BoxDecoder | decoders.LabelMapDecoder:
  """The decoder that `params.decoder` names; it reads instance masks only where they are needed."""
  config = params.decoder.get()
  include_mask = needs_masks(params)
  if params.decoder.type == 'label_map_decoder':
    return decoders.LabelMapDecoder(
      label_map=config.label_map,
      include_mask=include_mask,
      regenerate_source_id=config.regenerate_source_id,
    )
  return decoders.BoxDecoder(
    include_mask=include_mask,
    regenerate_source_id=config.regenerate_source_id,
    attribute_names=config.attribute_names,
  )


def needs_masks(params: detection_configs.DataConfig) -> bool:
  """Whether a stream needs instance masks: only Copy-Paste does."""
  return params.is_training and params.augmentation.copy_paste_probability > 0


def decoded_example(record: Mapping[str, tf.Tensor]) -> Example:
  """Image and ground truth of a record whose labels are decoded and whose image is still `image/encoded`."""
  image = tf.io.decode_image(record[keys.IMAGE_ENCODED], channels=3, expand_animations=False)
  image.set_shape([None, None, 3])
  labels = {name: value for name, value in record.items() if name.startswith('groundtruth_')}
  return {'image': image, **labels}


@dataclasses.dataclass(frozen=True)
class Anchors:
  """The anchors of a model at one input size.

  Attributes:
    by_level: float32 [h, w, 4 * anchors per location], yxyx in pixels, for each level name '3', '4', ...
    flat: float32 [num_anchors, 4], all levels in ascending order.
  """

  by_level: Mapping[str, tf.Tensor]
  flat: tf.Tensor

  @classmethod
  def build(cls, model: detection_configs.DetectionModel) -> 'Anchors':
    """Anchors of a model."""
    generator = anchor_ops.build_anchor_generator(
      min_level=model.min_level,
      max_level=model.max_level,
      num_scales=model.anchor.num_scales,
      aspect_ratios=model.anchor.aspect_ratios,
      anchor_size=model.anchor.anchor_size,
    )
    by_level = generator(image_size=tuple(model.input_size[:2]))
    return cls(
      by_level, tf.concat([tf.reshape(boxes, [-1, 4]) for boxes in by_level.values()], axis=0)
    )

  def split(self, values: tf.Tensor) -> dict[str, tf.Tensor]:
    """Splits [num_anchors, ...] values into [h, w, anchors per location * depth] per level."""
    sizes = [boxes.shape.num_elements() // 4 for boxes in self.by_level.values()]
    parts = tf.split(values, sizes, axis=0)
    result = {}
    for (level, boxes), part in zip(self.by_level.items(), parts, strict=True):
      result[level] = tf.reshape(part, [boxes.shape[0], boxes.shape[1], -1])
    return result


class TrainingParser(parsing.TrainingParser):
  """Maps a decoded example with a seed to `(image, labels)` for RetinaNet.

  Examples may have `keys.GROUNDTRUTH_IS_IGNORED`, bool [n]. The image is in `params.dtype`; the labels are what the
  Model Garden's RetinaNet losses read, plus `num_boxes`, int32, the boxes that are objects. With `soft_labels` examples
  also have `keys.GROUNDTRUTH_SCORES`, float32 [n], and labels `cls_scores`, float32 [num_anchors], the targets of the
  matched classes. A class outside 1..num_classes-1 raises `tf.errors.InvalidArgumentError` at run time.
  """

  def __init__(self, model: detection_configs.DetectionModel, params: detection_configs.DataConfig):
    """Builds the parser.

    Args:
      model: `task.model`, for input size, anchors and classes.
      params: `task.train_data` or `task.pseudo_data`.
    """
    size = (model.input_size[0], model.input_size[1])
    flip = params.parser.aug_rand_hflip
    super().__init__(build.mixers(params.augmentation))
    self.weak = build.weak(params.augmentation, size, flip)
    self._params = params
    self._is_soft = isinstance(params, detection_configs.PseudoDataConfig) and params.soft_labels
    self._num_classes = model.num_classes
    self._anchors = Anchors.build(model)
    self._box_scales = tf.constant(model.detection_generator.box_coder_weights or [1.0] * 4)
    self._augment = build.build(
      params.augmentation,
      size,
      jitter=(params.parser.aug_scale_min, params.parser.aug_scale_max),
      flip=flip,
    )

  def augment(self, example: Example) -> Example:
    """See `parsing.TrainingParser`."""
    return self._augment(self._prepare(example))

  def targets(self, example: Example) -> tuple[tf.Tensor, Labels]:
    """See `parsing.TrainingParser`."""
    return tf.cast(example['image'], self._params.dtype), self.labels(example)

  def labels(self, example: Example) -> Labels:
    """What the losses read, for boxes in pixels of the view; boxes of class 0 are none."""
    targets = anchor_targets.assign(
      self._anchors.flat,
      example[keys.GROUNDTRUTH_BOXES],
      example[keys.GROUNDTRUTH_CLASSES],
      example[keys.GROUNDTRUTH_IS_IGNORED],
      self._params.parser.match_threshold,
      self._params.parser.unmatched_threshold,
      scores=example[keys.GROUNDTRUTH_SCORES] if self._is_soft else None,
    )
    is_object = tf.logical_and(
      example[keys.GROUNDTRUTH_CLASSES] > 0, tf.logical_not(example[keys.GROUNDTRUTH_IS_IGNORED])
    )
    soft = {'cls_scores': targets.box_weights} if self._is_soft else {}
    return {
      **soft,
      'cls_targets': self._anchors.split(targets.classes),
      'box_targets': self._anchors.split(targets.boxes * self._box_scales),
      'cls_weights': targets.class_weights,
      'box_weights': targets.box_weights,
      'num_boxes': tf.reduce_sum(tf.cast(is_object, tf.int32)),
    }

  def _prepare(self, example: Example) -> Example:
    """Checks classes, drops crowds, fills in what human labels do not have."""
    example = check_classes(example, self._num_classes)
    if keys.GROUNDTRUTH_INSTANCE_MASKS in example:
      example = check_masks(example)
    no_band = tf.zeros_like(example[keys.GROUNDTRUTH_CLASSES], tf.bool)
    example.setdefault(keys.GROUNDTRUTH_IS_IGNORED, no_band)
    if self._params.parser.skip_crowd_during_training:
      example = examples.keep_boxes(example, tf.logical_not(example[keys.GROUNDTRUTH_IS_CROWD]))
    return example


def taught_boxes(
  model: detection_configs.DetectionModel, labels: Mapping[str, Any]
) -> list[tuple[np.ndarray, np.ndarray]]:
  """The boxes that a batch of labels teaches, read back from the anchors' targets: for pictures.

  Args:
    model: `task.model`.
    labels: a batch of what `TrainingParser` gives.

  Returns:
    For each image its boxes, float32 [n, 4], yxyx in pixels of the view, and their classes, int64 [n]. Boxes that only
    keep anchors out of the loss are not among them. Equal boxes of one class are one.
  """
  anchors = Anchors.build(model).flat.numpy()
  # The classes' levels are the offsets' levels.
  levels = list(labels['box_targets'])
  count = labels['box_weights'].shape[0]
  offsets, classes = (
    np.concatenate([labels[name][level].numpy().reshape(count, -1, depth) for level in levels], 1)
    for name, depth in (('box_targets', 4), ('cls_targets', 1))
  )
  weights = model.detection_generator.box_coder_weights or [1.0] * 4
  result = []
  for i, is_positive in enumerate(labels['box_weights'].numpy() > 0):
    boxes = box_ops.decode_boxes(offsets[i][is_positive], anchors[is_positive], weights).numpy()
    rows = np.concatenate([classes[i][is_positive], boxes], axis=1)
    kept: list[np.ndarray] = []
    for row in rows:
      # Each anchor rounds in its own way.
      if not any(np.allclose(row, other, rtol=0.0, atol=_SAME_BOX) for other in kept):
        kept.append(row)
    found = np.reshape(kept, [-1, 5])
    result.append((found[:, 1:].astype(np.float32), found[:, 0].astype(np.int64)))
  return result


def check_classes(example: Example, num_classes: int) -> Example:
  """The example, whose graph fails with `class_range_message` when a class is outside 1..num_classes-1."""
  classes = example[keys.GROUNDTRUTH_CLASSES]
  ok = tf.reduce_all(tf.logical_and(classes >= 1, classes < num_classes))
  check = tf.debugging.Assert(ok, [class_range_message(num_classes), classes])
  with tf.control_dependencies([] if check is None else [check]):
    return {**example, keys.GROUNDTRUTH_CLASSES: tf.identity(classes)}


def check_masks(example: Example) -> Example:
  """The example with its masks as uint8 [n, h, w], 0 or 1; its graph fails when `mask_sizes` differ."""
  needed, found = mask_sizes(example)
  ok = tf.reduce_all(tf.equal(needed, found))
  check = tf.debugging.Assert(ok, [MASKS_MESSAGE, needed, found])
  with tf.control_dependencies([] if check is None else [check]):
    masks = tf.cast(example[keys.GROUNDTRUTH_INSTANCE_MASKS] > 0.0, tf.uint8)
    masks = tf.reshape(masks, needed)
  # The decoder's copy of the encoded masks is not needed any more.
  rest = {name: value for name, value in example.items() if name != _ENCODED_MASKS}
  return {**rest, keys.GROUNDTRUTH_INSTANCE_MASKS: masks}


def mask_sizes(example: Example) -> tuple[tf.Tensor, tf.Tensor]:
  """Count, height and width of the instance masks that a decoded example needs, and of those it has; int32 [3] each."""
  boxes = tf.shape(example[keys.GROUNDTRUTH_BOXES])[:1]
  needed = tf.concat([boxes, tf.shape(example['image'])[:2]], 0)
  found = tf.shape(example[keys.GROUNDTRUTH_INSTANCE_MASKS])
  # Where there is no mask, the decoder makes up a size, which means nothing.
  return needed, tf.where(found[0] > 0, found, tf.concat([[0], needed[1:]], 0))


def class_range_message(num_classes: int) -> str:
  """Start of the message for a class id that the model does not have."""
  return (
    f'class id outside 1..{num_classes - 1} (task.model.num_classes is {num_classes}); ids found:'
  )


def evaluation_parser(
  model: detection_configs.DetectionModel, params: detection_configs.DataConfig
) -> Callable[[Example], tuple[tf.Tensor, Labels]]:
  """The Model Garden's own evaluation parser, without its padding to a multiple of 2^max_level when `pad` is off."""
  parser = retinanet_input.Parser(
    output_size=model.input_size[:2],
    min_level=model.min_level,
    max_level=model.max_level,
    num_scales=model.anchor.num_scales,
    aspect_ratios=model.anchor.aspect_ratios,
    anchor_size=model.anchor.anchor_size,
    match_threshold=params.parser.match_threshold,
    unmatched_threshold=params.parser.unmatched_threshold,
    box_coder_weights=model.detection_generator.box_coder_weights,
    max_num_instances=params.parser.max_num_instances,
    dtype=params.dtype,
    pad=params.parser.pad,
  )
  return parser.parse_fn(is_training=False)


def size_names(size: Size) -> tuple[str, str]:
  """Names of an image of another size than the model's and of its info, see `inference_preprocessor`."""
  image, info = (f'{name}_{size[0]}x{size[1]}' for name in INFERENCE_NAMES)
  return image, info


def inference_preprocessor(
  model: detection_configs.DetectionModel, further_sizes: Sequence[Size] = ()
) -> Callable[[tf.Tensor], Example]:
  """Preprocessing of an encoded image for labelling and export.

  Args:
    model: `task.model`.
    further_sizes: heights and widths, beside that of the model, that the image is fitted into.

  Returns:
    A function from encoded image bytes (string scalar) to `image` float32 [height, width, 3], normalised and padded,
    `image_info` float32 [4, 2] as the Model Garden defines it (original size, output size, scale, offset; each y, x),
    and the original `image/height` and `image/width`, int64. Of each further size it gives the first two under the
    names of `size_names`.
  """
  own = (model.input_size[0], model.input_size[1])

  def preprocess(encoded: tf.Tensor) -> Example:
    original = images.normalize(decoded_example({keys.IMAGE_ENCODED: encoded})['image'])
    result: Example = {}
    for size, names in (
      (own, INFERENCE_NAMES),
      *((each, size_names(each)) for each in further_sizes),
    ):
      image, info = preprocess_ops.resize_and_crop_image(original, size, padded_size=size)
      image.set_shape([*size, 3])
      result |= {names[0]: image, names[1]: info}
    height, width = tf.unstack(tf.cast(result[INFERENCE_NAMES[1]][0], tf.int64))
    return {**result, keys.IMAGE_HEIGHT: height, keys.IMAGE_WIDTH: width}

  return preprocess
