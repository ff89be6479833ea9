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

    ours, theirs, second = (
      tf.train.load_checkpoint(os.path.join(folder, name))
      for folder, name in (
        (run_dir, 'teacher'), (tiny_run.finished(), 'teacher'), (run_dir, 'calibration_teacher'),
      )
    )  # fmt: skip
    kernels = [
      name
      for name, dtype in ours.get_variable_to_dtype_map().items()
      if dtype == tf.float32 and 'kernel' in name and 'optimizer' not in name
    ]
    self.assertGreater(len(kernels), 10)
    for name in kernels:
      np.testing.assert_allclose(
        ours.get_tensor(name), theirs.get_tensor(name), rtol=1e-3, atol=1e-5, err_msg=name
      )
    self.assertTrue(
      any(np.abs(ours.get_tensor(n) - second.get_tensor(n)).max() > 1e-4 for n in kernels)
    )
    # Nothing of it was measured on validation images.
    names = {path.name for path in pathlib.Path(run_dir, 'calibration_teacher').iterdir()}
    self.assertNotIn('validation', names)
    self.assertNotIn('metrics.json', names)
    self.assertIn('metrics.json', {p.name for p in pathlib.Path(run_dir, 'teacher').iterdir()})


if __name__ == '__main__':
  tf.test.main()
