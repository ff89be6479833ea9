"""Runs a study: one experiment along axes of settings and seeds, and a page that says what helps.

python -m official_selftrain.study --study=experiments/studies/digits_quick.yaml --model_dir=runs/digits_quick

Every run is an ordinary run directory; teachers, labels and whatever else several runs need are made once. The same
command goes on where it stopped, and may be started several times at once, also on other machines that share the
directory.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence

from official_selftrain.core import console, errors, program


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog='python -m official_selftrain.study',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add('--study', required=True, help='YAML file, see docs/study.md')
  add('--model_dir', required=True, help='directory of the study')
  add(
    '--dry_run',
    action='store_true',
    help='list the runs, what they share and the time it will take',
  )
  add('--report', action='store_true', help='only write study.json, study.csv and study.html anew')
  add('--cell', default='', help='one run by itself, as the study starts it')
  return parser.parse_args(arguments)


def _run(flags: argparse.Namespace) -> None:
  from official_selftrain import registry_imports  # noqa: F401
  from official_selftrain.studies import cells, closing, definition, places, runner

  study = definition.load(flags.study)
  where = places.Places(flags.model_dir)
  command = shlex.join(
    [
      'python',
      '-m',
      'official_selftrain.study',
      f'--study={flags.study}',
      f'--model_dir={flags.model_dir}',
    ]
  )
  if flags.cell:
    status = cells.execute(study, study.cell(flags.cell), where)
    if status:
      raise SystemExit(status)
    return
  if flags.dry_run:
    console.say(runner.plan(study, where).text(study))
    return
  failed = 0 if flags.report else runner.run(study, where, command)
  facts = runner.write_results(study, where, command)
  console.say(closing.write(study, facts, where))
  if failed:
    raise errors.StudyError(
      f'{failed} of {len(study.cells)} runs failed; study.html says why. The same command tries them again.'
    )


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  flags = _arguments(arguments)
  return program.run(lambda: _run(flags), 'the same command continues where it stopped.')


if __name__ == '__main__':
  sys.exit(main())
