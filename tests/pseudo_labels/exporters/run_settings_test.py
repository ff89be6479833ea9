"""What a run directory says of its labels."""

import os
import pathlib
import tempfile
import unittest

import yaml

from official_selftrain.configs import datasets
from official_selftrain.core import errors
from official_selftrain.datasets import digits
from official_selftrain.pseudo_labels import cuts
from official_selftrain.pseudo_labels.exporters import run_settings


class ReadTest(unittest.TestCase):
  def setUp(self):
    super().setUp()
    temporary = tempfile.TemporaryDirectory()
    self.addCleanup(temporary.cleanup)
    self.run = os.path.join(temporary.name, 'runs', 'mine')
    os.makedirs(os.path.join(self.run, 'labels', 'round-1'))
    self.pseudo = {'label_dir': '', 'cut': 0.6, 'ignore_cut': 0.15, 'input_path': 'u-*.tfrecord'}
    self.dataset = {'class_names': ['cat', 'dog'], 'directory': '', 'digits': {'num_shards': 3}}

  def _read(self, **more):
    params = {
      'experiment': 'retinanet_selftrain',
      'task': {'pseudo_data': self.pseudo},
      'dataset': self.dataset,
      **more,
    }
    text = yaml.safe_dump(params)
    pathlib.Path(self.run, 'params.yaml').write_text(text, encoding='utf-8')
    return run_settings.read(self.run)

  def test_settings_of_own_data(self):
    found = self._read()
    self.assertEqual(found.label_dir, os.path.join(self.run, 'labels', 'round-1'))
    self.assertEqual(found.images, 'u-*.tfrecord')
    self.assertEqual(found.cuts, cuts.Cuts(cut=0.6, ignore_cut=0.15))
    self.assertEqual(found.class_names, ('cat', 'dog'))
    self.assertRegex(found.images_field, r'mine/params\.yaml: task\.pseudo_data\.input_path')

  def test_the_last_round_counts(self):
    for name in ('round-2', 'round-10', 'round-x', 'quality.json'):
      os.makedirs(os.path.join(self.run, 'labels', name))
    self.assertEqual(os.path.basename(self._read().label_dir), 'round-10')

  def test_labels_that_the_run_was_given(self):
    self.pseudo['label_dir'] = '/data/labels'
    self.assertEqual(self._read().label_dir, '/data/labels')

  def test_a_task_without_an_ignore_band(self):
    del self.pseudo['ignore_cut']
    self.assertIsNone(self._read().cuts.ignore_cut)

  def test_embedded_data_is_next_to_the_run(self):
    self.pseudo['input_path'] = ''
    self.dataset['class_names'] = []
    settings = datasets.Digits(num_shards=3)
    beside = os.path.join(os.path.dirname(self.run), digits.directory_name(settings))
    found = self._read()
    self.assertEqual(found.images, digits.locate(settings, beside).unlabelled)
    self.assertEqual(found.class_names, tuple('0123456789'))
    self.dataset['directory'] = '/data'
    elsewhere = os.path.join('/data', digits.directory_name(settings))
    self.assertEqual(self._read().images, digits.locate(settings, elsewhere).unlabelled)

  def test_a_run_of_an_older_version_has_no_class_names(self):
    del self.dataset['class_names']
    self.assertEqual(self._read().class_names, ())
    self.pseudo['input_path'] = ''
    self.assertEqual(self._read().class_names, tuple('0123456789'))

  def test_other_folders_are_refused(self):
    with self.assertRaisesRegex(errors.DataError, r'params\.yaml does not exist: --run takes a'):
      run_settings.read(self.run)
    with self.assertRaisesRegex(errors.DataError, 'is not of a self-training run: it has no task'):
      self._read(task={'model': {}})
    with self.assertRaisesRegex(errors.DataError, 'or names no experiment. Give the run directory'):
      self._read(experiment='')
    os.rmdir(os.path.join(self.run, 'labels', 'round-1'))
    with self.assertRaisesRegex(errors.DataError, 'labels has no labels: finish the stage'):
      self._read()


if __name__ == '__main__':
  unittest.main()
