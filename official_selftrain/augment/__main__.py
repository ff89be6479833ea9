"""Shows what augmentation does: a contact sheet of each image with draws of a policy, or of single ops, next to it.

python -m official_selftrain.augment --policy=S4 --input='images/*.jpg' --output=sheet.png
python -m official_selftrain.augment --policy=S3 --input='data/digits/train-*.tfrecord' --output=sheet.png \\
    --set='exclude_ops=[Flip,Flip_Only_BBoxes]'
python -m official_selftrain.augment --policy=keras_cv --input=photo.jpg --output=sheet.png \\
    --set='keras_cv.layers=["RandomShear(x_factor=0.3)", "RandAugment(magnitude=0.3)"]'
python -m official_selftrain.augment --op=Rotate_BBox --op=Cutout --levels=2,6,10 --input=photo.jpg --output=sheet.png

Padding is shown black, where training has the mean colour. Label 255 (ignore) is hatched. Ops whose names end in
_Only_BBoxes change each box with a third of their probability.
"""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from official_selftrain.core import config, console, errors, files, override_text, program

if TYPE_CHECKING:
  from official_selftrain.configs import augmentation

POLICIES = (
  'none',
  *(f'S{number}' for number in range(1, 5)),
  'keras_cv',
  *(f'keras_cv_S{number}' for number in range(1, 5)),
)
LABELS = ('boxes', 'masks', 'both', 'none')

_DEFAULT_POLICY = 'S4'
_DEFAULT_LEVELS = '2,6,10'
# RandAugment's magnitudes go beyond AutoAugment's 10.
_MAX_LEVEL = 30.0
_MAX_SEED = 2**31 - 1
# What --set may change when single ops are shown: the rest says which ops are drawn, and what comes after them.
_SETTINGS_OF_OPS = ('pixel_scale', 'translate_const', 'cutout_const', 'min_visible', 'faithful')

_NO_INPUT = (
  '--input is missing: give an image, a glob of images, a folder or TFRecords. For something to look at, write digits '
  'with `python -m official_selftrain.datasets.digits --output=data/digits`, then give '
  "--input='data/digits/train-*.tfrecord' --set='exclude_ops=[Flip,Flip_Only_BBoxes]'."
)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(prog='python -m official_selftrain.augment', description=__doc__)
  parser.formatter_class = argparse.RawDescriptionHelpFormatter
  add = parser.add_argument
  add('--input', help='image, glob of images, folder, or TFRecords with image/encoded')
  add('--output', required=True, help='PNG file to write')
  add('--policy', choices=POLICIES, help=f'{_DEFAULT_POLICY} if neither --policy nor --op is given')
  add('--op', action='append', default=[], help='a single op instead of a policy; may be repeated')
  add('--levels', help=f'of the ops, 0..{_MAX_LEVEL:g}; {_DEFAULT_LEVELS} if not given')
  add('--set', default='', help="name=value,...: the stream's settings in `augmentation`")
  add('--labels', choices=LABELS, help='labels to use; all that are there if not given')
  add('--size', help="height,width of results; each input's own if not given")
  add('--seed', type=int, default=0, help='%(default)s if not given')
  add('--images', type=int, default=4, help='number of inputs at most; %(default)s if not given')
  add('--draws', type=int, default=8, help='draws per input; %(default)s if not given')
  add('--tile', type=int, default=256, help='side of tiles in pixels; %(default)s if not given')
  return parser.parse_args(arguments)


def _check(flags: argparse.Namespace) -> None:
  """Refuses what can be refused before TensorFlow is imported."""
  if not flags.input:
    raise errors.ConfigError(_NO_INPUT)
  folder = os.path.dirname(flags.output) or '.'
  if not os.path.isdir(folder):
    raise errors.ConfigError(f'--output: the folder {folder} does not exist; make it first.')
  if os.path.isdir(flags.output) or not flags.output.lower().endswith('.png'):
    raise errors.ConfigError(f'--output is {flags.output}: it must be a file that ends in .png.')
  if flags.op and flags.policy:
    raise errors.ConfigError('--op shows single ops and --policy a policy: give one of them.')
  if flags.levels is not None and not flags.op:
    raise errors.ConfigError('--levels has no effect without --op.')
  for name, low, high in (
    ('images', 1, 1000),
    ('draws', 1, 100),
    ('tile', 64, 2048),
    ('seed', 0, _MAX_SEED),
  ):
    if not low <= getattr(flags, name) <= high:
      raise errors.ConfigError(f'--{name} is {getattr(flags, name)}: it must be in {low}..{high}.')


def _levels(text: str) -> list[float]:
  try:
    levels = [float(part) for part in text.split(',')]
  except ValueError:
    levels = [-1.0]
  if not all(0 <= level <= _MAX_LEVEL for level in levels):
    raise errors.ConfigError(
      f'--levels={text}: expected numbers in 0..{_MAX_LEVEL:g} with commas between them, such as {_DEFAULT_LEVELS}.'
    )
  return levels


def _size(text: str | None) -> tuple[int, int] | None:
  if text is None:
    return None
  parts = [part.strip() for part in text.split(',')]
  if len(parts) != 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
    raise errors.ConfigError(f'--size={text}: expected height,width in pixels, such as 480,640.')
  return int(parts[0]), int(parts[1])


def _settings(flags: argparse.Namespace) -> 'augmentation.Augmentation':
  """The settings of --policy with what --set changes."""
  from official_selftrain.configs import augmentation

  try:
    changes = override_text.parse_override(flags.set)
  except errors.ConfigError as error:
    raise errors.ConfigError(str(error).replace(override_text.FLAG, '--set')) from None
  if 'policy' in changes:
    raise errors.ConfigError('--set: policy is given by --policy.')
  changes['policy'] = 'none' if flags.op else flags.policy or _DEFAULT_POLICY
  settings = augmentation.Augmentation()
  config.apply_overrides(settings, changes, '--set')
  idle = sorted(set(changes) - {'policy', *_SETTINGS_OF_OPS})
  if flags.op and idle:
    raise errors.ConfigError(
      f'--set: {idle[0]} has no effect with --op; {", ".join(_SETTINGS_OF_OPS)} have.'
    )
  settings.check('--set: augmentation')
  return settings


def _run(flags: argparse.Namespace) -> None:
  _check(flags)
  levels = _levels(_DEFAULT_LEVELS if flags.levels is None else flags.levels)
  size = _size(flags.size)
  settings = _settings(flags)

  from PIL import Image

  from official_selftrain.augment import sheet, sheet_inputs, sheet_rows

  if flags.op:
    shown = sheet_rows.of_ops(flags.op, levels, settings)
  else:
    shown = sheet_rows.of_policy(settings)
  with_instances = settings.copy_paste_probability > 0
  inputs = sheet_inputs.read(flags.input, flags.images, flags.labels, with_instances)
  rows = sheet_rows.make(shown, inputs, sheet_rows.Draws(flags.draws, flags.seed, size))
  buffer = io.BytesIO()
  Image.fromarray(sheet.compose(rows, flags.tile).image).save(buffer, 'PNG')
  try:
    files.write_bytes(flags.output, buffer.getvalue())
  except OSError as error:
    raise errors.DataError(f'--output: cannot write {flags.output}: {error.strerror}.') from None
  console.say(f'contact sheet of {len(rows)} row(s), {flags.draws} draw(s) each: {flags.output}')


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  flags = _arguments(arguments)
  return program.run(lambda: _run(flags))


if __name__ == '__main__':
  sys.exit(main())
