"""Registered experiments of joint training on the embedded data set (paper Table 7).

Any other experiment trains jointly with `task.joint.weight` above 0.
"""

from official.core import exp_factory

from official_selftrain.configs import experiments, joint, pretraining_experiments, runs

# The paper's weights.
_ALONE, _WITH_SELF_TRAINING = 0.5, 0.2


def _joint(base: str, weight: float) -> runs.SupervisedExperiment:
  """A registered experiment with as many images with classes per step as labelled ones, at half their size."""
  experiment = exp_factory.get_exp_config(base)
  batch_size = experiment.task.train_data.global_batch_size
  experiment.task.joint = joint.Joint(
    weight=weight,
    label_smoothing=0.1,
    input_size=[64, 64],
    data=pretraining_experiments.embedded_stream(
      is_training=True, batch_size=batch_size, policy='S1'
    ),
  )
  return experiment


@experiments.register('retinanet_joint')
def retinanet_joint() -> runs.SupervisedExperiment:
  """`retinanet_supervised` with a classifier of single digits on its backbone."""
  return _joint('retinanet_supervised', _ALONE)


@experiments.register('retinanet_selftrain_joint')
def retinanet_selftrain_joint() -> runs.SupervisedExperiment:
  """`retinanet_selftrain`, all models with that classifier."""
  return _joint('retinanet_selftrain', _WITH_SELF_TRAINING)


@experiments.register('segmentation_joint')
def segmentation_joint() -> runs.SupervisedExperiment:
  """`segmentation_supervised` with a classifier of single digits on its backbone."""
  return _joint('segmentation_supervised', _ALONE)


@experiments.register('segmentation_selftrain_joint')
def segmentation_selftrain_joint() -> runs.SupervisedExperiment:
  """`segmentation_selftrain`, all models with that classifier."""
  return _joint('segmentation_selftrain', _WITH_SELF_TRAINING)
