"""Tests for the preparation of data from beginning to end, by its command line."""

import contextlib
import io
import signal
import subprocess
import sys
import unittest
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from pycocotools import coco
from pycocotools import mask as coco_mask

from official_selftrain.core import dataset_card, keys, splits
from official_selftrain.datasets import tf_examples
from official_selftrain.datasets.preparation import store, work
from tests.datasets import prepared
from tests.datasets.preparation import photos


class VocTest(unittest.TestCase):
  """The records, annotations and card of the reference run."""

  def setUp(self):
    self.folder, self.printed = prepared.reference()
    self.card = dataset_card.read(self.folder)
    ranked = splits.ranking(prepared.USED, 3)
    # 25% of 14 images are 3.5, and that is rounded up.
    self.labelled, self.validation = ranked[:10], sorted(ranked[10:])

  def test_images_are_where_their_ranks_say(self):
    self.assertEqual(list(prepared.records(self.folder, 'labelled')), self.labelled)
    validation = prepared.records(self.folder, 'validation')
    # The evaluator needs numbers.
    self.assertEqual(list(validation), ['1', '2', '3', '4'])
    names = [each[keys.FILE_NAME][0].decode() for each in validation.values()]
    self.assertEqual(names, self.validation)
    self.assertEqual(list(prepared.records(self.folder, 'unlabelled')), [])

  def test_good_images_are_written_as_they_are(self):
    found = prepared.records(self.folder, 'labelled')
    names = [name for name in self.labelled if name in prepared.GOOD]
    self.assertGreater(len(names), 5)
    for name in names:
      self.assertEqual(found[name][keys.IMAGE_ENCODED], [photos.jpeg(int(name[:2]))])
      self.assertEqual(found[name][keys.IMAGE_HEIGHT], [photos.HEIGHT])
      self.assertEqual(found[name][keys.IMAGE_WIDTH], [photos.WIDTH])

  def test_odd_images_are_written_as_they_are_displayed(self):
    found = {
      each[keys.FILE_NAME][0].decode(): each
      for name in ('labelled', 'validation')
      for each in prepared.records(self.folder, name).values()
    }
    self.assertEqual(sorted(found), sorted(prepared.USED))
    turned = found[prepared.TURNED]
    self.assertEqual(
      turned[keys.IMAGE_HEIGHT] + turned[keys.IMAGE_WIDTH], [photos.WIDTH, photos.HEIGHT]
    )
    pixels = photos.pixels(turned[keys.IMAGE_ENCODED][0]).astype(int)
    # Orientation 6 is displayed turned clockwise by 90 degrees.
    expected = np.rot90(photos.pixels(photos.jpeg(20)).astype(int), -1)
    self.assertEqual(pixels.shape, expected.shape)
    self.assertLess(np.abs(pixels - expected).mean(), 3)
    np.testing.assert_allclose(turned[keys.BOX_YMIN][0], 4 / photos.WIDTH)
    grey = photos.pixels(found[prepared.CMYK][keys.IMAGE_ENCODED][0]).astype(int)
    self.assertEqual(grey.shape, (photos.HEIGHT, photos.WIDTH, 3))
    self.assertLess(np.abs(grey - photos.pixels(photos.jpeg(21)).astype(int)).mean(), 5)

  def test_boxes_are_fractions_of_the_sides(self):
    for name, record in prepared.records(self.folder, 'labelled').items():
      height, width = record[keys.IMAGE_HEIGHT][0], record[keys.IMAGE_WIDTH][0]
      classes = [1, 2] if int(name[:2]) % 3 == 0 else [1]
      self.assertEqual(record[keys.BOX_CLASS], classes)
      self.assertEqual(record[keys.BOX_CLASS_NAME], [b'cat', b'dog'][: len(classes)])
      for feature, edge, side in zip(
        (keys.BOX_YMIN, keys.BOX_XMIN, keys.BOX_YMAX, keys.BOX_XMAX),
        prepared.BOX,
        (height, width) * 2,
        strict=True,
      ):
        np.testing.assert_allclose(record[feature], [edge / side] * len(classes), rtol=1e-6)
      self.assertEqual(record[keys.BOX_AREA], [12 * 16] * len(classes))
      self.assertEqual(record[keys.BOX_IS_CROWD], [0] * len(classes))
      self.assertNotIn(keys.BOX_MASK, record)

  def test_annotations_are_of_the_same_images(self):
    with contextlib.redirect_stdout(io.StringIO()):
      truth = coco.COCO(str(self.folder / 'validation.json'))
    names = [each['file_name'] for each in truth.loadImgs([1, 2, 3, 4])]
    self.assertEqual(names, self.validation)
    self.assertEqual(truth.loadCats([1, 2]), [{'id': 1, 'name': 'cat'}, {'id': 2, 'name': 'dog'}])
    for number, name in enumerate(names, 1):
      found = truth.loadAnns(truth.getAnnIds([number]))
      self.assertEqual(
        [each['category_id'] for each in found], [1, 2] if int(name[:2]) % 3 == 0 else [1]
      )
      for each in found:
        self.assertEqual(each['bbox'], [8, 4, 16, 12])
        self.assertEqual(each['area'], 192)

  def test_the_card_says_what_is_there(self):
    card = self.card
    self.assertEqual((card.task, card.classes), ('detection', ('cat', 'dog')))
    self.assertEqual((card.labelled.images, card.validation.images, card.unlabelled), (10, 4, None))
    dogs = sum(int(name[:2]) % 3 == 0 for name in self.labelled)
    self.assertEqual(card.labelled.objects, {'cat': 10, 'dog': dogs})
    self.assertEqual(card.labelled.without_objects, 0)
    self.assertEqual(card.labelled.pattern, 'labelled-*-of-00003.tfrecord')
    self.assertEqual(card.labelled.source, f'voc:{prepared.sources_root()}/voc: all')
    self.assertEqual(
      card.validation.source,
      f'voc:{prepared.sources_root()}/voc: 25% of the labelled images (seed 3)',
    )
    self.assertEqual(card.split['validation_share'], 0.25)
    sizes = {prepared.TURNED: (photos.WIDTH, photos.HEIGHT)}
    heights = sorted(sizes.get(name, (photos.HEIGHT,))[0] for name in self.labelled)
    self.assertEqual(card.labelled.height, (heights[0], heights[4], heights[-1]))
    odd = card.labelled.faults | card.validation.faults
    self.assertEqual(odd, {'exif_rotation': 1, 'cmyk': 1})
    for each in card.sets().values():
      for name, digest in each.files.items():
        found = tf_examples.RecordsDigest()
        for record in tf.data.TFRecordDataset(str(self.folder / name)).as_numpy_iterator():
          found.add_record(record)
        self.assertEqual(found.hexdigest(), digest)

  def test_the_report_names_images_that_are_left_out(self):
    report = prepared.read_json(self.folder / 'check.json')
    self.assertEqual(report['images'], {'labelled': 16})
    self.assertEqual(report['usable'], {'labelled': 14})
    self.assertEqual(report['problems'], [])
    self.assertEqual(
      {kind: each['counts'] for kind, each in report['faults'].items()},
      {kind: {'labelled': 1} for kind in ('truncated', 'not_an_image', 'exif_rotation', 'cmyk')},
    )
    (example,) = report['faults']['not_an_image']['examples']
    self.assertEqual(example['name'], prepared.PAGE)
    self.assertIn('HTML', example['detail'])
    (example,) = report['faults']['truncated']['examples']
    self.assertEqual(example['name'], prepared.CUT)

  def test_the_page_has_pictures(self):
    page = (self.folder / 'check.html').read_text()
    self.assertIn('Nothing stands in the way of training.', page)
    # Of the turned one and of the one in CMYK; the others cannot be shown.
    self.assertEqual(page.count('<img '), 2)
    self.assertRegex(page, rf'labelled: {prepared.PAGE} \(the content is HTML')

  def test_tables_are_printed_with_the_next_command(self):
    self.assertRegex(self.printed, r'images that can be used +14\n')
    self.assertRegex(self.printed, r'labelled +10 +\d+ +voc:')
    self.assertIn(
      f'python train.py --experiment=retinanet_resnetfpn_supervised --mode=train_and_eval --dataset={self.folder}',
      self.printed,
    )

  def test_nothing_else_is_left_in_the_folder(self):
    self.assertEqual(
      list(photos.contents(self.folder)),
      [
        'check.html',
        'check.json',
        'dataset.json',
        *(f'labelled-0000{n}-of-00003.tfrecord' for n in range(3)),
        'validation-00000-of-00001.tfrecord',
        'validation.json',
      ],
    )


class SameBytesTest(unittest.TestCase):
  """The bytes do not depend on the number of processes, or on how often the run was killed."""

  def test_two_processes_give_the_same_bytes(self):
    reference, _ = prepared.reference()
    status, _, err = prepared.main(*prepared.voc('two', '--images_per_file=4', '--processes=2'))
    self.assertEqual((status, err), (0, ''))
    self.assertEqual(photos.contents(prepared.sources_root() / 'two'), photos.contents(reference))

  @pytest.mark.slow
  def test_a_killed_run_goes_on_and_gives_the_same_bytes(self):
    reference, _ = prepared.reference()
    arguments = prepared.voc('killed', '--images_per_file=4', '--processes=1')
    killed = subprocess.run(
      [sys.executable, '-c', prepared.KILL, *arguments],
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
      check=False,
    )
    self.assertEqual(killed.returncode, -signal.SIGKILL)
    folder = prepared.sources_root() / 'killed'
    self.assertEqual([each.name for each in folder.iterdir()], ['.work'])
    kept = store.Store(folder / '.work' / 'images.sqlite')
    # Written after each two.
    self.assertEqual(len(kept.unexamined()), 16 - 4)
    kept.close()
    examined = []
    examine = work.examine

    def noted(store_path, key):
      examined.append(key)
      return examine(store_path, key)

    with photos.without_processes(), mock.patch.object(work, 'examine', noted):
      status, _, err = prepared.main(*arguments)
    self.assertEqual((status, err), (0, ''))
    self.assertEqual(len(examined), 12)
    self.assertEqual(photos.contents(folder), photos.contents(reference))


class CocoTest(prepared.HereTestCase):
  def test_boxes_masks_and_ids_are_those_of_the_file(self):
    card = self.run_well(f'--validation={self.root}/coco/all.json', '--instance_masks')
    self.assertEqual(card.validation.objects, {'cat': 1, 'dog': 2})
    self.assertEqual(card.validation.faults, {'clipped': 1})
    found = self.records('validation')
    self.assertEqual(list(found), ['100', '99'])
    self.assertEqual(found['100'][keys.BOX_CLASS], [2, 1])
    self.assertEqual(found['100'][keys.BOX_IS_CROWD], [0, 1])
    self.assertEqual(found['100'][keys.BOX_AREA], [150, 150])
    masks = [photos.pixels(each) for each in found['100'][keys.BOX_MASK]]
    expected = np.zeros([2, photos.HEIGHT, photos.WIDTH], np.uint8)
    expected[0, 4:10, 8:16] = 1
    expected[1, 4:10, 8] = 1
    np.testing.assert_array_equal(masks, expected)
    # Without a mask, the box is it: from x 50 and y 40 to the edges.
    expected = np.zeros([photos.HEIGHT, photos.WIDTH], np.uint8)
    expected[40:, 50:] = 1
    (mask,) = found['99'][keys.BOX_MASK]
    np.testing.assert_array_equal(photos.pixels(mask), expected)
    self.check_annotations()

  def check_annotations(self):
    with contextlib.redirect_stdout(io.StringIO()):
      truth = coco.COCO(str(self.output / 'validation.json'))
    self.assertEqual(truth.getImgIds(), [100, 99])
    polygon, runs, clipped = truth.loadAnns([1, 2, 3])
    self.assertEqual([polygon['category_id'], runs['category_id']], [2, 1])
    self.assertEqual([polygon['iscrowd'], runs['iscrowd']], [0, 1])
    self.assertEqual(coco_mask.area(polygon['segmentation']), 48)
    self.assertEqual(coco_mask.area(runs['segmentation']), 6)
    self.assertEqual(clipped['bbox'], [50, 40, 14, 8])
    self.assertNotIn('segmentation', clipped)
    self.assertEqual(len(truth.anns), 3)


class CheckTest(prepared.HereTestCase):
  def test_a_check_writes_no_records(self):
    status, out, err = self.run_with(f'--labelled={self.root}/voc', '--check')
    self.assertEqual((status, err), (0, ''))
    self.assertRegex(out, r'the image is in CMYK and becomes RGB +fixed +1\n')
    written = [name for name in photos.contents(self.output) if not name.startswith('.work/')]
    self.assertEqual(written, ['check.html', 'check.json'])


if __name__ == '__main__':
  unittest.main()
