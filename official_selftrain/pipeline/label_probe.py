"""How long labelling will take: some images labelled here, and the rest by arithmetic."""

import dataclasses
import itertools
import os
import tempfile
import time

from official_selftrain.core import console, errors, memory
from official_selftrain.dataloaders import tfrecords
from official_selftrain.pipeline import labelling
from official_selftrain.pseudo_labels import shards


@dataclasses.dataclass(frozen=True)
class Probe:
  """What was measured.

  Attributes:
    shards: image shards.
    images: images in all of them.
    images_per_second: of one worker like this machine, after its start.
    label_bytes: size of the labels of all images.
    start_seconds: what a worker needs before its first image.
  """

  shards: int
  images: int
  images_per_second: float
  label_bytes: float
  start_seconds: float

  def hours(self, workers: int) -> float:
    """Wall time with so many workers, none of which takes part in more shards than another by more than one."""
    busy = min(workers, self.shards)
    most = -(-self.shards // busy) / self.shards
    return (self.start_seconds + self.images * most / self.images_per_second) / 3600

  def text(self, workers: int, price_per_hour: float) -> str:
    """The estimate for so many workers at a price each, 0 for none."""
    hours = self.hours(workers)
    rows = [
      ('image shards', f'{self.shards:,}'),
      ('images', f'{self.images:,}'),
      ('images/s of a worker like this machine', f'{self.images_per_second:.1f}'),
      ('start of a worker', f'{self.start_seconds:.0f} s'),
      (f'wall time with {workers:,} worker(s)', f'{hours:.2f} hours'),
      ('storage of the labels', memory.gibibytes(self.label_bytes)),
    ]
    if price_per_hour:
      rows.append(('cost', f'{hours * min(workers, self.shards) * price_per_hour:,.2f}'))
    if workers > self.shards:
      rows.append(('workers without a shard', f'{workers - self.shards:,}'))
    return console.table(rows, ('', 'estimate'))


def measure(request: labelling.Request, probe_images: int) -> Probe:
  """Labels the first images of the first shard twice, the first time to warm up.

  Args:
    request: the job.
    probe_images: how many images at most.

  Returns:
    What that says about all of them.

  Raises:
    DataError: an image shard does not exist.
  """
  images = sum(count(path) for path in request.images)
  started = time.monotonic()
  teacher = labelling.make_labeller(request)
  with tempfile.TemporaryDirectory() as folder:
    sample = os.path.join(folder, os.path.basename(request.images[0]))
    _write_sample(sample, request.images[0], probe_images)
    teacher.run_one(sample, os.path.join(folder, 'first'))
    warm = time.monotonic()
    result = teacher.run_one(sample, os.path.join(folder, 'second'))
    seconds = time.monotonic() - warm
  return Probe(
    shards=len(request.images),
    images=images,
    images_per_second=result.entry.records / seconds,
    label_bytes=images * result.entry.label_bytes / result.entry.records,
    start_seconds=warm - started,
  )


def _write_sample(sample: str, path: str, most: int) -> None:
  """Copies the first records of a file that can be read, `most` at most.

  Raises:
    DataError: there is none.
  """
  found = (record.serialized for record in shards.iterate(path) if record.serialized)
  records = list(itertools.islice(found, most))
  if not records:
    raise errors.DataError(
      f'The unlabelled image file {path} has no record that can be read. It must be a TFRecord file without '
      'compression.'
    )
  shards.write(sample, records)


def count(path: str) -> int:
  """Records in a file, those that cannot be read included."""
  try:
    return tfrecords.count_records(path)
  except errors.DataError:
    return sum(1 for _ in shards.iterate(path))
