"""Networks of the authors' kind, small enough for tests, and TF1 checkpoints of them."""

import functools

import tensorflow as tf
from official.vision.configs import backbones, common, decoders, retinanet

from official_selftrain.checkpoints import tf1_names
from official_selftrain.configs import detection
from official_selftrain.modeling import retinanet as modeling
from tests.testing import tf1_fill


def settings(num_classes=4, num_filters=8) -> detection.DetectionModel:
  """A SpineNet of a quarter of the width, with all levels and one convolution in the head."""
  return detection.DetectionModel(
    family='original',
    num_classes=num_classes,
    input_size=[128, 128, 3],
    min_level=3,
    max_level=7,
    anchor=retinanet.Anchor(num_scales=1, aspect_ratios=[1.0], anchor_size=3.0),
    backbone=backbones.Backbone(
      type='spinenet', spinenet=backbones.SpineNet(model_id='nano', min_level=3, max_level=7)
    ),
    decoder=decoders.Decoder(type='identity', identity=decoders.Identity()),
    head=retinanet.RetinaNetHead(num_convs=1, num_filters=num_filters),
    norm_activation=common.NormActivation(activation='swish', use_sync_bn=False),
  )


def build(**kwargs) -> tf.keras.Model:
  """The network with random weights."""
  return modeling.build(settings(**kwargs))


@functools.cache
def shared(num_classes: int = 4) -> tf.keras.Model:
  """One network for all tests of a process, with any weights that the last one left; building takes seconds."""
  return build(num_classes=num_classes)


def values(model: tf.keras.Model) -> dict:
  """What `tf1_fill` gives the variables of a model, by TF1 name."""
  named = tf1_names.variables(model)
  return {name: tf1_fill.fill(name, variable.shape) for name, variable in named.items()}


def write(prefix: str, tensors: dict) -> str:
  """Writes a name-based checkpoint and returns its prefix."""
  names = list(tensors)
  tf.raw_ops.SaveV2(
    prefix=prefix,
    tensor_names=names,
    shape_and_slices=[''] * len(names),
    tensors=[tf.constant(tensors[name]) for name in names],
  )
  return prefix


def with_extras(tensors: dict) -> dict:
  """Adds what training leaves in a checkpoint: slots, averages and the step."""
  slots = {f'{name}/Momentum': value * 0 for name, value in tensors.items() if 'kernel' in name}
  averages = {f'{name}/ExponentialMovingAverage': value + 1 for name, value in tensors.items()}
  return {**tensors, **slots, **averages, 'global_step': tf.constant(123, tf.int64)}
