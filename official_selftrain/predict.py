"""Predicts on a folder of images with an exported model.

python -m official_selftrain.predict --model=runs/mine --input=photos --output=predicted
python -m official_selftrain.predict --model=student --input='photos/*.jpg' --output=predicted \\
    --format=yolo,coco --cut=0.6
python -m official_selftrain.predict --model=student --input=test2017 --output=test-dev \\
    --image_ids=image_info_test-dev2017.json --test_dev=mine

docs/predict.md says what is written.
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence

from official_selftrain.core import console, errors, program

_DEFAULT_FORMATS = {'detection': 'coco_results', 'segmentation': 'png'}
_DEFAULT_CUTS = {'detection': 0.5, 'segmentation': 0.0}


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(prog='python -m official_selftrain.predict', description=__doc__)
  parser.formatter_class = argparse.RawDescriptionHelpFormatter
  add = parser.add_argument
  add('--model', required=True, help='an exported model, or a run with one')
  add('--input', required=True, help='a folder of images with its subfolders, or a quoted pattern')
  add('--output', required=True, help='folder for what is written; an unfinished one goes on')
  add(
    '--format',
    default='',
    help='with commas between them: coco_results, coco, yolo, voc, label_studio or cvat for boxes, png, coco or '
    'label_studio for masks; coco_results or png if not given',
  )
  add(
    '--cut',
    type=float,
    help='lowest score of a box (0.5), or of a pixel that is not ignored (0); coco_results has all',
  )
  add('--batch_size', type=int, default=8, help='images at a time (8)')
  add('--pictures', type=int, default=100, help='how many images to draw (100)')
  add('--image_ids', default='', help='COCO JSON that gives each file name its id')
  add(
    '--test_dev',
    default='',
    help="name of the entry: also writes the file that COCO's evaluation server takes for test-dev",
  )
  return parser.parse_args(arguments)


def _check(flags: argparse.Namespace) -> None:
  if flags.batch_size < 1:
    raise errors.ConfigError(f'--batch_size is {flags.batch_size}: it must be at least 1.')
  if flags.cut is not None and not 0 <= flags.cut <= 1:
    raise errors.ConfigError(f'--cut is {flags.cut:g}: scores are in [0, 1].')
  if flags.test_dev:
    _check_test_dev(flags)


def _check_test_dev(flags: argparse.Namespace) -> None:
  if not re.fullmatch('[A-Za-z0-9-]+', flags.test_dev):
    raise errors.ConfigError(f'--test_dev={flags.test_dev}: letters, digits and dashes only.')
  if not flags.image_ids:
    raise errors.ConfigError(
      '--test_dev needs --image_ids: image_info_test-dev2017.json, which comes with the images.'
    )


def _run(flags: argparse.Namespace) -> None:
  _check(flags)
  # After the flags are checked: --help must not wait for TensorFlow.
  from official_selftrain.prediction import images, journal, models, page, predicting, writing

  found = images.find(flags.input, flags.output)
  ids = images.ids(found, flags.image_ids)
  if len(ids) < len(found):
    console.note(
      f'{len(found) - len(ids)} images are not in {flags.image_ids}; they are left alone.'
    )
    found = [image for image in found if image.name in ids]
  model = models.Model(flags.model)
  if flags.test_dev and model.task != 'detection':
    raise errors.ConfigError(f'--test_dev is for boxes, and this is a model of {model.task}.')
  given = flags.format or _DEFAULT_FORMATS[model.task]
  formats = [name.strip() for name in given.split(',') if name.strip()]
  if flags.test_dev and writing.RESULTS not in formats:
    formats.append(writing.RESULTS)
  writing.check_formats(formats, model.task)
  names = ', '.join(model.class_names)
  console.say(f'{model.path}: {model.task} of {len(model.class_names)} classes ({names})')
  written = journal.Journal(flags.output, model.digest)
  predicting.predict(model, found, written, flags.batch_size)
  predicted = writing.Predicted(
    task=model.task,
    class_names=model.class_names,
    digest=model.digest,
    found=found,
    ids=ids,
    written=written,
    cut=_DEFAULT_CUTS[model.task] if flags.cut is None else flags.cut,
  )
  for name in formats:
    folder = os.path.join(flags.output, name)
    writing.write(name, predicted, folder)
    console.say(f'{name}: {folder}')
  if flags.test_dev:
    path = writing.write_test_dev(
      flags.test_dev, os.path.join(flags.output, writing.RESULTS), flags.output
    )
    console.say(f'for the evaluation server: {path}')
  page.write(predicted, flags.output, flags.pictures, model.path)
  left_out = [entry for entry in predicted.entries() if entry.reason]
  for entry in left_out[:10]:
    console.note(f'left out: {entry.name}: {entry.reason}')
  more = f', all of them in {os.path.join(flags.output, "index.html")}' if left_out else ''
  console.say(
    f'{len(found) - len(left_out)} images, {len(left_out)} left out{more}. Pictures: '
    f'{os.path.join(flags.output, "index.html")}'
  )


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  flags = _arguments(arguments)
  return program.run(lambda: _run(flags), 'the same command goes on after the last batch.')


if __name__ == '__main__':
  sys.exit(main())
