"""Writes pseudo labels in the formats of other tools, with the teacher's scores.

python -m official_selftrain.pseudo_labels.export --run=runs/mine --format=coco --output=labels-coco
python -m official_selftrain.pseudo_labels.export --labels=labels/round-1 --images='data/unlabelled-*' --cut=0.6 \\
    --format=label_studio --with_images --output=to-correct

Labels of detection are written as coco, coco_results, yolo, voc, label_studio or cvat, those of segmentation as png,
coco or label_studio. What each of them holds is in docs/export_labels.md.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from official_selftrain.core import console, program

if TYPE_CHECKING:
  from official_selftrain.pseudo_labels.exporters import writing

FORMATS = ('coco', 'coco_results', 'yolo', 'voc', 'png', 'label_studio', 'cvat')


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog='python -m official_selftrain.pseudo_labels.export', description=__doc__
  )
  parser.formatter_class = argparse.RawDescriptionHelpFormatter
  add = parser.add_argument
  add('--run', help='directory of a self-training run: gives labels, images and cuts')
  add('--labels', help="folder of label shards and their manifest.json, if not the run's")
  add('--images', help="the image shards that were labelled, paths or a pattern, if not the run's")
  add('--output', required=True, help='folder to write; it must not exist, or be empty')
  add('--format', required=True, choices=FORMATS)
  add(
    '--cut',
    type=float,
    help="lowest score of an object of any class, 0 for all; the run's cuts if not given, 0.5 without a run",
  )
  add(
    '--ignore_cut',
    type=float,
    help="lowest score in the ignore band; the run's if --cut is not given either, otherwise there is no band",
  )
  add(
    '--class_names',
    help="from class 1 on, with commas between them, or a .txt file of one per line; the labels' own if not given",
  )
  add('--with_images', action='store_true', help='also write the images, as they are stored')
  return parser.parse_args(arguments)


def _run(flags: argparse.Namespace) -> None:
  """Exports, and says what.

  Raises:
    SelfTrainError: see `writing.export`.
  """
  # After the flags are parsed: --help must not wait for TensorFlow.
  from official_selftrain.pseudo_labels.exporters import run_settings, writing

  chosen = run_settings.choose(
    flags.run, flags.labels, flags.images, flags.class_names, flags.cut, flags.ignore_cut
  )
  request = writing.Request(
    label_dir=chosen.label_dir,
    image_files=chosen.image_files,
    cuts=chosen.cuts,
    form=flags.format,
    output_dir=flags.output,
    class_names=chosen.class_names,
    with_images=flags.with_images,
  )
  _report(writing.export(request), request)


def _report(counts: 'writing.Counts', request: 'writing.Request') -> None:
  """Prints what was exported."""
  unit = 'object pixels' if counts.are_masks else 'objects'
  ignored = 'pixels below the cut' if counts.are_masks else 'in the ignore band'
  left_out = '' if counts.marks_ignored else ' (left out)'
  headers = ('images', 'without objects', unit, ignored + left_out, 'dead letters (left out)')
  row = (counts.images, counts.empty, counts.objects, counts.ignored, counts.dead)
  print(console.table([row], headers))
  ignore_cut = request.cuts.ignore_cut
  band = '' if ignore_cut is None else f', ignore band from {ignore_cut:g}'
  path = os.path.abspath(request.output_dir)
  console.say(f'{request.form} with scores from {request.cuts.in_words()}{band}: {path}')
  if counts.turned:
    console.note(
      f'{counts.turned} image(s) have EXIF data that asks viewers to turn them. Labels are about the pixels as they '
      'are stored; a tool that turns the image shows them in the wrong place.'
    )


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  flags = _arguments(arguments)
  return program.run(lambda: _run(flags), 'nothing was written; the same command starts over.')


if __name__ == '__main__':
  sys.exit(main())
