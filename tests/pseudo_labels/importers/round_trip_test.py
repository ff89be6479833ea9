"""What `pseudo_labels.export` writes comes back as the labels it was."""

import contextlib
import io
import os

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_selftrain.core import keys
from official_selftrain.pseudo_labels import import_labels
from tests.pseudo_labels import exported
from tests.testing import records

# Where an export has its labels, and how far off edges may be in pixels: VOC has whole ones.
_PLACES = {
  'coco': ('annotations.json', 1e-3, []),
  'coco_results': ('results.json', 1e-3, ['images.json']),
  'yolo': ('', 1e-3, []),
  'voc': ('', 0.51, []),
  'label_studio': ('tasks.json', 1e-3, []),
  'cvat': ('annotations.xml', 1e-3, []),
}


def _records(folder):
  shard = os.path.join(folder, 'a.labels.tfrecord')
  return [records.parse(each.numpy()) for each in tf.data.TFRecordDataset(shard)]


def _edges(record):
  sides = (keys.BOX_YMIN, keys.BOX_XMIN, keys.BOX_YMAX, keys.BOX_XMAX)
  return np.array([record[side] for side in sides]).T.reshape(-1, 4) * [16, 24, 16, 24]


class RoundTripTest(exported.ExportCase, parameterized.TestCase):
  def setUp(self):
    super().setUp()
    # Each test that `ExportCase` is used for makes its own folder, also with parameters in its name.
    self.again = self._path('again')

  def _import(self, form, *more):
    place = _PLACES.get(form, ('', 0, []))
    labels = os.path.join(self._path('out'), place[0])
    flags = [f'--format={form}', f'--labels={labels}', f'--images={self.images}', *more]
    flags += [f'--annotation_file={os.path.join(self._path("out"), name)}' for name in place[2]]
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
      status = import_labels.main([*flags, f'--output={self.again}'])
    self.assertEqual(status, 0, err.getvalue())

  @parameterized.parameters(*_PLACES)
  def test_boxes(self, form):
    self.label()
    self.export(form, '--cut=0')
    self._import(form, '--class_names=cat,dog,owl')
    before, after = _records(self.labels), _records(self.again)
    self.assertLen(after, 6)
    for old, new in zip(before, after, strict=True):
      for name in (keys.LABEL_STATUS, keys.SOURCE_ID, keys.IMAGE_FINGERPRINT, keys.BOX_CLASS):
        self.assertEqual(new[name], old[name], name)
      self.assertAllClose(new[keys.BOX_SCORE], old[keys.BOX_SCORE], atol=1e-6)
      self.assertAllClose(_edges(new), _edges(old), atol=_PLACES[form][1])

  def test_masks(self):
    self.label(exported.mask_labeller())
    self.export('png', '--cut=0')
    self._import('png', '--class_names=cat,dog')
    before, after = _records(self.labels), _records(self.again)
    for old, new in zip(before, after, strict=True):
      for name in (keys.LABEL_STATUS, keys.SOURCE_ID, keys.PIXEL_COUNTS):
        self.assertEqual(new[name], old[name], name)
      for name in (keys.SEGMENTATION_MASK, keys.CONFIDENCE_MASK):
        pixels = [tf.io.decode_png(each[name][0]).numpy() for each in (old, new)]
        self.assertAllEqual(*pixels)


if __name__ == '__main__':
  tf.test.main()
