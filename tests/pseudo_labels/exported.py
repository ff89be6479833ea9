"""Small sets of labels, and the program that exports them."""

import contextlib
import functools
import io
import json
import os
import pathlib
import shutil

import numpy as np
import tensorflow as tf

from official_selftrain.pseudo_labels import export, labeller, manifest, segmentation
from tests.pseudo_labels import unlabelled

NAMES = ('cat', 'dog', 'owl')
TEACHER = {'checkpoint': '/secret/place/ckpt-9', 'sha256': 'ab' * 32, 'global_step': 9}


def _preprocess(encoded):
  """As `unlabelled.preprocess`, for JPEG files too."""
  image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
  return unlabelled.preprocess(tf.io.encode_png(image))


@functools.cache
def box_labeller(class_names=NAMES, shift=0):
  """Finds what `unlabelled.FakeTeacher` finds; `shift` is added to the classes."""
  teacher = unlabelled.FakeTeacher()

  def predict(batch):
    found = teacher(batch)
    return {**found, 'classes': found['classes'] + shift}

  return labeller.Labeller(
    unlabelled.label_format(),
    _preprocess,
    predict,
    manifest.Provenance(teacher=TEACHER, class_names=class_names),
    batch_size=unlabelled.BATCH_SIZE,
    num_parallel_calls=1,
  )


@functools.cache
def mask_labeller():
  """Row 0 of every image is class 1 at 0.6, row 1 class 2 at 0.8, the rest background at 0.9."""
  probabilities = np.zeros([unlabelled.BATCH_SIZE, unlabelled.SIDE, 24, 3], np.float32)
  probabilities[:], probabilities[:, 0] = (0.9, 0.06, 0.04), (0.3, 0.6, 0.1)
  probabilities[:, 1] = (0.1, 0.1, 0.8)
  size = [unlabelled.SIDE, 24]
  infos = np.tile(np.array([size, size, [1, 1], [0, 0]], np.float32), [len(probabilities), 1, 1])

  def predict(batch):
    del batch
    return {'probabilities': tf.constant(probabilities), 'image_info': tf.constant(infos)}

  return labeller.Labeller(
    segmentation.MaskFormat(num_classes=3),
    _preprocess,
    predict,
    manifest.Provenance(teacher=TEACHER, class_names=NAMES[:2]),
    batch_size=unlabelled.BATCH_SIZE,
    num_parallel_calls=1,
  )


class ExportCase(tf.test.TestCase):
  """Each test has a folder of its own, with labels of six images: 0, 1, 2, 3, 0 and 1 boxes, scored 0.75, 0.5, 0.25."""

  def setUp(self):
    super().setUp()
    self.folder = os.path.join(self.get_temp_dir(), self.id())
    os.makedirs(self.folder)
    self.labels, self.images = self._path('labels'), self._path('a.tfrecord')
    unlabelled.write_images(self.images, range(6))

  def _path(self, *parts):
    return os.path.join(self.folder, *parts)

  def label(self, made=None, records=None):
    """Labels the images, or other records."""
    if records is not None:
      unlabelled.write(self.images, records)
    (made or box_labeller()).run([self.images], self.labels)

  def main(self, *more):
    """Status, standard output and standard error of the program."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
      status = export.main([f'--output={self._path("out")}', *more])
    return status, out.getvalue(), err.getvalue()

  def export(self, form, *more):
    """Files of an export by name, without the provenance."""
    given = [f'--labels={self.labels}', f'--images={self.images}']
    status, self.out, self.err = self.main(*given, f'--format={form}', *more)
    self.assertEqual(status, 0, self.err)
    found = self.contents()
    found.pop('provenance.json')
    return found

  def contents(self):
    root = pathlib.Path(self._path('out'))
    paths = (path for path in root.rglob('*') if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}

  def annotations(self, *more):
    """Content of a COCO data set."""
    return json.loads(self.export('coco', *more)['annotations.json'])

  def scores(self, *more):
    return [entry['score'] for entry in self.annotations(*more)['annotations']]

  def assert_refused(self, pattern, *more, form='coco'):
    given = [f'--labels={self.labels}', f'--images={self.images}', f'--format={form}']
    before = set(os.listdir(self.folder))
    status, _, err = self.main(*given, *more)
    self.assertEqual(status, 2)
    self.assertRegex(err.splitlines()[-1], f'^error: .*{pattern}')
    self.assertEqual(set(os.listdir(self.folder)), before)

  def clear(self):
    shutil.rmtree(self._path('out'))
