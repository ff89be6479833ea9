"""Tests for settings that come from a data card."""

import dataclasses
import os
import tempfile
import unittest

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.core import config, dataset_card, errors


def _set(name, images=3, annotation_file=''):
  return dataset_card.Set(
    pattern=f'{name}-*-of-00001.tfrecord',
    images=images,
    objects={'cat': 2, 'dog': 1},
    without_objects=0,
    height=(10, 10, 20),
    width=(10, 10, 20),
    files={f'{name}-00000-of-00001.tfrecord': 'ab'},
    source='voc:mine: all',
    annotation_file=annotation_file,
  )


def _card(**changes):
  card = dataset_card.Card(
    task='detection',
    classes=('cat', 'dog'),
    labelled=_set('labelled'),
    unlabelled=_set('unlabelled', annotation_file='held_out/unlabelled_truth.json'),
    validation=_set('validation', annotation_file='validation.json'),
    split={'seed': 0},
    versions={},
  )
  return dataclasses.replace(card, **changes)


class PreparedDataTest(unittest.TestCase):
  def setUp(self):
    folder = tempfile.TemporaryDirectory(prefix='odd[1]')
    self.addCleanup(folder.cleanup)
    self.folder = folder.name

  def _write(self, card):
    dataset_card.write(card, self.folder)
    for each in card.sets().values():
      for name in (*each.files, each.annotation_file):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if name:
          open(path, 'wb').close()

  def _load(self, experiment, override=''):
    return config.load_experiment(experiment, [], override, self.folder)

  def _pattern(self, name):
    return os.path.join(self.folder.replace('[', '[[]'), f'{name}-*-of-00001.tfrecord')

  def _with_more_labels(self, **changes):
    """Writes the data of a run and beside it, in the folder that is returned, data with more labels."""
    self._write(_card())
    own, self.folder = self.folder, os.path.join(self.folder, 'more')
    self._write(_card(labelled=_set('labelled', images=6), unlabelled=None, **changes))
    more, self.folder = self.folder, own
    return more

  def test_a_ceiling_has_the_labelled_images_of_its_card(self):
    more = self._with_more_labels()
    params = self._load('retinanet_selftrain', f'ceiling.card={more}')
    pattern = os.path.join(more.replace('[', '[[]'), 'labelled-*-of-00001.tfrecord')
    self.assertEqual(params.ceiling.input_path, pattern)
    self.assertEqual(params.task.train_data.input_path, self._pattern('labelled'))
    self.assertTrue(params.ceiling.enabled)
    self.assertFalse(self._load('retinanet_selftrain').ceiling.enabled)

  def test_a_ceiling_that_may_have_learned_from_validation_images_is_refused(self):
    more = self._with_more_labels(validation=_set('other', annotation_file='validation.json'))
    with self.assertRaisesRegex(errors.ConfigError, 'has other validation images than') as caught:
      self._load('retinanet_selftrain', f'ceiling.card={more}')
    self.assertIn('without --fraction', str(caught.exception))
    with self.assertRaisesRegex(errors.ConfigError, 'dataset.card is empty'):
      config.load_experiment('retinanet_selftrain', [], f'ceiling.card={more}')

  def test_a_ceiling_of_other_classes_is_refused(self):
    more = self._with_more_labels(classes=('cat', 'cow'))
    with self.assertRaisesRegex(errors.ConfigError, 'with the classes of .*: cat, dog'):
      self._load('retinanet_selftrain', f'ceiling.card={more}')

  def test_whole_images_have_no_background(self):
    self._write(_card(task='classification', unlabelled=None))
    params = self._load('classification_pretrain')
    self.assertEqual(params.task.model.num_classes, 2)
    self.assertEqual(params.dataset.class_names, ['cat', 'dog'])
    self.assertEqual(params.task.train_data.input_path, self._pattern('labelled'))

  def test_simclr_takes_the_unlabelled_images_of_any_card(self):
    for task in ('detection', 'classification', 'none'):
      self._write(_card(task=task))
      params = self._load('simclr_pretrain')
      self.assertEqual(params.task.train_data.input_path, self._pattern('unlabelled'))
      self.assertEqual(params.task.validation_data.input_path, self._pattern('validation'))
      self.assertEqual(params.dataset.class_names, [])

  def test_simclr_takes_the_labelled_ones_where_there_are_no_others(self):
    self._write(_card(unlabelled=None))
    found = self._load('simclr_pretrain').task.train_data.input_path
    self.assertEqual(found, self._pattern('labelled'))

  def test_files_and_classes_come_from_the_card(self):
    self._write(_card())
    params = self._load('retinanet_resnetfpn_selftrain')
    self.assertEqual(params.dataset.card, self.folder)
    self.assertEqual(params.dataset.class_names, ['cat', 'dog'])
    self.assertEqual(params.task.model.num_classes, 3)
    self.assertEqual(params.task.train_data.input_path, self._pattern('labelled'))
    self.assertEqual(params.task.pseudo_data.input_path, self._pattern('unlabelled'))
    self.assertEqual(params.task.validation_data.input_path, self._pattern('validation'))
    self.assertEqual(params.task.annotation_file, os.path.join(self.folder, 'validation.json'))
    truth = os.path.join(self.folder, 'held_out/unlabelled_truth.json')
    self.assertEqual(params.report.unlabelled_truth, truth)

  def test_a_setting_does_the_same_as_the_flag(self):
    self._write(_card())
    override = f"dataset.card='{self.folder}'"
    params = config.load_experiment('retinanet_resnetfpn_selftrain', [], override)
    self.assertEqual(params.as_dict(), self._load('retinanet_resnetfpn_selftrain').as_dict())

  def test_other_settings_win(self):
    self._write(_card())
    params = self._load('retinanet_resnetfpn_selftrain', 'task.pseudo_data.input_path=other')
    self.assertEqual(params.task.pseudo_data.input_path, 'other')
    # All else still comes from the card.
    paths = 'task.train_data.input_path=mine,task.validation_data.input_path=theirs'
    for override, names in (
      (paths, ['cat', 'dog']),
      (f"{paths},dataset.class_names=['one','two']", ['one', 'two']),
    ):
      params = self._load('retinanet_resnetfpn_selftrain', override)
      self.assertEqual(params.task.train_data.input_path, 'mine')
      self.assertEqual(params.task.validation_data.input_path, 'theirs')
      self.assertEqual(params.task.pseudo_data.input_path, self._pattern('unlabelled'))
      self.assertEqual(params.dataset.class_names, names)
      self.assertEqual(params.task.model.num_classes, 3)
    with self.assertRaisesRegex(
      errors.ConfigError, 'class_names has 2 names and .*num_classes is 5'
    ):
      self._load('retinanet_resnetfpn_selftrain', 'task.model.num_classes=5')

  def test_the_supervised_experiment_needs_no_unlabelled_images(self):
    self._write(_card(unlabelled=None))
    params = self._load('retinanet_resnetfpn_supervised')
    self.assertEqual(params.task.train_data.input_path, self._pattern('labelled'))
    with self.assertRaisesRegex(
      errors.ConfigError, 'has no unlabelled images, which retinanet_resnetfpn_selftrain needs'
    ):
      self._load('retinanet_resnetfpn_selftrain')

  def test_data_for_another_task(self):
    self._write(_card())
    with self.assertRaisesRegex(
      errors.ConfigError, 'has data for detection, but .* is an experiment of segmentation'
    ):
      self._load('segmentation_efficientnet_selftrain')

  def test_segmentation(self):
    self._write(
      _card(task='segmentation', unlabelled=_set('unlabelled'), validation=_set('validation'))
    )
    params = self._load('segmentation_efficientnet_selftrain')
    self.assertEqual(params.task.model.num_classes, 3)
    self.assertEqual(params.task.validation_data.input_path, self._pattern('validation'))
    self.assertEqual(params.report.unlabelled_truth, '')

  def test_the_settings_of_a_run_do_not_need_the_card_any_more(self):
    self._write(_card())
    params = self._load('retinanet_resnetfpn_selftrain')
    path = os.path.join(self.folder, 'params.yaml')
    from official.modeling import hyperparams

    hyperparams.save_params_dict_to_yaml(params, path)
    os.remove(os.path.join(self.folder, dataset_card.FILE_NAME))
    again = config.load_experiment('retinanet_resnetfpn_selftrain', [path])
    self.assertEqual(again.as_dict(), params.as_dict())

  def test_a_data_set_beside_files_of_another_is_refused(self):
    path = os.path.join(self.folder, 'run.yaml')
    with open(path, 'w', encoding='utf-8') as stream:
      stream.write('task: {validation_data: {input_path: a-*}}\ndataset: {card: /data/a}\n')
    with self.assertRaisesRegex(
      errors.ConfigError,
      r'^--dataset=.*, but .*run\.yaml names files of its own \(those of /data/a\), which would be',
    ):
      config.load_experiment('retinanet_selftrain', [path], '', self.folder)

  def test_the_classes_of_joint_training_come_from_a_card_of_their_own(self):
    self._write(_card(task='classification', classes=('a', 'b', 'c'), unlabelled=None))
    card = f"task.joint.card='{self.folder}'"
    paths = 'task.train_data.input_path=x,task.validation_data.input_path=y,task.annotation_file=z'
    params = config.load_experiment('retinanet_joint', [], f'{card},{paths}')
    self.assertEqual(params.task.joint.num_classes, 3)
    self.assertEqual(params.task.joint.data.input_path, self._pattern('labelled'))
    self.assertEqual(params.task.train_data.input_path, 'x')
    self._write(_card())
    with self.assertRaisesRegex(
      errors.ConfigError, r'^task\.joint\.card: .* has data for detection; images with one class'
    ):
      config.load_experiment('retinanet_joint', [], f'{card},{paths}')

  def test_no_card(self):
    with self.assertRaisesRegex(errors.DataError, 'has no dataset.json. Give a directory that'):
      self._load('retinanet_resnetfpn_selftrain')


if __name__ == '__main__':
  unittest.main()
