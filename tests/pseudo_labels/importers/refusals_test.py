"""What an import refuses, since labels would be wrong without a word, and what it does not refuse."""

import os
import pathlib
import shutil
from unittest import mock

import tensorflow as tf

from official_selftrain.datasets.sources import json_stream
from official_selftrain.pseudo_labels import import_labels, manifest, shards
from official_selftrain.pseudo_labels.importers import coco
from tests.pseudo_labels import unlabelled
from tests.pseudo_labels.importers import imported

LINE = '2 0.5 0.5 0.5 0.5 0.9\n'
# As COCO has them: x, y, width, height in pixels.
BBOX = [6.0, 4.0, 12.0, 8.0]


def _result(score):
  return [{'image_id': 'in/1.png', 'category_id': 3, 'bbox': BBOX, 'score': score}]


class ScoresTest(imported.ImportCase):
  def test_scores_outside_0_to_1_are_refused_in_every_format(self):
    self.write('yolo/in/1.txt', '2 0.5 0.5 0.5 0.5 87\n')
    box = '<bndbox><xmin>7</xmin><ymin>5</ymin><xmax>18</xmax><ymax>12</ymax></bndbox>'
    voc = f'<object><name>owl</name>{box}<score>87</score></object>'
    self.write('voc/in/1.xml', f'<annotation><filename>1.png</filename>{voc}</annotation>')
    box = '<box label="owl" xtl="6" ytl="4" xbr="18" ybr="12">{}</box>'
    box = box.format('<attribute name="score">87</attribute>')
    cvat = f'<annotations><image id="0" name="in/1">{box}</image></annotations>'
    value = {'x': 25, 'y': 25, 'width': 50, 'height': 50, 'rectanglelabels': ['owl']}
    region = {'type': 'rectanglelabels', 'value': value, 'score': 87}
    tasks = [{'data': {'source_id': 'in/1'}, 'predictions': [{'result': [region]}]}]
    dataset = {
      'images': [{'id': 'in/1', 'file_name': 'in/1.png'}],
      'annotations': [{**_result(87)[0], 'image_id': 'in/1'}],
      'categories': [{'id': 3, 'name': 'owl'}],
    }
    for form, labels in (
      ('yolo', self.path('yolo')),
      ('voc', self.path('voc')),
      ('cvat', self.write('a.xml', cvat)),
      ('label_studio', self.write('tasks.json', tasks)),
      ('coco', self.write('a.json', dataset)),
      ('coco_results', self.write('results.json', _result(87))),
    ):
      with self.subTest(form):
        self.assert_refused(
          r"The image 'in/1(.png)?' has a box with the score 87; .* Divide percents by 100",
          form,
          labels,
        )
    self.assert_refused('the score -2.5', 'coco_results', self.write('a.json', _result(-2.5)))

  def test_a_sum_in_float32_may_be_a_little_above_1(self):
    self.load('coco_results', self.write('a.json', _result(1.0000002)))
    self.assertEqual([score for _, score, _ in self.found()[1]], [1.0])
    self.assert_refused('the score 1.0001', 'coco_results', self.write('a.json', _result(1.0001)))


class TwiceTest(imported.ImportCase):
  def test_two_tasks_of_label_studio(self):
    task = {'data': {'image': 'in/1.png'}, 'annotations': [{'result': []}]}
    other = {'data': {'image': 'in/2.png'}, 'annotations': [{'result': []}]}
    self.assert_refused(
      "task 2 is about the image 'in/1.png', and so is an earlier task. Delete one",
      'label_studio',
      self.write('tasks.json', [task, other, task]),
    )

  def test_two_images_of_cvat(self):
    content = ''.join(f'<image id="{n}" name="in/1.png"></image>' for n in range(2))
    self.assert_refused(
      "image 2 is called 'in/1.png', and so is an earlier one",
      'cvat',
      self.write('a.xml', f'<annotations>{content}</annotations>'),
    )

  def test_two_files(self):
    self.write('out/in/1.txt', LINE)
    self.write('out/in/1.TXT', LINE)
    self.assert_refused("Two files have labels of the image 'in/1'", 'yolo', self.path('out'))

  def test_two_images_of_coco(self):
    images = [{'id': 7, 'file_name': f'in/{n}.png'} for n in (0, 1)]
    content = {'images': images, 'annotations': [], 'categories': [{'id': 1, 'name': 'cat'}]}
    self.assert_refused(
      'a.json, images 1 has the id 7, which an earlier image has',
      'coco',
      self.write('a.json', content),
    )

  def test_two_images_with_one_id(self):
    names = ('in/0.png', 'in/1.png', 'in/0.png')
    unlabelled.write(
      self.images, [unlabelled.record(unlabelled.png(n), name) for n, name in enumerate(names)]
    )
    self.write('out/in/1.txt', LINE)
    self.assert_refused("Two images have the id 'in/0.png', so", 'yolo', self.path('out'))


class StraysTest(imported.ImportCase):
  def dataset(self, *image_ids):
    boxes = [{'image_id': each, 'category_id': 3, 'bbox': BBOX} for each in image_ids]
    images = [{'id': n, 'file_name': f'in/{n}.png', 'height': 16, 'width': 24} for n in range(4)]
    return {'images': images, 'annotations': boxes, 'categories': [{'id': 3, 'name': 'owl'}]}

  def test_boxes_of_images_that_are_not_listed(self):
    for form, more in (('coco', ()), ('coco_results', ('--annotation_file',))):
      # The names, where ids are meant.
      whole = self.dataset('in/1.png', 'in/2.png')
      labels = self.write('labels.json', whole if form == 'coco' else whole['annotations'])
      more = (*more, self.write('images.json', whole)) if more else ()
      self.assert_refused(
        "images with ids such as 'in/1.png', 'in/2.png', and none of the 4 images has .* ids such as '0', '1', '2'",
        form,
        labels,
        *more,
      )
      some = self.dataset(1, 99, 98, 99)
      labels = self.write('labels.json', some if form == 'coco' else some['annotations'])
      self.load(form, labels, *more)
      self.assertIn('3 of the 4 boxes are of images that the labels do not list.', self.err)
      self.assertLen(self.found()[1], 1)

  def test_labels_without_boxes_are_no_strays(self):
    self.assertEqual(self.load('coco', self.write('a.json', self.dataset())).empty, 4)


class AgainTest(imported.ImportCase):
  def test_an_import_over_another_one_that_is_stopped_leaves_no_manifest(self):
    unlabelled.write(
      self.path('more.tfrecord'),
      [unlabelled.record(unlabelled.png(n), f'more/{n}') for n in range(4)],
    )
    images = f'--images={self.path("*.tfrecord")}'
    for name, class_id in (('first', 2), ('second', 1)):
      for image in ('in/1', 'more/2'):
        self.write(f'{name}/{image}.txt', f'{class_id} 0.5 0.5 0.5 0.5 0.9\n')
    self.load('yolo', self.path('first'), images)
    write, calls = shards.write, []

    def stopped(path, records):
      calls.append(path)
      if len(calls) == 2:
        raise KeyboardInterrupt
      return write(path, records)

    with mock.patch.object(shards, 'write', stopped):
      self.assertEqual(self.main('yolo', self.path('second'), images)[0], 130)
    left = sorted(os.listdir(self.path('labels')))
    self.assertNotIn(manifest.FILE_NAME, left)
    # The first shard, which is new, is done, the second is an old one and is not.
    markers = [name for name in left if name.endswith('.json')]
    self.assertEqual(markers, [os.path.basename(calls[0]) + '.json'])
    again = self.load('yolo', self.path('second'), images)
    shutil.rmtree(self.path('labels'))
    self.assertEqual(self.load('yolo', self.path('second'), images), again)

  def test_what_an_earlier_start_left_is_judged_by_its_labels(self):
    unlabelled.write(
      self.path('more.tfrecord'),
      [unlabelled.record(unlabelled.png(n), f'more/{n}') for n in range(4)],
    )
    self.write('out/other/1.txt', LINE)
    images = f'--images={self.path("*.tfrecord")}'
    with mock.patch.object(import_labels, '_forget'):  # As after a kill.
      self.assert_refused('None of the 1 images of the labels', 'yolo', self.path('out'), images)
    self.assert_refused(
      'None of the 8 images has a label. The same command, given again, begins anew',
      'yolo',
      self.path('out'),
      images,
    )
    self.assert_refused('None of the 1 images of the labels', 'yolo', self.path('out'), images)


class FlagsTest(imported.ImportCase):
  def test_no_box_at_all(self):
    labels = self.write('a.json', _result(0.5))
    for count in (0, -1):
      self.assert_refused(
        f'--max_boxes={count}: it must be at least 1',
        'coco_results',
        labels,
        f'--max_boxes={count}',
      )

  def test_remote_storage(self):
    labels = self.write('a.json', _result(0.5))
    self.assert_refused(
      '--output=gs://bucket/labels: the output must be a local path or a mounted one',
      'coco_results',
      labels,
      '--output=gs://bucket/labels',
    )


class ReadingTest(imported.ImportCase):
  def test_an_import_that_goes_on_is_not_judged_by_its_last_shards(self):
    other = self.path('other.tfrecord')
    records = [unlabelled.record(unlabelled.png(n), f'other/{n}') for n in range(4)]
    unlabelled.write(other, records)
    self.write('out/in/1.txt', LINE)
    more = (f'--images={self.path("*.tfrecord")}', '--missing=unlabelled')
    first = self.load('yolo', self.path('out'), *more)
    self.assertEqual((first.labelled, first.dead), (1, 7))
    done = self.path('labels', 'images.labels.tfrecord.json')
    os.remove(self.path('labels', 'other.labels.tfrecord.json'))
    date = os.stat(done).st_mtime_ns
    self.assertEqual(self.load('yolo', self.path('out'), *more), first)
    self.assertEqual(os.stat(done).st_mtime_ns, date)
    self.assertNotIn('are not among the images', self.err)

  def test_a_file_name_that_is_not_utf8(self):
    """In names of images such bytes are question marks, too."""
    unlabelled.write(self.images, [unlabelled.record(unlabelled.png(0), 'in/?1.png')])
    self.write('out/in/1.txt', LINE)
    path = pathlib.Path(self.path('out', 'in', '1.txt'))
    os.rename(path, os.path.join(os.fsencode(path.parent), b'\xff1.txt'))
    self.load('yolo', self.path('out'))
    self.assertEqual([len(boxes) for boxes in self.boxes_in_order()], [1])

  def test_annotations_of_coco_do_not_wait_for_their_categories(self):
    dataset = {
      'annotations': [{'image_id': n, 'category_id': 3, 'bbox': BBOX} for n in range(5)],
      'images': [{'id': n, 'file_name': f'in/{n}.png'} for n in range(5)],
      'categories': [{'id': 3, 'name': 'owl'}],
    }
    events = []
    entries = json_stream.Lists.entries

    def watched(lists):
      for entry in entries(lists):
        events.append((entry.name, entry.number))
        yield entry

    def add(made, value, categories, place):
      del made, place
      events.append(('box', value['image_id'], dict(categories)))

    with (
      mock.patch.object(json_stream.Lists, 'entries', watched),
      mock.patch.object(coco, '_add_box', add),
    ):
      coco.read_dataset(self.write('a.json', dataset), ())
    boxes = [place for place, event in enumerate(events) if event[0] == 'box']
    self.assertEqual(
      [events[place] for place in boxes], [('box', n, {'3': 'owl'}) for n in range(5)]
    )
    # Each is taken in before the next one is read.
    self.assertEqual([events[place - 1] for place in boxes], [('annotations', n) for n in range(5)])


if __name__ == '__main__':
  tf.test.main()
