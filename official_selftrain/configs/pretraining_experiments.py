"""Registered experiments that pre-train a backbone on the embedded data set."""

from official.core import config_definitions as cfg
from official.vision.configs import backbones, common, image_classification

from official_selftrain.configs import augmentation as aug
from official_selftrain.configs import (
  classification,
  contrastive,
  datasets,
  experiments,
  pretraining,
  runs,
  trainers,
)
from official_selftrain.configs import self_training as st


def embedded_stream(
  is_training: bool, batch_size: int, policy: aug.PolicyName
) -> classification.DataConfig:
  """A stream of the embedded images, whose objects need not be in the middle: nothing is cut off."""
  return classification.DataConfig(
    is_training=is_training,
    drop_remainder=is_training,
    global_batch_size=batch_size,
    aug_crop=False,
    aug_rand_hflip=False,
    augmentation=aug.Augmentation(policy=policy),
  )


def small_resnet(num_classes: int, image_size: int) -> classification.ClassificationModel:
  """The backbone of `detection.small_retinanet` and `segmentation.small_nasfpn` with a classifier on it."""
  return classification.ClassificationModel(
    num_classes=num_classes,
    input_size=[image_size, image_size, 3],
    backbone=backbones.Backbone(
      type='resnet', resnet=backbones.ResNet(model_id=10, depth_multiplier=0.5)
    ),
    norm_activation=common.NormActivation(
      activation='swish', use_sync_bn=False, norm_momentum=0.97
    ),
  )


@experiments.register('classification_pretrain')
def classification_pretrain() -> runs.SupervisedExperiment:
  """The backbone of the embedded experiments on images of single digits at half their size."""
  task = classification.ClassificationTask(
    model=small_resnet(num_classes=10, image_size=64),
    losses=image_classification.Losses(l2_weight_decay=1e-4, label_smoothing=0.1),
    train_data=embedded_stream(is_training=True, batch_size=32, policy='S1'),
    validation_data=embedded_stream(is_training=False, batch_size=100, policy='none'),
  )
  return runs.SupervisedExperiment(
    dataset=st.Dataset(digits=datasets.Digits(image_size=64)),
    task=task,
    trainer=trainers.sgd_trainer(train_steps=1500, learning_rate=0.1, warmup_steps=100),
  )


def _stream(is_training: bool) -> contrastive.DataConfig:
  """A stream of the embedded images. Colours tell nothing there, and mirrored digits are none."""
  return contrastive.DataConfig(
    is_training=is_training,
    drop_remainder=is_training,
    global_batch_size=128,
    views=contrastive.Views(crop_min_area=0.3, flip_probability=0.0),
  )


@experiments.register('simclr_pretrain')
def simclr_pretrain() -> runs.SupervisedExperiment:
  """The backbone of the embedded experiments on the unlabelled images of their data set at half their size."""
  small = small_resnet(num_classes=0, image_size=64)
  model = contrastive.ContrastiveModel()
  model.override(small.as_dict())
  model.projection = contrastive.Projection(num_layers=2, hidden_size=128, output_size=64)
  return runs.SupervisedExperiment(
    dataset=st.Dataset(digits=datasets.Digits(image_size=64)),
    task=contrastive.ContrastiveTask(
      model=model,
      train_data=_stream(is_training=True),
      validation_data=_stream(is_training=False),
    ),
    trainer=_lars(500),
  )


def _lars(train_steps: int) -> cfg.TrainerConfig:
  return contrastive.lars(train_steps, learning_rate=1.0, warmup_steps=50, rhythm=trainers.Rhythm())


def digits(simclr_steps: int = 500) -> pretraining.Pretraining:
  """Pre-training of a run on the embedded data set: the experiments here, at their size of 64 pixels.

  Args:
    simclr_steps: length of SimCLR.
  """
  supervised, simclr = classification_pretrain(), simclr_pretrain()
  simclr.trainer = _lars(simclr_steps)
  return _of_runs(supervised, simclr, supervised.task.model.input_size)


def photographs() -> pretraining.Pretraining:
  """Pre-training of a run on photographs, on one GPU.

  Classification has AutoAugment, as the paper's start "ImageNet" (section 3.1); SimCLR has its paper's settings, with a
  batch of 256 and the learning rate for it.
  """
  supervised, simclr = classification_pretrain(), simclr_pretrain()
  task = supervised.task
  task.train_data.global_batch_size = 64
  task.train_data.aug_crop = task.validation_data.aug_crop = True
  task.train_data.augmentation = aug.Augmentation(
    policy='S2', auto_augment=aug.AutoAugment(version='imagenet')
  )
  supervised.trainer = trainers.trainer(
    90_000, trainers.Sgd(learning_rate=0.025, warmup_steps=1000), trainers.LONG
  )
  simclr.task.model.projection = contrastive.Projection()
  for stream in (simclr.task.train_data, simclr.task.validation_data):
    stream.views = contrastive.Views()
    stream.global_batch_size = 256
  simclr.trainer = contrastive.lars(
    90_000, learning_rate=0.3, warmup_steps=1000, rhythm=trainers.LONG
  )
  return _of_runs(supervised, simclr, [])


def _of_runs(
  supervised: runs.SupervisedExperiment, simclr: runs.SupervisedExperiment, input_size: list[int]
) -> pretraining.Pretraining:
  """These settings for a run, whose backbone they take, and whose size if `input_size` is empty."""
  for experiment in (supervised, simclr):
    experiment.task.model.input_size = list(input_size)
  return pretraining.Pretraining(
    supervised=pretraining.Supervised(task=supervised.task, trainer=supervised.trainer),
    simclr=pretraining.SimClr(task=simclr.task, trainer=simclr.trainer),
  )
