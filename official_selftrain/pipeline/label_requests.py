"""The labels stage of a run that another program does, from nothing but the run's directory."""

import dataclasses
import os

from official_selftrain.configs import runs
from official_selftrain.core import config, errors
from official_selftrain.pipeline import distribution, labelling, selftrain, training
from official_selftrain.pseudo_labels import labeller, shards
from official_selftrain.pseudo_labels import manifest as manifest_lib

# A run of several workers recorded them; here each process labels by itself. Labels do not depend on it.
_ALONE = 'runtime.distribution_strategy=mirrored,runtime.worker_hosts=null,runtime.task_index=-1'


def load(run_dir: str, stage: str) -> labelling.Request:
  """The job of labelling in a run; sets the precision of its networks.

  Args:
    run_dir: the run, with its params.yaml.
    stage: a stage of it that makes labels.

  Raises:
    SelfTrainError: there is no such run or stage, or the model that labels is not finished.
  """
  params = config.load_run(run_dir)
  if distribution.number_of_workers(params.runtime) > 1:
    params = config.load_run(run_dir, _ALONE)
  if not isinstance(params, runs.SelfTrainingExperiment):
    raise errors.ConfigError(f'{run_dir} is no run of self-training: it has nothing to label.')
  training.set_precision(params.runtime)
  request = selftrain.SelfTrainingRun(params, run_dir, 'train').label_request(stage)
  labeller.check_image_files(request.images)
  return request


def finished(request: labelling.Request) -> dict[str, int]:
  """What has been labelled: numbers of shards and of records, and of these labelled, empty and dead."""
  counts = dict.fromkeys(('shards', 'records', 'labelled', 'empty', 'dead'), 0)
  for path in request.images:
    label_file = os.path.join(request.output_dir, shards.label_shard_name(path))
    result = manifest_lib.read_marker(label_file)
    if result is not None:
      entry = dataclasses.asdict(result.entry)
      counts = {name: count + entry.get(name, 1) for name, count in counts.items()}
  return counts
