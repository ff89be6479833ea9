"""A detection task small enough for tests: a few convolutions instead of a backbone, and made-up batches."""

from unittest import mock

import numpy as np
import tensorflow as tf
from official.vision.configs import retinanet

from official_selftrain.configs import detection as configs
from official_selftrain.core import keys
from official_selftrain.dataloaders import detection as parsing
from official_selftrain.tasks import detection

NUM_CLASSES = 4
SIZE = 32


class TinyBackbone(tf.keras.Model):
  """Features of levels 3 and 4, with synchronised batch norm."""

  def __init__(self):
    super().__init__()
    layers = tf.keras.layers
    self.stem = layers.Conv2D(
      8, 3, strides=8, padding='same', kernel_regularizer=tf.keras.regularizers.l2(1e-3)
    )
    self.norm = layers.BatchNormalization(synchronized=True, momentum=0.9)
    self.down = layers.Conv2D(8, 3, strides=2, padding='same')

  def call(self, images, training=None):
    low = tf.nn.relu(self.norm(self.stem(images), training=training))
    return {'3': low, '4': tf.nn.relu(self.down(low))}


class TinyModel(tf.keras.Model):
  """Class and box outputs for levels 3 and 4, as RetinaNet gives them in training."""

  def __init__(self):
    super().__init__()
    layers = tf.keras.layers
    self.backbone = TinyBackbone()
    self.classes = layers.Conv2D(NUM_CLASSES, 1, bias_initializer=tf.constant_initializer(-2.0))
    self.boxes = layers.Conv2D(4, 1)

  def call(self, images, training=None):
    features = self.backbone(images, training=training)
    return {
      'cls_outputs': {level: self.classes(value) for level, value in features.items()},
      'box_outputs': {level: self.boxes(value) for level, value in features.items()},
    }


def config(**self_training) -> configs.DetectionSelfTrainingTask:
  """Task config with one anchor per location."""
  task = configs.DetectionSelfTrainingTask(
    model=configs.DetectionModel(
      num_classes=NUM_CLASSES,
      input_size=[SIZE, SIZE, 3],
      min_level=3,
      max_level=4,
      anchor=retinanet.Anchor(num_scales=1, aspect_ratios=[1.0], anchor_size=2.0),
    )
  )
  task.override({'self_training': self_training})
  return task


class TinyModelMixin:
  """Puts `TinyModel` into a task of detection."""

  def build_model(self):
    tf.keras.utils.set_random_seed(1)
    model = TinyModel()
    model(tf.zeros([1, SIZE, SIZE, 3]))
    with mock.patch.object(detection.modeling, 'build', return_value=model):
      return super().build_model()


class TinyTask(TinyModelMixin, detection.DetectionSelfTrainingTask):
  """The real task around `TinyModel`."""


def batch(seed: int, size: int, task_config) -> tuple[tf.Tensor, dict]:
  """A parsed batch of `size` random images with 0 to 3 boxes each."""
  rng = np.random.default_rng(seed)
  parser = parsing.TrainingParser(task_config.model, task_config.train_data)
  parsed = []
  for _ in range(size):
    count = int(rng.integers(0, 4))
    corner = rng.uniform(0, 0.5, [count, 2])
    boxes = np.concatenate([corner, corner + rng.uniform(0.2, 0.5, [count, 2])], axis=1)
    parsed.append(
      parser(
        {
          'image': tf.constant(rng.integers(0, 256, [SIZE, SIZE, 3]), tf.uint8),
          keys.GROUNDTRUTH_BOXES: tf.constant(boxes.reshape([-1, 4]), tf.float32),
          keys.GROUNDTRUTH_CLASSES: tf.constant(rng.integers(1, NUM_CLASSES, count), tf.int64),
          keys.GROUNDTRUTH_IS_CROWD: tf.zeros([count], tf.bool),
          keys.SEED: tf.constant([seed, 0], tf.int32),
        }
      )
    )
  return tf.nest.map_structure(lambda *values: tf.stack(values), *parsed)


def inputs(seed: int, task_config, human: int = 4, pseudo: int = 4) -> dict:
  """One two-source batch."""
  return {
    keys.HUMAN: batch(2 * seed, human, task_config),
    keys.PSEUDO: batch(2 * seed + 1, pseudo, task_config),
  }
