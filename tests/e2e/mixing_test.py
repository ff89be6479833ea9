"""MixUp, Mosaic and Copy-Paste in the streams of a real task on the embedded data set."""

import os

import numpy as np
import pytest
import tensorflow as tf

from official_selftrain.core import errors, keys
from official_selftrain.dataloaders import detection as parsing
from official_selftrain.pipeline import data
from official_selftrain.tasks import detection, stream_specs
from tests.testing import damage, tiny_run

_MIXED = ','.join(
  f'task.train_data.augmentation.{name}_probability=0.5'
  for name in ('mixup', 'mosaic', 'copy_paste')
)


def _task(paths='', override=_MIXED, start_step=0):
  made = tiny_run.data()
  paths = paths or f'task.train_data.input_path={made.train},task.validation_data.input_path=x'
  params = tiny_run.load(tiny_run.SUPERVISED, f'{paths},{override}')
  return detection.DetectionTask(params.task, start=stream_specs.Start(step=start_step))


def _batches(count, start_step=0, replicas=1, override=_MIXED):
  task = _task(override=override, start_step=start_step)
  context = tf.distribute.InputContext(1, 0, replicas)
  dataset = task.build_inputs(task.task_config.train_data, context)
  return [tf.nest.map_structure(np.array, batch) for batch in dataset.take(count)]


class MixingTest(tf.test.TestCase):
  @pytest.mark.slow
  def test_resumes_with_the_same_bytes_at_any_number_of_replicas(self):
    # Batches of 2.
    whole = _batches(4)
    tf.nest.map_structure(self.assertAllEqual, whole[3], _batches(1, start_step=3)[0])
    halves = _batches(2, replicas=2)
    joined = tf.nest.map_structure(lambda *parts: np.concatenate(parts), *halves)
    tf.nest.map_structure(self.assertAllEqual, whole[0], joined)
    plain = _batches(4, override='task.train_data.augmentation.mixup_probability=0')
    changed = [np.any(a[0] != b[0]) for a, b in zip(whole, plain, strict=True)]
    self.assertGreater(sum(changed), 2)

  def test_records_without_masks_are_found_before_training(self):
    copy, paths = tiny_run.copy_of_data(os.path.join(tiny_run.root(), 'without-masks'))
    paths = ','.join(part for part in paths.split(',') if 'pseudo_data' not in part)
    file = damage.one_file(copy.train)

    def _lose_mask(example):
      del example.features.feature[keys.BOX_MASK].bytes_list.value[0]

    damage.change(file, 0, _lose_mask)
    data.check_first_records(_task(paths, override=''))
    with self.assertRaisesRegex(
      errors.DataError,
      r'task\.train_data: .*, record 0: task\.train_data\.augmentation\.copy_paste_probability needs a mask',
    ):
      data.check_first_records(_task(paths))
    self.assertFalse(parsing.needs_masks(_task(paths, override='').task_config.train_data))


if __name__ == '__main__':
  tf.test.main()
