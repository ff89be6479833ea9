"""Makes a page on which people review pseudo labels, and takes over what they decided.

python -m official_selftrain.pseudo_labels.review --run=runs/mine --output=review.html
    one HTML file: open it in a browser, decide image by image, save review.json
python -m official_selftrain.pseudo_labels.review --run=runs/mine --import=review.json
    corrected and accepted images become human labels of the next round, rejected ones are learned from no more
python -m official_selftrain.pseudo_labels.review --run=runs/mine --import=project.json --format=label_studio
    the same for labels that were exported, and edited in another program
python train.py --experiment=... --model_dir=runs/mine --mode=train_and_eval --params_override=rounds=2

docs/review.md explains the page and what becomes of the decisions.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from official_selftrain.core import class_names as class_names_lib
from official_selftrain.core import console, errors, program

if TYPE_CHECKING:
  from official_selftrain.pseudo_labels import cuts as cuts_lib

FORMATS = ('review', 'coco', 'coco_results', 'yolo', 'voc', 'png', 'label_studio', 'cvat')

_DEFAULT_CUT = 0.5
_MAX_IMAGES, _SIDE = 2000, 640


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog='python -m official_selftrain.pseudo_labels.review', description=__doc__
  )
  parser.formatter_class = argparse.RawDescriptionHelpFormatter
  add = parser.add_argument
  add('--run', help='directory of a self-training run: gives labels, images and cuts')
  add('--labels', help="folder of label shards and their manifest.json, if not the run's")
  add('--images', help="the image shards that were labelled, paths or a pattern, if not the run's")
  add('--cut', type=float, help="lowest score of an object; the run's if not given")
  add(
    '--class_names',
    help="from class 1 on, or a .txt file of one per line; the labels' own if not given",
  )
  add('--output', default='review.html', help='the page; review.html if not given')
  add('--max_images', type=int, default=_MAX_IMAGES, help='the least sure so many images')
  add('--side', type=int, default=_SIDE, help='longest side of the pictures on the page, in pixels')
  add('--import', dest='decisions', help='file or folder of decisions; then no page is made')
  add('--format', choices=FORMATS, default=FORMATS[0], help='of the decisions')
  add('--annotation_file', help='for coco_results: COCO JSON with the images and categories')
  add(
    '--take_unchanged',
    action='store_true',
    help='images whose labels another program left as they were count as looked at, too',
  )
  return parser.parse_args(arguments)


def _run(flags: argparse.Namespace) -> None:
  """Makes the page, or takes decisions over.

  Raises:
    SelfTrainError: see `page.write` and `decisions.take`.
  """
  if not flags.run and not (flags.labels and flags.images):
    raise errors.ConfigError(
      '--run is missing: give a run directory, or both --labels and --images.'
    )
  if flags.max_images < 1 or flags.side < 1:
    raise errors.ConfigError('--max_images and --side must be at least 1.')

  from official_selftrain.dataloaders import tfrecords
  from official_selftrain.pseudo_labels.exporters import run_settings
  from official_selftrain.pseudo_labels.reviewing import decisions, page

  label_dir, images, field, of_run = flags.labels, flags.images, '--images', None
  names: tuple[str, ...] = ()
  if flags.run:
    run = run_settings.read(flags.run)
    label_dir, of_run, names = label_dir or run.label_dir, run.cuts, run.class_names
    if not images:
      images, field = run.images, run.images_field
  image_files = tfrecords.match_files(images, field)
  cuts, names = _cuts(flags.cut, of_run), class_names_lib.read(flags.class_names) or names
  if not flags.decisions:
    request = page.Request(
      label_dir=label_dir,
      image_files=image_files,
      cuts=cuts,
      class_names=names,
      max_images=flags.max_images,
      side=flags.side,
    )
    count = page.write(request, flags.output)
    console.say(f'{count} images to review, the least sure first: {os.path.abspath(flags.output)}')
    return
  options = {'annotation_file': flags.annotation_file} if flags.annotation_file else {}
  made = decisions.take(
    decisions.Request(
      label_dir=label_dir,
      image_files=image_files,
      cuts=cuts,
      class_names=names,
      form=flags.format,
      path=flags.decisions,
      options=options,
      takes_unchanged=flags.take_unchanged,
    )
  )
  console.say(
    f'{len(made.corrected)} images are labelled by people now, {len(made.rejected)} are rejected. The next round '
    'learns from them: raise `rounds` by one and start the run again.'
  )


def _cuts(cut: float | None, of_run: 'cuts_lib.Cuts | None') -> 'cuts_lib.Cuts':
  """The run's cuts, or that of a flag, with no ignore band."""
  from official_selftrain.pseudo_labels import cuts as cuts_lib

  if cut is None and of_run is not None:
    return of_run
  return cuts_lib.Cuts(cut=_DEFAULT_CUT if cut is None else cut)


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  flags = _arguments(arguments)
  return program.run(lambda: _run(flags), 'nothing was written; the same command starts over.')


if __name__ == '__main__':
  sys.exit(main())
