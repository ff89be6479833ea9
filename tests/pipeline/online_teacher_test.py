"""Labels made in each step: equal to those on disk for the same weights, moving averages in NumPy, replicas, resume."""

import dataclasses
import functools
import os

import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized

from official_selftrain.core import keys
from official_selftrain.dataloaders import detection as detection_parsing
from official_selftrain.dataloaders import segmentation as segmentation_parsing
from official_selftrain.dataloaders import teacher_views
from official_selftrain.pipeline import labelling
from official_selftrain.tasks import contract, online_teacher
from tests.testing import replicas, tiny_run


def setUpModule():
  replicas.make_devices()


def _batches(task, count):
  batches = task.build_inputs(task.task_config.train_data)
  return [tf.nest.map_structure(tf.identity, batch) for batch in batches.take(count)]


def _task(experiment, override='', label_dir=''):
  """The task of a student whose labels on disk are those of the shared finished run, or of another folder."""
  parts = filter(None, ['task.self_training.online_teacher.enabled=true', override])
  return contract.make(tiny_run.load_student(experiment, ','.join(parts), label_dir).task)


@functools.cache
def _opinionated_teacher():
  """A detector with random opinions, as a checkpoint, and the folder of its labels for the unlabelled images."""
  params = tiny_run.load()
  # Its layers start at random: without a seed, how many boxes it sees depends on the tests before.
  tf.keras.utils.set_random_seed(1)
  model = contract.make(params.task).build_model()
  # Features are small in a network without training.
  for name, deviation in (('scores/kernel', 6.0), ('boxes/kernel', 5.0)):
    (kernel,) = [each for each in model.head.trainable_variables if name in each.name]
    kernel.assign(tf.random.stateless_normal(kernel.shape, [1, 2], stddev=deviation))
  folder = os.path.join(tiny_run.root(), 'opinionated')
  checkpoint = tf.train.Checkpoint(
    global_step=tf.Variable(0, dtype=tf.int64), **model.checkpoint_items
  )
  prefix = checkpoint.write(os.path.join(folder, 'ckpt-0'))
  labels = os.path.join(folder, 'labels')
  images = tuple(sorted(tf.io.gfile.glob(tiny_run.data().unlabelled)))
  request = labelling.Request(
    task=params.task,
    labels=params.labels,
    teacher=prefix,
    images=images,
    output_dir=labels,
    runtime=params.runtime,
  )
  labelling.run(request)
  return prefix, labels


class SameLabelsTest(tf.test.TestCase, parameterized.TestCase):
  """A teacher that has not moved says in the step what it said on disk."""

  @parameterized.parameters(('none', False), ('S4', False), ('none', True))
  def test_boxes(self, policy, is_soft):
    pseudo = 'task.pseudo_data'
    prefix, label_dir = _opinionated_teacher()
    task = _task(
      tiny_run.SELFTRAIN,
      f'{pseudo}.augmentation.policy={policy},{pseudo}.augmentation.exclude_ops=[Flip],{pseudo}.global_batch_size=24,'
      f'{pseudo}.cut=0.3,{pseudo}.ignore_cut=0.15,{pseudo}.soft_labels={is_soft}',
      label_dir,
    )
    self.assertIs(task.label_cuts(task.task_config.pseudo_data).is_soft, is_soft)
    model = labelling.load_model(task, prefix)
    task.initialize(model)
    (inputs,) = _batches(task, 1)
    now = tf.function(task.pseudo_targets)(inputs, model)[keys.PSEUDO][1]
    on_disk = inputs[keys.PSEUDO][1]
    tf.nest.assert_same_structure(now, on_disk)
    self.assertGreater(int(tf.reduce_sum(on_disk['num_boxes'])), 20)
    self.assertAllEqual(now['num_boxes'], on_disk['num_boxes'])
    # Two boxes of one place may change places where their scores are equal but for rounding.
    for level, classes in on_disk['cls_targets'].items():
      is_same = now['cls_targets'][level] == classes
      self.assertGreater(np.mean(is_same), 0.98)
      offsets = tf.abs(now['box_targets'][level] - on_disk['box_targets'][level])
      taught = tf.repeat(classes >= 0, 4, axis=-1)
      self.assertLessEqual(np.sum(taught & (offsets >= 2e-3)), 0.02 * np.sum(taught) + 4)
    for name in ('cls_weights', 'box_weights', *(['cls_scores'] if is_soft else [])):
      tolerance = 1e-3 if is_soft else 0.0  # Scores on disk are rounded.
      self.assertGreater(np.mean(np.abs(now[name] - on_disk[name]) <= tolerance), 0.99)
    self.assertLess(float(tf.reduce_mean(on_disk['cls_weights'])), 1.0)
    weights = on_disk['box_weights'].numpy()
    self.assertEqual(bool(np.any((weights > 0) & (weights < 1))), is_soft)

  @parameterized.parameters('none', 'S4')
  def test_masks(self, policy):
    # The labels on disk are made once at the image's own size: with one size, they differ where masks were resampled.
    pseudo = 'task.pseudo_data'
    task = _task(
      tiny_run.SEGMENTATION,
      f'{pseudo}.augmentation.policy={policy},{pseudo}.augmentation.exclude_ops=[Flip],{pseudo}.global_batch_size=24',
    )
    model = labelling.load_model(
      task, os.path.join(tiny_run.finished(tiny_run.SEGMENTATION), 'teacher')
    )
    task.initialize(model)
    (inputs,) = _batches(task, 1)
    views = inputs[keys.PSEUDO][0]
    predict = task.labelling_functions(model)[1]
    infos = tf.tile(tf.constant([[[64, 64], [64, 64], [1, 1], [0, 0]]], tf.float32), [24, 1, 1])
    expected = predict({'image': views[keys.TEACHER_IMAGE], 'image_info': infos})['probabilities']
    found = task.online_predictions(model, views[keys.TEACHER_IMAGE])[..., 0]
    kept = tf.reduce_max(expected, -1) >= task.task_config.pseudo_data.cut
    self.assertAllEqual(found, tf.where(kept, tf.argmax(expected, -1), 255))
    now = task.pseudo_targets(inputs, model)[keys.PSEUDO][1]['masks'].numpy()
    on_disk = inputs[keys.PSEUDO][1]['masks'].numpy()
    self.assertEqual(now.dtype, on_disk.dtype)
    # What neither view shows is ignored in both.
    outside = np.ones_like(on_disk, bool)
    for i, (height, width) in enumerate(views[keys.VIEW_SIZE].numpy()):
      outside[i, :height, :width] = False
    self.assertAllEqual(np.unique(now[outside]), np.unique(on_disk[outside]))


class ViewsTest(tf.test.TestCase, parameterized.TestCase):
  """Labels of the weak view, moved, against those that the parser moves itself."""

  @parameterized.product(policy=['S1', 'S3', 'S4'], number=[0, 1, 2])
  def test_boxes_follow_the_image(self, policy, number):
    params = tiny_run.load(override=f'task.pseudo_data.augmentation.policy={policy}')
    parser = detection_parsing.TrainingParser(params.task.model, params.task.pseudo_data)
    parser.weak = dataclasses.replace(parser.weak, flip_probability=0.0)
    truth = np.float32([[0.1, 0.2, 0.5, 0.4], [0.3, 0.6, 0.9, 0.95], [0.0, 0.0, 0.2, 0.2]])
    example = {
      'image': tf.zeros([48, 80, 3], tf.uint8),
      keys.GROUNDTRUTH_BOXES: tf.constant(truth),
      keys.GROUNDTRUTH_CLASSES: tf.constant([1, 2, 3], tf.int64),
      keys.GROUNDTRUTH_IS_CROWD: tf.zeros([3], tf.bool),
    }
    stream = tf.data.Dataset.from_tensors((tf.constant(number, tf.int64), example))
    views, _ = next(iter(teacher_views.TeacherViews(parser).parse_stream(stream, 1)))
    # The image, 48 x 80, fills the upper part of the frame of 64 x 64: times 0.8.
    self.assertAllEqual(views[keys.TEACHER_VIEW_SIZE], [38, 64])
    in_weak = truth * [48, 80, 48, 80] * [38 / 48, 0.8, 38 / 48, 0.8]
    seed = detection_parsing.parsing.tfrecords.example_seed(1, tf.constant(number, tf.int64))
    strong = parser.augment({**example, keys.SEED: seed})
    for mirrored in (False, True):
      if mirrored:
        mirroring = tf.constant([[-1.0, 0, 64], [0, 1, 0], [0, 0, 1]])
        views = {**views, keys.VIEW_MAP: views[keys.VIEW_MAP] @ mirroring}
        in_weak = np.stack(
          [in_weak[:, 0], 64 - in_weak[:, 3], in_weak[:, 2], 64 - in_weak[:, 1]], 1
        )
      moved, is_seen = teacher_views.move_boxes(tf.constant(in_weak, tf.float32), views)
      self.assertAllClose(moved[is_seen], strong[keys.GROUNDTRUTH_BOXES], atol=1e-3)
      self.assertAllEqual(tf.boolean_mask([1, 2, 3], is_seen), strong[keys.GROUNDTRUTH_CLASSES])

  @parameterized.product(policy=['S1', 'S3', 'S4'], number=[0, 1, 2])
  def test_masks_follow_the_image(self, policy, number):
    params = tiny_run.load(
      tiny_run.SEGMENTATION,
      f'task.pseudo_data.augmentation.policy={policy}',
    )
    parser = segmentation_parsing.TrainingParser(params.task.model, params.task.pseudo_data)
    parser.weak = dataclasses.replace(parser.weak, flip_probability=0.0)
    mask = np.zeros([64, 64, 1], np.uint8)
    mask[10:40, 20:30], mask[30:60, 35:60] = 1, 2
    example = {'image': tf.zeros([64, 64, 3], tf.uint8), keys.SEMANTIC_MASK: tf.constant(mask)}
    stream = tf.data.Dataset.from_tensors((tf.constant(number, tf.int64), example))
    views, labels = next(iter(teacher_views.TeacherViews(parser).parse_stream(stream, 1)))
    moved = teacher_views.move_mask(tf.constant(mask), views)
    self.assertAllEqual(moved, labels['masks'])
    self.assertGreater(np.unique(moved).size, 1)

  def test_what_is_hardly_seen_is_left_out(self):
    views = {
      keys.VIEW_MAP: tf.constant([[2.0, 0, -20], [0, 2, 0], [0, 0, 1]]),
      keys.VIEW_SIZE: tf.constant([40, 30]),
      keys.TEACHER_VIEW_SIZE: tf.constant([30, 40]),
    }
    boxes = tf.constant([[0, 0, 10, 10], [5, 8, 15, 13], [0, 11, 35, 45]], tf.float32)
    moved, is_seen = teacher_views.move_boxes(boxes, views)
    # x' = 2 x - 20, y' = 2 y, in a picture of 40 x 30.
    self.assertAllEqual(moved, [[0, 0, 20, 0], [10, 0, 30, 6], [0, 2, 40, 30]])
    self.assertAllEqual(is_seen, [False, True, True])
    # 6 of 10 columns of the second are left; 40 x 28 of the 60 x 58 pixels of the third, a third.
    self.assertAllEqual(teacher_views.move_boxes(boxes, views, 0.5)[1], [False, True, False])

  def test_a_box_beside_the_image_does_not_come_back_when_it_is_turned(self):
    views = {
      keys.VIEW_MAP: tf.constant([[0.8, 0.6, 0], [-0.6, 0.8, 20], [0, 0, 1]]),
      keys.VIEW_SIZE: tf.constant([40, 40]),
      keys.TEACHER_VIEW_SIZE: tf.constant([40, 20]),
    }
    boxes = tf.constant([[10, 10, 20, 20], [10, 20, 20, 30], [10, 15, 20, 30]], tf.float32)
    moved, is_seen = teacher_views.move_boxes(boxes, views)
    self.assertAllEqual(is_seen, [True, False, True])
    # x' = 0.8 x + 0.6 y, y' = 20 - 0.6 x + 0.8 y for x in 15..20 and y in 10..20.
    self.assertAllClose(moved[2], [16, 18, 27, 28])


def _model():
  tf.keras.utils.set_random_seed(1)
  layers = [tf.keras.layers.Dense(3), tf.keras.layers.BatchNormalization(momentum=0.5)]
  model = tf.keras.Sequential(layers)
  model.build([None, 2])
  return model


class AverageTest(tf.test.TestCase, parameterized.TestCase):
  @parameterized.parameters((0, [0.9, 0.9, 0.9]), (2, [1 / 10, 2 / 11, 0.9]))
  def test_equals_numpy(self, warmup_steps, decays):
    student = _model()
    settings = tiny_run.load().task.self_training.online_teacher
    settings.override({'decay': 0.9, 'warmup_steps': warmup_steps})
    teacher = online_teacher.OnlineTeacher(_model, settings)
    for variable in student.weights:
      variable.assign_add(tf.ones_like(variable))
    teacher.copy(student)
    expected = [variable.numpy() for variable in student.weights]
    follow = tf.function(lambda: teacher.follow(student))
    for number, decay in enumerate(decays):
      self.assertEqual(bool(teacher.is_ready()), number >= warmup_steps)
      for variable in student.weights:
        variable.assign_add((number + 1.0) * tf.ones_like(variable))
      follow()
      expected = [
        decay * old + (1 - decay) * new.numpy()
        for old, new in zip(expected, student.weights, strict=True)
      ]
      for mine, value in zip(teacher.model.weights, expected, strict=True):
        self.assertAllClose(mine, value, rtol=1e-6)
    self.assertEqual(int(teacher.updates), 3)
    names = [variable.name for variable in teacher.model.weights]
    self.assertTrue(any('moving_mean' in name for name in names), names)

  def test_is_no_part_of_the_student(self):
    task = _task(tiny_run.SELFTRAIN)
    plain = _task(tiny_run.SELFTRAIN, 'task.self_training.online_teacher.enabled=false')
    model = task.build_model()
    self.assertEqual(len(model.weights), len(plain.build_model().weights))
    mine = {variable.ref() for variable in model.online_teacher.model.weights}
    self.assertFalse(mine & {variable.ref() for variable in model.weights})


def _steps(task, batches, strategy=None, prefix=''):
  """The model after one step on each batch, from the values of a checkpoint if there is one, and its checkpoint."""
  strategy = strategy or tf.distribute.get_strategy()
  with strategy.scope():
    tf.keras.utils.set_random_seed(1)
    model = task.build_model()
    optimizer = tf.keras.optimizers.legacy.SGD(0.01, momentum=0.9)
    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
    if prefix:
      checkpoint.read(prefix)
    else:
      task.initialize(model)

  @tf.function
  def step(inputs):
    strategy.run(lambda share: task.train_step(share, model, optimizer), args=(inputs,))

  for batch in batches:
    step(batch)
  return model, checkpoint


class StepTest(tf.test.TestCase, parameterized.TestCase):
  def test_warm_up_teaches_what_is_on_disk(self):
    override = 'task.self_training.online_teacher.warmup_steps=1'
    task = _task(tiny_run.SELFTRAIN, override)
    batches = _batches(task, 2)
    # A student from random weights, whose average says something else than the teacher on disk.
    model, _ = _steps(task, [])
    first = task.pseudo_targets(batches[0], model)[keys.PSEUDO][1]
    tf.nest.map_structure(self.assertAllEqual, first, batches[0][keys.PSEUDO][1])
    model.online_teacher.updates.assign(1)
    second = task.pseudo_targets(batches[0], model)[keys.PSEUDO][1]
    weights = [labels['box_weights'].numpy().tolist() for labels in (first, second)]
    self.assertNotEqual(*weights)

  def test_parts_of_a_batch(self):
    plain = _task(tiny_run.SELFTRAIN)
    parts = _task(tiny_run.SELFTRAIN, 'task.gradient_accumulation_steps=2')
    (batch,) = _batches(plain, 1)
    model, _ = _steps(plain, [])
    now = plain.pseudo_targets(batch, model)[keys.PSEUDO][1]
    logs = []
    for task in (plain, parts):
      metrics = task.build_metrics(training=True)
      model, _ = _steps(task, [])
      logs.append(task.train_step(batch, model, tf.keras.optimizers.legacy.SGD(0.0), metrics))
    expected = np.sum(now['box_weights']) / len(now['num_boxes'])
    for each in logs:
      self.assertAllClose(each['pseudo_positives_per_image'], expected)


# A mark on a parameterized method would be lost.
@pytest.mark.slow
class GoesOnTest(tf.test.TestCase, parameterized.TestCase):
  @parameterized.parameters(tiny_run.SELFTRAIN, tiny_run.SEGMENTATION)
  def test_resume(self, experiment):
    task = _task(experiment, 'task.self_training.online_teacher.decay=0.5')
    batches = _batches(task, 4)
    whole, _ = _steps(task, batches)
    _, checkpoint = _steps(task, batches[:2])
    prefix = checkpoint.write(os.path.join(self.get_temp_dir(), 'ckpt'))
    resumed, _ = _steps(task, batches[2:], prefix=prefix)
    self.assertEqual(int(resumed.online_teacher.updates), 4)
    for left, right in zip(
      whole.online_teacher.model.weights, resumed.online_teacher.model.weights, strict=True
    ):
      self.assertAllClose(left, right, rtol=1e-4, atol=1e-6)
    student, teacher = whole.weights, whole.online_teacher.model.weights
    self.assertNotAllClose(student[0], teacher[0], rtol=1e-6, atol=0)

  def test_two_replicas_follow_as_one(self):
    override = (
      'task.self_training.online_teacher.decay=0.5,task.model.norm_activation.use_sync_bn=true'
    )
    task = _task(tiny_run.SELFTRAIN, override)
    batches = _batches(task, 3)
    one, _ = _steps(task, batches, tf.distribute.OneDeviceStrategy('CPU:0'))
    strategy = replicas.two_replicas()

    def shares(batch):
      def of_replica(context):
        place = context.replica_id_in_sync_group
        return tf.nest.map_structure(lambda tensor: tensor[place : place + 1], batch)

      return strategy.experimental_distribute_values_from_function(of_replica)

    two, _ = _steps(task, [shares(batch) for batch in batches], strategy)
    self.assertEqual(int(two.online_teacher.updates.values[1]), 3)
    for left, right in zip(
      one.online_teacher.model.weights, two.online_teacher.model.weights, strict=True
    ):
      self.assertAllClose(left.numpy(), right.values[0].numpy(), rtol=1e-3, atol=1e-5)
      self.assertAllEqual(right.values[0].numpy(), right.values[1].numpy())


if __name__ == '__main__':
  tf.test.main()
