"""Augmentation: images per second of one core, ours over the Model Garden's and keras-cv's nearest equivalents.

Two photographs that come with scikit-learn (640 x 427 pixels), decoded and in memory, with seven boxes, and once with a
mask of classes. Everyone does the same work: policy, flip, resize by a factor from the policy's range, crop or pad to
the output, normalise. Processor time of one thread: a pipeline runs many calls at once, so that is what an image costs.
The Model Garden gets the op list of each preset where its arguments allow it; keras-cv has no AutoAugment and moves
no boxes in RandAugment; it is shown for what it has. Decoding the JPEG is the floor under all of it.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from official.vision.ops import augment as stock
from official.vision.ops import box_ops, preprocess_ops
from sklearn import datasets as sklearn_datasets

from benchmarks import results, timing, workbench
from official_selftrain.augment import build
from official_selftrain.configs import augmentation
from official_selftrain.core import keys

NEEDS_WORKBENCH = True
_TARGET = results.Target(at_least=4.0)
_ROUNDS = 7
_IMAGES = 40
_NUM_BOXES = 7
_BOX_SIZE, _MASK_SIZE = 640, 512
# Ops of the Model Garden's RandAugment that the preset automl10 does not have.
_NOT_IN_AUTOML = (
  'AutoContrast', 'Invert', 'Posterize', 'Contrast', 'Brightness', 'Sharpness',
)  # fmt: skip

# Those differ by the originals' mistakes, which `faithful` repeats, and not by the order of resampling.
_WRONG_OPS = ['Contrast', 'Solarize']

Example = dict[str, Any]
Step = Callable[[Example], Any]


def run(bench: workbench.Workbench) -> list[results.Row]:
  """Measures."""
  images = max(1, round(_IMAGES * max(bench.effort.scale, 0.05)))
  measure = functools.partial(_measure, rounds=bench.effort.rounds(_ROUNDS), images=images)
  rows = []
  for name, step, low, high in _stock_policies():
    config = augmentation.Augmentation(policy=name[:2])
    if name.endswith('tfm16'):
      config.rand_augment.preset = 'tfm16'
    contenders = {'ours': _ours(config, _BOX_SIZE), 'stock': _stock(step, low, high)}
    target = _TARGET if name.startswith('S4') else None
    rows.append(measure(f'{name}, boxes, {_BOX_SIZE} px : Model Garden', contenders, target=target))
  for name, step, low, high in _stock_image_policies():
    config = augmentation.Augmentation(policy=name[:2])
    config.rand_augment = augmentation.RandAugment(preset='tfm16', num_ops=1)
    ours = _ours(config, _MASK_SIZE, masks=True)
    contenders = {'ours': ours, 'stock': _stock(step, low, high, masks=True)}
    rows.append(measure(f'{name}, masks, {_MASK_SIZE} px : Model Garden, image only', contenders))
  s4 = augmentation.Augmentation(policy='S4')
  faithful = augmentation.Augmentation(policy='S4', faithful=True)
  s4_masks = _ours(s4, _MASK_SIZE, masks=True)
  for name, ours, reference in (
    ('S1, boxes, 640 px : keras-cv', _ours(augmentation.Augmentation(policy='S1')), _keras_s1()),
    ('S4, boxes, 640 px : keras-cv, colours only', _ours(s4), _keras_s4(masks=False)),
    ('S4, masks, 512 px : keras-cv', s4_masks, _keras_s4(masks=True)),
    ('S4, boxes, 640 px : the same, faithful', _ours(s4), _ours(faithful)),
    ('S4, boxes, 640 px : decoding the JPEG', _ours(s4), _decode),
  ):
    rows.append(measure(name, {'ours': ours, 'stock': reference}))
  return [*rows, *_differences(20 * images)]


def _differences(images: int) -> list[results.Row]:
  """Compares one resampling with one op after another: same draws, no jitter, so that the crops are the same."""
  rows = []
  for policy, settings in (
    ('S2', {}),
    ('S2 v2', {'auto_augment': {'version': 'v2'}}),
    ('S4', {}),
    ('S4 tfm16', {'rand_augment': {'preset': 'tfm16'}}),
  ):
    outputs = []
    for faithful in (False, True):
      config = augmentation.Augmentation(
        policy=policy[:2], scale_min=1.0, scale_max=1.0, faithful=faithful, pixel_scale=1.0
      )
      config.override({'exclude_ops': _WRONG_OPS, **settings})
      step = build.build(config, (_BOX_SIZE, _BOX_SIZE), normalize=False)
      dataset = _examples().repeat().enumerate().map(_with_seed).take(images)
      outputs.append(iter(dataset.map(lambda example, step=step: step(example)['image'])))
    difference = [float(tf.reduce_mean(tf.abs(a - b))) for a, b in zip(*outputs, strict=True)]
    rows.append(
      results.Row(
        'augmentation',
        f'{policy}: mean difference of a pixel to faithful, of 255',
        'values',
        ours=sum(difference) / len(difference),
      )
    )
    share = sum(value > 1.0 for value in difference) / len(difference)
    name = f'{policy}: images that differ by more than 1 of 255 on average'
    rows.append(results.Row('augmentation', name, 'share', ours=share))
  return rows


def _measure(
  comparison: str,
  contenders: dict[str, Step],
  rounds: int,
  images: int,
  target: results.Target | None = None,
) -> results.Row:
  """A row of images per second."""
  drains = {name: timing.cpu(_drain(step, images)) for name, step in contenders.items()}
  seconds = timing.interleave(drains, rounds)
  workbench.say(comparison)
  return results.compare(
    'augmentation',
    comparison,
    'images/s',
    seconds['ours'],
    seconds['stock'],
    figure=lambda value: images / value,
    target=target,
  )


def _drain(step: Step, images: int) -> Callable[[], None]:
  """A function that puts `images` images through `step` in one thread."""
  dataset = _examples().repeat().enumerate().map(_with_seed).map(step)
  return workbench.drain(dataset, images)


def _with_seed(number: tf.Tensor, example: Example) -> Example:
  return {**example, keys.SEED: tf.stack([tf.cast(number, tf.int32), 0])}


@functools.cache
def photographs() -> list[Example]:
  """Both photographs: pixels, JPEG file, boxes relative to the sides, and a mask of classes."""
  rng = np.random.default_rng(0)
  examples = []
  for image in sklearn_datasets.load_sample_images().images:
    corner = rng.uniform(0.0, 0.7, [_NUM_BOXES, 2])
    side = rng.uniform(0.05, 0.3, [_NUM_BOXES, 2])
    mask = np.kron(rng.integers(0, 21, [7, 10, 1]), np.ones([61, 64, 1]))
    examples.append(
      {
        'image': image,
        keys.IMAGE_ENCODED: tf.io.encode_jpeg(image, quality=90).numpy(),
        keys.GROUNDTRUTH_BOXES: np.concatenate([corner, corner + side], 1).astype(np.float32),
        keys.SEMANTIC_MASK: mask.astype(np.uint8),
      }
    )
  return examples


def _examples() -> tf.data.Dataset:
  photos = photographs()
  return tf.data.Dataset.from_tensor_slices(
    {name: np.stack([photo[name] for photo in photos]) for name in photos[0]}
  ).cache()


def _ours(config: augmentation.Augmentation, size: int = _BOX_SIZE, masks: bool = False) -> Step:
  policy = build.build(config, (size, size))
  labels = keys.SEMANTIC_MASK if masks else keys.GROUNDTRUTH_BOXES
  return lambda example: policy({name: example[name] for name in ('image', keys.SEED, labels)})


def _stock_policies() -> list[tuple[str, Any, float, float]]:
  """Name, policy and jitter."""
  v0 = stock.AutoAugment('detection_v0').distort_with_boxes
  automl = stock.RandAugment.build_for_detection(
    num_layers=1,
    magnitude=10,
    cutout_const=100,
    translate_const=250,
    exclude_ops=list(_NOT_IN_AUTOML),
  )
  both = stock.RandAugment.build_for_detection(num_layers=2, magnitude=10)
  return [
    ('S1', lambda image, boxes: (image, boxes), 0.8, 1.2),
    ('S2', v0, 0.8, 1.2),
    ('S3', v0, 0.5, 2.0),
    ('S4 automl10', automl.distort_with_boxes, 0.5, 2.0),
    ('S4 tfm16', both.distort_with_boxes, 0.5, 2.0),
  ]


def _stock_image_policies() -> list[tuple[str, Any, float, float]]:
  """The Model Garden's policies for images without boxes: other AutoAugment tables, and RandAugment's 16 ops."""
  auto = stock.AutoAugment('v0')
  rand = stock.RandAugment(num_layers=1, magnitude=10)

  def only_image(policy: Any) -> Any:
    return lambda image, boxes: (policy.distort(image), boxes)

  return [
    ('S1', lambda image, boxes: (image, boxes), 0.8, 1.2),
    ('S2', only_image(auto), 0.8, 1.2),
    ('S3', only_image(auto), 0.5, 2.0),
    ('S4 tfm16 N=1', only_image(rand), 0.5, 2.0),
  ]


def _stock(policy: Any, low: float, high: float, masks: bool = False) -> Step:
  """As the Model Garden's parsers do it, with the policy in front."""
  size = [_MASK_SIZE if masks else _BOX_SIZE] * 2

  def step(example: Example) -> Any:
    image, boxes = policy(example['image'], example[keys.GROUNDTRUTH_BOXES])
    image = preprocess_ops.normalize_image(image)
    mask = example[keys.SEMANTIC_MASK] if masks else None
    image, boxes, mask = preprocess_ops.random_horizontal_flip(
      image, boxes, None if mask is None else mask[None]
    )
    boxes = box_ops.denormalize_boxes(boxes, tf.shape(image)[:2])
    image, info = preprocess_ops.resize_and_crop_image(
      image, size, size, aug_scale_min=low, aug_scale_max=high
    )
    if masks:
      mask = tf.cast(mask, tf.float32) + 1.0
      return image, preprocess_ops.resize_and_crop_masks(mask, info[2], size, info[3])[0] - 1.0
    return image, preprocess_ops.resize_and_crop_boxes(boxes, info[2], info[1], info[3])

  return step


def _keras_s1() -> Step:
  from keras_cv import layers

  flip = layers.RandomFlip(bounding_box_format='rel_yxyx')
  resize = layers.JitteredResize(
    target_size=(_BOX_SIZE, _BOX_SIZE), scale_factor=(0.8, 1.2), bounding_box_format='rel_yxyx'
  )
  return lambda example: preprocess_ops.normalize_image(
    resize(flip(_keras_inputs(example, masks=False)))['images'] / 255.0
  )


def _keras_s4(masks: bool) -> Step:
  from keras_cv import layers

  size = _MASK_SIZE if masks else _BOX_SIZE
  policy = layers.RandAugment(
    value_range=(0, 255),
    augmentations_per_image=1,
    magnitude=1.0,
    magnitude_stddev=0.0,
    geometric=masks,
  )
  flip = layers.RandomFlip(bounding_box_format='rel_yxyx')
  resize = layers.JitteredResize(
    target_size=(size, size), scale_factor=(0.5, 2.0), bounding_box_format='rel_yxyx'
  )

  def step(example: Example) -> Any:
    moved = resize(flip(policy(_keras_inputs(example, masks))))
    image = preprocess_ops.normalize_image(moved['images'] / 255.0)
    return image, moved['segmentation_masks' if masks else 'bounding_boxes']

  return step


def _keras_inputs(example: Example, masks: bool) -> Example:
  inputs = {'images': tf.cast(example['image'], tf.float32)}
  if masks:
    return {**inputs, 'segmentation_masks': tf.cast(example[keys.SEMANTIC_MASK], tf.float32)}
  classes = tf.ones([_NUM_BOXES])
  return {
    **inputs,
    'bounding_boxes': {'boxes': example[keys.GROUNDTRUTH_BOXES], 'classes': classes},
  }


def _decode(example: Example) -> tf.Tensor:
  return tf.io.decode_jpeg(example[keys.IMAGE_ENCODED], channels=3)
