"""Ids and names in exports, and what the program refuses."""

import collections
import io
import json
import os
import pathlib
import shutil
from unittest import mock

import tensorflow as tf
from PIL import Image

from official_selftrain.core import files
from official_selftrain.pseudo_labels.exporters import yolo
from tests.pseudo_labels import exported, unlabelled


def _photo(orientation):
  """A JPEG of grey level 2 that asks viewers to turn it."""
  exif = Image.Exif()
  exif[0x0112] = orientation
  buffer = io.BytesIO()
  Image.new('RGB', (30, 20), (2, 2, 2)).save(buffer, 'JPEG', exif=exif)
  return buffer.getvalue()


class IdsTest(exported.ExportCase):
  def _label_ids(self, *ids, **options):
    records = [unlabelled.record(unlabelled.png(place), id_) for place, id_ in enumerate(ids)]
    self.label(records=records, **options)

  def test_numbers_stay_ids(self):
    self._label_ids('900', '7', '000000000139')
    images = self.annotations()['images']
    self.assertEqual([each['id'] for each in images], [900, 7, 139])
    self.assertEqual(images[2]['file_name'], '000000000139.png')

  def test_other_ids_are_counted(self):
    for ids in (('9', 'a'), ('7', '007'), ('1' * 16, '2'), ('²', '1'), ('-1', '1')):
      self._label_ids(*ids)
      images = self.annotations()['images']
      self.assertEqual([each['id'] for each in images], [1, 2], ids)
      self.assertEqual([each['source_id'] for each in images], list(ids))
      self.clear()
      shutil.rmtree(self.labels)

  def test_ids_that_are_paths(self):
    self._label_ids('train/ü 1.jpg', '/abs/../2', None)
    found = self.export('yolo', '--with_images')
    self.assertEqual(
      sorted(found),
      [
        *('data.yaml', 'images/_abs_.._2.png', 'images/a.tfrecord_2.png', 'images/train_ü 1.png'),
        *('labels/_abs_.._2.txt', 'labels/a.tfrecord_2.txt', 'labels/train_ü 1.txt'),
      ],
    )

  def test_names_that_collide_are_refused(self):
    for ids, name in ((('a', 'b', 'a'), 'a'), (('x/y', 'b', 'x_y'), 'x_y'), (('a.jpg', 'a'), 'a')):
      self._label_ids(*ids)
      pattern = rf'ids {ids[0]!r} and {ids[-1]!r} would both have files called {name!r}\. Give'
      self.assert_refused(pattern)
      shutil.rmtree(self.labels)

  def test_dead_letters_are_counted_and_left_out(self):
    records = [
      unlabelled.record(unlabelled.png(1), 'a'),
      unlabelled.record(b'no image', 'b'),
      unlabelled.record(unlabelled.png(2), 'c'),
    ]
    self.label(records=records)
    found = self.annotations()
    self.assertEqual([each['source_id'] for each in found['images']], ['a', 'c'])
    self.assertEqual([each['image_id'] for each in found['annotations']], [1, 2, 2])
    self.assertRegex(self.out.splitlines()[2], r'^ +2 +0 +3 +0 +1$')

  def test_a_record_that_cannot_be_read_is_a_dead_letter(self):
    offset = unlabelled.record_offset(self.images, 1)
    unlabelled.flip_bit(self.images, offset + 20)
    self.label()
    images = self.annotations()['images']
    self.assertEqual(
      [each['source_id'] for each in images], ['id-0', 'id-2', 'id-3', 'id-4', 'id-5']
    )

  def test_labels_without_names_have_their_ids_as_names(self):
    self._label_ids('a', made=exported.box_labeller(()))
    names = [each['name'] for each in self.annotations()['categories']]
    self.assertEqual(names, ['1', '2', '3'])

  def test_boxes_of_the_background_are_refused(self):
    self._label_ids('a', 'b', made=exported.box_labeller(exported.NAMES, -1))
    self.assert_refused(r"The image with id 'b' has a box of class 0, the background")

  def test_photos_that_viewers_turn(self):
    turned, upright = (unlabelled.record(_photo(each), f'p{each}') for each in (6, 1))
    self.label(records=[turned, upright])
    images = self.annotations()['images']
    self.assertEqual([each['file_name'] for each in images], ['p6.jpg', 'p1.jpg'])
    # As stored, which is what the teacher saw.
    self.assertEqual([(each['width'], each['height']) for each in images], [(30, 20)] * 2)
    self.assertRegex(self.err, r'1 image\(s\) have EXIF data that asks viewers to turn them')


class CutsByClassTest(exported.ExportCase):
  def test_they_are_applied_and_named_also_with_another_ignore_band(self):
    self.label()
    pseudo = {'label_dir': self.labels, 'input_path': self.images, 'cut': 0.5}
    pseudo['class_cuts'] = [0.8, 0.5, 0.2]
    params = {'experiment': 'retinanet_selftrain', 'task': {'pseudo_data': pseudo}}
    pathlib.Path(self._path('params.yaml')).write_text(json.dumps(params))
    # Scores are 0.75 of class 1, 0.5 of class 2, 0.25 of class 3: only the first is below its cut.
    for flags, wanted in (((), {0: 3}), (('--ignore_cut=0.6',), {0: 3, 1: 4})):
      status, out, err = self.main(f'--run={self.folder}', '--format=coco', *flags)
      self.assertEqual(status, 0, err)
      self.assertIn('scores from 0.5 (by class 0.2 to 0.8)', out)
      found = self.contents()
      annotations = json.loads(found['annotations.json'])['annotations']
      self.assertEqual(dict(collections.Counter(each['iscrowd'] for each in annotations)), wanted)
      origin = json.loads(found['provenance.json'])
      self.assertEqual(origin['class_cuts'], {'1': 0.8, '2': 0.5, '3': 0.2})
      self.clear()


class RefusalTest(exported.ExportCase):
  def setUp(self):
    super().setUp()
    self.label()

  def test_class_names_that_do_not_fit(self):
    for given, pattern in (
      ('cat,dog', r'There are 2 class names, but the labels have 3 classes\. Give one name for'),
      ('a,b,a', r"The class name 'a' is given twice, for class 1 and 3"),
      ('a,,c', r"Class 2 has the name '', which is empty or does not fit on a line"),
      ('a,b,c\td', r"Class 3 has the name 'c\\td', which is empty or does not fit"),
      ('missing.txt', r'--class_names: missing\.txt cannot be read: .*No such file'),
    ):
      self.assert_refused(pattern, f'--class_names={given}')

  def test_cuts_that_are_none(self):
    self.assert_refused(r'cut is 1\.5; a cut is a score', '--cut=1.5')
    self.assert_refused(r'ignore_cut is 0\.5 and the highest cut is 0\.5', '--ignore_cut=0.5')

  def test_formats_of_masks(self):
    pattern = (
      'png, which is not written for labels of detection. Choose one of: coco, coco_results, yolo'
    )
    self.assert_refused(pattern, form='png')

  def test_an_output_that_is_there(self):
    os.makedirs(self._path('out'))
    kept = pathlib.Path(self._path('out', 'mine'))
    kept.write_text('1')
    self.assert_refused('out holds files already')
    self.assertEqual(kept.read_text(), '1')

  def test_images_that_changed(self):
    unlabelled.write_images(self.images, [0, 1, 3, 2, 4, 5])
    self.assert_refused(
      r"Pseudo labels do not belong to the images: .* id 'id-3' is read with .*2'"
    )

  def test_labels_that_are_damaged(self):
    shard = os.path.join(self.labels, 'a.labels.tfrecord')
    date = os.stat(shard).st_mtime_ns
    unlabelled.change_content(shard)
    unlabelled.set_date(shard, date)
    self.assert_refused('Labels or images cannot be read: .*corrupted record.*Find the file with')

  def test_labels_of_another_version(self):
    path = os.path.join(self.labels, 'manifest.json')
    value = files.read_json(path)
    files.write_json(path, {**value, 'format': 'keypoints'})
    self.assert_refused('These labels were written by another version: labels of keypoints')
    settings = {**value['format_settings'], 'shape': 1}
    files.write_json(path, {**value, 'format_settings': settings})
    self.assert_refused("written by another version: .*unexpected keyword argument 'shape'")

  def test_nothing_to_export(self):
    status, _, err = self.main('--format=coco', f'--labels={self.labels}')
    self.assertEqual(status, 2)
    self.assertRegex(err, 'error: --run is missing: give a run directory, or both --labels and')
    self.assert_refused('--images: no file matches', '--images=/none/*.tfrecord')
    shutil.rmtree(self.labels)
    self.assert_refused('manifest.json does not exist')

  def test_after_ctrl_c_nothing_is_left(self):
    before = os.listdir(self.folder)
    with mock.patch.object(yolo.Labels, 'add', side_effect=KeyboardInterrupt):
      given = [f'--labels={self.labels}', f'--images={self.images}', '--format=yolo']
      status, _, err = self.main(*given)
    self.assertEqual(status, 130)
    self.assertRegex(err, 'interrupted: nothing was written')
    self.assertEqual(os.listdir(self.folder), before)


if __name__ == '__main__':
  tf.test.main()
