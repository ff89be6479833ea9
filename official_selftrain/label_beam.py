"""Labels the unlabelled images of a run on many workers with Apache Beam. Needs the extra `beam`.

python -m official_selftrain.label_beam --run=runs/mine -- --runner=DirectRunner --direct_num_workers=4 \\
  --direct_running_mode=multi_processing

The teacher of the run must be finished (train.py ... --stage=teacher), and all workers must reach the run directory and
the images. Afterwards the ordinary command goes on: it compares all label shards with the image shards and writes their
manifest. What follows -- are Beam's own flags; docs/scale.md has some for Dataflow, Flink and Spark.

--dry_run labels some images of the first shard here, and says how long all of them will take and what that costs; it
needs no Beam.
"""

import argparse
import functools
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from official_selftrain.core import console, errors, program

if TYPE_CHECKING:
  from official_selftrain.pipeline import labelling
  from official_selftrain.pseudo_labels import labeller


def _arguments(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
  given = list(sys.argv[1:] if arguments is None else arguments)
  own, beams = given, []
  if '--' in given:
    place = given.index('--')
    own, beams = given[:place], given[place + 1 :]
  parser = argparse.ArgumentParser(
    prog='python -m official_selftrain.label_beam',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add('--run', required=True, help='run directory, with its params.yaml and a finished teacher')
  add('--stage', default='labels', help='labels-2 is that of the second round; %(default)s')
  add('--dry_run', action='store_true', help='measure and estimate; label nothing')
  add('--probe_images', type=int, default=64, help='images that --dry_run labels; %(default)s')
  add('--workers', type=int, default=1, help='for --dry_run; %(default)s if not given')
  add('--price_per_hour', type=float, default=0.0, help='of a worker, for --dry_run')
  flags = parser.parse_args(own)
  for name in ('probe_images', 'workers'):
    if getattr(flags, name) < 1:
      parser.error(f'--{name}={getattr(flags, name)}: it must be at least 1.')
  return flags, beams


def start_worker(run_dir: str, stage: str) -> tuple['labeller.Labeller', str]:
  """The teacher of a stage of labels and their folder, from nothing but the run's directory."""
  from official_selftrain.pipeline import labelling

  request = _request(run_dir, stage)
  return labelling.make_labeller(request), request.output_dir


def _request(run_dir: str, stage: str) -> 'labelling.Request':
  from official_selftrain import registry_imports  # noqa: F401
  from official_selftrain.pipeline import label_requests

  return label_requests.load(run_dir, stage)


def _run(flags: argparse.Namespace, beams: Sequence[str]) -> None:
  run_dir = os.path.abspath(flags.run)
  request = _request(run_dir, flags.stage)
  from official_selftrain.pipeline import label_requests

  if flags.dry_run:
    from official_selftrain.pipeline import label_probe

    found = label_probe.measure(request, flags.probe_images)
    console.say(found.text(flags.workers, flags.price_per_hour))
    return
  try:
    from official_selftrain.pipeline import beam_labelling
  except ModuleNotFoundError as error:
    if error.name != 'apache_beam':
      raise
    raise errors.ConfigError(
      'Apache Beam is not installed: make an environment from requirements-beam.lock, see docs/scale.md.'
    ) from error
  # By its name in the package, since this module may be __main__, which workers do not have.
  from official_selftrain import label_beam

  start = functools.partial(label_beam.start_worker, run_dir, flags.stage)
  beam_labelling.run(start, request.images, beams)
  done = label_requests.finished(request)
  words = ', '.join(f'{number:,} {name}' for name, number in done.items())
  console.say(f'Labelled: {words}. The command of the run goes on with them.')


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  flags, beams = _arguments(arguments)
  return program.run(lambda: _run(flags, beams), 'the same command labels what is left.')


if __name__ == '__main__':
  sys.exit(main())
