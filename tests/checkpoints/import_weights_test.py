"""ImageNet weights of other libraries: the same function from our backbones, and nothing unaccounted for."""

import contextlib
import functools
import io
import os
import tempfile
import urllib.error
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized
from official.core import task_factory

from official_selftrain import import_weights, registry_imports  # noqa: F401
from official_selftrain.checkpoints import efficientnet_names, foreign, imagenet, restore
from official_selftrain.checkpoints import normalization as norm
from official_selftrain.core import config, errors, files
from official_selftrain.ops import images as image_ops
from tests.checkpoints import keras_b
from tests.testing import lite0

SIDE = 64
LITE = {'mean': [127.0] * 3, 'std': [128.0] * 3}
OURS = {'mean': [123.675, 116.28, 103.53], 'std': [58.395, 57.12, 57.375]}
GET_FILE = 'keras.src.applications.efficientnet.data_utils.get_file'


@functools.cache
def backbone(name: str, model_id: str = 'b0') -> tf.keras.Model:
  """One backbone for all tests of a process, with any weights that the last one left."""
  return imagenet.build(imagenet.FORMATS[name], model_id)


def raw_images(height: int = SIDE, width: int = SIDE) -> np.ndarray:
  """Two images of noise, uint8 [2, height, width, 3]."""
  return np.random.default_rng(7).integers(0, 256, [2, height, width, 3], dtype=np.uint8)


def normalized(images: np.ndarray) -> tf.Tensor:
  """What train.py makes of images."""
  return tf.stack([image_ops.normalize(image) for image in images])


def run(*flags: str) -> tuple[int, str, str]:
  """Exit status, standard output and standard error of the command."""
  texts = io.StringIO(), io.StringIO()
  with contextlib.redirect_stdout(texts[0]), contextlib.redirect_stderr(texts[1]):
    status = import_weights.main(flags)
  return status, texts[0].getvalue(), texts[1].getvalue()


class ImportCase(parameterized.TestCase, tf.test.TestCase):
  """Help for what follows."""

  def path(self, name: str) -> str:
    return os.path.join(self.create_tempdir().full_path, name)

  def read(self, folder: str, network: tf.keras.Model) -> tf.keras.Model:
    """Gives a network what was written; every variable must be in the file."""
    saved = tf.train.Checkpoint(backbone=network)
    saved.read(restore.find(folder)).assert_existing_objects_matched()
    return network

  def assert_same(self, features, expected, tolerance):
    """Compares levels '2' to '6'."""
    for level in ('2', '3', '4', '5', '6'):
      self.assertAllClose(features[level], expected[level], atol=tolerance, rtol=0, msg=level)


class LiteTest(ImportCase):
  """The Model Garden's b0 on a state dict of EfficientNet-Lite0."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.arrays = lite0.random_arrays(1)

  def assign(self, arrays=None):
    network = backbone('pytorch')
    imagenet.assign(network, arrays or self.arrays, imagenet.PYTORCH, 'x.npz')
    return network

  # Odd sides: there, TensorFlow's padding is even.
  @parameterized.parameters((SIDE, SIDE), (65, 96))
  def test_the_same_function(self, height, width):
    images = lite0.normalized(raw_images(height, width))
    features, expected = self.assign()(images), lite0.forward(self.arrays, images)
    self.assert_same(features, expected, 1e-4)
    logits = lite0.logits(self.arrays, features['6'])
    self.assertAllClose(logits, expected['logits'], atol=1e-4, rtol=0)
    self.assertGreater(np.std(logits), 1)

  def test_folding_is_exact_inside_and_pads_with_our_mean_at_the_edge(self):
    network, raw = self.assign(), raw_images()
    source = imagenet.PYTORCH.normalization(self.arrays)
    norm.fold(efficientnet_names.stem(network), source, norm.OURS)
    stem = tf.keras.Model(network.input, efficientnet_names.stem(network).norm.output)
    folded = stem(normalized(raw))
    images = lite0.normalized(raw)
    conv = functools.partial(lite0.conv, self.arrays, '_conv_stem', stride=2)
    exact = lite0.norm(self.arrays, '_bn0', conv(x=images))
    self.assertAllClose(folded[:, :-1, :-1], exact[:, :-1, :-1], atol=1e-5)
    self.assertNotAllClose(folded[:, -1], exact[:, -1], atol=1e-2)

    grey = lite0.normalized(np.array(norm.OURS.mean))
    wider = np.tile(grey.astype(np.float32), [2, SIDE + 2, SIDE + 2, 1])
    wider[:, :SIDE, :SIDE] = images
    padded = lite0.norm(self.arrays, '_bn0', conv(x=wider))[:, :-1, :-1]
    self.assertAllClose(folded, padded, atol=1e-5)

  @pytest.mark.skipif(not lite0.WEIGHTS.exists(), reason=f'{lite0.WEIGHTS} is not there')
  def test_real_weights(self):
    arrays = foreign.read_npz(str(lite0.WEIGHTS))
    network, raw = self.assign(arrays), lite0.photographs()
    images = lite0.normalized(raw)
    expected = lite0.forward(arrays, images)
    features = network(images)
    self.assert_same(features, expected, 5e-4)
    logits = lite0.logits(arrays, features['6'])
    self.assertAllClose(logits, expected['logits'], atol=1e-4, rtol=0)
    # A palace and a daisy.
    self.assertAllEqual(np.argsort(-logits)[:, :2], [[698, 442], [985, 947]])

    norm.fold(efficientnet_names.stem(network), imagenet.PYTORCH.normalization(arrays), norm.OURS)
    folded = network(normalized(raw))
    self.assertAllClose(folded['3'][:, :14, :14], expected['3'][:, :14, :14], atol=5e-4)
    logits_of_folded = lite0.logits(arrays, folded['6'])
    self.assertAllEqual(np.argsort(-logits_of_folded)[:, :2], [[698, 442], [985, 947]])
    change = np.sqrt(np.mean((logits_of_folded - logits) ** 2)) / np.std(logits)
    self.assertBetween(change, 0.01, 0.03)


class ProgramTest(ImportCase):
  """The command, on a state dict of EfficientNet-Lite0."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.arrays = lite0.random_arrays(1)
    cls.folder = tempfile.TemporaryDirectory()
    cls.addClassCleanup(cls.folder.cleanup)
    cls.weights = os.path.join(cls.folder.name, 'weights.npz')
    np.savez(cls.weights, **cls.arrays, **{'_bn0.num_batches_tracked': np.array(3)})
    cls.flags = [f'--weights={cls.weights}', '--format=pytorch', '--model_id=b0']
    cls.output = os.path.join(cls.folder.name, 'lite0')
    cls.status, cls.said, _ = run(*cls.flags, f'--output={cls.output}')

  def assert_reported(self, output, normalization):
    report = files.read_json(os.path.join(output, 'import.json'))
    self.assertEqual(report['sha256'], files.sha256(self.weights))
    self.assertEqual(report['source'], self.weights)
    self.assertAllClose(report['source_normalization'], LITE)
    self.assertAllClose(report['normalization'], normalization)
    self.assertLen(report['accounting']['used'], 245)

  def test_what_it_says_and_writes(self):
    self.assertEqual(self.status, 0)
    values = sum(a.size for name, a in self.arrays.items() if not name.startswith('_fc'))
    self.assertIn(
      f'{self.weights}: 245 arrays used ({values:,} values), 3 left out: counters of batch norm '
      '(_bn0.num_batches_tracked); the classifier (_fc.bias, _fc.weight)\n',
      self.said,
    )
    self.assertIn('minus (127, 127, 127), over (128, 128, 128); folded into the stem', self.said)
    self.assert_reported(self.output, OURS)

  def test_train_py_starts_from_it(self):
    override = self.said.split('--params_override=')[1].strip()
    for name in ('retinanet_supervised', 'retinanet_selftrain'):
      params = config.load_experiment(name, [], override)
      self.assertEqual(params.task.model.norm_activation.activation, 'relu6')
      self.assertEqual(params.init, self.output)
    model = task_factory.get_task(params.task).build_model()
    accounting = restore.restore(model, restore.find(params.init), 'backbone')
    self.assertLen(accounting.restored, 245)
    raw = raw_images(*params.task.model.input_size[:2])
    level = model.backbone(normalized(raw))['3']
    # Away from the edge, which folding changes.
    expected = lite0.forward(self.arrays, lite0.normalized(raw))['3']
    self.assertAllClose(level[:, :8, :8], expected[:, :8, :8], atol=1e-4)

  def test_the_normalization_is_kept(self):
    output = self.path('kept')
    status, said, _ = run(*self.flags, f'--output={output}', '--keep_normalization')
    self.assertEqual(status, 0)
    self.assertIn('train.py does it differently (minus (123.67, 116.28, 103.53), over', said)
    self.assert_reported(output, LITE)
    images = lite0.normalized(raw_images())
    features = self.read(output, backbone('pytorch'))(images)
    self.assert_same(features, lite0.forward(self.arrays, images), 1e-4)


class KerasTest(ImportCase):
  """The authors' networks on files of tf.keras.applications."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.theirs = keras_b.build('b0', SIDE, 1, classes=10)

  def assert_same_function(self, theirs, model_id):
    """Saves Keras's network and compares it with ours on what the file holds."""
    keras_b.normalize(theirs, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    path = self.path('weights.h5')
    theirs.save_weights(path)
    ours, arrays = backbone('keras', model_id), foreign.read_h5(path)
    accounting = imagenet.assign(ours, arrays, imagenet.KERAS, path)
    self.assertEqual(
      accounting.left_out,
      {
        'the classifier': ('predictions/bias', 'predictions/kernel'),
        'the input normalisation': tuple(
          f'normalization/{leaf}' for leaf in ('count', 'mean', 'variance')
        ),
      },
    )
    normalization = imagenet.KERAS.normalization(arrays)
    self.assertAllClose(normalization.mean, 255 * np.array([0.1, 0.2, 0.3]))
    self.assertAllClose(normalization.std, 255 * np.sqrt([0.5, 0.6, 0.7]))
    raw = raw_images()
    images = ((raw - normalization.mean) / normalization.std).astype(np.float32)
    expected = keras_b.features(theirs, raw)
    self.assert_same(ours(images), expected, 1e-5)
    self.assertGreater(np.std(expected['5']), 0.1)

  def test_the_same_function(self):
    self.assert_same_function(self.theirs, 'b0')

  @pytest.mark.slow
  def test_the_same_function_of_b3(self):
    self.assert_same_function(keras_b.build('b3', SIDE, 1, classes=10), 'b3')

  @pytest.mark.slow
  def test_the_same_function_of_b7_without_rounding(self):
    # In float32, deep random networks make much of rounding: 2e-4 standard deviations here, and nearly as much
    # from images that are changed by a ten-millionth.
    self.addCleanup(tf.keras.backend.set_floatx, tf.keras.backend.floatx())
    tf.keras.backend.set_floatx('float64')
    # A test that ran before may have set a policy, which would win over the type of numbers.
    self.addCleanup(
      tf.keras.mixed_precision.set_global_policy, tf.keras.mixed_precision.global_policy()
    )
    tf.keras.mixed_precision.set_global_policy('float64')
    theirs = keras_b.build('b7', SIDE, 1, classes=10)
    keras_b.normalize(theirs, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    path = self.path('weights.h5')
    theirs.save_weights(path)
    ours = imagenet.build(imagenet.KERAS, 'b7')
    imagenet.assign(ours, foreign.read_h5(path), imagenet.KERAS, path)
    expected = keras_b.features(theirs, raw_images())
    self.assert_same(ours(expected['0']), expected, 1e-10)
    # One epsilon in one batch norm would be seen.
    efficientnet_names.stem(ours).norm.epsilon = 1.001e-3
    self.assertNotAllClose(ours(expected['0'])['2'], expected['2'], atol=1e-10, rtol=0)

  def test_a_download(self):
    keras_b.normalize(self.theirs, *keras_b.OF_DOWNLOADS)
    trained, output = self.path('efficientnetb0_notop.h5'), self.path('b0')
    top = self.theirs.get_layer('top_activation').output
    tf.keras.Model(self.theirs.input, top).save_weights(trained)
    built = []
    build = tf.keras.applications.EfficientNetB0
    with mock.patch(GET_FILE, return_value=trained) as get_file:
      with mock.patch.object(tf.keras.applications, 'EfficientNetB0') as download:
        download.side_effect = lambda **kwargs: built.append(build(**kwargs)) or built[0]
        status, said, _ = run('--format=keras', '--model_id=b0', f'--output={output}')
    self.assertEqual((status, get_file.call_args.args[0]), (0, 'efficientnetb0_notop.h5'))
    self.assertIn('309 arrays used (4,049,564 values), 3 left out: the input normalisation', said)
    self.assertIn('normalisation of images: as train.py does it', said)
    self.assertIn('task.model.family=original', said)
    report = files.read_json(os.path.join(output, 'import.json'))
    self.assertEqual(report['source'], "tf.keras.applications.EfficientNetB0(weights='imagenet')")
    self.assertRegex(report['sha256'], '^[0-9a-f]{64}$')
    self.assertAllClose(report['source_normalization'], OURS)
    ours, raw = self.read(output, backbone('keras')), raw_images()
    # The network divides by the deviation, which its file calls variance.
    self.assert_same(ours(normalized(raw)), keras_b.features(built[0], raw), 1e-5)

  def no_download(self, error):
    """The complaint of the program when Keras raises an error."""
    output = self.path('b2')
    with mock.patch.object(tf.keras.applications, 'EfficientNetB2', side_effect=error):
      status, _, complaint = run('--format=keras', '--model_id=b2', f'--output={output}')
    self.assertEqual(status, 2)
    self.assertIn('Keras could not download efficientnetb2_notop.h5 (', complaint)
    self.assertFalse(os.path.exists(output))
    return complaint

  def test_no_network(self):
    cache = self.create_tempdir().full_path

    def fetch(**_):
      tf.keras.utils.get_file('x.h5', 'https://example.org/x.h5', cache_dir=cache)

    unreachable = urllib.error.URLError(OSError(101, 'Network is unreachable'))
    with mock.patch('keras.src.utils.data_utils.urlretrieve', side_effect=unreachable):
      complaint = self.no_download(fetch)
    self.assertIn('URL fetch failure on https://example.org/x.h5', complaint)
    self.assertIn('Network is unreachable', complaint)
    self.assertIn(
      'fetch https://storage.googleapis.com/keras-applications/efficientnetb2_notop.h5, and give it as '
      '--weights=efficientnetb2_notop.h5',
      complaint,
    )
    self.assertIn('reset by peer', self.no_download(ConnectionResetError('reset by peer')))
    with self.assertRaisesRegex(RuntimeError, 'a bug'):
      self.no_download(RuntimeError('a bug'))

  def test_whole_models_and_files_of_another_network(self):
    small = tf.keras.Sequential([tf.keras.layers.Conv2D(2, 1, name='stem_conv')])
    small.build([None, 8, 8, 3])
    path = self.path('model.h5')
    small.save(path)
    arrays = foreign.read_h5(path)
    self.assertEqual(list(arrays), ['stem_conv/kernel', 'stem_conv/bias'])
    with self.assertRaisesRegex(
      errors.DataError,
      r'model.h5 does not fit --format=keras and --model_id: 308 arrays are missing, 1 are of another network, 1 differ'
      r'[^.]*\.\n  stem_conv/kernel: \[1, 1, 3, 2\] in the file, \[3, 3, 3, 32\] expected'
      r'\n  missing in the file: block1a_bn/beta(.|\n)*and 290 more$',
    ):
      imagenet.assign(backbone('keras'), arrays, imagenet.KERAS, path)
    with self.assertRaisesRegex(errors.DataError, 'has no mean and variance of three channels'):
      imagenet.KERAS.normalization(arrays)


class RefusalTest(ImportCase):
  """Files and combinations that would give another function."""

  def test_a_state_dict_with_faults(self):
    arrays = lite0.random_arrays(1)
    network = backbone('pytorch')
    before = network.variables[0].numpy()
    arrays['_blocks.3._depthwise_conv.weight'] = np.zeros([144, 1, 3, 3], np.float32)
    arrays['_bn0.bias'][5] = np.nan
    arrays['_bn0.weight'] = np.ones([32], np.int64)
    arrays['_blocks.0._se_reduce.weight'] = arrays.pop('_bn1.bias')
    with self.assertRaises(errors.DataError) as caught:
      imagenet.assign(network, arrays, imagenet.PYTORCH, 'x.npz')
    self.assertEqual(
      str(caught.exception).splitlines(),
      [
        'x.npz does not fit --format=pytorch and --model_id: 1 arrays are missing, 1 are of another network, 1 differ '
        'in shape, 2 hold no numbers.',
        '  _blocks.3._depthwise_conv.weight: [144, 1, 3, 3] in the file, [144, 1, 5, 5] expected',
        '  _bn0.weight: holds NaN, infinity or no floating-point numbers (int64)',
        '  _bn0.bias: holds NaN, infinity or no floating-point numbers (float32)',
        '  missing in the file: _bn1.bias',
        '  only in the file: _blocks.0._se_reduce.weight',
      ],
    )
    self.assertAllEqual(network.variables[0], before)

  @parameterized.parameters(
    (['--format=pytorch', '--model_id=b0'], '--weights is not given'),
    (['--format=pytorch', '--model_id=b1', '--weights=x'], '--model_id=b1: --format=pytorch reads'),
    (['--format=keras', '--model_id=l2'], 'reads b0, b1, b2, b3, b4, b5, b6, b7'),
    (
      ['--format=keras', '--model_id=b0', '--family=model_garden'],
      'need swish, and the Model Garden has relu. Leave the flag out or use --family=original',
    ),
    (
      ['--format=pytorch', '--model_id=b0', '--weights=x', '--family=original'],
      'relu6 and no squeeze-excitation',
    ),
    (['--format=pytorch', '--model_id=b0', '--weights=no/x'], 'There is no file at no/x'),
  )
  def test_flags(self, flags, message):
    status, _, complaint = run(*flags, f'--output={self.path("out")}')
    self.assertEqual(status, 2)
    self.assertIn(message, complaint)

  def test_an_output_that_exists(self):
    folder = self.create_tempdir().full_path
    status, _, complaint = run(
      '--format=keras', '--model_id=b0', f'--output={folder}', '--family=original'
    )
    self.assertEqual(status, 2)
    self.assertIn(f'--output={folder} exists already', complaint)


if __name__ == '__main__':
  tf.test.main()
