"""Files of records: what is in them, and that they are whole or absent."""

import os
import pathlib
import tempfile
import unittest

import numpy as np
import tensorflow as tf

from official_selftrain.datasets import faults, tf_examples
from official_selftrain.datasets.preparation import examination, shards, store, work
from official_selftrain.datasets.sources import items
from tests.datasets.preparation import examined, photos

_LABELLED = store.Part.LABELLED
_NAMES = ('cat', 'dog')


class _Case(unittest.TestCase):
  def setUp(self):
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    self.store = examined.new_store(self.folder)
    self.addCleanup(self.store.close)

  def fill(self, *found, task=items.Task.DETECTION):
    """Puts images into the store, and examines them as a process would; returns their numbers."""
    meanings = {_LABELLED: examination.Meaning(task, _NAMES)}
    self.store.keep(work.MEANINGS, meanings)
    self.examiner = examination.Examiner(meanings)
    examined.add(self.store, _LABELLED, *found)
    keys = [entry.key for entry in self.store.entries(_LABELLED)]
    found = [(key, self.examiner.examine(self.store.entry(key))[0]) for key in keys]
    list(self.store.set_findings(found))
    self.writer = shards.Writer(self.store, self.examiner, meanings)
    return keys

  def image(self, name, seed, **values):
    photos.write(self.folder, {name: photos.jpeg(seed, **values)})
    return items.ImageFile(name, str(self.folder / name))

  def job(self, keys, name='train-00000-of-00001.tfrecord', **values):
    places = tuple(shards.Place(key, str(100 + i)) for i, key in enumerate(keys))
    return shards.Job(
      **{
        'path': str(self.folder / 'out' / name),
        'places': places,
        'has_annotations': True,
        **values,
      }
    )

  def write(self, job):
    os.makedirs(os.path.dirname(job.path), exist_ok=True)
    return self.writer.write(job)


class DetectionTest(_Case):
  def setUp(self):
    super().setUp()
    boxes = (
      items.Box('dog', 6.0, 16.0, 24.0, 32.0),
      items.Box('cat', 0.0, 0.0, 48.0, 64.0, is_crowd=True, area=99.0),
    )
    self.keys = self.fill(
      items.Item(self.image('b.jpg', 1), boxes),
      items.Item(self.image('a.jpg', 2, orientation=6), ()),
    )
    # The store has them by name; files are written in another order.
    self.keys = self.keys[::-1]

  def test_records_in_the_order_of_the_job(self):
    job = self.job(self.keys)
    written = self.write(job)
    self.assertEqual(written.fault, '')
    found = photos.records(pathlib.Path(job.path))
    self.assertEqual(list(found), ['100', '101'])
    self.assertEqual([each['image/filename'] for each in found.values()], [[b'b.jpg'], [b'a.jpg']])

  def test_boxes_classes_crowds_and_areas(self):
    job = self.job(self.keys)
    self.write(job)
    record = photos.records(pathlib.Path(job.path))['100']
    for edge, values in (
      ('ymin', [0.125, 0.0]),
      ('xmin', [0.25, 0.0]),
      ('ymax', [0.5, 1.0]),
      ('xmax', [0.5, 1.0]),
    ):
      np.testing.assert_allclose(record[f'image/object/bbox/{edge}'], values)
    self.assertEqual(record['image/object/class/label'], [2, 1])
    self.assertEqual(record['image/object/class/text'], [b'dog', b'cat'])
    self.assertEqual(record['image/object/is_crowd'], [0, 1])
    # Of the box, 18 x 16 pixels, and of the mask that the annotation knew.
    self.assertEqual(record['image/object/area'], [288.0, 99.0])

  def test_bytes_of_a_good_image_are_its_own_and_a_turned_one_is_upright(self):
    job = self.job(self.keys)
    self.write(job)
    found = photos.records(pathlib.Path(job.path))
    self.assertEqual(found['100']['image/encoded'], [photos.jpeg(1)])
    self.assertEqual((found['101']['image/height'], found['101']['image/width']), ([64], [48]))
    self.assertEqual(photos.pixels(found['101']['image/encoded'][0]).shape, (64, 48, 3))

  def test_without_annotations(self):
    job = self.job(self.keys, has_annotations=False)
    self.write(job)
    record = photos.records(pathlib.Path(job.path))['100']
    self.assertFalse([name for name in record if name.startswith('image/object')])

  def test_the_digest_is_that_of_the_records_as_they_lie_there(self):
    job = self.job(self.keys)
    written = self.write(job)
    digest = tf_examples.RecordsDigest()
    for record in tf.data.TFRecordDataset(job.path).as_numpy_iterator():
      digest.add_record(record)
    self.assertEqual(written.digest, digest.hexdigest())
    again = self.write(self.job(self.keys, 'again.tfrecord'))
    self.assertEqual(again.digest, written.digest)
    self.assertNotEqual(
      self.write(self.job(self.keys[::-1], 'other.tfrecord')).digest, written.digest
    )

  def test_a_file_that_has_gone_since_leaves_no_half(self):
    os.remove(self.folder / 'a.jpg')
    job = self.job(self.keys)
    written = self.write(job)
    self.assertIn('a.jpg', written.fault)
    self.assertEqual(written.digest, '')
    self.assertEqual(list((self.folder / 'out').iterdir()), [])


class ClassesTest(_Case):
  def test_classes_of_whole_images_count_from_zero(self):
    keys = self.fill(
      items.Item(self.image('a.jpg', 1), class_name='dog'),
      items.Item(self.image('b.jpg', 2), class_name='cat'),
      task=items.Task.CLASSIFICATION,
    )
    job = self.job(keys)
    self.write(job)
    found = photos.records(pathlib.Path(job.path))
    self.assertEqual([each['image/class/label'] for each in found.values()], [[1], [0]])


class AreaTest(unittest.TestCase):
  def test_area(self):
    self.assertEqual(shards.area_of(items.Box('cat', 1.0, 2.0, 4.0, 6.5)), 13.5)
    self.assertEqual(shards.area_of(items.Box('cat', 1.0, 2.0, 4.0, 6.5, area=0.0)), 0.0)


class WorkTest(_Case):
  """What processes do, in this one."""

  def setUp(self):
    super().setUp()
    work._open.cache_clear()
    self.addCleanup(work._open.cache_clear)
    self.path = str(self.folder / 'images.sqlite')

  def test_examine_and_write_read_all_else_from_the_store(self):
    (key,) = self.fill(
      items.Item(self.image('a.jpg', 1), (items.Box('dog', 6.0, 16.0, 24.0, 32.0),))
    )
    number, finding = work.examine(self.path, key)
    self.assertEqual(number, key)
    self.assertEqual(finding, self.store.entry(key).finding)
    job = self.job([key])
    os.makedirs(os.path.dirname(job.path))
    written = work.write(self.path, job)
    self.assertEqual(photos.records(pathlib.Path(job.path))['100']['image/object/class/label'], [2])
    self.assertEqual(written, self.write(self.job([key])))

  def test_after_a_crash(self):
    key, finding = work.after_crash(7)
    self.assertEqual(key, 7)
    self.assertFalse(finding.is_good)
    self.assertEqual([fault.kind for fault in finding.faults], [faults.Kind.CORRUPT])
    self.assertEqual(finding.faults[0].detail, 'a decoder crashed on it')
    written = work.not_written(self.job([1]))
    self.assertEqual((written.digest, written.path), ('', self.job([1]).path))
    self.assertIn('its process died', written.fault)


if __name__ == '__main__':
  unittest.main()
