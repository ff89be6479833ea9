"""The review page as a file, and decisions that are taken over."""

import contextlib
import io
import json
import os
import pathlib
import re

import numpy as np
import tensorflow as tf
from PIL import Image

from official_selftrain.core import keys
from official_selftrain.pseudo_labels import corrections, export, review
from tests.pseudo_labels import exported, unlabelled
from tests.testing import records

CUT = '--cut=0.5'


class _Case(exported.ExportCase):
  def review(self, *more):
    """Status, standard output and standard error of the program."""
    out, err = io.StringIO(), io.StringIO()
    given = [f'--labels={self.labels}', f'--images={self.images}', CUT]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
      status = review.main([*given, f'--output={self._path("review.html")}', *more])
    return status, out.getvalue(), err.getvalue()

  def page(self, *more):
    """Content of the page, and the data in it."""
    status, _, err = self.review(*more)
    self.assertEqual(status, 0, err)
    text = pathlib.Path(self._path('review.html')).read_text()
    found = re.search('<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return text, json.loads(found[1])

  def taken(self, *more):
    """What was taken over, and the records by id."""
    status, self.out, self.err = self.review(*more)
    self.assertEqual(status, 0, self.err)
    folder = corrections.folder_of(self.labels)
    found = corrections.load(folder)
    paths = [os.path.join(folder, name) for name in found.records]
    found_records = [records.parse(each.numpy()) for each in tf.data.TFRecordDataset(paths)]
    return found, {each[keys.SOURCE_ID][0].decode(): each for each in found_records}

  def save(self, images, **changes):
    """Writes a review.json."""
    _, data = self.page()
    head = {name: data[name] for name in ('format', 'labels_sha256', 'cut', 'class_names')}
    path = self._path('review.json')
    pathlib.Path(path).write_text(json.dumps({**head, 'images': images, **changes}))
    return path


class PageTest(_Case):
  def test_images_come_with_their_labels_the_least_sure_first(self):
    self.label()
    text, data = self.page('--side=12')
    self.assertEqual(data['class_names'], list(exported.NAMES))
    # Scores are 0.75, 0.5 and 0.25, and the cut is 0.5: the mean distance of one box is
    # 0.25, that of two boxes above the cut 0.125, and an image without a box has 1.
    self.assertEqual(
      [each['sureness'] for each in data['images']], [0.125, 0.125, 0.25, 0.25, 1, 1]
    )
    first = data['images'][0]
    self.assertEqual(first['boxes'][0], [1, 0.0, 0.0, 0.5, 0.5, 0.75, 0])
    self.assertEqual((first['width'], first['height']), (12, 8))
    # Nothing is fetched from anywhere, whatever a browser allows.
    self.assertEmpty(re.findall(r'(?:src|href)="(?!data:)', text))
    self.assertIn("default-src 'none'", text)

  def test_so_many_images_at_most(self):
    self.label()
    _, data = self.page('--max_images=2')
    self.assertLen(data['images'], 2)
    self.assertEqual([each['sureness'] for each in data['images']], [0.125, 0.125])

  def test_a_name_cannot_end_the_script(self):
    records = [unlabelled.record(unlabelled.png(1), '</script><b>')]
    self.label(records=records)
    text, data = self.page()
    self.assertEqual(data['images'][0]['id'], '</script><b>')
    self.assertNotIn('</script><b>', text)

  def test_masks(self):
    self.label(exported.mask_labeller())
    text, data = self.page()
    self.assertEqual(data['task'], 'segmentation')
    self.assertLen(re.findall('id="m[0-9]+"', text), 6)
    self.assertEqual(data['images'][0]['classes'], [1, 2])


class TakeTest(_Case):
  def setUp(self):
    super().setUp()
    numbers = [(n, f'id-{n}') for n in range(4)]
    records = [unlabelled.record(unlabelled.png(n), name) for n, name in numbers]
    self.label(records=records)

  def test_accepted_corrected_and_rejected_images(self):
    path = self.save(
      {
        'id-0': {'status': 'accepted', 'boxes': []},
        'id-1': {'status': 'corrected', 'boxes': [[2, 0.25, 0.5, 0.75, 1.0]]},
        'id-3': {'status': 'rejected'},
      }
    )
    found, records = self.taken(f'--import={path}')
    self.assertEqual((found.corrected, found.rejected), (('id-0', 'id-1'), ('id-3',)))
    self.assertEqual(records['id-0'][keys.BOX_CLASS], [])
    record = records['id-1']
    self.assertEqual(record[keys.BOX_CLASS], [2])
    self.assertEqual(record[keys.BOX_CLASS_NAME], [b'dog'])
    self.assertEqual(record[keys.BOX_AREA], [0.5 * 16 * 0.5 * 24])
    self.assertEqual([record[side] for side in (keys.BOX_YMIN, keys.BOX_XMAX)], [[0.25], [1.0]])
    self.assertEqual(record[keys.IMAGE_ENCODED], [unlabelled.png(1)])
    self.assertEqual(set(found.reasons()), {'id-0', 'id-1', 'id-3'})
    self.assertIn(
      'Labelled by people now: 2 images. Rejected: 1. What an earlier import', self.err + self.out
    )

  def test_the_last_import_counts(self):
    first, _ = self.taken(f'--import={self.save({"id-1": {"status": "rejected"}})}')
    again, _ = self.taken(f'--import={self.save({"id-1": {"status": "rejected"}})}')
    self.assertEqual(first.digest(), again.digest())
    last, records = self.taken(f'--import={self.save({"id-2": {"status": "rejected"}})}')
    self.assertEqual((last.rejected, records), (('id-2',), {}))
    self.assertNotEqual(last.digest(), first.digest())

  def test_labels_that_were_edited_elsewhere(self):
    self.export('coco', CUT)
    path = self._path('out', 'annotations.json')
    content = json.loads(pathlib.Path(path).read_text())
    ids = {each['source_id']: each['id'] for each in content['images']}
    of_two = [each for each in content['annotations'] if each['image_id'] == ids['id-2']]
    of_two[0]['category_id'] = 3
    pathlib.Path(path).write_text(json.dumps(content))
    found, records = self.taken(f'--import={path}', '--format=coco')
    self.assertEqual(found.corrected, ('id-2',))
    self.assertEqual(records['id-2'][keys.BOX_CLASS], [3, 2])
    self.assertIn('3 images have the labels that they had', self.err)
    found, _ = self.taken(f'--import={path}', '--format=coco', '--take_unchanged')
    self.assertLen(found.corrected, 4)

  def test_a_mark_that_was_changed_is_a_correction(self):
    band = '--ignore_cut=0.2'
    self.export('coco', CUT, band)
    path = self._path('out', 'annotations.json')
    found, _ = self.taken(f'--import={path}', '--format=coco', band)
    self.assertEqual(found.corrected, ())
    content = json.loads(pathlib.Path(path).read_text())
    ids = {each['source_id']: each['id'] for each in content['images']}
    of_three = [each for each in content['annotations'] if each['image_id'] == ids['id-3']]
    self.assertEqual([each['iscrowd'] for each in of_three], [0, 0, 1])
    of_three[0]['iscrowd'], of_three[2]['iscrowd'] = 1, 0
    pathlib.Path(path).write_text(json.dumps(content))
    found, records = self.taken(f'--import={path}', '--format=coco', band)
    self.assertEqual(found.corrected, ('id-3',))
    self.assertEqual(records['id-3'][keys.BOX_IS_CROWD], [1, 0, 0])

  def test_what_a_user_can_get_wrong(self):
    status, _, err = self.review('--output=gs://bucket/review.html')
    self.assertEqual(status, 2)
    self.assertRegex(err, '--output=gs://bucket/review.html: the output must be a local path')
    changes = {
      'is not what the review page saves': ({}, {'format': 'other'}),
      'is a review of other labels': ({}, {'labels_sha256': '0'}),
      'None of the 1 images in .* is among the 4 images': ({'x': {'status': 'rejected'}}, {}),
      'a status is': ({'id-1': {'status': 'maybe'}}, {}),
      'a class is 7': ({'id-1': {'status': 'accepted', 'boxes': [[7, 0, 0, 1, 1]]}}, {}),
    }
    for pattern, (images, more) in changes.items():
      status, _, err = self.review(f'--import={self.save(images, **more)}')
      self.assertEqual(status, 2, err)
      self.assertRegex(err.splitlines()[-1], pattern)
    self.assertIsNone(corrections.load(corrections.folder_of(self.labels)))


class NamesTest(_Case):
  def test_an_id_with_a_backslash(self):
    self.label(records=[unlabelled.record(unlabelled.png(1), 'cam1\\1.png')])
    found, _ = self.taken(
      f'--import={self.save({"cam1" + chr(92) + "1.png": {"status": "rejected"}})}'
    )
    self.assertEqual(found.rejected, ('cam1\\1.png',))


class RepeatedIdsTest(_Case):
  def test_two_images_with_one_id_are_refused(self):
    names = ('a', 'b', 'a')
    self.label(records=[unlabelled.record(unlabelled.png(n), name) for n, name in enumerate(names)])
    path = self._path('tasks.json')
    pathlib.Path(path).write_text(json.dumps([{'data': {'source_id': 'b'}}]))
    for more in ((), (f'--import={path}', '--format=label_studio')):
      status, _, err = self.review(*more)
      self.assertEqual(status, 2)
      self.assertRegex(err.splitlines()[-1], "^error: Two images have the id 'a', so nobody")
    self.assertFalse(os.path.exists(self._path('review.html')))
    self.assertIsNone(corrections.load(corrections.folder_of(self.labels)))


class MasksTest(_Case):
  def test_they_have_no_ignore_band(self):
    self.label(exported.mask_labeller())
    status, _, err = self.review('--ignore_cut=0.2')
    self.assertEqual(status, 2)
    self.assertRegex(err, '--ignore_cut is given, but labels of segmentation have no ignore band')

  def test_masks_are_taken_at_the_cut_at_which_they_were_shown(self):
    self.label(exported.mask_labeller())
    path = self.save({'id-1': {'status': 'accepted'}}, cut=0.7)
    status, _, err = self.review(f'--import={path}')
    self.assertEqual(status, 2)
    self.assertRegex(
      err, 'is a review of masks at cut 0.7, but here the cut is 0.5: give --cut=0.7'
    )
    found, _ = self.taken(f'--import={path}', '--cut=0.7')
    self.assertEqual(found.corrected, ('id-1',))

  def test_edited_masks(self):
    records = [unlabelled.record(unlabelled.png(n), f'id-{n}') for n in range(2)]
    self.label(exported.mask_labeller(), records)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
      export.main(
        [
          f'--labels={self.labels}',
          f'--images={self.images}',
          CUT,
          '--format=png',
          f'--output={self._path("out")}',
        ]
      )
    path = self._path('out', 'SegmentationClass', 'id-1.png')
    pixels = np.array(Image.open(path))
    pixels[0] = 2
    Image.fromarray(pixels).save(path)
    found, records = self.taken(f'--import={self._path("out")}', '--format=png')
    self.assertEqual(found.corrected, ('id-1',))
    decoded = tf.io.decode_png(records['id-1'][keys.SEGMENTATION_MASK][0]).numpy()[..., 0]
    self.assertAllEqual(decoded, pixels)


if __name__ == '__main__':
  tf.test.main()
