"""The manifest: which teacher wrote labels, and what cannot be read."""

import os
import shutil

import tensorflow as tf

from official_selftrain.core import errors
from official_selftrain.pseudo_labels import manifest
from tests.pseudo_labels import unlabelled


class TeacherTest(tf.test.TestCase):
  def test_a_copy_is_the_same_teacher_and_another_step_is_not(self):
    variable = tf.Variable(1.0)
    checkpoint = tf.train.Checkpoint(v=variable)
    folder = self.get_temp_dir()
    first = checkpoint.write(os.path.join(folder, 'ckpt-1'))
    described = manifest.describe_teacher(first, 1)
    for suffix in ('.index', '.data-00000-of-00001'):
      shutil.copy(first + suffix, os.path.join(folder, 'best' + suffix))
    copied = manifest.describe_teacher(os.path.join(folder, 'best'), 1)
    self.assertEqual(described['sha256'], copied['sha256'])
    # In remote storage, too.
    for suffix in ('.index', '.data-00000-of-00001'):
      tf.io.gfile.copy(first + suffix, f'ram://teacher/ckpt-1{suffix}')
      tf.io.gfile.copy(first + suffix, f'ram://teacher/ckpt-10{suffix}')
    remote = manifest.describe_teacher('ram://teacher/ckpt-1', 1)
    self.assertEqual(remote, {**described, 'checkpoint': 'ram://teacher/ckpt-1'})
    variable.assign(2.0)
    other = manifest.describe_teacher(checkpoint.write(os.path.join(folder, 'ckpt-2')), 2)
    self.assertNotEqual(described['sha256'], other['sha256'])

    labels = unlabelled.label_format()
    digests = [
      manifest.Provenance(teacher=teacher).digest(labels) for teacher in (described, copied, other)
    ]
    self.assertEqual(digests[0], digests[1])
    self.assertNotEqual(digests[0], digests[2])

  def test_messages(self):
    with self.assertRaisesRegex(errors.DataError, 'No checkpoint has the prefix nowhere/ckpt-1'):
      manifest.describe_teacher('nowhere/ckpt-1', 1)
    with self.assertRaisesRegex(
      errors.DataError, 'No checkpoint has the prefix ram://nowhere/ckpt'
    ):
      manifest.describe_teacher('ram://nowhere/ckpt', 1)
    with self.assertRaisesRegex(errors.DataError, 'labels are not finished'):
      manifest.Manifest.load('nowhere')
    with self.assertRaisesRegex(errors.DataError, 'gs://b/a cannot be read: they must'):
      manifest.Manifest.load('gs://b/a')


if __name__ == '__main__':
  tf.test.main()
