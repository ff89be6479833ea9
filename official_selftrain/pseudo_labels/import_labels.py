"""Makes label shards of labels from elsewhere, for a student that needs no teacher of ours.

python -m official_selftrain.pseudo_labels.import_labels --dataset=data/mine --format=coco_results \\
    --labels=results.json --annotation_file=instances.json --output=labels/other
python -m official_selftrain.pseudo_labels.import_labels --images='data/unlabelled-*' --class_names=cat,dog \\
    --format=yolo --labels=runs/predict/labels --output=labels/other
python train.py --experiment=retinanet_resnetfpn_selftrain --dataset=data/mine --mode=train_and_eval \\
    --params_override=task.pseudo_data.label_dir=labels/other,task.self_training.student_init=random

Scores are kept as they are; the cut is applied when a student reads them. An image is found by its id or by its name,
with or without folder and ending. What each format must hold is in docs/import_labels.md.
"""

import argparse
import glob
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from official_selftrain.core import class_names as class_names_lib
from official_selftrain.core import console, dataset_card, errors, files, program

if TYPE_CHECKING:
  from official_selftrain.pseudo_labels.importers import entries, importing

FORMATS = ('coco', 'coco_results', 'yolo', 'voc', 'png', 'label_studio', 'cvat')

_SETS = ('unlabelled', 'labelled')
_MAX_BOXES = 300
_SHOWN = 5


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog='python -m official_selftrain.pseudo_labels.import_labels', description=__doc__
  )
  parser.formatter_class = argparse.RawDescriptionHelpFormatter
  add = parser.add_argument
  add('--labels', required=True, help='file or folder of the labels')
  add('--format', required=True, choices=FORMATS)
  add(
    '--output',
    required=True,
    help='folder of the label shards; the same command goes on where it was stopped',
  )
  add('--dataset', help='directory of prepared data: gives images and class names')
  add('--set', choices=_SETS, default=_SETS[0], help='which of its images the labels are about')
  add('--images', help='image shards, paths or a pattern, without --dataset')
  add(
    '--class_names',
    help='from class 1 on, with commas between them, or a .txt file of one per line',
  )
  add('--annotation_file', help='for coco_results: COCO JSON with the images and categories')
  add('--confidence', help='for png: folder of confidences, in files of the same names')
  add(
    '--rename',
    action='append',
    default=[],
    metavar='THEIRS=YOURS',
    help='a class that has another name in the labels; may be given again',
  )
  add(
    '--missing',
    choices=('empty', 'unlabelled'),
    help='an image that the labels do not mention has no objects (empty, as most programs mean it), or no labels '
    '(unlabelled, the default for png): nobody learns from it',
  )
  add('--max_boxes', type=int, default=_MAX_BOXES, help='the surest so many boxes of an image')
  return parser.parse_args(arguments)


def _run(flags: argparse.Namespace) -> None:
  """Imports, and says what.

  Raises:
    SelfTrainError: see `importing` and `registry`.
  """
  if flags.max_boxes < 1:
    raise errors.ConfigError(f'--max_boxes={flags.max_boxes}: it must be at least 1.')
  files.check_is_local('--output', flags.output)
  names, images, field = _data(flags)
  renamed = dict(_renamed(each, names) for each in flags.rename)

  from official_selftrain.dataloaders import tfrecords
  from official_selftrain.pseudo_labels import manifest
  from official_selftrain.pseudo_labels.importers import importing, registry

  image_files = tfrecords.match_files(images, field)
  options = {'annotation_file': flags.annotation_file, 'confidence': flags.confidence}
  given = {name: value for name, value in options.items() if value}
  labels = registry.read(flags.format, flags.labels, names, given)
  labels.expect(_source_ids(image_files))
  task = registry.FORMATS[flags.format].task
  rules = importing.Rules(
    class_names=names,
    renamed=renamed,
    missing=flags.missing or ('empty' if task == 'detection' else 'unlabelled'),
  )
  source = registry.describe(flags.format, flags.labels)
  # What decides the ids of classes and the scores, beside the labels themselves.
  settings = {
    'renamed': renamed,
    'missing': rules.missing,
    'class_names': list(names),
    **{name: registry.describe(flags.format, path)['sha256'] for name, path in given.items()},
  }
  importer = importing.Importer(
    importing.label_format_of(task, names, flags.max_boxes),
    labels,
    rules,
    manifest.Provenance(teacher=source, config=settings, class_names=names),
  )
  with console.Progress('import', total=100, unit='%') as bar:
    written = importer.run(
      image_files,
      flags.output,
      lambda state: bar.update(100 * state.bytes_done // max(state.bytes_total, 1)),
    )
  try:
    importing.check_useful(written, labels, importer.found)
  except errors.DataError:
    # Or the next start would find the shards done, and say nothing.
    _forget(flags.output)
    raise
  row = (written.images, written.labelled, written.empty, written.dead)
  print(console.table([row], ('images', 'with labels', 'without objects', 'dead letters')))
  _tell(labels, importer.found)
  console.say(
    f'Label shards: {flags.output}. Train on them with task.pseudo_data.label_dir={flags.output}'
  )


def _source_ids(image_files: Sequence[str]) -> Iterator[str]:
  """The ids of all images whose records can be read."""
  from official_selftrain.pseudo_labels import batches, shards

  for path in image_files:
    for record in shards.iterate(path):
      source_id = record.serialized and batches.source_id(record.serialized)
      if source_id:
        yield source_id


def _forget(folder: str) -> None:
  """Removes manifest and markers, so that shards are written anew."""
  from official_selftrain.pseudo_labels import manifest

  pattern = manifest.marker_path(os.path.join(glob.escape(folder), '*.tfrecord'))
  label_files = [path.removesuffix('.json') for path in glob.glob(pattern)]
  manifest.take_back(folder, label_files)


def _tell(labels: 'entries.Entries', found: 'importing.Found') -> None:
  """Notes what was left out or did not meet."""
  if labels.num_strays:
    console.note(
      f'{labels.num_strays} of the {labels.num_labels} boxes are of images that the labels do not list.'
    )
  unused = labels.num_images - labels.num_used
  if unused and not found.earlier_shards:
    console.note(
      f'{unused} of the {labels.num_images} images of the labels are not among the images.'
    )
  if found.unmentioned:
    console.note(f'The labels do not mention {found.unmentioned} of the images, see --missing.')
  if found.marked:
    console.note(
      f'{found.marked} boxes without a score were left out: they are marked as crowds, as difficult or to be ignored.'
    )
  if found.other_classes:
    shown = ', '.join(
      f'{name} ({count})' for name, count in found.other_classes.most_common(_SHOWN)
    )
    total = found.other_classes.total()
    console.note(
      f'{total} boxes of {len(found.other_classes)} other class(es) were left out: {shown}. If one of them is a class '
      'of yours, give --rename=THEIRS=YOURS.'
    )


def _data(flags: argparse.Namespace) -> tuple[tuple[str, ...], str, str]:
  """Class names, pattern of the images, and the flag that gave it."""
  names = class_names_lib.read(flags.class_names)
  if flags.dataset:
    if flags.images:
      raise errors.ConfigError('--dataset and --images are both given: give one of them.')
    card = dataset_card.read(flags.dataset)
    found = card.sets().get(flags.set)
    if found is None:
      raise errors.ConfigError(
        f'--set={flags.set}: {flags.dataset} has the sets {", ".join(card.sets())}.'
      )
    pattern = dataset_card.pattern_of(flags.dataset, found)
    return names or tuple(card.classes), pattern, '--dataset'
  if not flags.images or not names:
    raise errors.ConfigError(
      '--dataset is missing: give a directory of prepared data, or both --images and --class_names.'
    )
  return names, flags.images, '--images'


def _renamed(pair: str, names: Sequence[str]) -> tuple[str, str]:
  theirs, _, ours = pair.rpartition('=')
  if not theirs or ours not in names:
    raise errors.ConfigError(
      f'--rename={pair}: give THEIRS=YOURS, where YOURS is one of {", ".join(names)}.'
    )
  return theirs, ours


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  flags = _arguments(arguments)
  return program.run(lambda: _run(flags), 'shards that are done stay; the same command goes on.')


if __name__ == '__main__':
  sys.exit(main())
