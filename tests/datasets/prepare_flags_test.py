"""Tests for the flags of the preparation: leaks, fractions, and what is refused."""

import contextlib
import io
import re
import unittest

from pycocotools import coco

from official_selftrain.core import splits
from official_selftrain.datasets import prepare
from tests.datasets import prepared
from tests.datasets.preparation import photos


class LeakTest(prepared.HereTestCase):
  """One of two unlabelled images is a validation image."""

  def arguments(self, *more):
    return f'--validation={self.root}/coco/all.json', f'--unlabelled={self.root}/leaking', *more

  def test_leaks_are_refused(self):
    status, out, err = self.run_with(*self.arguments())
    self.assertEqual(status, 2)
    self.assertRegex(
      err,
      r'^error: 1 x a training image is, or looks like, a validation image; first copy\.jpg \(unlabelled\) and 0\.jpg\.'
      r' --leaks=drop leaves them out of training, --leaks=allow keeps them\.\n$',
    )
    self.assertRegex(out, r'a validation image is among the training images +error +1 +0\n')
    report = prepared.read_json(self.output / 'check.json')
    self.assertEqual(len(report['problems']), 1)
    (example,) = report['faults']['leak']['examples']
    self.assertEqual((example['set'], example['name']), ('unlabelled', 'copy.jpg'))
    self.assertRegex(example['detail'], r'^like 0\.jpg \(validation\), \d of 64 bits differ$')
    self.assertEqual(list(self.output.glob('*.tfrecord')), [])
    self.assertFalse((self.output / 'dataset.json').exists())

  def test_leaks_are_dropped(self):
    card = self.run_well(*self.arguments('--leaks=drop'))
    self.assertEqual(list(self.records('unlabelled')), ['fresh.jpg'])
    self.assertEqual(card.validation.images, 2)

  def test_leaks_are_allowed(self):
    for flag in ('--leaks=allow', '--allow=leak'):
      card = self.run_well(*self.arguments(flag))
      self.assertEqual(sorted(self.records('unlabelled')), ['copy.jpg', 'fresh.jpg'])
      self.assertEqual(card.validation.images, 2)


class WithoutLabelsTest(prepared.HereTestCase):
  def test_some_unlabelled_images_are_for_validation(self):
    card = self.run_well(f'--unlabelled={self.root}/photos', '--validation=50%', '--seed=3')
    names = sorted([*self.records('unlabelled'), *self.records('validation')])
    self.assertEqual((card.unlabelled.images, card.validation.images), (2, 2))
    self.assertEqual(len(set(names)), 4)
    ranked = splits.ranking(names, 3)
    self.assertEqual(list(self.records('unlabelled')), ranked[:2])
    self.assertEqual(
      card.validation.source.split(': ')[-1], '50% of the unlabelled images (seed 3)'
    )
    self.assertEqual((card.task, card.labelled), ('none', None))


class ShareTest(prepared.HereTestCase):
  def test_a_number_is_a_share_unless_it_is_a_path(self):
    card = self.run_well(f'--unlabelled={self.root}/photos', '--validation=0.25')
    self.assertEqual((card.unlabelled.images, card.validation.images), (3, 1))
    with contextlib.chdir(self.root):
      photos.write(self.root, {'0.25': 'no images'})
      status, _, err = self.run_with(f'--unlabelled={self.root}/photos', '--validation=0.25')
    self.assertEqual(status, 2)
    self.assertIn('--validation: the format of 0.25 is not clear', err)
    (self.root / '0.25').unlink()


class FractionTest(prepared.HereTestCase):
  def test_the_rest_becomes_unlabelled_and_its_truth_is_held_out(self):
    card = self.run_well(
      f'--labelled={self.root}/voc',
      f'--unlabelled={self.root}/photos',
      '--fraction=50%',
      '--rest=unlabelled',
    )
    ranked = splits.ranking(prepared.USED, 0)
    self.assertEqual(list(self.records('labelled')), ranked[:7])
    own = splits.ranking(['0.jpg', '1.jpg', '2.jpg', '03.jpg'], 0)
    # One of the photographs has the name of a labelled image.
    rest = {name: 'labelled/03.jpg' if name == '03.jpg' else name for name in ranked[7:]}
    unlabelled = self.records('unlabelled')
    self.assertEqual(list(unlabelled), [*own, *rest.values()])
    for record in unlabelled.values():
      self.assertEqual(
        sorted(record),
        ['image/encoded', 'image/filename', 'image/height', 'image/source_id', 'image/width'],
      )
    self.assertEqual(card.unlabelled.annotation_file, 'held_out/unlabelled_truth.json')
    self.assertEqual(card.unlabelled.objects, {})
    self.check_truth(rest)
    self.assertIn('7 of 14 (seed 0)', card.labelled.source)
    self.assertIn(
      '4 unlabelled images and 7 labelled images without their annotations', card.unlabelled.source
    )

  def check_truth(self, rest):
    with contextlib.redirect_stdout(io.StringIO()):
      truth = coco.COCO(str(self.output / 'held_out' / 'unlabelled_truth.json'))
    self.assertEqual(truth.getImgIds(), list(rest.values()))
    for name, image_id in rest.items():
      (image,) = truth.loadImgs([image_id])
      self.assertEqual(image['file_name'], name)
      found = truth.loadAnns(truth.getAnnIds([image_id]))
      self.assertEqual(
        [each['category_id'] for each in found], [1, 2] if int(name[:2]) % 3 == 0 else [1]
      )

  def test_the_rest_is_left_out_by_default(self):
    card = self.run_well(f'--labelled={self.root}/voc', '--fraction=0.25', '--stratify')
    self.assertIsNone(card.unlabelled)
    # 14 / 4 = 3.5 is rounded up; 5 of the images have a dog: 0, 3, 6, 9 and 21.
    self.assertEqual(card.labelled.images, 4)
    self.assertLess(abs(card.labelled.objects['dog'] - 4 * 5 / 14), 1)
    self.assertFalse((self.output / 'held_out').exists())


class FlagsTest(prepared.HereTestCase):
  def assert_error(self, expected, *arguments):
    status, out, err = self.run_with(*arguments)
    self.assertEqual((status, out), (2, ''))
    self.assertRegex(err, rf'^error: {expected}')
    self.assertNotIn('Traceback', err)
    self.assertFalse(self.output.exists())

  def test_something_must_be_given(self):
    self.assert_error('Give --labelled, --unlabelled or --validation')

  def test_a_fraction_needs_labelled_images(self):
    expected = '--fraction divides labelled images: give --labelled, too'
    self.assert_error(expected, f'--unlabelled={self.root}/photos', '--fraction=20%')

  def test_shares_are_above_0_and_at_most_100_percent(self):
    labelled = f'--labelled={self.root}/voc'
    for text in ('0%', '101%', '-5%', 'half', 'nan', '1.5', '5%%', '%'):
      self.assert_error(
        rf'--fraction={re.escape(text)}: give a share such as 20% or 0\.2, above 0 and at most 100%',
        labelled,
        f'--fraction={text}',
      )
    self.assert_error(r'--validation=0%: give a share', labelled, '--validation=0%')
    self.assert_error(
      'The share for validation is 1; it must be above 0 and below 1', labelled, '--validation=100%'
    )

  def test_flags_without_effect(self):
    labelled = f'--labelled={self.root}/voc'
    self.assert_error(
      '--rest=unlabelled says what becomes of the rest', labelled, '--rest=unlabelled'
    )
    self.assert_error('--stratify is for shares', labelled, '--stratify')
    self.assert_error(
      '--teacher compares the classes of labelled images',
      f'--unlabelled={self.root}/voc',
      '--teacher=model',
    )

  def test_numbers_are_at_least_1(self):
    labelled = f'--labelled={self.root}/voc'
    for name in ('processes', 'images_per_file'):
      self.assert_error(f'--{name}=0: it must be at least 1', labelled, f'--{name}=0')

  def test_only_faults_that_stop_can_be_allowed(self):
    for text in ('cmyk', 'unknown_class,leek'):
      self.assert_error(
        rf'--allow={text.rpartition(",")[2]}: allowed are class_order, leak, no_objects, same_name, teacher_classes, '
        r'unknown_class\.',
        f'--labelled={self.root}/voc',
        f'--allow={text}',
      )

  def test_sources_that_do_not_exist_are_named_with_their_flag(self):
    self.assert_error('--labelled: /nowhere does not exist. Check the path', '--labelled=/nowhere')
    self.assert_error(
      r"--validation=cocoa:x: there is no format 'cocoa'\. Did you mean coco\?",
      '--validation=cocoa:x',
    )

  def test_argparse_refuses_what_it_knows(self):
    for flag in ('--leaks=maybe', '--rest=here', '--seed=x', '--colour=red'):
      with (
        self.assertRaises(SystemExit) as caught,
        contextlib.redirect_stderr(io.StringIO()) as err,
      ):
        prepare.main([flag, '--output=x'])
      self.assertEqual(caught.exception.code, 2)
      self.assertIn(flag.partition('=')[0], err.getvalue())

  def test_help_says_what_can_be_given(self):
    with self.assertRaises(SystemExit) as caught, contextlib.redirect_stdout(io.StringIO()) as out:
      prepare.main(['--help'])
    self.assertEqual(caught.exception.code, 0)
    self.assertIn(
      'share of the labelled images to keep; 100% if not given', ' '.join(out.getvalue().split())
    )
    self.assertRegex(out.getvalue(), r'\n  voc +folder with Annotations')

  def test_an_output_that_is_a_file_is_refused(self):
    self.output.write_text('')
    status, _, err = self.run_with(f'--labelled={self.root}/voc')
    self.assertEqual(status, 2)
    self.assertRegex(err, r'^error: .* cannot be written: .*Give another --output\.\n$')
    self.output.unlink()


if __name__ == '__main__':
  unittest.main()
