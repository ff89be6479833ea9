"""RetinaNets of all families behind one function.

Whatever the family, a model is the Model Garden's `RetinaNetModel`: `backbone`, `decoder`, `head` and
`detection_generator`, called on normalised images, giving `cls_outputs` and `box_outputs` by level, and detections when
it does not train. So task, labeller and export do not ask for the family.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from official.vision.modeling import factory

from official_selftrain.modeling import assembly, spinenet
from official_selftrain.modeling.original import backbones


def build(model: Any, l2_weight_decay: float = 0.0) -> tf.keras.Model:
  """Builds a RetinaNet.

  Args:
    model: `task.model`, a `configs.detection.DetectionModel`.
    l2_weight_decay: factor of half the sum of squared kernels, 0 for none.

  Returns:
    A `RetinaNetModel` for float32 [batch, height, width, 3] of the size `model.input_size`.
  """
  if model.family == 'keras_cv':
    # Imports keras-cv, which takes seconds.
    from official_selftrain.modeling import keras_cv_retinanet

    return keras_cv_retinanet.build(model, l2_weight_decay)
  spinenet.register_sizes()
  specs = tf.keras.layers.InputSpec(shape=[None, *model.input_size])
  regularizer = tf.keras.regularizers.l2(l2_weight_decay / 2.0) if l2_weight_decay else None
  is_original = model.family == 'original'
  backbone = backbones.build(specs, model, regularizer) if is_original else None
  stock = factory.build_retinanet(specs, model, regularizer, backbone)
  built = assembly.retinanet(model, stock.backbone, stock.decoder, stock.head)
  if is_original:
    make_variables(built, model.input_size)
  return built


def make_variables(network: tf.keras.Model, input_size: Sequence[int]) -> None:
  """Makes the variables of a head without a decoder, which the Model Garden leaves to the first call.

  Args:
    network: a `RetinaNetModel`.
    input_size: height, width and channels of images.
  """
  if not network.head.built:
    features = network.backbone(tf.keras.Input(input_size))
    network.head(network.decoder(features) if network.decoder else features)
