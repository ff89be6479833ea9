"""Inputs of training, evaluation and labelling have no tuner, for which a process may wait a minute at their end."""

import unittest

from official_selftrain.pseudo_labels import batches
from official_selftrain.tasks import contract
from tests.testing import tiny_run


class InputsTest(unittest.TestCase):
  def test_no_input_has_a_tuner(self):
    for experiment in (tiny_run.SELFTRAIN, tiny_run.SEGMENTATION):
      params = tiny_run.load_student(experiment)
      task = contract.make(params.task)
      preprocess, _ = task.labelling_functions(task.build_model())
      inputs = {
        'student': task.build_inputs(params.task.train_data),
        'evaluation': task.build_inputs(params.task.validation_data),
        'labels': batches.ImageBatches(preprocess, 2, 2)._dataset,
      }
      for name, dataset in inputs.items():
        with self.subTest(f'{experiment}, {name}'):
          self.assertIs(dataset.options().autotune.enabled, False)


if __name__ == '__main__':
  unittest.main()
