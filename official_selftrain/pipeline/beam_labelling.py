"""The labels stage as a Beam pipeline: each element is an image shard, and each worker has a teacher of its own.

Workers write label shards and their markers where `train.py` would. A shard that Beam hands out twice is written once:
a lease keeps two workers from one shard, and the second finds the first one's marker. The ordinary command then finds
all shards done, compares them with the image shards and writes the manifest.
"""

import dataclasses
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam import metrics
from apache_beam.options import pipeline_options
from apache_beam.runners import runner
from apache_beam.utils import shared

from official_selftrain.core import errors, lease
from official_selftrain.pseudo_labels import labeller

DEAD_LETTERS = 'dead_letters'
NAMESPACE = 'labels'
# Makes the labeller of a worker; with it comes the folder of the labels.
Start = Callable[[], tuple[labeller.Labeller, str]]
_COUNTS = ('records', 'labelled', 'empty', 'dead')


@dataclasses.dataclass(frozen=True)
class _Worker:
  """What `Start` makes; tuples cannot be shared."""

  labeller: labeller.Labeller
  output_dir: str


class LabelShard(beam.DoFn):
  """Labels an image shard.

  Takes its path. Gives a dictionary with the file names `image_file` and `label_file` and the counts `records`,
  `labelled`, `empty` and `dead`; each image that could not be labelled comes out at `DEAD_LETTERS`. The counts are
  metrics, too.
  """

  def __init__(self, start: Start):
    """Makes nothing yet: the worker does.

    Args:
      start: makes the labeller of a worker, and names the folder of the labels.
    """
    self._start = start
    self._shared = shared.Shared()
    self._counters = {name: metrics.Metrics.counter(NAMESPACE, name) for name in _COUNTS}

  def setup(self) -> None:
    """Builds the teacher, once for each worker process, which may have several threads."""
    self._worker = self._shared.acquire(lambda: _Worker(*self._start()))

  def process(self, image_file: str) -> Iterator[Any]:
    """Labels one shard."""
    worker = self._worker
    lease_path = os.path.join(worker.output_dir, f'{os.path.basename(image_file)}.lease')
    with lease.wait(lease_path):
      result = worker.labeller.run_one(image_file, worker.output_dir)
    entry = result.entry
    counts = {name: getattr(entry, name) for name in _COUNTS}
    for name, count in counts.items():
      self._counters[name].inc(count)
    for letter in result.dead_letters:
      facts = {'image_file': image_file, 'index': letter.index, 'reason': letter.reason}
      yield beam.pvalue.TaggedOutput(DEAD_LETTERS, facts)
    yield {'image_file': image_file, 'label_file': entry.label_file, **counts}


def run(start: Start, images: Sequence[str], flags: Sequence[str]) -> None:
  """Labels all shards of a stage.

  Args:
    start: see `LabelShard`; it travels to the workers, so it must be a function of a module, or a partial of one.
    images: the image shards.
    flags: Beam's own, such as `--runner=DirectRunner`.

  Raises:
    SelfTrainError: a shard cannot be labelled, as a worker said, or the runner did not come to the end.
  """
  options = pipeline_options.PipelineOptions(list(flags), save_main_session=False)
  pipeline = beam.Pipeline(options=options)
  done = (
    pipeline
    | 'shards' >> beam.Create(list(images))
    # A bundle may hold several elements; without this one worker could get all of them.
    | 'spread' >> beam.Reshuffle()
    | 'label' >> beam.ParDo(LabelShard(start)).with_outputs(DEAD_LETTERS, main='shards done')
  )
  _ = done[DEAD_LETTERS] | 'log dead letters' >> beam.Map(_log)
  try:
    state = pipeline.run().wait_until_finish()
  except RuntimeError as error:
    # Beam's error has the worker's traceback as its text.
    found = re.findall(rf'^{re.escape(errors.__name__)}\.\w+: (.*)$', str(error), re.MULTILINE)
    if not found:
      raise
    raise errors.SelfTrainError(f'a worker says: {found[-1]}') from error
  if state != runner.PipelineState.DONE:
    raise errors.SelfTrainError(f'The runner ended with the state {state}.')


def _log(letter: dict[str, Any]) -> None:
  import logging

  logging.warning(
    'no labels for record %d of %s: %s', letter['index'], letter['image_file'], letter['reason']
  )
