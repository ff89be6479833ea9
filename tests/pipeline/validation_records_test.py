"""What is said of validation records before training: ids, classes, names, and how they fit an annotation file."""

import json
import os
from unittest import mock

import numpy as np
import tensorflow as tf

from official_selftrain.configs import detection as configs
from official_selftrain.configs import segmentation
from official_selftrain.core import console, errors, keys
from official_selftrain.pipeline import validation_records

# As in COCO, there are gaps between the ids.
CATEGORIES = {1: 'person', 2: 'bicycle', 4: 'toaster', 7: 'toothbrush'}
# Classes of the boxes of 30 images.
IMAGES = {100 + i: [1] * (i % 4) + [2, 4, 7][i % 3 :] for i in range(30)}
IN_ORDER = {category_id: place for place, category_id in enumerate(CATEGORIES, start=1)}


def _png(number):
  """A grey picture; its size and level differ from those of its neighbours."""
  return tf.io.encode_png(np.full([16, 24 + number % 50, 3], number % 256, np.uint8)).numpy()


def record(image_id, classes, is_crowd=None, texts=None):
  """A record with a picture of its own and boxes that are all alike."""
  number = int(image_id) if str(image_id).isdigit() else 7
  feature = {
    keys.IMAGE_ENCODED: tf.train.Feature(bytes_list=tf.train.BytesList(value=[_png(number)])),
    keys.SOURCE_ID: tf.train.Feature(bytes_list=tf.train.BytesList(value=[str(image_id).encode()])),
    keys.BOX_CLASS: tf.train.Feature(int64_list=tf.train.Int64List(value=classes)),
  }
  if is_crowd is not None:
    feature[keys.BOX_IS_CROWD] = tf.train.Feature(int64_list=tf.train.Int64List(value=is_crowd))
  if texts is not None:
    feature['image/object/class/text'] = tf.train.Feature(
      bytes_list=tf.train.BytesList(value=[text.encode() for text in texts])
    )
  return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


class _Case(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = os.path.join(self.get_temp_dir(), self.id())
    os.makedirs(self.folder)
    self.annotations = os.path.join(self.folder, 'instances.json')
    self.records = os.path.join(self.folder, 'validation-%d.tfrecord')
    self.said = []

  def write_annotations(self, images=None, crowds=(), categories=None, edit=None):
    """Writes an annotation file; `crowds` are (image, class); `edit` changes the content before."""
    images = IMAGES if images is None else images
    boxes = [(image, c, 0) for image, classes in images.items() for c in classes]
    boxes += [(image, c, 1) for image, c in crowds]
    content = {
      'images': [{'id': image, 'height': 16, 'width': 24} for image in images],
      'annotations': [
        {
          'id': i,
          'image_id': image,
          'category_id': c,
          'bbox': [1, 1, 9, 9],
          'iscrowd': crowd,
          'area': 81,
        }
        for i, (image, c, crowd) in enumerate(boxes)
      ],
      'categories': [{'id': k, 'name': name} for k, name in (categories or CATEGORIES).items()],
    }
    if edit:
      edit(content)
    with open(self.annotations, 'w', encoding='utf-8') as stream:
      json.dump(content, stream)

  def _write(self, path, records):
    with tf.io.TFRecordWriter(path) as writer:
      for each in records:
        writer.write(each)

  def write_records(self, records):
    """Writes records into two files."""
    half = len(records) // 2
    for number, some in enumerate((records[:half], records[half:])):
      self._write(self.records % number, some)

  def task(self, num_classes=8, with_annotations=True, **decoder):
    task = configs.DetectionTask(model=configs.DetectionModel(num_classes=num_classes))
    task.validation_data.input_path = self.records.replace('%d', '*')
    task.validation_data.override({'decoder': decoder})
    task.annotation_file = self.annotations if with_annotations else ''
    return task

  def check(self, class_names=(), **settings):
    with mock.patch.object(console, 'note', self.said.append):
      validation_records.check(self.task(**settings), class_names)

  def assert_refused(self, message, error=errors.DataError, **settings):
    with self.assertRaisesRegex(error, message):
      self.check(**settings)


class ImageIdsTest(_Case):
  def test_records_that_fit(self):
    self.write_annotations()
    self.write_records([record(f'{image:012d}', c) for image, c in IMAGES.items()])
    self.check()
    self.assertEqual(self.said, [])

  def test_two_records_with_one_id(self):
    self.write_records([record(i, [1]) for i in (5, 6, 7, '0006')])
    self.assert_refused(
      'records 1 and 3, counted over all files, have the same image id, 6', with_annotations=False
    )

  def test_ids_that_are_no_numbers(self):
    for bad in ('cat.jpg', '-3', str(2**63), '٣'):
      self.write_records([record(5, [1]), record(bad, [1])])
      self.assert_refused(
        'image/source_id of record 1 is .*numbers from 0 to 2.63 - 1', with_annotations=False
      )
    self.write_records([record(5, [1]), record(2**63 - 1, [1])])
    self.check(with_annotations=False)

  def test_records_that_the_file_does_not_know(self):
    self.write_annotations()
    self.write_records([record(900 + image, c) for image, c in IMAGES.items()])
    self.assert_refused(
      r'30 of 30 validation records have an image/source_id .*: 1000, 1001, 1002, 1003, 1004, \.\.\.; ids of the file: '
      r'100, 101, 102, 103, 104, \.\.\.'
    )

  def test_images_without_a_record_are_reported(self):
    self.write_annotations()
    self.write_records([record(image, c) for image, c in IMAGES.items() if image < 128])
    self.check()
    self.assertLen(self.said, 1)
    self.assertRegex(self.said[0], '2 of 30 images of .* 128, 129. AP covers the other 28 only and')

  def test_regenerated_ids_and_an_annotation_file(self):
    self.write_annotations()
    self.write_records([record(image, c) for image, c in IMAGES.items()])
    regenerate = {'type': 'simple_decoder', 'simple_decoder': {'regenerate_source_id': True}}
    self.assert_refused(
      r'task\.validation_data\.decoder\.simple_decoder\.regenerate_source_id is true: .* set task\.annotation_file to',
      errors.ConfigError,
      **regenerate,
    )
    self.check(with_annotations=False, **regenerate)

  def test_regenerated_ids_of_equal_images_collide(self):
    self.write_records([record(5, [1]), record(6, [1]), record(5, [2])])
    self.assert_refused(
      'records 0 and 2, .* have the same image id',
      with_annotations=False,
      simple_decoder={'regenerate_source_id': True},
    )

  def test_a_record_that_cannot_be_read(self):
    self.write_records([record(5, [1]), record(6, [1]), b'no example', record(7, [1])])
    self.assert_refused(r'input_path: .*validation-1\.tfrecord, record 0: ', with_annotations=False)
    task = self.task(with_annotations=False)
    task.validation_data.skip_errors = True
    self.assertIsNone(validation_records.check(task))

  def test_other_tasks_have_no_annotation_file(self):
    # Neither a path nor a file is asked for.
    self.assertIsNone(validation_records.check(segmentation.SegmentationTask()))

  def test_more_boxes_than_evaluation_sees(self):
    self.write_annotations({5: [1], 6: [1, 1, 2]})
    self.write_records([record(5, [1]), record(6, [1, 1, 2], [0, 0, 1])])
    for most, with_annotations in ((3, False), (2, True), (2, False)):
      task = self.task(with_annotations=with_annotations)
      task.validation_data.parser.max_num_instances = most
      with mock.patch.object(console, 'note', self.said.append):
        if with_annotations or most == 3:
          self.assertIsNone(validation_records.check(task))
          continue
        message = r'record 1 has 3 boxes, .* first 2\. Set .*parser\.max_num_instances'
        with self.assertRaisesRegex(errors.DataError, message):
          validation_records.check(task)


class ClassesTest(_Case):
  def test_categories_numbered_in_order(self):
    self.write_annotations()
    renumbered = {image: [IN_ORDER[c] for c in classes] for image, classes in IMAGES.items()}
    self.write_records([record(image, c) for image, c in renumbered.items()])
    advice = (
      'The records number the 4 categories from 1 to 4 in the order of their ids, which go from 1 to 7 with gaps. '
      '.* set task.model.num_classes to 8'
    )
    self.assert_refused(f'boxes of class 3, which is the id of no category of .*{advice}')
    # Class 3 of the records is a category, too, if there is no gap there.
    del self.said[:]
    names = {1: 'a', 2: 'b', 3: 'c', 4: 'd', 5: 'e', 6: 'f'}
    images = {image: [{1: 1, 2: 2, 4: 4, 7: 6}[c] for c in cs] for image, cs in IMAGES.items()}
    self.write_annotations(images, categories=names)
    self.assert_refused(
      r"number classes differently, so that the AP of class 6, 3 would .*\. Class 6 \('f' in the file\) has 0 boxes in "
      r'the records and 30 in the file, 0 of them in the same images. First difference: image 100 has 1 boxes of '
      r'class 3 \(c\) in its record and 0 in the file. Write the category ids of the file'
    )

  def test_two_classes_that_are_exchanged(self):
    self.write_annotations()
    swap = {1: 1, 2: 7, 4: 4, 7: 2}
    images = {image: [swap[c] for c in classes] for image, classes in IMAGES.items()}
    self.write_records([record(image, c) for image, c in images.items()])
    self.assert_refused(
      r"the AP of class 2, 7 would be close to zero\. Class 2 \('bicycle' in the file\) has 30 boxes in the records "
      'and 10 in the file, 10 of them in the same images'
    )

  def test_a_few_boxes_that_differ_are_reported(self):
    self.write_annotations()
    images = {**IMAGES, 103: IMAGES[103][:-1], 107: [*IMAGES[107], 2]}
    self.write_records([record(image, c) for image, c in images.items()])
    self.check()
    total = sum(map(len, IMAGES.values()))
    self.assertLen(self.said, 1)
    self.assertRegex(
      self.said[0],
      rf'do not have the same boxes: {total} and {total}, {total - 1} of them .* First difference: image 103 has '
      r'0 boxes of class 7 \(toothbrush\) in its record and 1 in the file. The file decides',
    )

  def test_crowds_do_not_count(self):
    self.write_annotations(crowds=[(100, 2), (101, 7), (101, 7)])
    records = [record(image, c) for image, c in IMAGES.items()]
    records[0] = record(100, [*IMAGES[100], 2], [0] * len(IMAGES[100]) + [1])
    self.write_records(records)
    self.check()
    self.assertEqual(self.said, [])

  def test_records_without_boxes_are_not_compared(self):
    self.write_annotations()
    self.write_records([record(image, []) for image in IMAGES])
    self.check()
    self.assertEqual(self.said, [])

  def test_num_classes(self):
    self.write_annotations()
    self.write_records([record(image, c) for image, c in IMAGES.items()])
    self.assert_refused(
      r'instances\.json \(task\.annotation_file\) has boxes of class 7, but task\.model\.num_classes is 7, which '
      r'allows classes from 1 to 6. Set it to at least the largest id \+ 1',
      num_classes=7,
    )
    self.assert_refused(
      r'^task\.validation_data\.input_path has boxes of class 7',
      num_classes=7,
      with_annotations=False,
    )
    self.write_records([record(5, [0, 1])])
    self.assert_refused('boxes of class 0, but', with_annotations=False)

  def test_label_map(self):
    self.write_annotations()
    label_map = os.path.join(self.folder, 'map.csv')
    with open(label_map, 'w', encoding='utf-8') as stream:
      stream.writelines(f'{k},{name}\n' for k, name in CATEGORIES.items())
    self.write_records(
      [record(i, [], texts=[CATEGORIES[c] for c in classes]) for i, classes in IMAGES.items()]
    )
    decoder = {'type': 'label_map_decoder', 'label_map_decoder': {'label_map': label_map}}
    self.check(**decoder)
    self.assertEqual(self.said, [])
    self.assert_refused('has boxes of class 7', num_classes=7, **decoder)

  def test_texts_that_the_label_map_lacks(self):
    self.write_annotations()
    label_map = os.path.join(self.folder, 'map.csv')
    with open(label_map, 'w', encoding='utf-8') as stream:
      stream.writelines(['1,person\n', '4,toaster\n'])
    texts = [['person'], ['toaster', 'bicycle', 'person'], ['Person', 'bicycle'], ['zebra']]
    crowds = [None, None, None, [1]]
    self.write_records(
      [
        record(100 + i, [], crowd, names)
        for i, (crowd, names) in enumerate(zip(crowds, texts, strict=True))
      ]
    )
    decoder = {'type': 'label_map_decoder', 'label_map_decoder': {'label_map': label_map}}
    for with_annotations in (True, False):
      self.assert_refused(
        r"boxes have the class text 'bicycle', 'Person', the first in record 1, which the label map .*map\.csv "
        r'\(task\.validation_data\.decoder\.label_map_decoder\.label_map\) does not have\. Add a line',
        with_annotations=with_annotations,
        **decoder,
      )
    # Other decoders do not read the texts.
    self.write_records([record(100, [1, 1], texts=['zebra'])])
    self.check(with_annotations=False)


class AnnotationsTest(_Case):
  def setUp(self):
    super().setUp()
    self.write_records([record(image, c) for image, c in IMAGES.items()])

  def test_numbers_that_the_evaluator_reads(self):
    for name in ('iscrowd', 'area'):
      self.write_annotations(edit=lambda content, name=name: content['annotations'][3].pop(name))
      self.assert_refused(
        rf"instances\.json \(task\.annotation_file\): annotations\[3\] \(id 3\) has no number '{name}', which the COCO"
      )

  def test_annotations_of_unknown_images_are_ignored(self):
    def edit(content):
      content['annotations'] += [
        {'id': 900 + i, 'image_id': 7, 'category_id': 95, 'bbox': [0, 0, 1, 1]} for i in range(2)
      ]

    self.write_annotations(edit=edit)
    self.check()
    self.assertLen(self.said, 1)
    self.assertRegex(self.said[0], r'^2 annotations of .*instances\.json .* They are ignored\.$')

  def test_images_without_a_size(self):
    self.write_annotations(edit=lambda content: content['images'][0].pop('height'))
    self.check()
    self.assertEqual(self.said, [])

  def test_a_category_that_is_not_listed(self):
    self.write_annotations(categories={1: 'person', 2: 'bicycle', 7: 'toothbrush'})
    self.check()
    self.assertLen(self.said, 1)
    self.assertRegex(self.said[0], 'has annotations of category 4, which is not in its list of')

  def test_categories_that_the_model_lacks(self):
    categories = {0: 'things', **CATEGORIES, 8: 'eighth', 10**9: 'last'}
    self.write_annotations(categories=categories)
    self.check()
    self.check(('person', 'bicycle', 'no third', 'toaster', 'no fifth', 'no sixth', 'toothbrush'))
    self.assertEqual(self.said, [])
    for class_id in (0, 8, 10**9):
      self.write_annotations({**IMAGES, 100: [*IMAGES[100], class_id]}, categories=categories)
      message = rf'instances\.json \(task\.annotation_file\) has boxes of class {class_id}, but'
      names = validation_records.class_names_of(self.annotations, 8)
      self.assert_refused(message, class_names=names)
      # The records come from elsewhere, so that only the file can be checked.
      task = self.task()
      task.validation_data.input_path = ''
      with self.assertRaisesRegex(errors.DataError, message):
        validation_records.check(task, names)

  def test_renumbered_records_beside_a_supercategory(self):
    self.write_annotations(categories={0: 'things', **CATEGORIES})
    renumbered = {image: [IN_ORDER[c] for c in classes] for image, classes in IMAGES.items()}
    self.write_records([record(image, c) for image, c in renumbered.items()])
    self.assert_refused('The records number the 4 categories from 1 to 4 in the order of their ids')


class NamesTest(_Case):
  NAMES = ('person', 'bicycle', 'no third', 'toaster', 'no fifth', 'no sixth', 'toothbrush')

  def test_names_of_the_file(self):
    self.write_annotations()
    names = ('person', 'bicycle', 'unused-3', 'toaster', 'unused-5', 'unused-6', 'toothbrush')
    self.assertEqual(validation_records.class_names_of(self.annotations, 8), names)
    # The model has more classes than the file, or fewer.
    more = (*names, 'unused-8', 'unused-9')
    self.assertEqual(validation_records.class_names_of(self.annotations, 10), more)
    self.assertEqual(validation_records.class_names_of(self.annotations, 5), names[:4])

  def test_names_of_categories_that_the_model_lacks_are_left_out(self):
    self.write_annotations(categories={0: 'things', 2: 'bicycle', 10**9: 'last'})
    names = validation_records.class_names_of(self.annotations, 4)
    self.assertEqual(names, ('unused-1', 'bicycle', 'unused-3'))
    for categories in ({0: 'things', 4: 'toaster'}, {4: 'toaster'}):
      self.write_annotations(categories=categories)
      self.assertEqual(validation_records.class_names_of(self.annotations, 4), ())
    self.write_annotations(edit=lambda content: content.pop('categories'))
    self.assertEqual(validation_records.class_names_of(self.annotations, 4), ())

  def test_names_must_agree(self):
    self.write_annotations()
    self.write_records([record(image, c) for image, c in IMAGES.items()])
    self.check(self.NAMES)
    self.check(validation_records.class_names_of(self.annotations, 8))
    for names, message in (
      (tuple(CATEGORIES.values()), "class 4 is 'toothbrush', but category 4 is 'toaster' in .*"),
      (self.NAMES[:-1], "class 7 has no name, but category 7 is 'toothbrush' in "),
    ):
      self.assert_refused(f'^dataset.class_names: {message}', errors.ConfigError, class_names=names)


if __name__ == '__main__':
  tf.test.main()
