"""What a run directory says of its labels."""

import json
import os
import pathlib
import tempfile
import unittest
from unittest import mock

import yaml

from official_selftrain.configs import datasets
from official_selftrain.core import errors
from official_selftrain.datasets import digits
from official_selftrain.pseudo_labels import cuts, manifest
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
    # They are those of the first round.
    os.makedirs(os.path.join(self.run, 'labels', 'round-2'))
    self.assertEqual(self._read().label_dir, os.path.join(self.run, 'labels', 'round-2'))

  def test_a_cut_needs_no_calibration(self):
    self.pseudo['cut'] = 'calibrated'
    with self.assertRaisesRegex(errors.DataError, 'are not calibrated yet: .* or give --cut'):
      self._read()
    self.assertEqual(run_settings.read(self.run, 0.4).cuts, cuts.Cuts(cut=0.4))

  def test_cuts_that_the_gate_of_the_last_round_matched(self):
    self.pseudo['cut'] = 'matched'
    stages = pathlib.Path(self.run, 'stages')
    stages.mkdir()
    for number, name, cut, ignore_cut in ((1, 'gate', 0.5, 0.15), (2, 'gate-2', 0.4, None)):
      os.makedirs(os.path.join(self.run, 'labels', f'round-{number}'), exist_ok=True)
      for text in (None, '{"status": "running"}'):
        if text:
          (stages / f'{name}.json').write_text(text, encoding='utf-8')
        with self.assertRaisesRegex(
          errors.DataError, f'are not chosen yet: finish its stage `{name}` first, or give --cut'
        ):
          self._read()
      matched = {'cut': cut, 'class_cuts': [0.3, 0.7], 'ignore_cut': ignore_cut}
      text = json.dumps({'result': {'digest': 'open', 'matched': matched}})
      (stages / f'{name}.json').write_text(text, encoding='utf-8')
      found = self._read().cuts
      self.assertEqual(found, cuts.Cuts(cut, ignore_cut, per_class={1: 0.3, 2: 0.7}))
    self.assertEqual(run_settings.read(self.run, 0.4).cuts, cuts.Cuts(cut=0.4))

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


class ChooseTest(unittest.TestCase):
  """What flags say goes before what labels and runs say."""

  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    for name in ('a.tfrecord', 'b.tfrecord'):
      (self.folder / name).touch()
    self.run = run_settings.RunSettings(
      label_dir='of the run',
      images=str(self.folder / 'a*'),
      images_field='params.yaml: task.pseudo_data.input_path',
      cuts=cuts.Cuts(cut=0.6, ignore_cut=0.2, per_class={1: 0.7}),
      class_names=('cat',),
    )

  def choose(self, *flags, of_labels=(), **more) -> run_settings.Labels:
    self.loaded = mock.Mock(return_value=mock.Mock(class_names=of_labels))
    with (
      mock.patch.object(run_settings, 'read', return_value=self.run),
      mock.patch.object(manifest.Manifest, 'load', self.loaded),
    ):
      return run_settings.choose(*flags, **more)

  def test_everything_may_be_the_runs(self):
    found = self.choose('run', None, None)
    self.loaded.assert_called_once_with('of the run')
    self.assertEqual(
      found,
      run_settings.Labels(
        label_dir='of the run',
        image_files=[str(self.folder / 'a.tfrecord')],
        cuts=self.run.cuts,
        class_names=('cat',),
      ),
    )

  def test_flags_go_first(self):
    found = self.choose('run', 'labels', str(self.folder / 'b*'), 'emu,owl', of_labels=('dog',))
    self.assertEqual(found.label_dir, 'labels')
    self.assertEqual(found.image_files, [str(self.folder / 'b.tfrecord')])
    self.assertEqual(found.class_names, ('emu', 'owl'))

  def test_names_in_the_labels_go_before_those_of_the_run(self):
    self.assertEqual(self.choose('run', None, None, of_labels=('dog',)).class_names, ('dog',))

  def test_a_cut_that_is_given_stands_alone(self):
    for flags, expected in (
      ({'cut': 0.3}, cuts.Cuts(cut=0.3)),
      # Only the band is another.
      ({'ignore_cut': 0.1}, cuts.Cuts(cut=0.6, ignore_cut=0.1, per_class={1: 0.7})),
      ({'cut': 0.3, 'ignore_cut': 0.1}, cuts.Cuts(cut=0.3, ignore_cut=0.1)),
      ({'cut': 0.0}, cuts.Cuts(cut=0.0)),
    ):
      self.assertEqual(self.choose('run', None, None, **flags).cuts, expected)

  def test_without_a_run(self):
    found = self.choose(None, 'labels', str(self.folder / '*.tfrecord'))
    self.assertEqual((found.cuts, found.class_names), (cuts.Cuts(cut=0.5), ()))
    self.assertEqual(len(found.image_files), 2)
    for labels, images in ((None, 'x'), ('x', None), (None, None)):
      with self.assertRaisesRegex(errors.ConfigError, '^--run is missing: give a run directory'):
        self.choose(None, labels, images)

  def test_images_that_are_not_there_are_named_by_what_gave_them(self):
    with self.assertRaisesRegex(errors.DataError, '^--images'):
      self.choose('run', None, str(self.folder / 'c*'))
    (self.folder / 'a.tfrecord').unlink()
    with self.assertRaisesRegex(errors.DataError, r'params\.yaml: task\.pseudo_data\.input_path'):
      self.choose('run', None, None)


if __name__ == '__main__':
  unittest.main()
