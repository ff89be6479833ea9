"""Exports in other formats: read by their own runtimes, they find what the model finds."""

import contextlib
import functools
import json
import os
import zipfile

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from absl.testing import parameterized

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.core import class_names, errors
from official_selftrain.serving import exports, targets
from official_selftrain.tasks import contract
from tests.testing import tiny_run

pytestmark = pytest.mark.timeout(600)

_NAMES = tuple(f'digit {index}' for index in range(10))
_GENERATOR = 'task.model.detection_generator'


@functools.cache
def _checkpoint(experiment):
  """The folder of a network with random opinions: its scores differ, and many of its boxes overlap."""
  tf.keras.utils.set_random_seed(3)
  params = tiny_run.load(experiment)
  model = contract.make(params.task).build_model()
  kernels = ('output/kernel', 9.0), ('scores/kernel', 5.0), ('boxes/kernel', 2.0)
  changed = 0
  for variable in model.trainable_variables:
    for name, deviation in kernels:
      if name in variable.name and variable.shape.rank == 4:
        variable.assign(tf.random.stateless_normal(variable.shape, [1, 2], stddev=deviation))
        changed += 1
  assert changed, [each.name for each in model.trainable_variables]
  folder = os.path.join(tiny_run.root(), f'opinions-{params.task.data_kind}')
  return tf.train.Checkpoint(model=model).write(os.path.join(folder, 'ckpt-0'))


def _images(count, sizes=((64, 64), (40, 80), (150, 100))):
  rng = np.random.default_rng(0)
  for i in range(count):
    coarse = rng.uniform(0, 255, [1, 4, 4, 3])
    yield tf.cast(tf.image.resize(coarse, sizes[i % len(sizes)], 'bicubic'), tf.uint8)[0].numpy()


def _export(folder, experiment=tiny_run.SELFTRAIN, override='', number=3, **settings):
  target = targets.Target(**{'input_type': 'image_tensor', **settings})
  params = tiny_run.load(experiment, override)
  images = list(_images(number))
  return exports.export_model(params, _checkpoint(experiment), folder, target, _NAMES, images)


class FormatTest(tf.test.TestCase, parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = os.path.join(self.create_tempdir().full_path, 'export')

  def _assert_close(self, found, least=20):
    self.assertGreaterEqual(found.compared, least)
    self.assertEqual(found.equal, found.compared)
    self.assertTrue(found.is_close, found.sentence())
    self.assertLess(found.scores.max(), 1e-4)
    with open(os.path.join(self.folder, exports.CHECK_FILE), encoding='utf-8') as file:
      self.assertEqual(json.load(file), found.facts())


class OnnxTest(FormatTest):
  def test_detector_of_any_size_and_number(self):
    found = _export(self.folder, format='onnx')
    self._assert_close(found)
    model = onnx.load(os.path.join(self.folder, 'model.onnx'))
    onnx.checker.check_model(model)
    facts = {each.key: each.value for each in model.metadata_props}
    self.assertEqual(json.loads(facts['class_names']), list(_NAMES))
    self.assertEqual(json.loads(facts['network_input']), [64, 64, 3])
    self.assertEqual(facts['task'], 'detection')
    session = onnxruntime.InferenceSession(os.path.join(self.folder, 'model.onnx'))
    (given,) = session.get_inputs()
    self.assertEqual((given.name, given.type), ('inputs', 'tensor(uint8)'))
    self.assertEqual(given.shape, ['batch', 'height', 'width', 3])
    shapes = {each.name: each.shape for each in session.get_outputs()}
    self.assertEqual(
      shapes,
      {
        'detection_boxes': ['batch', 10, 4],
        'detection_classes': ['batch', 10],
        'detection_scores': ['batch', 10],
        'num_detections': ['batch'],
      },
    )
    # An image does not depend on its batch, and three are not two.
    images = np.stack(list(_images(3, sizes=((50, 70),))))
    together = session.run(None, {'inputs': images})
    for i in range(3):
      for one, all_of_them in zip(
        session.run(None, {'inputs': images[i : i + 1]}), together, strict=True
      ):
        self.assertAllClose(one[0], all_of_them[i], atol=1e-5)
    self.assertAllEqual(class_names.read(os.path.join(self.folder, 'class_names.txt')), _NAMES)

  def test_masks(self):
    found = _export(self.folder, tiny_run.SEGMENTATION, format='onnx')
    self._assert_close(found)
    session = onnxruntime.InferenceSession(os.path.join(self.folder, 'model.onnx'))
    shapes = {each.name: (each.shape, each.type) for each in session.get_outputs()}
    self.assertEqual(
      shapes,
      {
        'classes': (['batch', 'height', 'width'], 'tensor(uint8)'),
        'confidences': (['batch', 'height', 'width'], 'tensor(float)'),
      },
    )


class OtherOnnxTest(FormatTest):
  pytestmark = pytest.mark.slow

  def test_soft_nms(self):
    self._assert_close(
      _export(self.folder, override=f'{_GENERATOR}.soft_nms_sigma=0.3', format='onnx')
    )

  def test_other_hard_suppression(self):
    override = f'{_GENERATOR}.nms_version=v2,{_GENERATOR}.pre_nms_top_k=5'
    self._assert_close(_export(self.folder, override=override, format='onnx'), least=9)

  def test_all_boxes(self):
    found = _export(self.folder, format='onnx', nms='none')
    self.assertEqual(found.noun, 'anchors')
    self._assert_close(found, least=6 * 64)

  def test_fixed_batch_and_size(self):
    self._assert_close(_export(self.folder, format='onnx', batch_size=3, image_size=(48, 80)), 9)
    session = onnxruntime.InferenceSession(os.path.join(self.folder, 'model.onnx'))
    self.assertEqual(session.get_inputs()[0].shape, [3, 48, 80, 3])


class TfliteTestCase(FormatTest):
  def _runner(self):
    return tf.lite.Interpreter(
      os.path.join(self.folder, 'model.tflite'),
      experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )


class TfliteTest(TfliteTestCase):
  def test_detector_needs_only_what_is_built_in(self):
    self._assert_close(_export(self.folder, format='tflite'), least=9)
    interpreter = self._runner()
    operators = {each['op_name'] for each in interpreter._get_ops_details()}
    self.assertIn('WHILE', operators)  # The suppression is inside.
    self.assertEqual([name for name in operators if name.startswith(('Flex', 'CUSTOM'))], [])
    (given,) = interpreter.get_input_details()
    self.assertAllEqual(given['shape'], [1, 64, 64, 3])
    self.assertEqual(given['dtype'], np.uint8)
    with zipfile.ZipFile(os.path.join(self.folder, 'model.tflite')) as archive:
      self.assertEqual(archive.read('class_names.txt').decode().splitlines(), list(_NAMES))
      self.assertEqual(json.loads(archive.read('facts.json'))['inputs_shape'], [1, 64, 64, 3])

  def test_masks_at_another_size(self):
    found = _export(self.folder, tiny_run.SEGMENTATION, format='tflite', image_size=(50, 90))
    self._assert_close(found)
    self.assertEqual(found.compared, 3 * 50 * 90)


class OtherTfliteTest(TfliteTestCase):
  pytestmark = pytest.mark.slow

  def test_soft_nms_and_batches(self):
    override = f'{_GENERATOR}.soft_nms_sigma=0.3'
    self._assert_close(_export(self.folder, override=override, format='tflite', batch_size=2), 18)

  @parameterized.parameters('float16', 'int8')
  def test_smaller_weights(self, precision):
    _export(self.folder, format='tflite')
    full = os.path.getsize(os.path.join(self.folder, 'model.tflite'))
    found = _export(self.folder, format='tflite', precision=precision, number=8)
    size = os.path.getsize(os.path.join(self.folder, 'model.tflite'))
    self.assertLess(size, {'float16': 0.65, 'int8': 0.5}[precision] * full)
    self.assertGreater(found.compared, 10)
    self.assertGreater(found.equal, 0.5 * found.compared)
    self.assertLess(np.median(found.scores), {'float16': 0.01, 'int8': 0.1}[precision])

  def test_integers_end_with_the_network(self):
    _export(self.folder, format='tflite', precision='int8', number=8)
    interpreter = self._runner()
    dtypes = {each['name']: each['dtype'] for each in interpreter.get_tensor_details()}
    ours = {name: dtype for name, dtype in dtypes.items() if 'answers' in name and 'decode' in name}
    self.assertGreater(len(ours), 10)
    kernels = [d for d in interpreter._get_ops_details() if d['op_name'] == 'CONV_2D']
    details = {each['index']: each['dtype'] for each in interpreter.get_tensor_details()}
    self.assertEqual({details[op['outputs'][0]] for op in kernels}, {np.int8})
    exponentials = [d for d in interpreter._get_ops_details() if d['op_name'] == 'EXP']
    self.assertEqual({details[op['outputs'][0]] for op in exponentials}, {np.float32})

  def test_masks_in_integers(self):
    found = _export(self.folder, tiny_run.SEGMENTATION, format='tflite', precision='int8', number=8)
    self.assertGreater(found.equal, 0.9 * found.compared)


class SavedModelTest(FormatTest):
  @parameterized.parameters('image_bytes', 'image_tensor')
  def test_all_boxes(self, input_type):
    found = _export(self.folder, nms='none', input_type=input_type)
    self.assertEqual(found.noun, 'anchors')
    self.assertAllEqual(found.pixels, np.zeros_like(found.pixels))
    detect = tf.saved_model.load(self.folder).signatures['serving_default']
    images = list(_images(2, sizes=((64, 64),)))
    if input_type == 'image_bytes':
      images = [tf.io.encode_png(image).numpy() for image in images]
    answers = detect(inputs=tf.constant(np.stack(images)))
    boxes, scores = answers['decoded_boxes'], answers['decoded_box_scores']
    self.assertEqual((boxes.shape.rank, scores.shape.rank), (3, 3))
    self.assertEqual(boxes.shape[:2], scores.shape[:2])
    self.assertAllInRange(boxes, 0.0, 1.0)
    # Each image has its own.
    self.assertNotAllClose(boxes[0], boxes[1])
    alone = detect(inputs=tf.constant(np.stack(images[1:])))
    self.assertAllClose(alone['decoded_boxes'][0], boxes[1], atol=1e-4)

  def test_what_does_not_agree_is_not_written(self):
    with self.assertRaisesRegex(errors.DataError, 'does not agree with the model, checked on 3 im'):
      with _changed_answers():
        _export(self.folder, format='saved_model')
    self.assertEqual(os.listdir(os.path.dirname(self.folder)), [])


@contextlib.contextmanager
def _changed_answers():
  """What is read back has every box moved by a quarter of the image."""
  original = exports.saved_model.caller

  def caller(directory):
    call = original(directory)

    def moved(images):
      answers = call(images)
      return {**answers, 'detection_boxes': answers['detection_boxes'] + 0.25}

    return moved

  exports.saved_model.caller = caller
  try:
    yield
  finally:
    exports.saved_model.caller = original


class RefusalTest(tf.test.TestCase, parameterized.TestCase):
  @parameterized.parameters(
    ({'format': 'onnx', 'input_type': 'image_bytes'}, 'onnx cannot decode image files'),
    ({'format': 'saved_model', 'image_size': (8, 8)}, 'a SavedModel takes images of any size'),
    ({'format': 'onnx', 'precision': 'int8'}, 'precision is int8: only tflite is quantised'),
    ({'format': 'pb'}, "format is 'pb': allowed are saved_model, onnx, tflite"),
    ({'format': 'onnx', 'image_size': (0, 8)}, 'height and width must be above 0'),
    ({'format': 'onnx', 'batch_size': 0}, 'batch_size is 0: it must be above 0'),
  )
  def test_target(self, settings, message):
    with self.assertRaisesRegex(errors.ConfigError, message):
      targets.Target(**{'input_type': 'image_tensor', **settings}).check('detection')

  def test_masks_have_no_suppression(self):
    with self.assertRaisesRegex(errors.ConfigError, 'a segmentation model has no boxes'):
      targets.Target(nms='none').check('segmentation')

  def test_no_images_to_calibrate_on(self):
    with self.assertRaisesRegex(errors.DataError, 'no images to calibrate it on'):
      _export('/nowhere/export', format='tflite', precision='int8', number=0)

  def test_suppression_across_classes(self):
    with self.assertRaisesRegex(errors.ConfigError, 'Export with --nms=none'):
      _export(
        os.path.join(self.create_tempdir().full_path, 'export'),
        override=f'{_GENERATOR}.use_class_agnostic_nms=true,{_GENERATOR}.nms_version=v2',
        format='onnx',
      )


if __name__ == '__main__':
  tf.test.main()
