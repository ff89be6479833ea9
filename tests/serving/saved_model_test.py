"""The exported student: loaded where there is only TensorFlow, it finds what the model finds."""

import contextlib
import io
import json
import os
import pathlib
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow as tf
from official.core import task_factory
from tensorflow.core.protobuf import saved_model_pb2

from official_selftrain import export as command
from official_selftrain.core import errors
from official_selftrain.pipeline import labelling
from official_selftrain.serving import exports, targets
from tests.testing import tiny_run

# The first test may have to wait for a whole run.
pytestmark = pytest.mark.timeout(600)

# Sizes other than the model's 64 x 64: as large, wide and small, tall.
_SIZES = ((96, 96), (40, 80), (150, 100))

# Needs nothing of this package and nothing of the Model Garden.
_CLIENT = """
import json, sys
import numpy as np
import tensorflow as tf
folder, output, *images = sys.argv[1:]
detect = tf.saved_model.load(folder).signatures['serving_default']
encoded = [open(path, 'rb').read() for path in images]
results = {}
for name, batch in {'three': encoded, 'one': encoded[1:2]}.items():
  for key, value in detect(inputs=tf.constant(batch)).items():
    results[f'{name}/{key}'] = value.numpy()
np.savez(output, **results)
foreign = {'official', 'official_selftrain', 'tensorflow_models'} & set(sys.modules)
print(json.dumps({'foreign': sorted(foreign)}))
"""


def _jpegs(folder):
  """Writes JPEGs of `_SIZES` and returns their paths."""
  rng = np.random.default_rng(0)
  paths = []
  for height, width in _SIZES:
    coarse = rng.uniform(0, 255, [1, 4, 4, 3])
    image = tf.cast(tf.image.resize(coarse, [height, width], 'bicubic'), tf.uint8)[0]
    path = pathlib.Path(folder, f'{height}x{width}.jpg')
    path.write_bytes(tf.io.encode_jpeg(image, quality=95).numpy())
    paths.append(str(path))
  return paths


class StudentTest(tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.run_dir = tiny_run.finished()
    cls.folder = os.path.join(tiny_run.root(), 'client')
    os.makedirs(cls.folder)
    cls.images = _jpegs(cls.folder)
    output = os.path.join(cls.folder, 'found.npz')
    export = os.path.join(cls.run_dir, 'export')
    done = subprocess.run(
      [sys.executable, '-c', _CLIENT, export, output, *cls.images],
      cwd=cls.folder,
      env={k: v for k, v in os.environ.items() if k != 'PYTHONPATH'},
      capture_output=True,
      text=True,
      check=False,
    )
    assert done.returncode == 0, done.stderr
    cls.foreign = json.loads(done.stdout.splitlines()[-1])['foreign']
    cls.found = dict(np.load(output))

  def test_only_tensorflow_was_there(self):
    self.assertEqual(self.foreign, [])

  def test_the_file_holds_the_signature_and_not_one_function_for_each_layer(self):
    graph = saved_model_pb2.SavedModel()
    graph.ParseFromString(pathlib.Path(self.run_dir, 'export', 'saved_model.pb').read_bytes())
    names = [f.signature.name for f in graph.meta_graphs[0].graph_def.library.function]
    self.assertTrue([name for name in names if 'signature_wrapper' in name], names)
    self.assertEqual([name for name in names if 'call_and_return' in name], [])

  def test_types_and_shapes(self):
    for name, size in (('one', 1), ('three', 3)):
      boxes, scores, classes, count = (
        self.found[f'{name}/{key}']
        for key in ('detection_boxes', 'detection_scores', 'detection_classes', 'num_detections')
      )
      self.assertEqual((boxes.dtype, boxes.shape), (np.float32, (size, 10, 4)))
      self.assertEqual((scores.dtype, scores.shape), (np.float32, (size, 10)))
      self.assertEqual((classes.dtype.kind, classes.shape), ('i', (size, 10)))
      self.assertEqual((count.dtype.kind, count.shape), ('i', (size,)))
      self.assertTrue(np.all((count > 0) & (count <= 10)))

  def test_boxes_are_relative_to_the_image(self):
    boxes = self.found['three/detection_boxes']
    self.assertAllInRange(boxes, 0.0, 1.0)
    # Relative to the image and not to the padded input: something reaches beyond the padding.
    self.assertGreater(boxes[1].max(), 0.6)
    self.assertTrue(np.all(boxes[..., 2:] >= boxes[..., :2]))
    self.assertAllInRange(self.found['three/detection_scores'], 0.0, 1.0)
    for row, count in enumerate(self.found['three/num_detections']):
      self.assertAllInRange(self.found['three/detection_classes'][row, :count], 1, 10)

  def test_one_image_gives_what_it_gives_in_a_batch(self):
    self.assertAllClose(
      self.found['one/detection_boxes'][0], self.found['three/detection_boxes'][1], atol=1e-4
    )
    self.assertAllClose(
      self.found['one/detection_scores'][0], self.found['three/detection_scores'][1], atol=1e-5
    )

  def test_finds_what_the_labelling_functions_find(self):
    task = task_factory.get_task(tiny_run.load().task)
    model = labelling.load_model(task, os.path.join(self.run_dir, 'student'))
    preprocess, predict = task.labelling_functions(model)
    inputs = [preprocess(tf.io.read_file(path)) for path in self.images]
    expected = predict(tf.nest.map_structure(lambda *parts: tf.stack(parts), *inputs))
    # Boxes of the model may reach into the padding around the image; the export cuts them off there.
    expected['boxes'] = tf.clip_by_value(expected['boxes'], 0.0, 1.0)
    for ours, theirs in (('boxes', 'detection_boxes'), ('scores', 'detection_scores'),
                         ('classes', 'detection_classes'), ('num_detections',) * 2):  # fmt: skip
      self.assertAllClose(expected[ours], self.found[f'three/{theirs}'], atol=1e-3, msg=ours)


class CommandTest(tf.test.TestCase):
  def _main(self, *arguments):
    """Exit code, standard output and standard error of the command."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
      code = command.main(arguments)
    return types.SimpleNamespace(code=code, out=out.getvalue(), err=err.getvalue())

  def test_another_model_with_pixels_as_input(self):
    output = os.path.join(self.create_tempdir().full_path, 'teacher')
    done = self._main(
      f'--run={tiny_run.finished()}', '--model=teacher', f'--output={output}',
      '--input_type=image_tensor', '--batch_size=2',
    )  # fmt: skip
    self.assertEqual((done.code, done.err), (0, ''))
    where, checked = done.out.splitlines()[-2:]
    self.assertEqual(where, f'SavedModel with input image_tensor: {output}')
    self.assertRegex(
      checked, r'^checked on 8 images: ([1-9]\d*) of \1 boxes are found again; .* 0 '
    )
    detect = tf.saved_model.load(output).signatures['serving_default']
    self.assertEqual(detect.inputs[0].dtype, tf.uint8)
    self.assertEqual(detect.inputs[0].shape[0], 2)
    found = detect(inputs=tf.zeros([2, 50, 70, 3], tf.uint8))
    self.assertEqual(found['detection_boxes'].shape, [2, 10, 4])
    self.assertAllInRange(found['detection_boxes'], 0.0, 1.0)
    self.assertFalse(os.path.exists(output + '.tmp'))

  def test_another_format_and_images_of_a_folder(self):
    output = os.path.join(self.create_tempdir().full_path, 'phone')
    images = os.path.join(self.create_tempdir().full_path, 'photos')
    os.makedirs(images)
    _jpegs(images)
    done = self._main(
      f'--run={tiny_run.finished()}', f'--output={output}', '--format=tflite', f'--images={images}',
      '--image_size=48,80', '--nms=none',
    )  # fmt: skip
    self.assertEqual((done.code, done.err), (0, ''))
    where, checked = done.out.splitlines()[-2:]
    self.assertEqual(where, f'TensorFlow Lite with input image_tensor: {output}')
    self.assertRegex(checked, r'^checked on 3 images: (\d+) of \1 anchors are found again')
    with open(os.path.join(output, 'model_card.json'), encoding='utf-8') as file:
      card = json.load(file)
    self.assertEqual((card['format'], card['checked']), ('tflite', checked))
    self.assertFalse(card['is_for_predict'])
    given = tf.lite.Interpreter(os.path.join(output, 'model.tflite')).get_input_details()
    self.assertAllEqual(given[0]['shape'], [1, 48, 80, 3])

  def test_flags_that_cannot_be_read(self):
    for flag, message in (
      ('--image_size=640', "'640': give HEIGHT,WIDTH, such as 480,640"),
      ('--num_images=-1', "'-1': give a whole number from 0"),
    ):
      err = io.StringIO()
      with self.assertRaises(SystemExit), contextlib.redirect_stderr(err):
        command.main(['--run=a', '--output=b', flag])
      self.assertIn(message, err.getvalue())

  def test_no_images_to_check_on(self):
    done = self._main(
      f'--run={tiny_run.finished()}', '--output=/nowhere/export', '--images=/nowhere/*.jpg',
      '--format=tflite', '--precision=int8',
    )  # fmt: skip
    self.assertEqual(done.code, 2)
    self.assertIn("There are no images at '/nowhere/*.jpg'", done.err)

  def test_a_directory_that_is_no_run(self):
    done = self._main('--run=/nowhere', '--output=/nowhere/export')
    self.assertEqual(done.code, 2)
    self.assertRegex(done.err, r'^error: /nowhere/params\.yaml does not exist')

  def test_one_model_of_a_run(self):
    done = self._main(f'--run={tiny_run.finished()}/student', '--output=/nowhere/export')
    self.assertEqual(done.code, 2)
    self.assertIn('names no experiment: give the run directory', done.err)

  def test_no_checkpoint(self):
    with self.assertRaisesRegex(errors.DataError, 'There is no checkpoint at /nowhere to export'):
      exports.export_model(tiny_run.load(), '/nowhere', '/nowhere/export')

  def test_a_checkpoint_of_another_network(self):
    checkpoint = os.path.join(tiny_run.finished(), 'student')
    output = os.path.join(self.create_tempdir().full_path, 'export')
    # Other shapes, and variables that are not in it.
    for change in ('decoder.fpn.num_filters=8', 'head.num_convs=3'):
      with self.assertRaisesRegex(
        errors.DataError, 'ckpt-[0-9]+ does not hold all weights of the network of this run'
      ):
        exports.export_model(tiny_run.load(override=f'task.model.{change}'), checkpoint, output)
      self.assertFalse(os.path.exists(output))

  def test_a_remote_output(self):
    with contextlib.redirect_stderr(io.StringIO()) as told:
      self.assertEqual(command.main(['--run', tiny_run.finished(), '--output', 'gs://bucket/x']), 2)
    self.assertIn('--output=gs://bucket/x: the output must be a local path', told.getvalue())

  def test_a_folder_with_other_files_is_not_replaced(self):
    folder = self.create_tempdir()
    folder.create_file('notes.txt')
    checkpoint = os.path.join(tiny_run.finished(), 'student')
    with self.assertRaisesRegex(errors.ConfigError, 'has files in it and is no earlier export'):
      exports.export_model(tiny_run.load(), checkpoint, folder.full_path)
    # A model's own folder, though somebody put an export into it.
    folder.create_file('saved_model.pb')
    folder.create_file('checkpoint')
    with self.assertRaisesRegex(errors.ConfigError, 'Name another folder'):
      exports.export_model(tiny_run.load(), checkpoint, folder.full_path)
    with self.assertRaisesRegex(errors.ConfigError, 'is a file: an export is a folder'):
      exports.export_model(tiny_run.load(), checkpoint, os.path.join(folder.full_path, 'notes.txt'))
    self.assertEqual(
      sorted(os.listdir(folder.full_path)), ['checkpoint', 'notes.txt', 'saved_model.pb']
    )

  def test_unknown_input_type(self):
    with self.assertRaisesRegex(
      errors.ConfigError, "input_type is 'tf_example': allowed are image_by"
    ):
      exports.export_model(
        tiny_run.load(), '/nowhere', '/nowhere/export', targets.Target(input_type='tf_example')
      )


if __name__ == '__main__':
  tf.test.main()
