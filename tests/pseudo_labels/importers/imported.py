"""Imports labels for a small shard of images, with the program."""

import contextlib
import io
import json
import os
import pathlib

import tensorflow as tf

from official_selftrain.core import keys
from official_selftrain.pseudo_labels import boxes, import_labels, manifest
from tests.pseudo_labels import unlabelled
from tests.testing import records

NAMES = 'cat,dog,owl'


class ImportCase(tf.test.TestCase):
  """Each test has a folder of its own with four images of 16 x 24 pixels, called in/0.png to in/3.png."""

  def setUp(self):
    super().setUp()
    self.folder = os.path.join(self.get_temp_dir(), self.id())
    os.makedirs(self.folder)
    self.images = self.path('images.tfrecord')
    records = [unlabelled.record(unlabelled.png(n), f'in/{n}.png') for n in range(4)]
    unlabelled.write(self.images, records)

  def path(self, *parts):
    return os.path.join(self.folder, *parts)

  def write(self, name, content):
    """Writes a text, or what is no text as JSON; returns the path."""
    path = pathlib.Path(self.path(name))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)

  def main(self, form, labels, *more, names=NAMES):
    """Status, standard output and standard error of the program."""
    out, err = io.StringIO(), io.StringIO()
    flags = [f'--format={form}', f'--labels={labels}', f'--output={self.path("labels")}']
    flags += [f'--images={self.images}', f'--class_names={names}', *more]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
      status = import_labels.main(flags)
    return status, out.getvalue(), err.getvalue()

  def load(self, form, labels, *more, **named):
    """Imports; returns the manifest."""
    status, self.out, self.err = self.main(form, labels, *more, **named)
    self.assertEqual(status, 0, self.err)
    return manifest.Manifest.load(self.path('labels'))

  def found(self):
    """By the number of the image: list of (class id, score, edges in pixels)."""
    shard = self.path('labels', 'images.labels.tfrecord')
    sides = [unlabelled.SIDE, 24] * 2
    return {
      int(name[3]): [
        (
          int(class_id),
          round(float(score), 6),
          [round(float(e) * s, 3) for e, s in zip(box, sides, strict=True)],
        )
        for box, class_id, score in zip(each.boxes, each.classes, each.scores, strict=True)
      ]
      for name, each in boxes.read_predictions([shard])
    }

  def boxes_in_order(self):
    """As `found`, of images with any names, in the order of their records."""
    shard = self.path('labels', 'images.labels.tfrecord')
    return [
      list(zip(each.classes.tolist(), each.scores.tolist(), strict=True))
      for _, each in boxes.read_predictions([shard])
    ]

  def records(self):
    """All label records, parsed."""
    shard = self.path('labels', 'images.labels.tfrecord')
    return [records.parse(each.numpy()) for each in tf.data.TFRecordDataset(shard)]

  def statuses(self):
    return [each[keys.LABEL_STATUS][0].decode() for each in self.records()]

  def assert_refused(self, pattern, form, labels, *more, **named):
    status, _, err = self.main(form, labels, *more, **named)
    self.assertEqual(status, 2, err)
    self.assertRegex(err.splitlines()[-1], f'^error: .*{pattern}')
