"""Tests for the preparation of data for tasks other than detection."""

import dataclasses
import json
import unittest

import numpy as np

from official_selftrain.core import dataset_card, keys
from tests.datasets.preparation import photos, preparing_case

LABELLED = preparing_case.LABELLED
UNLABELLED = preparing_case.UNLABELLED
VALIDATION = preparing_case.VALIDATION


class OtherTasksTest(preparing_case.PreparingTestCase):
  def test_masks_become_class_ids(self):
    values = np.zeros([photos.HEIGHT, photos.WIDTH], np.uint8)
    values[:8], values[8:12] = 7, 255
    photos.write(
      self.folder,
      {
        'masks/a.png': photos.png(values),
        'photos/a.jpg': photos.jpeg(0),
        'classes.txt': '3 cat\n7 dog\n',
      },
    )
    spec = f'masks:{self.folder}/photos,masks={self.folder}/masks,classes={self.folder}/classes.txt'
    card = self.run_all(sources={LABELLED: spec})
    self.assertEqual(card.task, 'segmentation')
    self.assertEqual(card.labelled.objects, {'cat': 0, 'dog': 8 * photos.WIDTH})
    self.assertEqual(card.labelled.annotation_file, '')
    record = self.records('labelled')['a.jpg']
    self.assertEqual(record[keys.IMAGE_ENCODED], [photos.jpeg(0)])
    mask = photos.pixels(record[keys.SEGMENTATION_MASK][0])
    np.testing.assert_array_equal(mask, np.where(values == 7, 2, values))
    self.assertNotIn(keys.BOX_CLASS, record)

  def test_masks_of_a_set_with_its_classes_in_another_order(self):
    values = np.zeros([photos.HEIGHT, photos.WIDTH], np.uint8)
    values[:8], values[8:12] = 7, 3
    files, sources = {}, {}
    for part, classes in ((LABELLED, '3 cat\n7 dog\n'), (VALIDATION, '7 dog\n3 cat\n9 emu\n')):
      name = part.value
      files |= {
        f'{name}/masks/{name}.png': photos.png(values),
        f'{name}/photos/{name}.jpg': photos.jpeg(len(files)),
        f'{name}/classes.txt': classes,
      }
      place = f'{self.folder}/{name}'
      sources[part] = f'masks:{place}/photos,masks={place}/masks,classes={place}/classes.txt'
    photos.write(self.folder, files)
    preparation = self.prepare(sources=sources, allowed=frozenset({'class_order'}))
    card = preparation.write(preparation.check())
    expected = {'cat': 4 * photos.WIDTH, 'dog': 8 * photos.WIDTH}
    self.assertEqual(card.labelled.objects, expected)
    self.assertEqual(card.validation.objects, expected)

  def test_folders_become_classes_from_zero(self):
    photos.write(
      self.folder,
      {f'sorted/{name}/{n}.jpg': photos.jpeg(n) for n, name in enumerate(['dog', 'cat', 'dog'])},
    )
    card = self.run_all(sources={LABELLED: f'folders:{self.folder}/sorted'})
    self.assertEqual(card.task, 'classification')
    self.assertEqual(card.classes, ('cat', 'dog'))
    self.assertEqual(card.labelled.objects, {'cat': 1, 'dog': 2})
    labels = {name: each[keys.IMAGE_CLASS] for name, each in self.records('labelled').items()}
    self.assertEqual(labels, {'dog/0.jpg': [1], 'cat/1.jpg': [0], 'dog/2.jpg': [1]})

  def test_class_folders_from_which_nothing_can_be_learned(self):
    photos.write(self.folder, {'one/dog/0.jpg': photos.jpeg(0)})
    (problem,) = self.check(sources={LABELLED: f'folders:{self.folder}/one'}).problems
    self.assertEqual(
      problem,
      '--labelled has only one class folder, dog: a classifier needs two classes to tell apart.',
    )
    photos.write(
      self.folder,
      {'some/cat/0.jpg': photos.jpeg(0), 'some/dog/1.jpg': photos.jpeg(1), 'some/gnu/2.jpg': b'no'},
    )
    (self.folder / 'some' / 'emu').mkdir()
    (problem,) = self.check(sources={LABELLED: f'folders:{self.folder}/some'}).problems
    self.assertEqual(
      problem,
      '2 of 4 class folders have no image that can be used; first emu. Remove them, or put images there.',
    )

  def test_images_may_be_without_annotations_altogether(self):
    card = self.run_all(sources={UNLABELLED: str(self.folder / 'train')})
    self.assertEqual(card.task, 'none')
    self.assertEqual(dataclasses.replace(card, versions={}).sets(), {'unlabelled': card.unlabelled})
    self.assertEqual(dataset_card.read(self.output), card)
    self.assertEqual(card.unlabelled.objects, {})
    for record in self.records('unlabelled').values():
      self.assertEqual(
        sorted(record),
        ['image/encoded', 'image/filename', 'image/height', 'image/source_id', 'image/width'],
      )

  def test_masks_of_objects_become_class_maps(self):
    content = json.loads(preparing_case.coco(['a.jpg', 'b.jpg']))
    square = [8, 4, 16, 4, 16, 10, 8, 10]
    content['annotations'] = [
      {'id': 1, 'image_id': 10, 'category_id': 2, 'segmentation': [square]},
      {'id': 2, 'image_id': 10, 'category_id': 1, 'bbox': [0, 0, 4, 3]},
    ]
    for entry in content['images']:
      entry |= {'height': photos.HEIGHT, 'width': photos.WIDTH}
    photos.write(self.folder, {'train/all.json': json.dumps(content)})
    spec = f'coco:{self.folder}/train/all.json,task=segmentation'
    card = self.run_all(sources={LABELLED: spec})
    self.assertEqual(card.task, 'segmentation')
    self.assertEqual(card.labelled.objects, {'cat': 0, 'dog': 48})
    self.assertEqual(card.labelled.without_objects, 1)
    expected = np.zeros([photos.HEIGHT, photos.WIDTH], np.uint8)
    expected[4:10, 8:16] = 2
    # What is in a box without a mask is not known.
    expected[:3, :4] = 255
    found = self.records('labelled')
    for name, mask in (('a.jpg', expected), ('b.jpg', np.zeros_like(expected))):
      np.testing.assert_array_equal(photos.pixels(found[name][keys.SEGMENTATION_MASK][0]), mask)
      self.assertNotIn(keys.BOX_CLASS, found[name])

  def test_the_voc_layout_of_segmentation(self):
    values = np.zeros([photos.HEIGHT, photos.WIDTH], np.uint8)
    values[:8], values[8:12] = 15, 255
    photos.write(
      self.folder,
      {
        'voc/SegmentationClass/a.png': photos.png(values),
        'voc/JPEGImages/a.jpg': photos.jpeg(0),
        'voc/JPEGImages/b.jpg': photos.jpeg(1),
        'voc/ImageSets/Segmentation/train.txt': 'a\n',
      },
    )
    card = self.run_all(sources={LABELLED: f'voc_masks:{self.folder}/voc,split=train'})
    self.assertEqual((len(card.classes), card.classes[14]), (20, 'person'))
    self.assertEqual(card.labelled.objects['person'], 8 * photos.WIDTH)
    (record,) = self.records('labelled').values()
    np.testing.assert_array_equal(photos.pixels(record[keys.SEGMENTATION_MASK][0]), values)


if __name__ == '__main__':
  unittest.main()
