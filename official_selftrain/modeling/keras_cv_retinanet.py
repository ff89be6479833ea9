"""keras-cv's RetinaNet as a detector of this project.

The network is keras-cv's, wired as `keras_cv.models.RetinaNet` wires it: a backbone through its `pyramid_level_inputs`,
`FeaturePyramid`, and one `PredictionHead` each for classes and boxes, shared by all levels. With 9 anchors, levels 3 to
7 and keras-cv's widths it computes what keras-cv's computes from the same weights.

The rest of keras-cv's RetinaNet is not used, so that runs of two families compare networks and not rules: its
anchors (9 per location, fixed sizes), its label encoder (positive from an IoU of 0.5, background below 0.4), its
losses, and its decoder of predictions (one hard NMS over all classes, scores from 0.5). Anchors, targets, the ignore
band, losses and NMS are those of the other families; the classes include the background, class 0.

Importing this module imports keras-cv, which takes seconds.
"""

import functools
import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras_cv
import numpy as np
import tensorflow as tf
from absl import logging
from keras_cv.models import retinanet as theirs

from official_selftrain.configs import classification, detection
from official_selftrain.configs import keras_cv as configs
from official_selftrain.core import errors
from official_selftrain.modeling import assembly, keras_cv_spinenet

_FIELD = 'task.model.keras_cv'
_PRIOR = 0.01  # keras-cv's probability of an object at each anchor before training.

Features = Mapping[str, tf.Tensor]


class Pyramid(theirs.FeaturePyramid):
  """keras-cv's feature pyramid between the Model Garden's interfaces, with a choice of width and levels."""

  def __init__(self, min_level: int, max_level: int, num_filters: int = 256):
    """Makes the convolutions.

    Args:
      min_level: first level that is wanted, 3 to 5.
      max_level: last level that is wanted, at most 7. Convolutions that only other levels need are there, since
        keras-cv makes them, but are not trained.
      num_filters: filters of all levels; keras-cv's are always 256.
    """
    super().__init__()
    self._wanted = range(min_level, max_level + 1)
    lateral = {3: self.conv_c3_1x1, 4: self.conv_c4_1x1, 5: self.conv_c5_1x1}
    final = {3: self.conv_c3_3x3, 4: self.conv_c4_3x3, 5: self.conv_c5_3x3}
    coarse = {6: self.conv_c6_3x3, 7: self.conv_c7_3x3}
    for conv in (*lateral.values(), *final.values(), *coarse.values()):
      conv.filters = num_filters
    # A level takes from all coarser ones of the backbone; level 7 is made of level 6.
    for level, conv in lateral.items():
      conv.trainable = level >= min_level
    for level, conv in final.items():
      conv.trainable = level in self._wanted
    for level, conv in coarse.items():
      conv.trainable = level <= max_level

  def build(self, input_shape: tf.TensorShape) -> None:
    """Leaves it to the convolutions: keras-cv's would build them for 256 filters."""
    tf.keras.layers.Layer.build(self, input_shape)

  def call(self, inputs: Features, training: bool | None = None) -> dict[str, tf.Tensor]:
    """Turns levels '3' to '5' of a backbone into the wanted ones, [batch, h, w, num_filters] each."""
    levels = {f'P{level}': inputs[str(level)] for level in configs.PYRAMID_INPUTS}
    outputs = super().call(levels, training=training)
    return {
      str(level): value
      for level, value in enumerate(outputs, start=min(configs.PYRAMID_INPUTS))
      if level in self._wanted
    }


class Tower(theirs.PredictionHead):
  """keras-cv's prediction head with a choice of width."""

  def __init__(self, output_filters: int, bias: float, num_convs: int, num_filters: int = 256):
    """Makes the convolutions.

    Args:
      output_filters: filters of the last convolution.
      bias: initial bias of the last convolution.
      num_convs: 3x3 convolutions before it; keras-cv's default is 3.
      num_filters: their filters; keras-cv's are always 256.
    """
    initializer = tf.keras.initializers.Constant(bias)
    super().__init__(output_filters, initializer, num_conv_layers=num_convs)
    for conv in self.conv_layers:
      conv.filters = num_filters

  def build(self, input_shape: tf.TensorShape) -> None:
    """Leaves it to the convolutions: keras-cv's would build them for 256 filters."""
    tf.keras.layers.Layer.build(self, input_shape)


class Head(tf.keras.layers.Layer):
  """keras-cv's two prediction heads as the one head that the Model Garden's RetinaNet has."""

  def __init__(
    self,
    num_classes: int,
    num_anchors: int,
    num_convs: int = 3,
    num_filters: int = 256,
  ):
    """Makes both heads.

    Args:
      num_classes: classes, background included.
      num_anchors: anchors per location.
      num_convs: see `Tower`.
      num_filters: see `Tower`.
    """
    super().__init__()
    prior = float(-np.log((1 - _PRIOR) / _PRIOR))
    self.classifier = Tower(num_anchors * num_classes, prior, num_convs, num_filters)
    self.box_regressor = Tower(num_anchors * 4, 0.0, num_convs, num_filters)

  def call(
    self, features: Features
  ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor], dict[str, dict[str, tf.Tensor]]]:
    """Applies the heads to each level.

    Args:
      features: [batch, h, w, channels] by level.

    Returns:
      Logits [batch, h, w, anchors * classes] by level, boxes [batch, h, w, anchors * 4] by level, encoded as the
      anchors' targets are, and no attributes.
    """
    classes = {level: self.classifier(value) for level, value in features.items()}
    boxes = {level: self.box_regressor(value) for level, value in features.items()}
    return classes, boxes, {}


def build(model: detection.DetectionModel, l2_weight_decay: float = 0.0) -> assembly.RetinaNetModel:
  """Builds a RetinaNet of keras-cv's layers.

  Args:
    model: `task.model`, with `keras_cv` checked.
    l2_weight_decay: factor of half the sum of squared kernels, depthwise ones included, 0 for none. It is one loss of
      the model and leaves out what is not trained.

  Returns:
    A `RetinaNetModel` around them, for float32 [batch, height, width, 3] of the size `model.input_size`.

  Raises:
    ConfigError: the backbone does not take its arguments, or lacks a level.
  """
  _warn_of_settings_without_effect(model)
  backbone = build_backbone(model)
  pyramid = None
  if model.decoder.type == 'fpn':
    pyramid = Pyramid(model.min_level, model.max_level, model.decoder.fpn.num_filters)
  head = Head(
    num_classes=model.num_classes,
    num_anchors=len(model.anchor.aspect_ratios) * model.anchor.num_scales,
    num_convs=model.head.num_convs,
    num_filters=model.head.num_filters,
  )
  features = {level: tf.keras.Input(shape[1:]) for level, shape in backbone.output_specs.items()}
  head(pyramid(features) if pyramid else features)  # Makes the weights.
  built = assembly.retinanet(model, backbone, pyramid, head)
  if l2_weight_decay:
    # Not of all parts of the model: the classifier of joint training, which is added to it, has its own.
    parts = [part for part in (backbone, pyramid, head) if part]
    regularizer = tf.keras.regularizers.l2(l2_weight_decay / 2.0)
    built.add_loss(functools.partial(decayed, parts, regularizer))
  return built


def build_backbone(
  model: detection.DetectionModel | classification.ClassificationModel,
) -> tf.keras.Model:
  """Builds the backbone as the Model Garden has them: normalised images to features by level.

  Args:
    model: see `build`.

  Returns:
    A model from float32 [batch, height, width, 3] to {'3': [batch, height / 8, width / 8, channels], ...}, with the
    levels that the decoder takes and no layers above them; `output_specs` has their shapes.

  Raises:
    ConfigError: see `build`.
  """
  name = model.keras_cv.backbone
  wanted: tuple[int, ...] = configs.PYRAMID_INPUTS
  if model.decoder.type != 'fpn':
    wanted = tuple(range(model.min_level, model.max_level + 1))
  network = _network(model, wanted)
  found = {}
  for layer in network.pyramid_level_inputs.values():
    output = network.get_layer(layer).output
    # By size and not by keras-cv's name: MiT calls the first level P1, although its stride is 4.
    found[round(math.log2(model.input_size[0] / output.shape[1]))] = output
  missing = [level for level in wanted if level not in found]
  if missing:
    raise errors.ConfigError(
      f'{_FIELD}.backbone: this {name} has levels {sorted(found)}, and levels {list(wanted)} are needed; '
      f'give it more stages in {_FIELD}.arguments.'
    )
  levels = {str(level): found[level] for level in wanted}
  backbone = tf.keras.Model(network.inputs, levels, name='backbone')
  backbone.output_specs = {level: value.shape for level, value in levels.items()}
  return backbone


def _network(
  model: detection.DetectionModel | classification.ClassificationModel, levels: tuple[int, ...]
) -> tf.keras.Model:
  """An instance of the backbone's class."""
  name = model.keras_cv.backbone
  arguments = model.keras_cv.constructor_arguments()
  implied: dict[str, Any] = {'input_shape': tuple(model.input_size)}
  if name == configs.SPINENET:
    cls = keras_cv_spinenet.SpineNetBackbone
    implied |= {
      'min_level': min(levels),
      'max_level': max(levels),
      **model.norm_activation.as_dict(),
    }
  else:
    cls = getattr(keras_cv.models, name)
    implied['include_rescaling'] = False
  allowed = set(inspect.signature(cls.__init__).parameters) - {'self', 'kwargs', *implied}
  for argument in arguments:
    if argument not in allowed:
      raise errors.ConfigError(
        f'{_FIELD}.arguments.{argument}: {name} takes {", ".join(sorted(allowed))}.'
      )
  try:
    return cls(**arguments, **implied)
  except (TypeError, ValueError) as error:
    raise errors.ConfigError(
      f'{_FIELD}.arguments: {name} does not take {arguments}: {_telling_line(error)}'
    ) from error


def _telling_line(error: Exception) -> str:
  """The line that says what is wrong; Keras puts a traceback around it."""
  lines = [line.strip() for line in str(error).splitlines() if line.strip()]
  return next((line for line in reversed(lines) if 'Error: ' in line), lines[0])


def decayed(
  parts: Sequence[tf.keras.layers.Layer], regularizer: tf.keras.regularizers.Regularizer
) -> tf.Tensor:
  """The weight decay of keras-cv's layers, which take no regularizer.

  Args:
    parts: layers or models, of which all kernels that are trained count, depthwise ones included.
    regularizer: from a kernel to its loss.

  Returns:
    float32 scalar; 0 where nothing is trained.
  """
  variables = [variable for part in parts for variable in part.trainable_variables]
  kernels = [variable for variable in variables if variable.name.endswith('kernel:0')]
  return tf.add_n([tf.zeros([]), *map(regularizer, kernels)])


def _warn_of_settings_without_effect(model: detection.DetectionModel) -> None:
  """Logs settings that other families follow and this one does not."""
  neutral: dict[str, Any] = {
    'head.use_separable_conv': False,
    'head.share_level_convs': True,
    'head.share_classification_heads': False,
  }
  if model.decoder.type == 'fpn':
    neutral |= {'decoder.fpn.use_separable_conv': False, 'decoder.fpn.fusion_type': 'sum'}
  if model.keras_cv.backbone != configs.SPINENET:
    neutral |= {
      'norm_activation.activation': 'relu',
      'norm_activation.use_sync_bn': False,
      'norm_activation.norm_momentum': 0.99,
      'norm_activation.norm_epsilon': 0.001,
    }
  for name, value in neutral.items():
    actual = functools.reduce(getattr, name.split('.'), model)
    if actual != value:
      logging.warning(
        'task.model.%s is %r, which has no effect with task.model.family %s.',
        name,
        actual,
        model.family,
      )
