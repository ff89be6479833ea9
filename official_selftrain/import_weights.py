"""Turns ImageNet weights of other libraries into a checkpoint of a backbone.

python -m official_selftrain.import_weights --weights=efficientnet_lite0.npz --format=pytorch --model_id=b0 \\
  --output=imported/lite0

python -m official_selftrain.import_weights --format=keras --model_id=b3 --output=imported/b3

--format=keras reads the .h5 files of tf.keras.applications.EfficientNetB0 to B7, and without --weights lets Keras
download them. --format=pytorch reads the state dict of an EfficientNet-Lite0 as a NumPy archive (.npz). Every array is
accounted for: used, left out for a reason that is printed, or listed in an error. The last lines say which settings of
train.py start from the result.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING

from official_selftrain.core import console, errors, files, program

if TYPE_CHECKING:
  from official_selftrain.checkpoints import imagenet

_FAMILIES = ('model_garden', 'original')


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog='python -m official_selftrain.import_weights',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('--weights', default='', help='the file; may be left out with --format=keras')
  parser.add_argument('--format', required=True, choices=('keras', 'pytorch'), help='of the file')
  parser.add_argument('--model_id', required=True, help='b0 to b7; b0 for --format=pytorch')
  parser.add_argument(
    '--family',
    default='',
    choices=_FAMILIES,
    help='of the network (task.model.family); the one that computes the same function, if left out',
  )
  parser.add_argument('--output', required=True, help='folder to write; must not exist')
  parser.add_argument(
    '--keep_normalization',
    action='store_true',
    help="do not turn the weights' normalisation of images into the one that train.py does",
  )
  return parser.parse_args(arguments)


def _run(flags: argparse.Namespace) -> None:
  files.check_is_local('--output', flags.output)
  if os.path.exists(flags.output):
    raise errors.ConfigError(f'--output={flags.output} exists already; name a new folder.')
  if not flags.weights and flags.format != 'keras':
    raise errors.ConfigError(
      f'--weights is not given: only --format=keras has a download, not --format={flags.format}.'
    )
  from official_selftrain.checkpoints import imagenet, keras_download

  kind = imagenet.FORMATS[flags.format]
  imagenet.check(kind, flags.model_id, flags.family)
  output = flags.output.rstrip('/')
  temporary = output + '.tmp'
  shutil.rmtree(temporary, ignore_errors=True)
  with tempfile.TemporaryDirectory() as folder:
    weights, source = flags.weights, ''
    if not weights:
      weights, source = os.path.join(folder, 'weights.h5'), keras_download.source(flags.model_id)
      keras_download.download(flags.model_id, weights)
    imported = imagenet.import_backbone(
      weights, kind, flags.model_id, temporary, flags.keep_normalization, source
    )
  os.replace(temporary, output)
  console.say(_summary(imported, output))


def _summary(imported: 'imagenet.Imported', output: str) -> str:
  """What the user has to know, in a few lines; the last is an argument for train.py."""
  from official_selftrain.checkpoints import imagenet, normalization

  images = normalization.describe(imported.source_normalization, imported.normalization)
  items = [f'init={output}', *imagenet.override(imported.settings, 'task.model')]
  return (
    f'{imported.source}: {imported.accounting.text()}\nnormalisation of images: {images}\n'
    f'written to {output}; train.py starts from it with\n  --params_override={",".join(items)}'
  )


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  flags = _arguments(arguments)
  return program.run(lambda: _run(flags))


if __name__ == '__main__':
  sys.exit(main())
