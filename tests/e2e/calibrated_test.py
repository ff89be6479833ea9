"""Cuts that a second teacher calibrates: the teacher that labels is the same as without it."""

import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from official_selftrain.core import errors
from official_selftrain.pipeline import run
from tests.testing import tiny_run

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

_OVERRIDE = (
  'task.pseudo_data.cut=calibrated,calibration.share=0.25,'
  'control.enabled=false,export.enabled=false'
)


class CalibratedTest(tf.test.TestCase):
  def test_a_second_teacher_leaves_the_first_as_it_is(self):
    params = tiny_run.load(override=_OVERRIDE)
    run_dir = os.path.join(tiny_run.root(), 'calibrated')
    # A network that has hardly been trained finds nothing at the lowest cut that there is.
    with self.assertRaisesRegex(
      errors.DataError, 'on 2 held-out images: nothing in them was found'
    ):
      run.run(params, 'train_and_eval', run_dir)

    teacher, second = (os.path.join(run_dir, name) for name in ('teacher', 'calibration_teacher'))
    names = tiny_run.check_same_weights(teacher, os.path.join(tiny_run.finished(), 'teacher'))
    self.assertGreater(len(names), 100)
    ours, theirs = tiny_run.weights(teacher), tiny_run.weights(second)
    kernels = [name for name in names if 'kernel' in name and 'optimizer' not in name]
    self.assertGreater(len(kernels), 10)
    self.assertTrue(any(np.abs(ours[name] - theirs[name]).max() > 1e-4 for name in kernels))
    # Nothing of it was measured on validation images.
    names = {path.name for path in pathlib.Path(second).iterdir()}
    self.assertNotIn('validation', names)
    self.assertNotIn('metrics.json', names)
    self.assertIn('metrics.json', {p.name for p in pathlib.Path(teacher).iterdir()})


if __name__ == '__main__':
  tf.test.main()
