"""Tests for class names."""

import json
import unittest

import tensorflow as tf

from official_selftrain.core import class_names, errors


class NameOfTest(unittest.TestCase):
  def test_names_start_at_id_1(self):
    found = [class_names.name_of(('cat', 'dog'), class_id) for class_id in range(-1, 4)]
    self.assertEqual(found, ['-1', '0', 'cat', 'dog', '3'])


class BesideTest(unittest.TestCase):
  def test_a_model_in_remote_storage(self):
    expected = {'num_classes': 3, 'class_names': ['cat', 'dog']}
    folder = 'ram://beside/model'
    self.assertIsNone(class_names.beside(f'{folder}/ckpt-5'))
    with tf.io.gfile.GFile(f'{folder}/{class_names.MODEL_FILE}', 'w') as stream:
      json.dump(expected, stream)
    tf.io.gfile.makedirs(f'{folder}/best_ckpt')
    for checkpoint in (folder, f'{folder}/ckpt-5', f'{folder}/best_ckpt/best_ckpt-5'):
      self.assertEqual(class_names.beside(checkpoint), expected)
    self.assertEqual(class_names.of_model(folder), ('cat', 'dog'))
    self.assertIsNone(class_names.beside('ram://beside'))

  def test_storage_that_cannot_be_read(self):
    with tf.io.gfile.GFile(f'ram://cut/{class_names.MODEL_FILE}', 'w') as stream:
      stream.write('{"num_classes": 3')
    for checkpoint in ('nowhere://bucket/model', 'ram://cut/ckpt-5'):
      with self.assertRaisesRegex(
        errors.DataError, f'^{checkpoint}: the classes beside it cannot be read'
      ):
        class_names.beside(checkpoint)


if __name__ == '__main__':
  unittest.main()
