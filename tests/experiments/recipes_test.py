"""The recipes of the paper's tables: what they set, how large their networks are, and that they train."""

import functools
import io
import os
import pathlib
import unittest

import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized
from official.core import task_factory
from PIL import Image

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.core import config, keys
from official_selftrain.modeling import memory

_FOLDER = pathlib.Path(__file__).parents[2] / 'experiments'
_B7, _R50, _R101 = 'coco_efficientnet_b7', 'coco_resnet50', 'coco_resnet101'
_VOC = 'pascal_efficientnet_b7'


def load(*names, override=''):
  """A recipe: files of experiments/ in order; without --experiment, as the last one names it."""
  return config.load_experiment('', [str(_FOLDER / f'{name}.yaml') for name in names], override)


class SettingsTest(parameterized.TestCase, tf.test.TestCase):
  def _row(self, params):
    """Batches, steps of teacher and student, learning rate, alpha."""
    rate = params.trainer.optimizer_config.learning_rate.get()
    data, pseudo = params.task.train_data, params.task.pseudo_data
    return (
      (params.teacher.global_batch_size, data.global_batch_size, pseudo.global_batch_size),
      (params.teacher.trainer.train_steps // 1000, params.trainer.train_steps // 1000),
      getattr(rate, 'initial_learning_rate', None) or rate.values[0],
      params.task.self_training.alpha,
    )

  @parameterized.parameters(
    (_B7, (256, 256, 256), (120, 90), 0.32, 0.5),
    (f'{_B7}_imagenet', (256, 256, 256), (90, 90), 0.32, 1.0),
    (f'{_B7}_half', (256, 256, 256), (90, 90), 0.32, 1.0),
    (f'{_B7}_fifth', (256, 256, 256), (45, 90), 0.32, 3.0),
    (f'{_B7}_joint', (256, 256, 256), (45, 90), 0.32, 2.0),
    (f'{_B7}_joint_imagenet', (256, 256, 256), (5, 90), 0.32, 2.0),
    (f'{_B7}_noisy_student', (256, 256, 256), (45, 45), 0.32, 0.25),
    (f'{_B7}_open_images', (256, 256, 256), (120, 120), 0.32, 0.5),
    (_R50, (256, 256, 256), (200, 120), 0.32, 0.25),
    (f'{_R50}_pretrained', (256, 256, 256), (160, 120), 0.32, 0.25),
    (_R101, (256, 256, 256), (180, 180), 0.32, 0.25),
    (f'{_R101}_open_images', (256, 256, 256), (180, 180), 0.32, 0.5),
    ('coco_spinenet49', (128, 128, 128), (463, 463), 0.14, 0.5),
    ('coco_spinenet143', (128, 128, 128), (472, 472), 0.14, 0.25),
    ('coco_spinenet190', (128, 128, 128), (370, 370), 0.15, 0.5),
    (_VOC, (256, 256, 256), (40, 40), 0.08, 1.0),
    ('pascal_coco', (256, 256, 256), (40, 40), 0.08, 1.0),
    ('pascal_imagenet', (256, 256, 256), (40, 40), 0.08, 1.0),
    ('pascal_trainaug', (256, 256, 256), (40, 40), 0.08, 1.0),
    ('pascal_efficientnet_l2', (256, 128, 128), (20, 20), 0.2, 1.0),
  )
  def test_rows_of_the_paper(self, name, *expected):
    with self.assertNoLogs('absl', 'WARNING'):
      params = load(name)
    self.assertEqual(self._row(params), expected)
    task = params.task
    self.assertEqual(task.model.family, 'original')
    self.assertEqual((task.pseudo_data.cut, task.self_training.ema_decay), (0.5, 0.9997))
    self.assertEqual(task.self_training.student_init, 'teacher')
    self.assertIsNone(getattr(task.pseudo_data, 'ignore_cut', None))
    self.assertTrue(task.model.norm_activation.use_sync_bn)
    policy = 'S3' if 'spinenet' in name else 'S4'
    streams = (task.train_data, task.pseudo_data)
    self.assertEqual([stream.augmentation.policy for stream in streams], [policy] * 2)
    precision = None if name.startswith(_R101) else 'bfloat16'
    self.assertEqual(params.runtime.mixed_precision_dtype, precision)
    self.assertFalse(params.control.enabled)
    self.assertEqual(self._anchor_size(task), 3.0 if name == 'coco_spinenet49' else 4.0)
    if name.startswith('coco'):
      self.assertEqual(task.model.num_classes, 91)
      self.assertEqual(task.annotation_file, 'data/coco/instances_val2017.json')

  def _anchor_size(self, task):
    """Of detection; masks have none, and pass as the authors' usual one."""
    return task.model.anchor.anchor_size if hasattr(task.model, 'anchor') else 4.0

  def test_the_base_of_a_recipe_may_be_named_as_well(self):
    for below, name in ((_B7, f'{_B7}_open_images'), (_VOC, 'pascal_coco')):
      self.assertEqual(config.flatten(load(below, name)), config.flatten(load(name)))

  @parameterized.parameters(
    ('coco_spinenet49', (0.5, 2.0)),
    ('coco_spinenet143', (0.1, 1.9)),
    ('coco_spinenet190', (0.1, 1.9)),
  )
  def test_teachers_of_spinenet_learn_without_s3(self, name, jitter):
    teacher = load(name).teacher.augmentation
    self.assertEqual((teacher.policy, teacher.jitter()), ('S1', jitter))
    self.assertIsNone(load(_R50).teacher.augmentation)

  def test_what_sets_a_network_apart(self):
    b7, r101, large = load(_B7), load(_R101), load('coco_spinenet190')
    clip = [p.trainer.optimizer_config.optimizer.get().global_clipnorm for p in (b7, r101, large)]
    self.assertEqual(clip, [None, None, 10.0])
    self.assertEqual([p.task.losses.l2_weight_decay for p in (b7, large)], [1e-4, 4e-5])
    self.assertEqual(r101.task.pseudo_data.augmentation.rand_augment.magnitude, 15)
    self.assertEqual(large.task.model.detection_generator.soft_nms_sigma, 0.3)
    self.assertIsNone(b7.task.model.detection_generator.soft_nms_sigma)
    rate = large.teacher.trainer.optimizer_config.learning_rate.get()
    self.assertAllClose(np.divide(rate.boundaries, 370_000), [0.925, 0.975])
    voc = load(_VOC)
    self.assertFalse(voc.task.losses.use_groundtruth_dimension)
    self.assertEqual(voc.labels.scales, [0.5, 0.75, 1.0, 1.25, 1.5, 1.75])
    self.assertEqual(voc.task.losses.l2_weight_decay, 1e-5)
    self.assertEqual(load('pascal_trainaug').task.train_data.input_path[:17], 'data/voc/trainaug')
    names = voc.dataset.class_names
    self.assertEqual((len(names), names[0], names[-1]), (20, 'aeroplane', 'tvmonitor'))

  def test_shares_of_coco(self):
    shares = {'': 1.0, '_half': 0.5, '_fifth': 0.2, '_joint': 0.2, '_joint_imagenet': 0.2}
    for suffix, share in shares.items():
      self.assertEqual(load(f'{_B7}{suffix}').task.supervised().train_data.fraction, share)

  def test_joint_rows(self):
    for suffix, steps in (('_joint', 45_000), ('_joint_imagenet', 5_625)):
      params = load(f'{_B7}{suffix}')
      joint = params.task.joint
      self.assertEqual((joint.weight, joint.num_classes, joint.input_size), (0.2, 1000, [224, 224]))
      self.assertEqual(joint.data.global_batch_size, 256)
      self.assertEqual(params.teacher.trainer.train_steps, steps)
    self.assertEqual(
      (params.init, params.pretraining.checkpoint), ('imagenet', 'imported/efficientnet_b7')
    )

  def test_backbones(self):
    with self.assertNoLogs('absl', 'WARNING'):
      classes, simclr = load('imagenet_efficientnet_b7'), load('simclr_resnet50')
    epochs = classes.trainer.train_steps * classes.task.train_data.global_batch_size / 1.28e6
    self.assertAllClose(epochs, 350, rtol=0.01)
    epochs = simclr.trainer.train_steps * simclr.task.train_data.global_batch_size / 1.28e6
    self.assertAllClose(epochs, 1000, rtol=0.01)
    rate = simclr.trainer.optimizer_config.learning_rate.get().initial_learning_rate
    self.assertAllClose(rate, 0.3 * simclr.task.train_data.global_batch_size / 256)
    # A factor of half the sum of squares, as EfficientNet's own 1e-5 is.
    self.assertEqual(classes.task.losses.l2_weight_decay, 1e-5)
    policy = classes.task.train_data.augmentation
    self.assertEqual((policy.policy, policy.auto_augment.version), ('S2', 'imagenet'))
    # The detectors that start from them have the same networks.
    detector = load(_R50).task.model
    for name in ('family', 'backbone', 'norm_activation'):
      ours, theirs = simclr.task.model.as_dict()[name], detector.as_dict()[name]
      self.assertEqual(ours, theirs, name)
    detector = load(_B7).task.model
    self.assertEqual(classes.task.model.backbone.as_dict(), detector.backbone.as_dict())


class SizeTest(parameterized.TestCase, tf.test.TestCase):
  """Numbers of trained values; those of segmentation without the unused classifier that the paper counts.

  Those of other networks are in `TrainingTest`.
  """

  def assert_num_values(self, name, expected):
    params = load(name, override='runtime.mixed_precision_dtype=null')
    with memory.without_values():
      model = task_factory.get_task(params.task).build_model()
    self.assertEqual(memory.num_values(model.trainable_variables), expected)

  @parameterized.parameters((_R101, 53_083_287), (_B7, 73_694_247))
  def test_networks(self, name, expected):
    self.assert_num_values(name, expected)

  @parameterized.parameters(
    ('coco_spinenet190', 163_637_351),
    ('pascal_efficientnet_l2', 485_972_801 - 5_505_000),
  )
  @pytest.mark.slow
  def test_giants(self, name, expected):
    self.assert_num_values(name, expected)


def _encoded(array, kind):
  stream = io.BytesIO()
  Image.fromarray(array).save(stream, kind)
  return stream.getvalue()


@functools.cache
def _record():
  """A labelled image with two boxes and a mask, serialized."""
  values = np.random.RandomState(0).randint(0, 256, [96, 120, 3], np.uint8)
  mask = np.zeros([96, 120], np.uint8)
  mask[20:60, 30:90] = 7
  example = tf.train.Example()
  feature = example.features.feature
  feature[keys.IMAGE_ENCODED].bytes_list.value.append(_encoded(values, 'PNG'))
  feature['image/segmentation/class/encoded'].bytes_list.value.append(_encoded(mask, 'PNG'))
  feature['image/source_id'].bytes_list.value.append(b'1')
  feature['image/height'].int64_list.value.append(96)
  feature['image/width'].int64_list.value.append(120)
  for side, edges in {
    'ymin': (0.1, 0.4),
    'xmin': (0.2, 0.3),
    'ymax': (0.7, 0.9),
    'xmax': (0.6, 0.9),
  }.items():
    feature[f'image/object/bbox/{side}'].float_list.value.extend(edges)
  feature['image/object/class/label'].int64_list.value.extend([3, 90])
  feature['image/object/is_crowd'].int64_list.value.extend([0, 0])
  feature['image/object/area'].float_list.value.extend([400.0, 500.0])
  return example.SerializeToString()


def _batch(task, stream):
  """Two images, augmented as the recipe says."""
  records = tf.data.Dataset.from_tensors(_record()).repeat(2).enumerate()
  decode = task.decoder(stream)
  examples = records.map(lambda ordinal, record: (ordinal, decode(record)))
  return next(iter(task.training_parser(stream).parse_stream(examples, 1).batch(2)))


class TrainingTest(parameterized.TestCase, tf.test.TestCase):
  """Two real steps in float32 on 128 pixels, of a network of each kind."""

  @parameterized.parameters(
    (_R50, 34_091_159),
    (_R101, 53_083_287),
    (_B7, 73_694_247),
    ('coco_spinenet143', 66_959_511),
    (_VOC, 71_731_837 - 2_561_000),
  )
  @pytest.mark.slow
  def test_two_steps(self, name, trained):
    self.assert_two_steps(name, trained)

  @parameterized.parameters(
    ('coco_spinenet190', 163_637_351), ('pascal_efficientnet_l2', 480_467_801)
  )
  @unittest.skipUnless(os.environ.get('GIANTS'), 'takes 13 GiB; GIANTS=1 runs it')
  def test_two_steps_of_the_giants(self, name, trained):
    self.assert_two_steps(name, trained)

  def assert_two_steps(self, name, trained):
    """Asserts that a recipe's student takes two steps that move all that they should."""
    tf.keras.backend.clear_session()
    override = 'task.model.input_size=[128,128,3],runtime.mixed_precision_dtype=null'
    params = load(name, override=override)
    task = task_factory.get_task(params.task)
    model = task.build_model()
    self.assertEqual(memory.num_values(model.trainable_variables), trained)
    optimizer = task.create_optimizer(_schedule(params.trainer), params.runtime)
    sources = {keys.HUMAN: params.task.train_data, keys.PSEUDO: params.task.pseudo_data}
    inputs = {source: _batch(task, stream) for source, stream in sources.items()}
    before = [tf.identity(variable) for variable in model.trainable_variables]
    losses = [float(task.train_step(inputs, model, optimizer)[task.loss]) for _ in range(2)]
    self.assertEqual(optimizer.iterations.numpy(), 2)
    self.assertAllInRange(losses, 0.5, 200.0)
    # Scales and offsets of levels without objects hardly move. Kernels do, but for the one before EfficientNet's
    # classifier, which no output uses and whose weight decay is below the rounding of float32.
    still = [
      variable.name
      for variable, value in zip(model.trainable_variables, before, strict=True)
      if len(variable.shape) > 1 and np.array_equal(variable, value)
    ]
    self.assertLen(still, 1 if name.startswith('pascal') else 0, still)
    average = model.loss_averages
    self.assertGreater(float(average.human), 0.0)


def _schedule(trainer):
  """Optimizer settings with the length that the pipeline gives them."""
  settings = trainer.optimizer_config.replace()
  rate = settings.learning_rate.get()
  if hasattr(rate, 'decay_steps'):
    rate.decay_steps = trainer.train_steps
  return settings


if __name__ == '__main__':
  tf.test.main()
