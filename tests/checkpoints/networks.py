"""Settings of the networks whose outputs the authors' code gave, see tests/data/tf1/README.md."""

import gzip
import json
import pathlib

from official.vision.configs import backbones, common, decoders, retinanet, semantic_segmentation

from official_selftrain.configs import detection, segmentation
from official_selftrain.modeling import retinanet as detectors
from official_selftrain.modeling import segmentation as segmenters

DATA = pathlib.Path(__file__).parents[1] / 'data' / 'tf1'


def _detector(backbone, decoder, size, activation, epsilon, num_convs=4, num_filters=256):
  return detection.DetectionModel(
    family='original',
    num_classes=91,
    input_size=[*size, 3],
    min_level=3,
    max_level=7,
    anchor=retinanet.Anchor(num_scales=3, aspect_ratios=[1.0, 2.0, 0.5], anchor_size=4.0),
    backbone=backbone,
    decoder=decoder,
    head=retinanet.RetinaNetHead(num_convs=num_convs, num_filters=num_filters),
    norm_activation=common.NormActivation(
      activation=activation, norm_momentum=0.997, norm_epsilon=epsilon, use_sync_bn=False
    ),
  )


def _spinenet(model_id, size, epsilon, num_convs=4, num_filters=256):
  backbone = backbones.Backbone(
    type='spinenet', spinenet=backbones.SpineNet(model_id=model_id, min_level=3, max_level=7)
  )
  decoder = decoders.Decoder(type='identity', identity=decoders.Identity())
  return _detector(backbone, decoder, size, 'swish', epsilon, num_convs, num_filters)


def _resnet():
  backbone = backbones.Backbone(type='resnet', resnet=backbones.ResNet(model_id=50))
  decoder = decoders.Decoder(type='fpn', fpn=decoders.FPN(num_filters=256))
  return _detector(backbone, decoder, (256, 384), 'relu', 1e-4)


def _efficientnet(model_id):
  return segmentation.SegmentationModel(
    family='original',
    num_classes=21,
    input_size=[256, 256, 3],
    min_level=3,
    max_level=7,
    backbone=backbones.Backbone(
      type='efficientnet', efficientnet=backbones.EfficientNet(model_id=model_id)
    ),
    decoder=decoders.Decoder(
      type='nasfpn',
      nasfpn=decoders.NASFPN(num_filters=256, num_repeats=7, use_separable_conv=True),
    ),
    head=semantic_segmentation.SegmentationHead(
      level=2, num_convs=3, num_filters=256, feature_fusion='pyramid_fusion'
    ),
    norm_activation=common.NormActivation(
      activation='relu', norm_momentum=0.997, norm_epsilon=1e-3, use_sync_bn=False
    ),
  )


def settings(name: str):
  """`task.model` of a network."""
  return {
    'spinenet49s': lambda: _spinenet('49S', (256, 384), 1e-4, num_filters=128),
    'spinenet49': lambda: _spinenet('49', (256, 256), 1e-4),
    'spinenet143': lambda: _spinenet('143', (256, 256), 1e-3),
    'spinenet190': lambda: _spinenet('190', (256, 256), 1e-3, 7, 512),
    'resnet50_fpn': _resnet,
    'effnetb7_nasfpn': lambda: _efficientnet('b7'),
    'effnetl2_nasfpn': lambda: _efficientnet('l2'),
  }[name]()


def is_segmentation(name: str) -> bool:
  """Whether a network segments."""
  return name.startswith('effnet')


def build(name: str):
  """The network, with random weights."""
  module = segmenters if is_segmentation(name) else detectors
  return module.build(settings(name))


def listed() -> dict:
  """By network: `variables` in released spelling with their shapes, and `trainable_values`, their number."""
  return json.loads(gzip.decompress((DATA / 'variables.json.gz').read_bytes()))
