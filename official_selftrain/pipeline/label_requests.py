"""The labels stage of a run that another program does, from nothing but the run's directory."""

from official_selftrain.configs import runs
from official_selftrain.core import config, errors
from official_selftrain.pipeline import labelling, selftrain, training


def load(run_dir: str, stage: str) -> labelling.Request:
  """The job of labelling in a run; sets the precision of its networks.

  Args:
    run_dir: the run, with its params.yaml.
    stage: a stage of it that makes labels.

  Raises:
    SelfTrainError: there is no such run or stage, or the model that labels is not finished.
  """
  params = config.load_run(run_dir)
  if not isinstance(params, runs.SelfTrainingExperiment):
    raise errors.ConfigError(f'{run_dir} is no run of self-training: it has nothing to label.')
  training.set_precision(params.runtime)
  return selftrain.SelfTrainingRun(params, run_dir, 'train').label_request(stage)
