"""What the pipeline knows of the data: ops that would change what labels mean, and settings refused before training."""

import os

import tensorflow as tf

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.core import config, dataset_card, errors, files
from official_selftrain.pipeline import data

_SMALL = (
  'dataset.digits.num_labelled=2,dataset.digits.num_unlabelled=2,dataset.digits.num_validation=2,'
  'dataset.digits.num_shards=1'
)


class InvalidOpsTest(tf.test.TestCase):
  def _resolved(self, override):
    params = config.load_experiment('retinanet_selftrain', [], override)
    data.locate(params, self.create_tempdir('runs').full_path + '/run')
    return params

  def test_digits_are_never_mirrored(self):
    task = self._resolved(_SMALL).task
    for stream in (task.train_data, task.pseudo_data):
      self.assertEqual(stream.augmentation.exclude_ops, ['Flip', 'Flip_Only_BBoxes'])
    self.assertEqual(task.validation_data.augmentation.exclude_ops, [])
    own = self._resolved(f'{_SMALL},teacher.augmentation={{policy: S1}}').teacher.augmentation
    self.assertEqual(own.exclude_ops, ['Flip', 'Flip_Only_BBoxes'])

  def test_a_data_set_of_ones_own_says_it_itself(self):
    paths = ','.join(
      f'task.{name}.input_path={name}.tfrecord'
      for name in ('train_data', 'pseudo_data', 'validation_data')
    )
    task = self._resolved(
      f"{paths},dataset.invalid_ops=['Invert'],task.pseudo_data.augmentation.exclude_ops=['Color']"
    ).task
    self.assertEqual(task.train_data.augmentation.exclude_ops, ['Invert'])
    self.assertEqual(task.pseudo_data.augmentation.exclude_ops, ['Color', 'Invert'])

  def test_mirrored_images_are_not_labelled_where_they_mean_something_else(self):
    paths = (
      'task.train_data.input_path=a,task.validation_data.input_path=b,task.pseudo_data.input_path=c'
    )
    for override in ('labels.flip=true', f'labels.flip=true,{paths},dataset.invalid_ops=[Flip]'):
      params = config.load_experiment('retinanet_selftrain', [], override).replace()
      with self.assertRaisesRegex(
        errors.ConfigError, r'^labels\.flip is true: .* Set labels\.flip=false'
      ):
        data.locate(params, 'runs/mine')
    for override in (f'labels.flip=true,{paths}', 'labels.flip=false'):
      data.locate(
        config.load_experiment('retinanet_selftrain', [], override).replace(), 'runs/mine'
      )


class CheckAugmentationTest(tf.test.TestCase):
  def assert_refused(self, override, pattern):
    params = config.load_experiment('retinanet_selftrain', [], override)
    with self.assertRaisesRegex(errors.ConfigError, pattern):
      data.check_augmentation(params)

  def test_unknown_op(self):
    self.assert_refused(
      "task.pseudo_data.augmentation.exclude_ops=['Rotate']",
      r"^task\.pseudo_data\.augmentation: exclude_ops: there is no op 'Rotate'; there are Flip, Aut",
    )

  def test_the_teachers_own_augmentation_is_checked_under_its_name(self):
    self.assert_refused(
      "teacher.augmentation={policy: S1, exclude_ops: ['Rotate']}",
      r"^teacher\.augmentation: exclude_ops: there is no op 'Rotate'",
    )

  def test_bad_sub_policy(self):
    self.assert_refused(
      'task.train_data.augmentation.policy=S2,'
      "task.train_data.augmentation.auto_augment.sub_policies=['Color(2, 3)']",
      r'^task\.train_data\.augmentation: sub-policy .*probabilities must be in \[0, 1\]',
    )


class ListingDigestTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.path = os.path.join(self.folder, 'labelled-00000-of-00001.tfrecord')
    files.write_text(self.path, 'abc')

  def write_card(self, digest):
    found = dataset_card.Set(
      pattern='labelled-*', images=1, objects={}, without_objects=0, height=(1, 1, 1),
      width=(1, 1, 1), files={os.path.basename(self.path): digest}, source='',
    )  # fmt: skip
    card = dataset_card.Card('detection', ('cat',), found, None, None, {}, {})
    dataset_card.write(card, self.folder)

  def test_names_sizes_and_what_a_card_says_of_the_content(self):
    digests = [data.listing_digest([self.path])]
    for digest in ('one', 'two'):
      self.write_card(digest)
      digests.append(data.listing_digest([self.path]))
    files.write_text(self.path, 'abcd')
    digests.append(data.listing_digest([self.path]))
    self.assertLen(set(digests), 4)
    # A card that cannot be read says nothing.
    files.write_text(os.path.join(self.folder, dataset_card.FILE_NAME), 'torn')
    files.write_text(self.path, 'xyz')
    self.assertEqual(data.listing_digest([self.path]), digests[0])

  def test_digests_of_inputs_are_computed_once(self):
    params = config.load_experiment('retinanet_selftrain', [], '')
    params.task.train_data.input_path = self.path
    asked = []
    digests = data.InputDigests(params, {'corrections': lambda: asked.append('c') or 'by people'})
    setting = 'task.train_data.input_path'
    self.write_card('one')
    now, former = digests.now(setting), digests.former([setting, 'task.init_checkpoint'])
    self.assertEqual(now, data.listing_digest([self.path]))
    self.assertEqual(former, {setting: data.listing_digest([self.path], with_cards=False)})
    self.assertNotEqual(former[setting], now)
    self.assertEqual(digests.now('task.init_checkpoint'), '')
    self.write_card('two')
    self.assertEqual((digests.now(setting), digests.former([setting])), (now, former))
    self.assertEqual([digests.now('corrections') for _ in range(2)], ['by people'] * 2)
    self.assertLen(asked, 1)


if __name__ == '__main__':
  tf.test.main()
