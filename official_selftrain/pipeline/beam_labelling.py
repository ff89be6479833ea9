"""The labels stage as a Beam pipeline: each element is an image shard, and each worker has a teacher of its own.

Workers write label shards and their markers where `train.py` would. A shard that Beam hands out twice is written once:
the second finds the first one's marker. The ordinary command then finds all shards done, compares them with the image
shards and writes the manifest.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam import metrics
from apache_beam.options import pipeline_options

from official_selftrain.pseudo_labels import labeller

DEAD_LETTERS = 'dead_letters'
NAMESPACE = 'labels'
# Makes the labeller of a worker; with it comes the folder of the labels.
Start = Callable[[], tuple[labeller.Labeller, str]]
_COUNTS = ('records', 'labelled', 'empty', 'dead')


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
    self._counters = {name: metrics.Metrics.counter(NAMESPACE, name) for name in _COUNTS}

  def setup(self) -> None:
    """Builds the teacher, once for each worker process."""
    self._labeller, self._output_dir = self._start()

  def process(self, image_file: str) -> Iterator[Any]:
    """Labels one shard."""
    result = self._labeller.run_one(image_file, self._output_dir)
    entry = result.entry
    counts = {name: getattr(entry, name) for name in _COUNTS}
    for name, count in counts.items():
      self._counters[name].inc(count)
    for letter in result.dead_letters:
      facts = {'image_file': image_file, 'index': letter.index, 'reason': letter.reason}
      yield beam.pvalue.TaggedOutput(DEAD_LETTERS, facts)
    yield {'image_file': image_file, 'label_file': entry.label_file, **counts}


def run(start: Start, images: Sequence[str], flags: Sequence[str]) -> dict[str, int]:
  """Labels all shards of a stage.

  Args:
    start: see `LabelShard`; it travels to the workers, so it must be a function of a module, or a partial of one.
    images: the image shards.
    flags: Beam's own, such as `--runner=DirectRunner`.

  Returns:
    Counts of images: `records`, `labelled`, `empty` and `dead`. 0 where the runner keeps no metrics.
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
  result = pipeline.run()
  result.wait_until_finish()
  found = result.metrics().query(metrics.MetricsFilter().with_namespace(NAMESPACE))
  counts = dict.fromkeys(_COUNTS, 0)
  for counter in found['counters']:
    counts[counter.key.metric.name] = int(counter.result)
  return counts


def _log(letter: dict[str, Any]) -> None:
  import logging

  logging.warning(
    'no labels for record %d of %s: %s', letter['index'], letter['image_file'], letter['reason']
  )
