"""Every recipe labels, trains, evaluates and exports in the precision that it sets, on small images and networks."""

import functools
import io
import json
import os
import pathlib
import re
import tempfile
import unittest

import numpy as np
import pytest
import tensorflow as tf
import yaml
from absl.testing import parameterized
from official.core import task_factory
from PIL import Image

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.configs import detection
from official_selftrain.core import config, keys
from official_selftrain.modeling import precision
from official_selftrain.pseudo_labels import labeller
from official_selftrain.pseudo_labels import manifest as manifests
from official_selftrain.serving import exports

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

_FOLDER = pathlib.Path(__file__).parents[2] / 'experiments'
# They train no detector or segmenter.
_BACKBONES = ('imagenet_efficientnet_b7', 'simclr_resnet50')
_RECIPES = sorted(path.stem for path in _FOLDER.glob('*.yaml') if path.stem not in _BACKBONES)
_IN_BFLOAT16 = ('coco_efficientnet', 'coco_resnet50', 'coco_spinenet', 'pascal_')
# What a recipe's command adds where it starts from weights; the walks need none.
_START = re.compile(r'--params_override=(init=imagenet,\S+)')
_SIDE = 128


def _path(name):
  return str(_FOLDER / f'{name}.yaml')


def _experiment(name):
  """What a recipe names, or the experiment on embedded images that it changes."""
  layers = config.read_override_layers(_path(name))
  named = [overrides['experiment'] for overrides, _ in layers if 'experiment' in overrides]
  return named[-1] if named else 'retinanet_selftrain'


def _jpeg(seed):
  values = np.random.default_rng(seed).integers(0, 256, [96, 120, 3], np.uint8)
  stream = io.BytesIO()
  Image.fromarray(values).save(stream, 'JPEG')
  return stream.getvalue()


def _write_images(path):
  """Two images, each with two boxes and a mask, in one file."""
  mask = np.zeros([96, 120], np.uint8)
  mask[20:60, 30:90] = 7
  stream = io.BytesIO()
  Image.fromarray(mask).save(stream, 'PNG')
  boxes = {'ymin': (0.1, 0.4), 'xmin': (0.2, 0.3), 'ymax': (0.7, 0.9), 'xmax': (0.6, 0.9)}
  with tf.io.TFRecordWriter(path) as writer:
    for index in (1, 2):
      example = tf.train.Example()
      feature = example.features.feature
      feature[keys.IMAGE_ENCODED].bytes_list.value.append(_jpeg(index))
      feature['image/segmentation/class/encoded'].bytes_list.value.append(stream.getvalue())
      feature['image/source_id'].bytes_list.value.append(b'%d' % index)
      feature['image/height'].int64_list.value.append(96)
      feature['image/width'].int64_list.value.append(120)
      for side, edges in boxes.items():
        feature[f'image/object/bbox/{side}'].float_list.value.extend(edges)
      feature['image/class/label'].int64_list.value.append(index)
      feature['image/object/class/label'].int64_list.value.extend([3, 7])
      feature['image/object/is_crowd'].int64_list.value.extend([0, 0])
      feature['image/object/area'].float_list.value.extend([400.0, 500.0])
      writer.write(example.SerializeToString())


def _small_images(folder, is_detection, is_joint):
  """Settings for two images of 128 pixels; low thresholds, so that networks that learned nothing find something."""
  images = os.path.join(folder, 'images.tfrecord')
  stream = {'input_path': images, 'global_batch_size': 2, 'shuffle_buffer_size': 2}
  settings = {
    'task': {
      'model': {'input_size': [_SIDE, _SIDE, 3]},
      'train_data': stream,
      'pseudo_data': {**stream, 'label_dir': os.path.join(folder, 'labels')},
      'validation_data': {'input_path': images, 'global_batch_size': 2},
      'init_checkpoint': '',
    },
    'labels': {'batch_size': 2},
  }
  if is_joint:
    settings['task']['joint'] = {'data': stream, 'input_size': [64, 64]}
  if is_detection:
    settings['task']['annotation_file'] = ''
    settings['task']['model']['detection_generator'] = {
      'pre_nms_score_threshold': 0.001,
      'pre_nms_top_k': 100,
    }
    settings['labels']['min_score'] = 0.001
  else:
    settings['labels']['scales'] = [0.5, 1.0]
  return settings


def _small_network(model):
  """The smallest network of each kind that a `task.model` can have."""
  kind = model.backbone.type
  size = {'efficientnet': 'b0', 'resnet': 50, 'spinenet': 'nano'}[kind]
  changes = {
    'backbone': {kind: {'model_id': size}},
    'head': {'num_convs': 1, 'num_filters': 32},
  }
  decoder = model.decoder.type
  if decoder == 'fpn':
    changes['decoder'] = {decoder: {'num_filters': 32}}
  elif decoder == 'nasfpn':
    changes['decoder'] = {decoder: {'num_filters': 32, 'num_repeats': 1}}
  return changes


def _load(name, folder, is_small=True):
  experiment = _experiment(name)
  start = _START.search(pathlib.Path(_path(name)).read_text(encoding='utf-8'))
  overrides = start.group(1) if start else ''
  params = config.load_experiment(experiment, [_path(name)], overrides)
  is_detection = isinstance(params.task, detection.DetectionTask)
  settings = _small_images(folder, is_detection, params.task.joint.weight > 0)
  if is_small:
    settings['task']['model'] |= _small_network(params.task.model)
  path = os.path.join(folder, 'small.yaml')
  pathlib.Path(path).write_text(yaml.safe_dump(settings), encoding='utf-8')
  return config.load_experiment(experiment, [_path(name), path], overrides)


class _Walk:
  """One network from labelling to its export; recipes that differ in nothing that concerns it share a walk."""

  def __init__(self, params, folder):
    self.params, self.folder = params, folder
    self.images = os.path.join(folder, 'images.tfrecord')
    _write_images(self.images)
    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(0)
    self.task = task_factory.get_task(params.task)
    self.model = self.task.build_model()
    self.task.make_variables(self.model)
    self.labels = self._label()
    self.losses = self._train()
    self.metrics = self._evaluate()
    self.exported, self.expected = self._export()

  def _label(self):
    """Labels both images; returns the features of their records by name."""
    settings = self.params.labels
    preprocess, predict = self.task.labelling_functions(self.model, settings)
    worker = labeller.Labeller(
      self.task.label_format(settings),
      preprocess,
      predict,
      manifests.Provenance(),
      batch_size=settings.batch_size,
    )
    folder = os.path.join(self.folder, 'labels')
    (entry,) = worker.run([self.images], folder).shards
    records = tf.data.TFRecordDataset(os.path.join(folder, entry.label_file))
    return [tf.train.Example.FromString(record.numpy()).features.feature for record in records]

  def _train(self):
    """One step of the student; returns what it logs."""
    optimizer = self.task.create_optimizer(_with_length(self.params), self.params.runtime)
    inputs = next(iter(self.task.build_inputs(self.params.task.train_data)))
    metrics = self.task.build_metrics(training=True)
    logs = self.task.train_step(inputs, self.model, optimizer, metrics)
    return {name: float(value) for name, value in logs.items()}

  def _evaluate(self):
    """Metrics on both images."""
    self.task.build_metrics(training=False)
    state = None
    for inputs in self.task.build_inputs(self.params.task.validation_data):
      logs = self.task.validation_step(inputs, self.model)
      state = self.task.aggregate_logs(state, tf.nest.map_structure(lambda value: (value,), logs))
    found = self.task.reduce_aggregated_logs(state)
    return {name: float(value) for name, value in found.items()}

  def _export(self):
    """What the exported model finds in both images, and what the model itself does."""
    prefix = tf.train.Checkpoint(model=self.model).write(os.path.join(self.folder, 'checkpoint'))
    target = os.path.join(self.folder, 'export')
    exports.export_model(self.params, prefix, target)
    loaded = tf.saved_model.load(target)
    encoded = [_jpeg(1), _jpeg(2)]
    preprocess, predict = self.task.labelling_functions(self.model)
    inputs = [preprocess(tf.constant(each)) for each in encoded]
    expected = predict(tf.nest.map_structure(lambda *parts: tf.stack(parts), *inputs))
    return loaded.signatures['serving_default'](inputs=tf.constant(encoded)), expected


def _with_length(params):
  """Optimizer settings with the length that the pipeline gives them."""
  settings = params.trainer.optimizer_config.replace()
  rate = settings.learning_rate.get()
  if hasattr(rate, 'decay_steps'):
    rate.decay_steps = params.trainer.train_steps
  return settings


def _walk(params, folder):
  with precision.policy(params.runtime.mixed_precision_dtype):
    return _Walk(params, folder)


@functools.cache
def _shared_walk(key):
  """The walk of the first recipe of a kind; `key` has its name and what it shares with the others."""
  folder = tempfile.mkdtemp()
  return _walk(_load(_FIRST[key], folder), folder)


_FIRST: dict[str, str] = {}


def _kind(name):
  """What of a recipe concerns its network, as text: not its images, their augmentation, or the schedule."""
  params = _load(name, tempfile.mkdtemp())
  task = params.task.as_dict()
  concerned = [type(params.task).__name__, task['model'], task['losses'], task['joint']['weight']]
  key = json.dumps([*concerned, params.runtime.mixed_precision_dtype], sort_keys=True, default=str)
  _FIRST.setdefault(key, name)
  return key


def _named(*names):
  return parameterized.named_parameters(*((f'_{name}', name) for name in names))


class RecipesTest(parameterized.TestCase, tf.test.TestCase):
  def assert_walked(self, walk, dtype):
    policy = walk.model.backbone.layers[1].dtype_policy
    self.assertEqual(policy.compute_dtype, dtype)
    self.assertEqual({v.dtype for v in walk.model.trainable_variables}, {tf.float32})
    self.assertLen(walk.labels, 2)
    for record in walk.labels:
      (status,) = record[keys.LABEL_STATUS].bytes_list.value
      self.assertIn(status, (b'labelled', b'empty'))
    self.assertAllInRange(walk.losses[walk.task.loss], 0.01, 1000.0)
    self.assertTrue(np.isfinite(list(walk.losses.values())).all(), walk.losses)
    self.assertTrue(np.isfinite(list(walk.metrics.values())).all(), walk.metrics)
    if isinstance(walk.params.task, detection.DetectionTask):
      self.assert_detections(walk)
    else:
      self.assert_masks(walk)

  def assert_detections(self, walk):
    self.assertBetween(walk.metrics['AP'], 0.0, 1.0)
    for record in walk.labels:
      scores = record[keys.BOX_SCORE].float_list.value
      self.assertGreater(len(scores), 10)
      self.assertAllInRange(scores, 0.001, 1.0)
    found = walk.exported
    self.assertEqual(found['detection_scores'].dtype, tf.float32)
    self.assertAllInRange(found['num_detections'], 1, 100)
    self.assertAllInRange(found['detection_boxes'], 0.0, 1.0)
    # Two graphs of one network; bfloat16 has 8 bits.
    self.assertAllClose(found['detection_scores'], walk.expected['scores'], rtol=0.05, atol=0.005)

  def assert_masks(self, walk):
    self.assertBetween(walk.metrics['mean_iou'], 0.0, 1.0)
    found = walk.exported
    self.assertEqual(found['confidences'].dtype, tf.float32)
    self.assertEqual(found['classes'].shape, [2, 96, 120])
    self.assertAllInRange(found['confidences'], 1.0 / walk.params.task.model.num_classes, 1.0)
    expected = tf.reduce_max(walk.expected['probabilities'], axis=-1)[:, :96, :120]
    self.assertAllClose(tf.reduce_mean(found['confidences']), tf.reduce_mean(expected), rtol=0.05)

  @_named(*_RECIPES)
  def test_recipe(self, name):
    walk = _shared_walk(_kind(name))
    dtype = 'bfloat16' if name.startswith(_IN_BFLOAT16) else 'float32'
    self.assert_walked(walk, dtype)

  @_named(*_BACKBONES)
  def test_backbone(self, name):
    folder = self.create_tempdir().full_path
    images = os.path.join(folder, 'images.tfrecord')
    _write_images(images)
    params = config.load_experiment('', [_path(name)], '')
    stream = {'input_path': images, 'global_batch_size': 2, 'shuffle_buffer_size': 2}
    small = {'b7': 'b0'}.get(params.task.model.backbone.get().model_id, 50)
    kind = params.task.model.backbone.type
    changes = {
      'train_data': stream,
      'validation_data': {'input_path': images, 'global_batch_size': 2},
      'model': {'input_size': [64, 64, 3], 'backbone': {kind: {'model_id': small}}},
    }
    path = os.path.join(folder, 'small.yaml')
    pathlib.Path(path).write_text(yaml.safe_dump({'task': changes}), encoding='utf-8')
    params = config.load_experiment('', [_path(name), path], '')
    with precision.policy(params.runtime.mixed_precision_dtype):
      task = task_factory.get_task(params.task)
      model = task.build_model()
      self.assertEqual(model.backbone.layers[1].dtype_policy.compute_dtype, 'bfloat16')
      optimizer = task.create_optimizer(_with_length(params), params.runtime)
      optimizer.iterations.assign(1000)  # The warm-up starts with a rate of 0.
      inputs = next(iter(task.build_inputs(params.task.train_data)))
      before = [np.array(variable) for variable in model.trainable_variables]
      logs = task.train_step(inputs, model, optimizer, task.build_metrics(training=True))
      self.assertTrue(np.isfinite(float(logs[task.loss])))
      moved = [np.any(old != v) for old, v in zip(before, model.trainable_variables, strict=True)]
      self.assertGreater(np.mean(moved), 0.9)
      inputs = next(iter(task.build_inputs(params.task.validation_data)))
      metrics = task.build_metrics(training=False)
      logs = task.validation_step(inputs, model, metrics)
      self.assertTrue(np.isfinite(float(logs[task.loss])))
      self.assertAllInRange([float(metric.result()) for metric in metrics], 0.0, 20.0)

  @_named('coco_efficientnet_b7', 'coco_spinenet143', 'pascal_efficientnet_b7')
  @unittest.skipUnless(os.environ.get('GIANTS'), 'takes many minutes each; GIANTS=1 runs it')
  def test_whole_network(self, name):
    folder = self.create_tempdir().full_path
    self.assert_walked(_walk(_load(name, folder, is_small=False), folder), 'bfloat16')

  @_named('coco_spinenet190', 'pascal_efficientnet_l2')
  @unittest.skipUnless(os.environ.get('GIANTS'), 'takes over 13 GiB; GIANTS=1 runs it')
  def test_giant(self, name):
    folder = self.create_tempdir().full_path
    self.assert_walked(_walk(_load(name, folder, is_small=False), folder), 'bfloat16')


if __name__ == '__main__':
  tf.test.main()
