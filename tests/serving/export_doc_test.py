"""docs/export.md is true: its lines run where there is only TensorFlow, and its tables are the exported signatures."""

import functools
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized
from official.core import task_factory

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.core import config, errors
from official_selftrain.serving import exports, targets
from tests.testing import tiny_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

_DOC = pathlib.Path(__file__).parents[2] / 'docs' / 'export.md'
_NAMES = [f'digit {index}' for index in range(10)]
_HEIGHT, _WIDTH = 90, 150
_DTYPES = {'string': tf.string, 'uint8': tf.uint8, 'int32': tf.int32, 'float32': tf.float32}


def _section(title):
  return _DOC.read_text(encoding='utf-8').split(f'\n## {title}\n')[1].split('\n## ')[0]


def _lines_of_python(title):
  return re.search(r'```python\n(.*?)```', _section(title), re.DOTALL).group(1)


def _table(title):
  """First column, dtype and rank of each row."""
  rows = re.findall(r'^\| `(\w+)`[^|]*\| (\w+) \| \[([^]]*)\]', _section(title), flags=re.MULTILINE)
  return {name: (_DTYPES[dtype], len(shape.split(','))) for name, dtype, shape in rows}


@functools.cache
def _checkpoint(experiment):
  """Settings and checkpoint of a network with random weights that is sure of class 3 everywhere."""
  tf.keras.utils.set_random_seed(0)
  params = config.load_experiment(experiment)
  task = task_factory.get_task(params.task)
  model = task.build_model()
  task.make_variables(model)
  if not model.head.built:
    model(tf.zeros([1, *params.task.model.input_size]), training=False)
  bias = next(
    v for v in model.head.trainable_variables if v.shape[-1] % 11 == 0 and v.shape.rank == 1
  )
  bias.assign(tf.tile(tf.one_hot(3, 11, 3.0, -3.0), [bias.shape[0] // 11]))
  folder = os.path.join(tiny_run.root(), f'sure-{experiment}')
  return params, tf.train.Checkpoint(model=model).write(os.path.join(folder, 'checkpoint'))


def _export(experiment, folder, name='student', **arguments):
  """Exports that network, and returns the folder."""
  params, prefix = _checkpoint(experiment)
  target = os.path.join(folder, name)
  exports.export_model(params, prefix, target, **arguments)
  return target


def _run(lines, folder):
  """What the lines print in a process of their own, which imports nothing of ours."""
  image = np.random.default_rng(0).integers(0, 256, [_HEIGHT, _WIDTH, 3], np.uint8)
  pathlib.Path(folder, 'photo.jpg').write_bytes(tf.io.encode_jpeg(image).numpy())
  after = "import sys\nassert not {'official', 'official_selftrain'} & set(sys.modules)\n"
  done = subprocess.run(
    [sys.executable, '-c', lines + after],
    cwd=folder,
    env={name: value for name, value in os.environ.items() if name != 'PYTHONPATH'},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  return done.stdout.splitlines()


class DocumentTest(parameterized.TestCase, tf.test.TestCase):
  def _assert_signature(self, folder, title):
    signature = tf.saved_model.load(folder).signatures['serving_default']
    found = {
      name: (spec.dtype, spec.shape.rank) for name, spec in signature.structured_outputs.items()
    }
    self.assertEqual(found, _table(title))
    (given,) = signature.structured_input_signature[1].values()
    self.assertEqual((given.name, (given.dtype, 1)), ('inputs', _table('Inputs')['image_bytes']))

  def test_detection(self):
    folder = self.create_tempdir().full_path
    exported = _export('retinanet_supervised', folder, class_names=_NAMES)
    self.assertEqual(
      pathlib.Path(exported, 'assets', 'class_names.txt').read_text(encoding='utf-8').splitlines(),
      _NAMES,
    )
    self._assert_signature(exported, 'Detection')
    printed = _run(_lines_of_python('Detection'), folder)
    self._assert_printed(printed, 'digit 2')
    corners = np.array([re.findall(r'\d+', line)[-4:] for line in printed], int)
    self.assertEqual(corners[:, 2].max(), _HEIGHT)
    self.assertEqual(corners[:, 3].max(), _WIDTH)

  def _assert_printed(self, printed, name):
    self.assertLen(printed, 100)
    best = re.fullmatch(rf'{name} (0\.\d{{3}}) \[(\d+), (\d+), (\d+), (\d+)\]', printed[0])
    score, *box = map(float, best.groups())
    self.assertGreater(score, 0.9)
    self.assertBetween(box[2], box[0] + 1, _HEIGHT)
    self.assertBetween(box[3], box[1] + 1, _WIDTH)

  def test_onnx(self):
    folder = self.create_tempdir().full_path
    target = targets.Target(format='onnx', input_type='image_tensor')
    _export('retinanet_supervised', folder, 'student-onnx', class_names=_NAMES, target=target)
    self._assert_printed(_run(_lines_of_python('ONNX'), folder), 'digit 2')

  def test_tflite(self):
    folder = self.create_tempdir().full_path
    target = targets.Target(format='tflite', input_type='image_tensor')
    _export('retinanet_supervised', folder, 'phone', class_names=_NAMES, target=target)
    self._assert_printed(_run(_lines_of_python('TensorFlow Lite'), folder), '3')

  def test_without_suppression(self):
    folder = self.create_tempdir().full_path
    exported = _export('retinanet_supervised', folder, target=targets.Target(nms='none'))
    self._assert_signature(exported, 'Without suppression')
    # Without names there is no file of them; the same code writes it with suppression.
    self.assertFalse(hasattr(tf.saved_model.load(exported), 'class_names'))
    self.assertEqual(os.listdir(os.path.join(exported, 'assets')), [])

  def test_segmentation(self):
    folder = self.create_tempdir().full_path
    self._assert_signature(
      _export('segmentation_supervised', folder, class_names=_NAMES), 'Segmentation'
    )
    printed = _run(_lines_of_python('Segmentation'), folder)
    self.assertEqual(printed, [f'digit 2 {_HEIGHT * _WIDTH} pixels'])

  def test_too_few_names(self):
    with self.assertRaisesRegex(
      errors.ConfigError, r'There are 2 class names, but task\.model\.num_classes is 11: give 10'
    ):
      _export('retinanet_supervised', self.create_tempdir().full_path, class_names=['a', 'b'])


if __name__ == '__main__':
  tf.test.main()
