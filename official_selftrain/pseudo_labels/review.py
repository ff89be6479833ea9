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

from official_selftrain.core import console, errors, files, program

FORMATS = ('review', 'coco', 'coco_results', 'yolo', 'voc', 'png', 'label_studio', 'cvat')

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
    '--ignore_cut',
    type=float,
    help="lowest score in the ignore band; the run's if --cut is not given either, otherwise there is no band",
  )
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
  if flags.max_images < 1 or flags.side < 1:
    raise errors.ConfigError('--max_images and --side must be at least 1.')
  if not flags.decisions:
    files.check_is_local('--output', flags.output)

  from official_selftrain.pseudo_labels.exporters import run_settings
  from official_selftrain.pseudo_labels.reviewing import decisions, page

  chosen = run_settings.choose(
    flags.run, flags.labels, flags.images, flags.class_names, flags.cut, flags.ignore_cut
  )
  if not flags.decisions:
    request = page.Request(
      label_dir=chosen.label_dir,
      image_files=chosen.image_files,
      cuts=chosen.cuts,
      class_names=chosen.class_names,
      max_images=flags.max_images,
      side=flags.side,
    )
    count = page.write(request, flags.output)
    console.say(f'{count} images to review, the least sure first: {os.path.abspath(flags.output)}')
    return
  options = {'annotation_file': flags.annotation_file} if flags.annotation_file else {}
  made = decisions.take(
    decisions.Request(
      label_dir=chosen.label_dir,
      image_files=chosen.image_files,
      cuts=chosen.cuts,
      class_names=chosen.class_names,
      form=flags.format,
      path=flags.decisions,
      options=options,
      takes_unchanged=flags.take_unchanged,
    )
  )
  console.say(
    f'Labelled by people now: {len(made.corrected)} images. Rejected: {len(made.rejected)}. What an earlier import had '
    'decided is replaced. The next round learns from this: raise `rounds` by one and start the run again.'
  )


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  flags = _arguments(arguments)
  return program.run(lambda: _run(flags), 'nothing was written; the same command starts over.')


if __name__ == '__main__':
  sys.exit(main())
