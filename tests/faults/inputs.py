"""Whole inputs of the readers that `fuzzing` damages."""

import dataclasses
import io
import json
import pathlib
import tempfile
import zipfile

import numpy as np
import tensorflow as tf
from PIL import Image

from official_selftrain.pseudo_labels import corrections, manifest
from official_selftrain.pseudo_labels.reviewing import decisions


def image(form: str, mode: str = 'RGB', **options: object) -> bytes:
  rng = np.random.default_rng(1)
  pixels = rng.integers(0, 3 if mode in 'LP' else 256, [6, 8, len(mode)], np.uint8).squeeze()
  picture = (
    Image.fromarray(pixels, 'L').convert('P') if mode == 'P' else Image.fromarray(pixels, mode)
  )
  buffer = io.BytesIO()
  picture.save(buffer, form, **options)
  return buffer.getvalue()


def as_json(value: object) -> bytes:
  return json.dumps(value).encode()


JPEG = image('JPEG')
YOLO_YAML = b'train: images\nnames: [cat, dog]\nnc: 2\n'
YOLO_BOXES = b'0 0.5 0.5 0.4 0.3\n1 0.2 0.2 0.1 0.1 0.9\n0 0.1 0.1 0.3 0.1 0.2 0.4\n'
IMAGES = [
  {'id': n, 'file_name': f'{name}.jpg', 'height': 6, 'width': 8} for n, name in ((1, 'a'), (2, 'b'))
]
CATEGORIES = [{'id': 7, 'name': 'cat'}, {'id': 9, 'name': 'dog'}]
COCO = {
  'images': IMAGES,
  'categories': CATEGORIES,
  'annotations': [
    {'id': 1, 'image_id': 1, 'category_id': 7, 'bbox': [1, 1, 3, 2.5], 'area': 7.5, 'iscrowd': 0, 'score': 0.5,
     'segmentation': [[1, 1, 4, 1, 4, 3.5, 1, 3.5]]},
    {'id': 2, 'image_id': 2, 'category_id': 9, 'bbox': [0, 0, 8, 6], 'area': 48, 'iscrowd': 1,
     'segmentation': {'size': [6, 8], 'counts': [0, 48]}},
  ],
}  # fmt: skip
VOC = (
  b'<annotation><filename>a.jpg</filename><size><width>8</width><height>6</height><depth>3</depth></size><object>'
  b'<name>cat</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>4</ymax></bndbox>'
  b'</object></annotation>'
)
LABEL_STUDIO = [
  {'data': {'image': 'a.jpg'}, 'annotations': [{'result': [{
    'type': 'rectanglelabels', 'original_width': 8, 'original_height': 6, 'from_name': 'label', 'to_name': 'image',
    'value': {'x': 10, 'y': 10, 'width': 50, 'height': 40, 'rotation': 0, 'rectanglelabels': ['cat']}}]}]}
]  # fmt: skip
CVAT = (
  b'<?xml version="1.0"?><annotations><version>1.1</version><image id="0" name="a.jpg" width="8" height="6"><box '
  b'label="cat" occluded="0" xtl="1" ytl="1" xbr="5" ybr="4" z_order="0"></box></image></annotations>'
)
OPEN_IMAGES = (
  b'ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside\n'
  b'a,xclick,/m/01,1,0.1,0.5,0.2,0.6,0,0,0,0,0\nb,xclick,/m/02,1,0.1,0.5,0.2,0.6,0,0,1,0,0\n'
)
REVIEW = {
  'format': decisions.FORMAT,
  'class_names': ['cat', 'dog'],
  'images': {'a': {'status': 'corrected', 'boxes': [[1, 0.1, 0.1, 0.5, 0.6]]}, 'b': {'status': 'rejected'}},
}  # fmt: skip
SETTINGS = b"""base: []
task:
  train_data: {input_path: 'a*.tfrecord', global_batch_size: 8}
  pseudo_data: {cut: 0.5}
trainer: {train_steps: 10, validation_interval: 5.0e+0}
seed: 3
"""
STUDY = b"""title: Cuts
question: Which cut?
experiment: retinanet_selftrain
overrides: {trainer: {train_steps: 10}}
seeds: [1, 2, 3]
seed_settings: {seed: "{seed}"}
axes:
  cut: {low: {task.pseudo_data.cut: 0.3}, high: {task.pseudo_data.cut: 0.8}}
tables:
  - {title: AP, rows: [], columns: cut, models: [control, student]}
"""
RECORD = {
  'status': 'done',
  'seconds': 3.5,
  'settings': {'task.model.num_classes': 3},
  'inputs': {'teacher': 'abc'},
  'result': {'step': 10},
}
SHARD_ENTRY = {field.name: 1 for field in dataclasses.fields(manifest.ShardEntry)} | {
  'records': 2,
  'dead': 0,
}
MANIFEST = {
  'format': 'boxes', 'format_settings': {'num_classes': 3}, 'shards': [SHARD_ENTRY], 'summary': {},
  'provenance': {field.name: {} for field in dataclasses.fields(manifest.Provenance)} | {'class_names': ['cat']},
  'dead_letters': [],
}  # fmt: skip
MARKER = {'entry': SHARD_ENTRY, 'summary': {}, 'dead_letters': [], 'settings': 'abc'}
CORRECTIONS = {field.name: [] for field in dataclasses.fields(corrections.Corrections)}
CUTS = {
  'cut': 0.5, 'ignore_cut': 0.2, 'images': 9, 'curves': {},
  'classes': {'1': {'cut': 0.4, 'truths': 12, 'precision': 0.9, 'recall': None, 'is_own': True}},
}  # fmt: skip


def archive(**content: bytes) -> bytes:
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, 'w') as archive:
    for name, each in content.items():
      archive.writestr(name.replace('_', '.'), each)
  return buffer.getvalue()


def npz() -> bytes:
  buffer = io.BytesIO()
  np.savez(buffer, a=np.arange(6.0).reshape(2, 3), b=np.zeros([0], np.int8))
  return buffer.getvalue()


def tfrecord() -> bytes:
  """Three images with ids, one record of which is no example."""
  with tempfile.NamedTemporaryFile() as file:
    with tf.io.TFRecordWriter(file.name) as writer:
      for form in ('JPEG', 'PNG'):
        example = tf.train.Example()
        features = example.features.feature
        features['image/encoded'].bytes_list.value.append(image(form))
        features['image/source_id'].bytes_list.value.append(b'a.jpg')
        features['image/height'].int64_list.value.append(6)
        features['image/width'].int64_list.value.append(8)
        writer.write(example.SerializeToString())
      writer.write(b'no example')
    return pathlib.Path(file.name).read_bytes()


PICTURES = (
  image('JPEG'), image('PNG'), image('PNG', 'L'), image('GIF', 'P'), image('BMP'), image('WEBP'), image('TIFF'),
  image('JPEG', 'CMYK'), image('PNG', 'RGBA'), image('JPEG', progressive=True),
)  # fmt: skip
