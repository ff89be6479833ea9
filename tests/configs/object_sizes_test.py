"""Tests for the warning of small objects."""

import dataclasses
import os
import tempfile
import unittest

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.configs import object_sizes
from official_selftrain.core import config, dataset_card

_SIZES = {'cat': (0.05, 0.0625, 0.1), 'dog': (0.01, 0.046875, 0.5), 'cow': (0.1, 0.1, 0.1)}


def _set(name, **values):
  return dataset_card.Set(
    pattern=f'{name}-*',
    images=3,
    objects=dict.fromkeys(_SIZES, 1),
    without_objects=0,
    height=(10, 480, 1000),
    width=(10, 640, 2000),
    files={},
    source='voc:mine: all',
    **values,
  )


class ObjectSizesTest(unittest.TestCase):
  def setUp(self):
    self.folder = self.enterContext(tempfile.TemporaryDirectory())

  def _load(
    self, override='', sizes=_SIZES, experiment='retinanet_resnetfpn_supervised', most_objects=0
  ):
    card = dataset_card.Card(
      task='detection',
      classes=tuple(_SIZES),
      labelled=_set('labelled', object_sizes=sizes, most_objects=most_objects),
      unlabelled=None,
      validation=_set('validation', annotation_file='dataset.json'),
      split={},
      versions={},
    )
    dataset_card.write(card, self.folder)
    return config.load_experiment(experiment, [], override, self.folder)

  def test_pixels_at_the_size_of_the_input(self):
    found = _set('labelled', object_sizes={'cat': (0.1, 0.25, 0.5)})
    # 640 x 480 in 256 x 256 is 256 x 192; in 240 x 480 it is 240 x 320.
    self.assertEqual(object_sizes.pixels(found, (256, 256)), {'cat': 64.0})
    self.assertEqual(object_sizes.pixels(found, (240, 480)), {'cat': 80.0})
    self.assertEqual(object_sizes.pixels(dataclasses.replace(found, height=(0, 0, 0)), (8, 8)), {})

  def test_classes_below_one_and_a_half_strides(self):
    size = 'task.model.input_size=[256,256,3]'
    # The stride is 8, so 12 pixels are enough: of 256, dogs have exactly these, and with level 4 the cows all theirs.
    self.assertEqual(object_sizes.small(self._load(size)), {})
    self.assertEqual(
      object_sizes.small(self._load('task.model.input_size=[128,128,3]')), {'cat': 8.0, 'dog': 6.0}
    )
    found = object_sizes.small(self._load(f'{size},task.model.min_level=4'))
    self.assertEqual(found, {'cat': 16.0, 'dog': 12.0})

  def test_the_warning_names_class_size_and_cure(self):
    with self.assertLogs('absl', 'WARNING') as logs:
      self._load('task.model.input_size=[128,128,3]')
    self.assertRegex(
      logs.output[0],
      r'task.model.input_size=\[128, 128, 3\]: cat \(8 pixels\), dog \(6 pixels\), half of them no larger\. .* '
      r'stride of 8 pixels.*A larger input_size helps',
    )
    with self.assertNoLogs('absl', 'WARNING'):
      self._load('task.model.input_size=[640,640,3]')

  def test_more_objects_than_a_model_finds(self):
    name = 'task.model.detection_generator.max_num_detections'
    with self.assertLogs('absl', 'WARNING') as logs:
      self._load(most_objects=101)
    self.assertRegex(
      logs.output[0], rf'up to 101 objects, and the model finds at most 100 .*{name}'
    )
    with self.assertNoLogs('absl', 'WARNING'):
      self._load(most_objects=100)
      self._load(f'{name}=200', most_objects=101)

  def test_cards_without_sizes_or_gone_or_damaged_say_nothing(self):
    size = 'task.model.input_size=[128,128,3]'
    self.assertEqual(object_sizes.small(self._load(size, sizes={})), {})
    params = self._load(size)
    path = os.path.join(self.folder, 'dataset.json')
    with open(path, 'w') as file:
      file.write('{')
    self.assertEqual(object_sizes.small(params), {})
    os.remove(path)
    self.assertEqual(object_sizes.small(params), {})


if __name__ == '__main__':
  unittest.main()
