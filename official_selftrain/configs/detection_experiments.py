"""Registered experiments of object detection in photographs: the paper's settings on one GPU with 24 GB.

What the paper leaves open is as in its authors' released code. The paper's batch is 256, that of its SpineNet students
128. Batches here leave a quarter of the memory free by `python -m official_selftrain.estimate_memory`, even with COCO's
91 classes, with which a step of the student needs 15.2 GiB in both experiments. Learning rates follow the batch, see
`trainers.Sgd.at_batch`. More GPUs take larger batches, with learning rates in proportion.

bfloat16 is the paper's precision and halves the memory of activations. A GPU must be of NVIDIA's Ampere generation or
newer to compute in it; for an older one set `runtime.mixed_precision_dtype: null` and half the batches and rates.

Steps are not scaled. The paper's 90,000 of the teacher and 120,000 of the student of ResNet-50 are 288 and 192 epochs
of 5,000 labelled images here, and 12 and 8 of COCO, where the paper has 195 and 260: train longer on data of that size.

Without input paths they run on the embedded digits, enlarged, which is only useful to test an installation.
"""

from typing import TypeVar

from official.vision.configs import backbones, common, decoders, retinanet

from official_selftrain.configs import augmentation as aug
from official_selftrain.configs import detection as det
from official_selftrain.configs import experiments, pretraining_experiments, runs, trainers
from official_selftrain.configs import self_training as st

_Task = TypeVar('_Task', bound=det.DetectionTask)

# The digits' ten and the background; own data sets `task.model.num_classes`.
_NUM_CLASSES = 11
_IMAGE_SIZE = 640

_RESNET = trainers.Sgd(
  learning_rate=0.32, warmup_steps=1000, warmup_learning_rate=0.0032, clip_norm=None
)
# The authors divide the rate by ten near the end. Cosine needs no step numbers that follow `train_steps`.
_SPINENET = trainers.Sgd(learning_rate=0.28, warmup_steps=2000, warmup_learning_rate=0.0067)


def _model(
  backbone: backbones.Backbone,
  decoder: decoders.Decoder,
  norm_activation: common.NormActivation,
  anchor_size: float,
) -> det.DetectionModel:
  """The authors' RetinaNet at 640 x 640 with nine anchors per place on levels 3 to 7."""
  return det.DetectionModel(
    family='original',
    num_classes=_NUM_CLASSES,
    input_size=[_IMAGE_SIZE, _IMAGE_SIZE, 3],
    min_level=3,
    max_level=7,
    anchor=retinanet.Anchor(num_scales=3, aspect_ratios=[1.0, 2.0, 0.5], anchor_size=anchor_size),
    backbone=backbone,
    decoder=decoder,
    head=retinanet.RetinaNetHead(num_convs=4, num_filters=256, use_separable_conv=False),
    detection_generator=retinanet.DetectionGenerator(nms_version='batched', pre_nms_top_k=5000),
    norm_activation=norm_activation,
  )


def _resnet50() -> det.DetectionModel:
  """ResNet-50 with FPN (paper section 3.2 and Table 4)."""
  return _model(
    backbones.Backbone(type='resnet', resnet=backbones.ResNet(model_id=50)),
    decoders.Decoder(type='fpn', fpn=decoders.FPN(num_filters=256)),
    common.NormActivation(
      activation='relu', norm_momentum=0.997, norm_epsilon=1e-4, use_sync_bn=True
    ),
    anchor_size=4.0,
  )


def _spinenet49() -> det.DetectionModel:
  """SpineNet-49, the smallest of the paper's family at its full width."""
  return _model(
    backbones.Backbone(
      type='spinenet',
      spinenet=backbones.SpineNet(
        model_id='49', stochastic_depth_drop_rate=0.2, min_level=3, max_level=7
      ),
    ),
    decoders.Decoder(type='identity', identity=decoders.Identity()),
    common.NormActivation(
      activation='swish', norm_momentum=0.997, norm_epsilon=1e-4, use_sync_bn=True
    ),
    anchor_size=3.0,
  )


def _with(
  task: _Task,
  model: det.DetectionModel,
  l2_weight_decay: float,
  batch_size: int,
  augmentation: aug.Augmentation,
) -> _Task:
  """`task` with a model, its losses and its labelled streams."""
  task.model = model
  task.losses = retinanet.Losses(l2_weight_decay=l2_weight_decay)
  task.per_category_metrics = True
  task.train_data = det.DataConfig(
    is_training=True, global_batch_size=batch_size, augmentation=augmentation
  )
  task.validation_data = det.DataConfig(
    is_training=False, global_batch_size=8, drop_remainder=False
  )
  return task


def _self_training(
  task: det.DetectionSelfTrainingTask, alpha: float
) -> det.DetectionSelfTrainingTask:
  """`task` with as many pseudo-labelled images per step as labelled ones, augmented alike, and one cut at 0.5."""
  task.pseudo_data = det.PseudoDataConfig(
    is_training=True,
    global_batch_size=task.train_data.global_batch_size,
    cut=0.5,
    augmentation=task.train_data.augmentation.replace(),
  )
  task.self_training = st.SelfTraining(alpha=alpha)
  return task


@experiments.register('retinanet_resnetfpn_supervised')
def retinanet_resnetfpn_supervised() -> runs.SupervisedExperiment:
  """ResNet-50 with FPN on labelled images, with Augment-S4."""
  batch = 16
  task = _with(det.DetectionTask(), _resnet50(), 1e-4, batch, aug.Augmentation(policy='S4'))
  return runs.SupervisedExperiment(
    runtime=trainers.bfloat16(),
    task=task,
    trainer=trainers.trainer(90_000, _RESNET.at_batch(batch), trainers.LONG),
  )


@experiments.register('retinanet_resnetfpn_selftrain')
def retinanet_resnetfpn_selftrain() -> runs.SelfTrainingExperiment:
  """ResNet-50 with FPN, Augment-S4 and alpha 0.25 as in the paper's Table 4; its teacher has 200,000 steps."""
  batch = 8
  task = _with(
    det.DetectionSelfTrainingTask(), _resnet50(), 1e-4, batch, aug.Augmentation(policy='S4')
  )
  return runs.SelfTrainingExperiment(
    pretraining=pretraining_experiments.photographs(),
    runtime=trainers.bfloat16(),
    task=_self_training(task, alpha=0.25),
    labels=det.BoxLabelling(),
    trainer=trainers.trainer(120_000, _RESNET.at_batch(batch), trainers.LONG),
    # The teacher's step has twice as many labelled images.
    teacher=st.Teacher(
      trainer=trainers.trainer(90_000, _RESNET.at_batch(2 * batch), trainers.LONG)
    ),
  )


def _weaker() -> aug.Augmentation:
  """Flip and the large jitter without AutoAugment: with S3 alone SpineNets were not stable (paper, note to Table 5)."""
  return aug.Augmentation(policy='S1', scale_min=0.5, scale_max=2.0)


@experiments.register('retinanet_spinenet_supervised')
def retinanet_spinenet_supervised() -> runs.SupervisedExperiment:
  """SpineNet-49 on labelled images, with flip and large jitter."""
  batch = 12
  return runs.SupervisedExperiment(
    runtime=trainers.bfloat16(),
    task=_with(det.DetectionTask(), _spinenet49(), 4e-5, batch, _weaker()),
    trainer=trainers.trainer(90_000, _SPINENET.at_batch(batch), trainers.LONG),
  )


@experiments.register('retinanet_spinenet_selftrain')
def retinanet_spinenet_selftrain() -> runs.SelfTrainingExperiment:
  """SpineNet-49 as the larger ones of the paper's Table 5: teacher without Augment-S3, student with it, alpha 0.5."""
  batch = 6
  task = _with(
    det.DetectionSelfTrainingTask(), _spinenet49(), 4e-5, batch, aug.Augmentation(policy='S3')
  )
  return runs.SelfTrainingExperiment(
    pretraining=pretraining_experiments.photographs(),
    runtime=trainers.bfloat16(),
    task=_self_training(task, alpha=0.5),
    labels=det.BoxLabelling(),
    trainer=trainers.trainer(90_000, _SPINENET.at_batch(batch), trainers.LONG),
    teacher=st.Teacher(
      augmentation=_weaker(),
      trainer=trainers.trainer(90_000, _SPINENET.at_batch(2 * batch), trainers.LONG),
    ),
  )
