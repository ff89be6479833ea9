"""Boxes of other programs become label shards: files written by hand, in every format."""

import json
import pathlib

import tensorflow as tf

from official_selftrain.pseudo_labels import manifest as manifest_lib
from tests.pseudo_labels.importers import imported

# Image 1 has an owl at 0.9 and a cat at 0.25; edges (ymin, xmin, ymax, xmax) in pixels. Image 2 has nothing.
OWL, CAT = [4.0, 6.0, 12.0, 18.0], [0.0, 0.0, 8.0, 12.0]
_REGION = {'x': 25, 'y': 25, 'width': 50, 'height': 50, 'rectanglelabels': ['owl']}
_VOC = (
  '<annotation><filename>1.png</filename><object><name>owl</name><bndbox>'
  '<xmin>7</xmin><ymin>5</ymin><xmax>18</xmax><ymax>12</ymax></bndbox></object></annotation>'
)
WANTED = {0: [], 1: [(3, 0.9, OWL), (1, 0.25, CAT)], 2: [], 3: []}


def bbox(edges):
  ymin, xmin, ymax, xmax = edges
  return [xmin, ymin, xmax - xmin, ymax - ymin]


class ResultsTest(imported.ImportCase):
  def results(self, image_id=1):
    return self.write(
      'results.json',
      [
        {'image_id': image_id, 'category_id': 3, 'bbox': bbox(OWL), 'score': 0.9},
        {'image_id': image_id, 'category_id': 1, 'bbox': bbox(CAT), 'score': 0.25},
      ],
    )

  def test_ids_of_an_annotation_file(self):
    context = {
      'images': [{'id': 70 + n, 'file_name': f'in/{n}.png'} for n in range(4)],
      # As in COCO, ids have gaps and another order than the classes.
      'categories': [{'id': 3, 'name': 'owl'}, {'id': 1, 'name': 'cat'}, {'id': 90, 'name': 'dog'}],
    }
    context = self.write('instances.json', context)
    manifest = self.load('coco_results', self.results(71), f'--annotation_file={context}')
    self.assertEqual(self.found(), WANTED)
    self.assertEqual((manifest.labelled, manifest.empty, manifest.dead), (1, 3, 0))
    self.assertEqual(manifest.class_names, ('cat', 'dog', 'owl'))
    self.assertEqual(manifest.provenance.teacher['format'], 'coco_results')
    self.assertRegex(manifest.provenance.teacher['sha256'], '^[0-9a-f]{64}$')

  def test_without_one_image_ids_are_those_of_the_records_and_categories_are_classes(self):
    self.load('coco_results', self.results('in/1.png'))
    self.assertEqual(self.found(), WANTED)
    self.assertIn('do not mention 3 of the images', self.err)

  def test_images_that_are_not_mentioned_can_be_left_out(self):
    self.load('coco_results', self.results('in/1.png'), '--missing=unlabelled')
    self.assertEqual(self.statuses(), ['dead', 'labelled', 'dead', 'dead'])

  def test_names_may_lack_folder_and_ending(self):
    self.load('coco_results', self.results('1'))
    self.assertEqual(self.found(), WANTED)

  def test_other_classes_are_left_out_and_told_of(self):
    context = {
      'images': [{'id': 1, 'file_name': '1.png'}],
      'categories': [{'id': 3, 'name': 'snowy owl'}, {'id': 1, 'name': 'cat'}],
    }
    context = self.write('instances.json', context)
    self.load('coco_results', self.results(), f'--annotation_file={context}')
    self.assertEqual(self.found()[1], [(1, 0.25, CAT)])
    self.assertIn('1 boxes of 1 other class(es) were left out: snowy owl (1)', self.err)
    self.load(
      'coco_results', self.results(), f'--annotation_file={context}', '--rename=snowy owl=owl'
    )
    self.assertEqual(self.found(), WANTED)

  def test_the_surest_boxes_are_kept(self):
    self.load('coco_results', self.results('1'), '--max_boxes=1')
    self.assertEqual(self.found()[1], [(3, 0.9, OWL)])

  def test_what_a_user_can_get_wrong(self):
    self.assert_refused('results.json does not exist', 'coco_results', self.path('results.json'))
    self.assert_refused(
      r"None of the 1 images of the labels is among the 4 images.*'77'.*--annotation_file",
      'coco_results',
      self.results(77),
    )
    self.assert_refused(
      'category_id 3; known are 1, 2. .*--annotation_file',
      'coco_results',
      self.results(),
      names='a,b',
    )
    self.assert_refused('does not hold a JSON list', 'coco_results', self.write('a.json', {}))
    self.assert_refused(
      'bbox .1, 2, 3., score None',
      'coco_results',
      self.write('b.json', [{'image_id': 1, 'bbox': [1, 2, 3]}]),
    )
    self.assert_refused('no list images', 'coco', self.write('c.json', {'annotations': []}))
    self.assert_refused(
      '--confidence is given, but only png', 'coco_results', self.results(), '--confidence=x'
    )
    self.assert_refused(
      '--rename=a=b: give THEIRS=YOURS, where YOURS is one of cat, dog, owl', 'coco_results', self.results(),
      '--rename=a=b',
    )  # fmt: skip

  def test_all_boxes_of_other_classes_are_an_error(self):
    context = {
      'images': [{'id': 1, 'file_name': '1.png'}],
      'categories': [{'id': 3, 'name': 'person'}, {'id': 1, 'name': 'car'}],
    }
    self.assert_refused(
      "All boxes are of classes that are not in use: 'person' .1., 'car' .1.",
      'coco_results',
      self.results(),
      f'--annotation_file={self.write("i.json", context)}',
    )

  def test_the_same_labels_are_not_read_again(self):
    self.load('coco_results', self.results('1'))
    shard = pathlib.Path(self.path('labels', 'images.labels.tfrecord'))
    before = shard.stat().st_mtime_ns
    self.load('coco_results', self.results('1'))
    self.assertEqual(shard.stat().st_mtime_ns, before)
    self.load('coco_results', self.results('2'))
    self.assertEqual(len(self.found()[2]), 2)


class FilesTest(imported.ImportCase):
  def test_coco(self):
    content = {
      'annotations': [
        {'id': 1, 'image_id': 5, 'category_id': 3, 'bbox': bbox(OWL), 'score': 0.9},
        {'id': 2, 'image_id': 5, 'category_id': 1, 'bbox': bbox(CAT), 'score': 0.25},
      ],
      'categories': [{'id': 1, 'name': 'cat'}, {'id': 3, 'name': 'owl'}],
      'images': [{'id': 5, 'file_name': '1.png', 'width': 24, 'height': 16}],
    }
    self.load('coco', self.write('annotations.json', content))
    self.assertEqual(self.found(), WANTED)

  def test_marked_boxes_are_left_out_unless_they_have_a_score(self):
    """A crowd that a person drew is no object; a box of an export's ignore band has a score, and comes back."""
    name = '<name>owl</name>'
    box = '<bndbox><xmin>7</xmin><ymin>5</ymin><xmax>18</xmax><ymax>12</ymax></bndbox>'
    hard, sure = '<difficult>1</difficult>', '<score>0.9</score>'
    voc = ''.join(f'<object>{name}{box}{more}</object>' for more in (hard, hard + sure, ''))
    self.write('voc/1.xml', f'<annotation><filename>1.png</filename>{voc}</annotation>')
    common = {'image_id': 5, 'category_id': 3, 'bbox': bbox(OWL)}
    boxes = [{'iscrowd': 1}, {'iscrowd': 1, 'score': 0.9}, {'iscrowd': 0}]
    coco = {
      'annotations': [{'id': n, **common, **more} for n, more in enumerate(boxes)],
      'categories': [{'id': 3, 'name': 'owl'}],
      'images': [{'id': 5, 'file_name': '1.png'}],
    }
    box = '<box label="owl" xtl="6" ytl="4" xbr="18" ybr="12">{}</box>'
    attribute = '<attribute name="{}">{}</attribute>'
    hard, sure = attribute.format('ignored', 'true'), attribute.format('score', 0.9)
    cvat = ''.join(box.format(more) for more in (hard, hard + sure, ''))
    cvat = (
      f'<annotations><image id="0" name="1.png" width="24" height="16">{cvat}</image></annotations>'
    )
    for form, labels in (
      ('voc', self.path('voc')),
      ('coco', self.write('a.json', coco)),
      ('cvat', self.write('a.xml', cvat)),
    ):
      with self.subTest(form):
        self.load(form, labels)
        self.assertEqual(self.found()[1], [(3, 1.0, OWL), (3, 0.9, OWL)])
        self.assertIn(
          '1 boxes without a score were left out: they are marked as crowds, as difficult or to be ignored.',
          self.err,
        )

  def test_a_label_without_score_is_sure(self):
    line = '2 0.5 0.5 0.5 0.5\n'
    self.write('out/1.txt', line)
    self.load('yolo', self.path('out'))
    self.assertEqual(self.found()[1], [(3, 1.0, OWL)])

  def test_yolo(self):
    # Class, centre and size relative to 24 x 16 pixels, confidence.
    self.write('out/labels/in/1.txt', '2 0.5 0.5 0.5 0.5 0.9\n\n0 0.25 0.25 0.5 0.5 0.25\n')
    self.write('out/labels/in/2.txt', '')
    self.load('yolo', self.path('out'))
    self.assertEqual(self.found(), WANTED)

  def test_yolo_with_names(self):
    self.write('out/data.yaml', 'names: [owl, cat]\n')
    self.write('out/labels/1.txt', '0 0.5 0.5 0.5 0.5 0.9\n1 0.25 0.25 0.5 0.5 0.25\n')
    self.load('yolo', self.path('out'))
    self.assertEqual(self.found(), WANTED)

  def test_classes_txt_of_labelimg(self):
    self.write('out/classes.txt', 'owl\ncat\n')
    self.write('out/1.txt', '0 0.5 0.5 0.5 0.5 0.9\n1 0.25 0.25 0.5 0.5 0.25\n')
    self.load('yolo', self.path('out'))
    self.assertEqual(self.found(), WANTED)
    # Beside a folder of labels.
    self.write('above/classes.txt', 'owl\ncat\n')
    self.write('above/labels/1.txt', '0 0.5 0.5 0.5 0.5 0.9\n1 0.25 0.25 0.5 0.5 0.25\n')
    self.load('yolo', self.path('above'))
    self.assertEqual(self.found(), WANTED)

  def test_yolo_of_unknown_class(self):
    self.write('out/1.txt', '0 0.5 0.5 0.5 0.5 0.9\n3 0.5 0.5 0.5 0.5 0.9\n')
    self.assert_refused('1.txt, line 2: class 3 .*Classes are 0 to 2', 'yolo', self.path('out'))
    self.write('other/1.xml', '')
    self.assert_refused('has no .txt file', 'yolo', self.path('other'))

  def test_voc(self):
    # The first pixel is 1, and the last is inside.
    template = (
      '<annotation><filename>1.png</filename><size><width>{width}</width><height>16</height></size>'
      '<object><name>owl</name><bndbox><xmin>7</xmin><ymin>5</ymin><xmax>18</xmax><ymax>12</ymax></bndbox>'
      '<score>0.9</score></object></annotation>'
    )
    self.write('out/Annotations/1.xml', template.format(width=24))
    self.load('voc', self.path('out'))
    self.assertEqual(self.found()[1], [(3, 0.9, OWL)])
    # About another image of that name.
    self.write('out/Annotations/1.xml', template.format(width=32))
    manifest = self.load('voc', self.path('out'))
    self.assertEqual(manifest.dead, 1)
    self.assertIn(
      '16 x 32 pixels (height x width), but it has 16 x 24', manifest.dead_letters[0].reason
    )

  def test_label_studio(self):
    def region(name, edges, **more):
      ymin, xmin, ymax, xmax = edges
      value = {'x': xmin / 0.24, 'y': ymin / 0.16, 'width': (xmax - xmin) / 0.24}
      value |= {'height': (ymax - ymin) / 0.16, 'rotation': 0, 'rectanglelabels': [name]}
      return {'id': 'a', 'type': 'rectanglelabels', 'value': value, **more}

    predictions = [{'result': [region('owl', OWL, score=0.9), region('cat', CAT, score=0.25)]}]
    annotations = [{'result': [region('dog', CAT)]}]
    tasks = [
      {'data': {'image': '/data/local-files/?d=images/1.png'}, 'predictions': predictions},
      {'data': {'source_id': 'in/2.png'}, 'predictions': predictions, 'annotations': annotations},
      {'data': {'image': '3.png'}, 'annotations': [{'was_cancelled': True, 'result': []}]},
    ]
    self.load('label_studio', self.write('tasks.json', tasks))
    self.assertEqual(self.found(), {0: [], 1: WANTED[1], 2: [(2, 1.0, CAT)]})
    self.assertEqual(self.statuses()[3], 'dead')
    # A remark is no region.
    remark = {'id': 'b', 'type': 'choices', 'value': {'choices': ['blurred']}}
    tasks = [{'data': {'image': '1.png'}, 'annotations': [{'result': [remark]}]}]
    self.load('label_studio', self.write('tasks.json', tasks))
    self.assertEqual(self.found()[1], [])

  def test_regions_of_label_studio_that_are_no_boxes_with_a_class(self):
    # The last two are what <Rectangle> and <Labels> make of one box.
    for kind in ('brushlabels', 'brush', 'keypoint', 'polygon', 'new', 'rectangle', 'labels', 7):
      region = {'id': 'a', 'type': kind, 'value': {}}
      tasks = [{'data': {'image': '1.png'}, 'annotations': [{'result': [region]}]}]
      self.assert_refused(
        f'task 0: a region is of type {kind}. Only upright boxes',
        'label_studio',
        self.write('tasks.json', tasks),
      )

  def test_how_label_studio_calls_images(self):
    result = [{'result': [{'type': 'rectanglelabels', 'value': _REGION}]}]
    for image in (
      '1.png',
      '/data/local-files/?d=1.png',
      '/data/local-files/?d=in%2F1.png',
      f'https://host/in/1.png?signature={"x" * 400}',
    ):
      with self.subTest(image):
        tasks = [{'data': {'image': image}, 'annotations': result}]
        self.load('label_studio', self.write('tasks.json', tasks))
        self.assertEqual(self.found()[1], [(3, 1.0, OWL)])

  def test_cvat(self):
    box = '<box label="{}" xtl="{}" ytl="{}" xbr="{}" ybr="{}">{}</box>'
    score = '<attribute name="score">0.9</attribute>'
    boxes = box.format('owl', 6, 4, 18, 12, score) + box.format('cat', 0, 0, 12, 8, '')
    content = '<annotations><version>1.1</version>'
    content += (
      f'<image id="0" name="images/1.png" width="24" height="16">{boxes}</image></annotations>'
    )
    self.load('cvat', self.write('annotations.xml', content))
    self.assertEqual(self.found()[1], [(1, 1.0, CAT), (3, 0.9, OWL)])
    self.assert_refused('cannot be read as XML', 'cvat', self.write('a.xml', '<annotations>'))
    for shape, pattern in (
      ('<polygon label="owl" points="1,1;2,2;3,1"/>', '1.png has a polygon. Only upright boxes'),
      (boxes.replace('<box ', '<box rotation="30.0" ', 1), 'box 1 is turned. Only upright boxes'),
    ):
      content = f'<annotations><image id="0" name="1.png">{shape}</image></annotations>'
      self.assert_refused(pattern, 'cvat', self.write('a.xml', content))


class ManifestTest(imported.ImportCase):
  def test_classes_in_another_order_make_the_labels_anew(self):
    self.write('out/1.xml', _VOC)
    self.load('voc', self.path('out'))
    self.assertEqual(self.found()[1], [(3, 1.0, OWL)])
    self.load('voc', self.path('out'), names='owl,dog,cat')
    self.assertEqual(self.found()[1], [(1, 1.0, OWL)])

  def test_categories_that_were_corrected_make_the_labels_anew(self):
    def context(name):
      images, categories = [{'id': 1, 'file_name': '1.png'}], [{'id': 3, 'name': name}]
      return self.write('instances.json', {'images': images, 'categories': categories})

    results = [{'image_id': 1, 'category_id': 3, 'bbox': bbox(OWL), 'score': 0.9}]
    results = self.write('results.json', results)
    for name, class_id in (('owl', 3), ('dog', 2)):
      self.load('coco_results', results, f'--annotation_file={context(name)}')
      self.assertEqual(self.found()[1], [(class_id, 0.9, OWL)])

  def test_an_error_is_told_at_every_start(self):
    self.write('out/other.txt', '2 0.5 0.5 0.5 0.5 0.9\n')
    for _ in range(2):
      self.assert_refused('None of the 1 images of the labels', 'yolo', self.path('out'))

  def test_it_says_how_labels_were_taken_over(self):
    self.write('out/1.txt', '2 0.5 0.5 0.5 0.5 0.9\n')
    self.load('yolo', self.path('out'))
    content = json.loads(pathlib.Path(self.path('labels', manifest_lib.FILE_NAME)).read_text())
    self.assertEqual(
      content['provenance']['config'],
      {'renamed': {}, 'missing': 'empty', 'class_names': ['cat', 'dog', 'owl']},
    )
    self.assertEqual(content['format'], 'detection')
    self.assertEqual(content['format_settings']['min_score'], 0.0)


if __name__ == '__main__':
  tf.test.main()
