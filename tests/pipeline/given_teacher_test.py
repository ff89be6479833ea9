"""The folder of a given teacher: a copy of that one and of no other."""

import os
from unittest import mock

import tensorflow as tf

from official_selftrain.core import errors
from official_selftrain.pipeline import labelling


class ForgetOtherCopyTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.root = self.create_tempdir().full_path
    self.folder = os.path.join(self.root, 'teacher')

  def checkpoint(self, name, value):
    root = tf.train.Checkpoint(v=tf.Variable(value), global_step=tf.Variable(4, dtype=tf.int64))
    return root.save(os.path.join(self.root, name, 'ckpt'))

  def copy(self, checkpoint):
    """As evaluation does, with a file that only it writes."""
    labelling.forget_other_copy(self.folder, checkpoint)
    described = labelling.describe_checkpoint(checkpoint)
    labelling.files.write_json(os.path.join(self.folder, labelling._COPIED_FROM), described)
    labelling.files.write_text(os.path.join(self.folder, 'metrics.json'), '{}')

  def test_the_copy_of_another_one_goes(self):
    one, other = self.checkpoint('one', 1.0), self.checkpoint('other', 2.0)
    self.copy(one)
    labelling.forget_other_copy(self.folder, one)
    self.assertTrue(os.path.exists(os.path.join(self.folder, 'metrics.json')))
    labelling.forget_other_copy(self.folder, other)
    self.assertEqual(os.listdir(self.folder), [])

  def _evaluate_twice(self, is_whole):
    """What is copied when the process is killed in the copy, or just after it, and started again."""
    given = self.checkpoint('given', 1.0)
    job = mock.Mock(model_dir=self.folder)
    job.params.runtime.distribution_strategy = 'off'
    copied = []

    def copy(_, checkpoint):
      copied.append(checkpoint)
      if is_whole or len(copied) > 1:
        self.checkpoint('teacher', 1.0)
      if len(copied) == 1:
        raise KeyboardInterrupt

    with (
      mock.patch.object(labelling, '_copy_weights', copy),
      mock.patch.object(labelling.dataclasses, 'replace', return_value=job),
      mock.patch.object(labelling.training, 'run', return_value={'AP': 0.5}),
    ):
      with self.assertRaises(KeyboardInterrupt):
        labelling.evaluate_given_teacher(job, given)
      self.assertEqual(labelling.evaluate_given_teacher(job, given), {'AP': 0.5})
    return [checkpoint == given for checkpoint in copied]

  def test_a_copy_that_was_broken_off_is_made_again(self):
    self.assertEqual(self._evaluate_twice(is_whole=False), [True, True])

  def test_a_copy_that_is_whole_is_not_made_again(self):
    self.assertEqual(self._evaluate_twice(is_whole=True), [True])

  def test_a_teacher_that_lies_there_itself_stays(self):
    own = self.checkpoint('teacher', 1.0)
    labelling.forget_other_copy(self.folder, own)
    self.assertEqual(tf.train.latest_checkpoint(self.folder), own)

  def test_checkpoints_that_are_no_copy_are_not_removed(self):
    trained, given = self.checkpoint('teacher', 1.0), self.checkpoint('given', 2.0)
    with self.assertRaisesRegex(
      errors.StageChangedError, 'teacher has checkpoints, and nothing says that they are copies'
    ):
      labelling.forget_other_copy(self.folder, given)
    self.assertEqual(tf.train.latest_checkpoint(self.folder), trained)


if __name__ == '__main__':
  tf.test.main()
