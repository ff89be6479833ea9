"""Makes TFRecords, annotations and a data card from your images.

python -m official_selftrain.datasets.prepare --labelled=voc:mine --unlabelled=photos --validation=20% --output=data
python train.py --experiment=retinanet_resnetfpn_selftrain --mode=train_and_eval --dataset=data

Every image is examined first; --check stops after that. What was found goes into check.json and check.html beside the
data. A killed run goes on where it stopped when the same command is given again.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from official_selftrain.core import console, dataset_card, errors, files, program
from official_selftrain.datasets import faults
from official_selftrain.datasets.sources import spec

if TYPE_CHECKING:
  from official_selftrain.datasets.preparation import preparing

_REPORT = 'check.json'
_PAGE = 'check.html'


def main(arguments: Sequence[str] | None = None) -> int:
  """Command line; returns the exit status."""
  flags = _arguments(arguments)
  return program.run(lambda: _run(flags), 'the same command continues where it stopped.')


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog='python -m official_selftrain.datasets.prepare',
    description=__doc__,
    epilog=spec.describe_formats(),
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add('--labelled', default='', metavar='SPEC', help='images with annotations')
  add('--unlabelled', default='', metavar='SPEC', help='images without annotations')
  add(
    '--validation',
    default='',
    metavar='SPEC|20%',
    help='images to measure with, or a share of the labelled ones; of the unlabelled ones without these',
  )
  add('--output', required=True, help='directory for the result')
  add('--check', action='store_true', help='examine only; write no records')
  add(
    '--fraction',
    default='100%',
    help='share of the labelled images to keep; %(default)s if not given',
  )
  add('--stratify', action='store_true', help='shares of the labelled images follow their classes')
  add(
    '--rest',
    choices=('unlabelled', 'out'),
    default='out',
    help='labelled images outside the fraction: unlabelled, without their annotations, or left out',
  )
  add('--seed', type=int, default=0, help='of the shares; %(default)s if not given')
  add(
    '--leaks',
    choices=('refuse', 'drop', 'allow'),
    default='refuse',
    help='training images that are validation images',
  )
  add(
    '--allow',
    default='',
    metavar='KINDS',
    help='faults that stop nothing, such as unknown_class,same_name',
  )
  add(
    '--instance_masks', action='store_true', help='records of detection hold the masks of objects'
  )
  add(
    '--teacher',
    default='',
    metavar='DIR',
    help='model whose classes the labelled images must have: a model directory or a SavedModel',
  )
  add('--images_per_file', type=int, default=1000, help='%(default)s if not given')
  add('--processes', type=int, default=os.cpu_count() or 1, help='%(default)s if not given')
  return parser.parse_args(arguments)


def _settings(flags: argparse.Namespace) -> 'preparing.Settings':
  from official_selftrain.datasets.preparation import plan, preparing, store

  sources = {store.Part.LABELLED: flags.labelled, store.Part.UNLABELLED: flags.unlabelled}
  share = _percent(flags.validation, '--validation') if _is_share(flags.validation) else 0.0
  if not share:
    sources[store.Part.VALIDATION] = flags.validation
  sources = {part: text for part, text in sources.items() if text}
  if not sources:
    raise errors.ConfigError('Give --labelled, --unlabelled or --validation.')
  if flags.fraction != '100%' and not flags.labelled:
    raise errors.ConfigError('--fraction divides labelled images: give --labelled, too.')
  if flags.rest != 'out' and flags.fraction == '100%':
    raise errors.ConfigError(
      f'--rest={flags.rest} says what becomes of the rest of --fraction: give one below 100%.'
    )
  if flags.stratify and not share and flags.fraction == '100%':
    raise errors.ConfigError(
      '--stratify is for shares: give --fraction, or a share as --validation.'
    )
  if flags.teacher and not flags.labelled:
    raise errors.ConfigError(
      '--teacher compares the classes of labelled images: give --labelled, too.'
    )
  for name in ('images_per_file', 'processes'):
    if getattr(flags, name) < 1:
      raise errors.ConfigError(f'--{name}={getattr(flags, name)}: it must be at least 1.')
  allowed = _allowed(flags.allow)
  return preparing.Settings(
    sources,
    flags.output,
    plan.SplitSettings(
      flags.seed,
      share,
      _percent(flags.fraction, '--fraction'),
      flags.stratify,
      flags.rest == 'unlabelled',
    ),
    flags.images_per_file,
    flags.processes,
    allowed | {faults.Kind.LEAK} if flags.leaks == 'allow' else allowed,
    flags.leaks == 'drop',
    flags.instance_masks,
    flags.teacher,
  )


def _is_share(text: str) -> bool:
  """Whether a text such as 20% or 0.2 says a share, and not where images are."""
  try:
    is_number = 0 < float(text) < 1
  except ValueError:
    is_number = False
  return text.endswith('%') or (is_number and not os.path.lexists(text))


def _percent(text: str, flag: str) -> float:
  """The share that a text such as 20% or 0.2 says."""
  try:
    share = float(text.removesuffix('%')) / (100 if text.endswith('%') else 1)
  except ValueError:
    share = -1.0
  if not 0 < share <= 1:
    raise errors.ConfigError(
      f'{flag}={text}: give a share such as 20% or 0.2, above 0 and at most 100%.'
    )
  return share


def _allowed(text: str) -> frozenset[faults.Kind]:
  """The kinds of faults that --allow names."""
  stopping = {
    kind.name.lower(): kind for kind in faults.Kind if kind.rule.outcome is faults.Outcome.ERROR
  }
  names = [name.strip() for name in text.split(',') if name.strip()]
  for name in names:
    if name not in stopping:
      raise errors.ConfigError(f'--allow={name}: allowed are {", ".join(sorted(stopping))}.')
  return frozenset(stopping[name] for name in names)


def _run(flags: argparse.Namespace) -> None:
  # After third parties were silenced, and after the flags are parsed: --help must not wait for TensorFlow.
  from official_selftrain.datasets.preparation import preparing

  settings = _settings(flags)
  preparation = preparing.Preparation(settings)
  try:
    checked = preparation.check()
    _report(preparation, checked)
    if checked.problems:
      raise errors.DataError(' '.join(checked.problems))
    if not flags.check:
      _tell(preparation.write(checked), settings.output)
  finally:
    preparation.close()


def _report(preparation: 'preparing.Preparation', checked: 'preparing.Checked') -> None:
  """Prints the table; writes JSON and page."""
  from official_selftrain.datasets.preparation import page, summary

  found = summary.summarise(preparation.store, checked.overlaps, checked.unused, checked.notes)
  output = preparation.settings.output
  console.say(summary.table(found))
  files.write_json(os.path.join(output, _REPORT), summary.as_json(found, checked.problems))
  text = page.render(found, checked.problems, preparation.store)
  files.write_text(os.path.join(output, _PAGE), text)
  console.say(f'check with pictures: {os.path.join(output, _PAGE)}')


def _tell(card: dataset_card.Card, output: str) -> None:
  """Prints what was written, and how to train with it."""
  sets: Mapping[str, dataset_card.Set] = card.sets()
  rows = [
    (name, each.images, sum(each.objects.values()) or '', each.source)
    for name, each in sets.items()
  ]
  console.say('\n' + console.table(rows, ('set', 'images', 'objects', 'from')))
  console.say(f'data card: {os.path.join(output, dataset_card.FILE_NAME)}')
  experiments = {
    'detection': 'retinanet_resnetfpn',
    'segmentation': 'segmentation_efficientnet',
  }
  if card.task in experiments and card.labelled and card.validation:
    kind = 'selftrain' if card.unlabelled else 'supervised'
    console.say(
      f'\npython train.py --experiment={experiments[card.task]}_{kind} --mode=train_and_eval --dataset={output}'
    )


if __name__ == '__main__':
  sys.exit(main())
