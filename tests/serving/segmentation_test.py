"""Exported masks are those that evaluation measures, at the size that it is told to show images at."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.core import config
from official_selftrain.dataloaders import segmentation as dataloaders
from official_selftrain.ops import masks
from official_selftrain.serving import modules
from tests.testing import tiny_run

_SIZES = ((40, 30), (64, 96), (150, 100))


def _params(override):
  name = 'segmentation_supervised'
  return config.load_experiment(name, tiny_run.config_files(name), override)


def _module(params):
  tf.keras.utils.set_random_seed(5)
  module = modules.MODULES.lookup(params.task)(
    params=params,
    batch_size=None,
    input_image_size=list(params.task.model.input_size[:2]),
    input_type='image_bytes',
    input_name='inputs',
  )
  for variable in module.model.trainable_variables:
    if variable.shape.rank == 4 and variable.shape[-1] == params.task.model.num_classes:
      variable.assign(tf.random.stateless_normal(variable.shape, [1, 2], stddev=5.0))
  return module


def _images():
  rng = np.random.default_rng(0)
  for size in _SIZES:
    coarse = rng.uniform(0, 255, [1, 4, 4, 3])
    yield tf.cast(tf.image.resize(coarse, size, 'bicubic'), tf.uint8)[0].numpy()


def _evaluated(params, model, image):
  """Classes at the image's own size, on the way of evaluation."""
  parse = dataloaders.evaluation_parser(params.task.model, params.task.validation_data)
  mask = tf.zeros([*image.shape[:2], 1], tf.uint8)
  fitted, labels = parse({'image': tf.constant(image), 'semantic_mask': mask})
  logits = model(fitted[tf.newaxis], training=False)['logits']
  full = tf.image.resize(logits, labels['masks'].shape[:2])
  return tf.argmax(masks.to_original(full[0], labels['image_info']), -1).numpy()


class FrameTest(tf.test.TestCase, parameterized.TestCase):
  @parameterized.parameters(
    ('', (64, 64)),
    ('task.validation_data.output_size=[96,128]', (96, 128)),
    ('task.validation_data.output_size=[96,128],task.validation_data.at_own_size=true', (96, 128)),
  )
  def test_masks_are_those_of_evaluation(self, override, frame):
    params = _params(override)
    expected_params = params.replace()
    module = _module(params)
    self.assertEqual(tuple(module.params.task.model.input_size), (*frame, 3))
    images = list(_images())
    encoded = tf.constant([tf.io.encode_png(image).numpy() for image in images])
    found = module.inference_from_image_bytes(encoded)
    for i, image in enumerate(images):
      height, width = image.shape[:2]
      expected = _evaluated(expected_params, module.model, image)
      self.assertGreater(len(np.unique(expected)), 1)
      self.assertAllEqual(found['image_sizes'][i], [height, width])
      for classes in (
        found['classes'][i, :height, :width],
        module.answer_pixels(tf.constant(image[np.newaxis]))['classes'][0],
      ):
        self.assertGreater(np.mean(classes == expected), 0.999)

  def test_at_own_size_is_not_what_it_is_without(self):
    found = []
    for value in ('true', 'false'):
      module = _module(_params(f'task.validation_data.at_own_size={value}'))
      image = next(_images())
      found.append(module.answer_pixels(tf.constant(image[np.newaxis]))['confidences'][0])
    self.assertGreater(np.max(np.abs(found[0] - found[1])), 0.01)


if __name__ == '__main__':
  tf.test.main()
