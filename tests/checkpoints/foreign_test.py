"""Readers of weight files: what they read, what they refuse, and that they execute nothing."""

import os
import pathlib
import pickle
import zipfile

import h5py
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_selftrain.checkpoints import foreign
from official_selftrain.core import errors


class Trap:
  """Unpickling one makes a folder."""

  def __init__(self, folder: str):
    self.folder = folder

  def __reduce__(self):
    return os.mkdir, (self.folder,)


class ReaderCase(parameterized.TestCase, tf.test.TestCase):
  def path(self, name: str, content: bytes = b'') -> str:
    path = os.path.join(self.create_tempdir().full_path, name)
    with open(path, 'wb') as stream:
      stream.write(content)
    return path

  def assert_refused(self, path, pattern, read=foreign.read_npz):
    with self.assertRaisesRegex(errors.DataError, pattern):
      read(path)


class KindTest(ReaderCase):
  @parameterized.parameters(
    (b'<!DOCTYPE html><html>Not found</html>', 'is a web page'),
    (b'\n  <html></html>', 'is a web page'),
    (b'\x93NUMPY\x01\x00', 'is a single NumPy array'),
    (b'', 'is empty, not'),
    (b'weights', 'is of an unknown kind'),
    (b'PK\x03\x04 cut off', 'cannot be read: File is not a zip file'),
  )
  def test_other_kinds(self, content, message):
    self.assert_refused(self.path('w.npz', content), message)
    self.assert_refused(self.path('w.h5', content), message, foreign.read_h5)

  def test_one_for_the_other(self):
    path = self.path('w')
    np.savez(path + '.npz', a=np.zeros(2))
    self.assert_refused(
      path + '.npz', r'is a NumPy archive \(.npz\), not an HDF5 file\.$', foreign.read_h5
    )
    with h5py.File(path + '.h5', 'w') as file:
      file['a'] = np.zeros(2)
    self.assert_refused(path + '.h5', r'is an HDF5 file, not a NumPy archive')

  def test_pickles_are_not_opened(self):
    touched = os.path.join(self.create_tempdir().full_path, 'touched')
    stream = pickle.dumps({'a': Trap(touched)}, protocol=2)
    old = self.path('lite.pth', stream)
    new = self.path('lite.pt')
    with zipfile.ZipFile(new, 'w') as archive:
      archive.writestr('archive/data.pkl', stream)
      archive.writestr('archive/data/0', b'1234')
    for path in (old, new):
      self.assert_refused(
        path,
        r'is a Python pickle, such as torch.save writes, not a NumPy archive \(.npz\)\. Pickles can run any code.*'
        r"numpy\.savez\('weights\.npz', .*torch\.load\('weights\.pth'.*weights_only=True",
      )
    objects = self.path('objects.npz')
    np.savez(objects, a=np.array([Trap(touched)], dtype=object))
    self.assert_refused(objects, 'cannot be read: Object arrays cannot be loaded')
    self.assertFalse(os.path.exists(touched))

  def test_a_folder_and_nothing(self):
    folder = self.create_tempdir().full_path
    self.assert_refused(folder, f'There is no file at {folder}')
    self.assert_refused(folder + '/w.npz', 'There is no file at')

  def test_other_archives(self):
    path = self.path('w.keras')
    with zipfile.ZipFile(path, 'w') as archive:
      archive.writestr('config.json', '{}')
    self.assert_refused(path, 'is a zip archive without arrays')


class ContentTest(ReaderCase):
  def test_npz(self):
    path = self.path('w.npz')
    arrays = {'_bn0.weight': np.arange(3, dtype=np.float32), 'count': np.array(7)}
    np.savez_compressed(path, **arrays)
    read = foreign.read_npz(path)
    self.assertEqual(list(read), list(arrays))
    for name, array in arrays.items():
      self.assertAllEqual(read[name], array)

  def test_h5(self):
    layers = tf.keras.layers
    model = tf.keras.Sequential([layers.Dense(2, name='a'), layers.BatchNormalization(name='b')])
    model.build([None, 3])
    path = self.path('w.h5')
    model.save_weights(path)
    read = foreign.read_h5(path)
    leaves = ('gamma', 'beta', 'moving_mean', 'moving_variance')
    self.assertEqual(list(read), ['a/kernel', 'a/bias', *(f'b/{leaf}' for leaf in leaves)])
    self.assertAllEqual(read['a/kernel'], model.layers[0].kernel)

  def test_h5_of_keras_3(self):
    model = tf.keras.Sequential([tf.keras.layers.Dense(2)])
    model.build([None, 3])
    path = self.path('x.weights.h5')
    model.save_weights(path)
    self.assert_refused(path, r'has no list of layers.*Keras 3 \(\.weights\.h5\)', foreign.read_h5)

  def test_damaged_files(self):
    path = self.path('w.npz')
    np.savez(path, a=np.random.default_rng(0).normal(size=1000))
    content = bytearray(pathlib.Path(path).read_bytes())
    content[500] ^= 255
    self.assert_refused(self.path('w.npz', bytes(content)), 'cannot be read: Bad CRC-32')
    h5 = self.path('w.h5')
    with h5py.File(h5, 'w') as file:
      file.attrs['layer_names'] = ['a']
    self.assert_refused(h5, 'cannot be read: .*a', foreign.read_h5)
    start = pathlib.Path(h5).read_bytes()[:100]
    self.assert_refused(self.path('w.h5', start), 'cannot be read', foreign.read_h5)


if __name__ == '__main__':
  tf.test.main()
