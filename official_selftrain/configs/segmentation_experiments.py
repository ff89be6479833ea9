"""Registered experiments of semantic segmentation of photographs: the paper's settings on one GPU with 24 GB.

The paper's network is EfficientNet-B7 with NAS-FPN, of which 24 GB hold eight images at 512 x 512, four of each source,
too few for a useful batch. EfficientNet-B4 is the largest of which sixteen leave a quarter of the memory free: 16.0 GiB
by `estimate_memory`, where B5 takes 20.5. The rest is as for detection: see `detection_experiments`.

Start from a pre-trained backbone (`teacher.init_checkpoint`) where few images have masks: from random weights the
paper's B7 ends at 41.5 mIoU on PASCAL VOC instead of 81.4 (Table 11).
"""

from typing import TypeVar

from official.vision.configs import backbones, common, decoders, semantic_segmentation

from official_selftrain.configs import augmentation as aug
from official_selftrain.configs import experiments, pretraining_experiments, runs, trainers
from official_selftrain.configs import segmentation as seg
from official_selftrain.configs import self_training as st

_Task = TypeVar('_Task', bound=seg.SegmentationTask)
_Stream = TypeVar('_Stream', bound=seg.DataConfig)

# The digits' ten and the background; own data sets `task.model.num_classes`.
_NUM_CLASSES = 11
_IMAGE_SIZE = 512

_EFFICIENTNET = trainers.Sgd(learning_rate=0.08, warmup_steps=500, warmup_learning_rate=0.001)


def _model() -> seg.SegmentationModel:
  return seg.SegmentationModel(
    family='original',
    num_classes=_NUM_CLASSES,
    input_size=[_IMAGE_SIZE, _IMAGE_SIZE, 3],
    min_level=3,
    max_level=7,
    backbone=backbones.Backbone(
      type='efficientnet',
      efficientnet=backbones.EfficientNet(model_id='b4', stochastic_depth_drop_rate=0.2),
    ),
    decoder=decoders.Decoder(
      type='nasfpn',
      nasfpn=decoders.NASFPN(num_filters=256, num_repeats=7, use_separable_conv=True),
    ),
    head=semantic_segmentation.SegmentationHead(
      level=2, num_convs=3, num_filters=256, feature_fusion='pyramid_fusion'
    ),
    norm_activation=common.NormActivation(
      activation='relu', norm_momentum=0.997, norm_epsilon=1e-3, use_sync_bn=True
    ),
  )


def _training(kind: type[_Stream], batch_size: int) -> _Stream:
  """A training stream of `kind` with Augment-S4, which flips by itself."""
  return kind(
    is_training=True,
    global_batch_size=batch_size,
    aug_rand_hflip=False,
    augmentation=aug.Augmentation(policy='S4'),
  )


def _with(task: _Task, batch_size: int) -> _Task:
  """`task` with model, losses and labelled streams."""
  task.model = _model()
  task.losses = semantic_segmentation.Losses(l2_weight_decay=1e-5, use_groundtruth_dimension=False)
  task.train_data = _training(seg.DataConfig, batch_size)
  task.validation_data = seg.DataConfig(
    is_training=False, global_batch_size=8, drop_remainder=False, aug_rand_hflip=False
  )
  return task


@experiments.register('segmentation_efficientnet_supervised')
def segmentation_efficientnet_supervised() -> runs.SupervisedExperiment:
  """EfficientNet with NAS-FPN on labelled images, with Augment-S4."""
  batch = 16
  return runs.SupervisedExperiment(
    runtime=trainers.bfloat16(),
    task=_with(seg.SegmentationTask(), batch),
    trainer=trainers.trainer(40_000, _EFFICIENTNET.at_batch(batch), trainers.LONG),
  )


@experiments.register('segmentation_efficientnet_selftrain')
def segmentation_efficientnet_selftrain() -> runs.SelfTrainingExperiment:
  """EfficientNet with NAS-FPN and Augment-S4, alpha 1 and pseudo masks from six sizes, as in the paper's Table 6."""
  batch = 8
  task = _with(seg.SegmentationSelfTrainingTask(), batch)
  task.pseudo_data = _training(seg.PseudoDataConfig, batch)
  task.self_training = st.SelfTraining(alpha=1.0)
  return runs.SelfTrainingExperiment(
    pretraining=pretraining_experiments.photographs(),
    runtime=trainers.bfloat16(),
    task=task,
    labels=seg.MaskLabelling(batch_size=8),
    report=st.Report(primary_metric='mean_iou'),
    trainer=trainers.trainer(40_000, _EFFICIENTNET.at_batch(batch), trainers.LONG),
    # The teacher's step has twice as many labelled images.
    teacher=st.Teacher(
      trainer=trainers.trainer(40_000, _EFFICIENTNET.at_batch(2 * batch), trainers.LONG)
    ),
  )
