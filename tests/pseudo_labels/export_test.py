"""The export of pseudo labels as a program: label shards in, files of other tools out."""

import contextlib
import io
import json
import os
import pathlib

import tensorflow as tf
from pycocotools import coco

from official_selftrain.pseudo_labels import export
from tests.pseudo_labels import unlabelled

# Boxes of the fake teacher in an image of 16 x 24 pixels, as COCO's x, y, width, height.
_BOXES = ([0, 0, 12, 8], [6, 4, 18, 8], [12, 8, 12, 8])


class ExportTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = os.path.join(self.get_temp_dir(), self.id())
    os.makedirs(self.folder)
    self.labels = os.path.join(self.folder, 'labels')
    # Image n has n objects, so that image 0 is empty; the second is a dead letter.
    self.images = os.path.join(self.folder, 'a.tfrecord')
    records = [unlabelled.record(unlabelled.png(n), f'id/{n}') for n in range(4)]
    records.insert(1, unlabelled.record(b'junk', 'id/junk'))
    unlabelled.write(self.images, records)
    unlabelled.make_labeller().run([self.images], self.labels)

  def _run(self, form, *more, name='out'):
    out, err = io.StringIO(), io.StringIO()
    self.output = os.path.join(self.folder, name)
    flags = [f'--labels={self.labels}', f'--images={self.images}', f'--output={self.output}']
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
      status = export.main([*flags, f'--format={form}', *more])
    return status, out.getvalue(), err.getvalue()

  def _read(self, name):
    return json.loads(pathlib.Path(self.output, name).read_text('utf-8'))

  def test_coco_holds_boxes_scores_and_images_without_objects(self):
    status, out, _ = self._run('coco', '--cut=0', '--class_names=cat,dog,owl')
    self.assertEqual(status, 0)
    with contextlib.redirect_stdout(io.StringIO()):
      found = coco.COCO(os.path.join(self.output, 'annotations.json'))
    names = {image['id']: image['file_name'] for image in found.loadImgs(found.getImgIds())}
    self.assertEqual(sorted(names.values()), ['id_0.png', 'id_1.png', 'id_2.png', 'id_3.png'])
    self.assertEqual([c['name'] for c in found.loadCats(found.getCatIds())], ['cat', 'dog', 'owl'])
    for image_id, name in names.items():
      annotations = found.loadAnns(found.getAnnIds(imgIds=[image_id]))
      count = int(name[3])
      self.assertEqual([a['score'] for a in annotations], list(unlabelled.SCORES[:count]))
      self.assertEqual([a['category_id'] for a in annotations], [1, 2, 3][:count])
      self.assertAllClose(
        [a['bbox'] for a in annotations] or [[0] * 4], _BOXES[:count] or [[0] * 4], atol=1e-3
      )
    self.assertRegex(out, r'\n *4 +1 +6 +0 +1\n')

  def test_the_cut_is_applied(self):
    self._run('coco_results', '--cut=0.5')
    self.assertEqual(
      [each['score'] for each in self._read('results.json')], [0.75, 0.75, 0.5, 0.75, 0.5]
    )

  def test_results_load_into_pycocotools(self):
    self._run('coco_results', '--cut=0')
    with contextlib.redirect_stdout(io.StringIO()):
      truth = coco.COCO(os.path.join(self.output, 'images.json'))
      results = truth.loadRes(os.path.join(self.output, 'results.json'))
    self.assertLen(results.getAnnIds(), 6)
    self.assertAllClose(results.loadAnns([1])[0]['bbox'], _BOXES[0], atol=1e-3)

  def test_yolo_lines(self):
    self._run('yolo', '--cut=0')
    lines = pathlib.Path(self.output, 'labels', 'id_3.txt').read_text('utf-8').splitlines()
    rows = [[float(field) for field in line.split()] for line in lines]
    wanted = [
      [0, 0.25, 0.25, 0.5, 0.5, 0.75],
      [1, 0.625, 0.5, 0.75, 0.5, 0.5],
      [2, 0.75, 0.75, 0.5, 0.5, 0.25],
    ]
    self.assertAllClose(rows, wanted, atol=1e-6)
    self.assertEqual(pathlib.Path(self.output, 'labels', 'id_0.txt').read_text('utf-8'), '')

  def test_images_are_written_on_request_as_they_are(self):
    self._run('coco', '--with_images')
    self.assertEqual(
      pathlib.Path(self.output, 'images', 'id_2.png').read_bytes(), unlabelled.png(2)
    )

  def test_the_same_labels_give_the_same_bytes(self):
    for form in ('coco', 'coco_results', 'yolo', 'voc', 'label_studio', 'cvat'):
      contents = []
      for number in range(2):
        status, _, err = self._run(form, '--with_images', name=f'{form}-{number}')
        self.assertEqual(status, 0, err)
        files = sorted(p for p in pathlib.Path(self.output).rglob('*') if p.is_file())
        contents.append({str(p.relative_to(self.output)): p.read_bytes() for p in files})
      self.assertEqual(contents[0], contents[1])
      self.assertIn('provenance.json', contents[0])

  def test_what_a_user_can_get_wrong(self):
    status, _, err = self._run('png')
    self.assertEqual(status, 2)
    self.assertIn('--format is png, which is not written for labels of', err)
    self.assertFalse(os.path.exists(self.output))
    self.assertEqual(self._run('coco', '--class_names=cat')[0], 2)
    os.makedirs(self.output)
    pathlib.Path(self.output, 'mine.txt').write_text('kept')
    status, _, err = self._run('coco')
    self.assertEqual(status, 2)
    self.assertIn(self.output, err)
    self.assertEqual(os.listdir(self.output), ['mine.txt'])

  def test_labels_alone_do_not_say_where_the_images_are(self):
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
      status = export.main([f'--labels={self.labels}', '--output=x', '--format=coco'])
    self.assertEqual(status, 2)
    self.assertIn('give a run directory, or both --labels and --images', err.getvalue())


if __name__ == '__main__':
  tf.test.main()
