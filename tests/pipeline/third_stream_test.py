"""A task with a third stream, images with one class each, through the real pipeline: the proof that streams are data.

It trains, resumes to the bit, logs, and says which stream a loss or a record went wrong in.
"""

import dataclasses
import itertools
import json
import os
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from official.core import task_factory

from official_selftrain.configs import detection as configs
from official_selftrain.core import errors, keys
from official_selftrain.pipeline import actions, jobs, training
from official_selftrain.tasks import detection, stream_specs
from tests.testing import damage, tiny_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CLASSES = 'classes'


@dataclasses.dataclass
class ThreeStreamsTask(configs.DetectionSelfTrainingTask):
  """Self-training with a stream of images that have one class each."""

  classes_data: configs.DataConfig = dataclasses.field(
    default_factory=lambda: configs.DataConfig(is_training=True, global_batch_size=3)
  )
  weight: float = 0.5


class _FirstClassParser:
  """Small pictures and the class of their first box."""

  def parse_stream(self, dataset, stream_seed):
    del stream_seed

    def parse(_, example):
      image = tf.image.resize(tf.cast(example['image'], tf.float32) / 255.0, [64, 64])
      return image, {'class': tf.cast(example[keys.GROUNDTRUTH_CLASSES][0], tf.int32)}

    return dataset.map(parse, num_parallel_calls=2, deterministic=True)


@task_factory.register_task_cls(ThreeStreamsTask)
class _ThreeStreams(detection.DetectionSelfTrainingTask):
  """Sends the third stream through the backbone to a head of its own."""

  def build_model(self):
    model = super().build_model()
    model.classifier = tf.keras.layers.Dense(11, kernel_initializer='zeros')
    model.classifier.build([None, model.backbone.output_specs['5'][-1]])
    return model

  def training_streams(self):
    base = self.labelled_stream(CLASSES, 'classes_data', 7, stream_specs.Role.EXTRA)
    own = dataclasses.replace(
      base,
      weight=self.task_config.weight,
      parser=lambda params: _FirstClassParser(),
      log_names=('loss', 'accuracy'),
    )
    return (*super().training_streams(), own)

  def forward(self, model, features):
    boxes = {name: value for name, value in features.items() if name != CLASSES}
    if CLASSES not in features:
      return super().forward(model, boxes)
    maps = model.backbone(features[CLASSES], training=True)
    logits = model.classifier(tf.reduce_mean(maps['5'], [1, 2]))
    return {**super().forward(model, boxes), CLASSES: tf.cast(logits, tf.float32)}

  def stream_losses(self, stream, outputs, labels):
    if stream.name != CLASSES:
      return super().stream_losses(stream, outputs, labels)
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels['class'], outputs)
    right = tf.equal(tf.argmax(outputs, -1, tf.int32), labels['class'])
    return {
      'model_loss': tf.reduce_mean(loss),
      'accuracy': tf.reduce_mean(tf.cast(right, tf.float32)),
    }

  def stream_statistics(self, stream, labels):
    return {} if stream.name == CLASSES else super().stream_statistics(stream, labels)


def _job(name, steps, **changes):
  """A student with three streams; its schedule does not depend on where it stops."""
  files, finished = tiny_run.data(), tiny_run.finished()
  params = tiny_run.load().replace()
  params.task.train_data.input_path = files.train
  params.task.pseudo_data.input_path = files.unlabelled
  params.task.validation_data.input_path = files.validation
  params.task.pseudo_data.label_dir = os.path.join(finished, 'labels', 'round-1')
  params.trainer.optimizer_config.learning_rate.cosine.decay_steps = 4
  task = ThreeStreamsTask()
  task.override(params.task.as_dict())
  task.override({'classes_data': {'input_path': files.train}})
  task.override(changes)
  trainer = params.trainer.replace(train_steps=steps)
  experiment = training.job_experiment(task, trainer, params.runtime)
  made = jobs.Jobs(params, '').make('student')
  folder = os.path.join(tiny_run.root(), 'three-streams', name)
  return dataclasses.replace(made, model_dir=folder, params=experiment)


def _train(name, steps, **changes):
  """Trains or resumes, and returns the model directory."""
  job = _job(name, steps, **changes)
  training.run(job, 'train')
  return job.model_dir


class ThirdStreamTest(tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.whole = _train('whole', steps=4)

  def test_it_trains_and_logs(self):
    curves = actions.read_history(self.whole)
    names = {f'{stream}_loss' for stream in (keys.HUMAN, keys.PSEUDO, CLASSES)}
    self.assertContainsSubset({*names, f'{CLASSES}_accuracy', 'loss_ratio'}, curves)
    losses = [value for _, value in curves[f'{CLASSES}_loss']]
    # A classifier of zeros starts at log(11).
    self.assertBetween(losses[0], 0.5 * np.log(11), 1.5 * np.log(11))
    self.assertTrue(np.isfinite(losses).all())

  def test_it_resumes_to_the_bit(self):
    _train('pieces', steps=2)
    self.assert_like_the_whole(_train('pieces', steps=4))

  def test_it_trains_and_resumes_on_images_with_a_url_to_the_bit(self):
    """In TensorFlow's file system in memory."""
    files = tiny_run.data()
    changes = {}
    streams = ('train_data', files.train), ('pseudo_data', files.unlabelled)
    for name, pattern in (*streams, ('classes_data', files.train)):
      for path in tf.io.gfile.glob(pattern):
        tf.io.gfile.copy(path, f'ram://{name}/{os.path.basename(path)}')
      changes[name] = {'input_path': f'ram://{name}/{os.path.basename(pattern)}'}
    _train('remote', steps=2, **changes)
    self.assert_like_the_whole(_train('remote', steps=4, **changes))

  def assert_like_the_whole(self, model_dir):
    left, right = (tf.train.load_checkpoint(path) for path in (self.whole, model_dir))
    types = left.get_variable_to_dtype_map()
    self.assertEqual(types, right.get_variable_to_dtype_map())
    floats = [name for name, dtype in types.items() if dtype == tf.float32]
    self.assertTrue(any('classifier' in name for name in floats))
    differing = [n for n in floats if left.get_tensor(n).tobytes() != right.get_tensor(n).tobytes()]
    self.assertEqual(differing, [])

  def test_with_weight_0_a_run_is_to_the_bit_one_that_never_had_it(self):
    without = _train('without', steps=2, weight=0.0)
    names = set(actions.read_history(without))
    self.assertFalse(any(name.startswith(CLASSES) for name in names), names)
    with mock.patch.object(
      _ThreeStreams, 'training_streams', detection.DetectionSelfTrainingTask.training_streams
    ):
      never = _train('never', steps=2)
    left, right = (tf.train.load_checkpoint(path) for path in (without, never))
    floats = [n for n, dtype in left.get_variable_to_dtype_map().items() if dtype == tf.float32]
    differing = [n for n in floats if left.get_tensor(n).tobytes() != right.get_tensor(n).tobytes()]
    self.assertEqual(differing, [])
    head = 'model/classifier/kernel/.ATTRIBUTES/VARIABLE_VALUE'
    self.assertEqual(float(np.abs(left.get_tensor(head)).max()), 0.0)
    self.assertGreater(
      float(np.abs(tf.train.load_checkpoint(self.whole).get_tensor(head)).max()), 0
    )

  def test_a_loss_that_is_not_finite_is_named_by_its_stream(self):
    with self.assertRaisesRegex(
      errors.NonFiniteLossError, f'^student: the {CLASSES} loss became NaN or infinite at step 1'
    ):
      with mock.patch.object(
        _ThreeStreams,
        'stream_losses',
        _poisoned(_ThreeStreams.stream_losses),
      ):
        _train('poisoned', steps=2)

  def test_a_loss_that_is_not_finite_once_is_rolled_back(self):
    job = _job('rolled-back', steps=4)
    job.params.trainer.recovery_max_trials = 1
    done = itertools.count(1)

    def third_is_bad():
      return tf.numpy_function(
        lambda: np.float32(np.nan if next(done) == 3 else 1.0), [], tf.float32
      )

    poisoned = _poisoned(_ThreeStreams.stream_losses, third_is_bad)
    with mock.patch.object(_ThreeStreams, 'stream_losses', poisoned):
      training.run(job, 'train')
    # Two steps and a checkpoint, two that were undone, and two in their place.
    self.assertEqual(next(done), 7)
    self.assertEqual(training.finished_steps(job.model_dir), 4)
    with open(os.path.join(job.model_dir, actions.HISTORY_FILE), encoding='utf-8') as history:
      reports = [json.loads(line) for line in history]
    self.assertEqual([report['step'] for report in reports], [2, 4, 4])
    for name in ('training_loss', f'{CLASSES}_loss'):
      is_finite = [np.isfinite(report[name]) for report in reports]
      self.assertEqual(is_finite, [True, False, True], name)
    weights = tiny_run.weights(job.model_dir)
    self.assertEqual(weights.keys(), tiny_run.weights(self.whole).keys())
    self.assertEqual([name for name, value in weights.items() if not np.isfinite(value).all()], [])

  def test_a_bad_record_is_named_with_the_stream_it_is_in(self):
    copy, _ = tiny_run.copy_of_data(os.path.join(tiny_run.root(), 'three-streams-damaged'))
    path = damage.one_file(copy.train)
    damage.change(path, 2, damage.break_image)
    with self.assertRaisesRegex(
      errors.DataError,
      rf'^student: .*{os.path.basename(path)}, record 2: .*task\.classes_data\.skip',
    ):
      _train('damaged', steps=4, classes_data={'input_path': path})


def _poisoned(stream_losses, factor=lambda: np.nan):
  def losses(self, stream, outputs, labels):
    found = stream_losses(self, stream, outputs, labels)
    if stream.name == CLASSES:
      found['model_loss'] = found['model_loss'] * factor()
    return found

  return losses


if __name__ == '__main__':
  tf.test.main()
