"""Exports labels: from label shards and image shards to a folder in another format."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence

import official_selftrain
from official_selftrain.core import console
from official_selftrain.pseudo_labels import cuts as cuts_lib
from official_selftrain.pseudo_labels import manifest as manifest_lib
from official_selftrain.pseudo_labels import segmentation
from official_selftrain.pseudo_labels.exporters import base, output, reading, registry

PROVENANCE_NAME = 'provenance.json'
_PACKAGE = 'official-selftrain'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
  """What to export.

  Attributes:
    label_dir: folder of the label shards and their manifest.
    image_files: the image shards that were labelled, in the manifest's order.
    cuts: which labels become objects, which are ignored.
    form: name of the format, see `registry`.
    output_dir: the folder that appears when all of it is written.
    class_names: from class 1 on; empty takes those in the manifest, or the ids if it has none.
    with_images: whether the images are written, too.
  """

  label_dir: str
  image_files: Sequence[str]
  cuts: cuts_lib.Cuts
  form: str
  output_dir: str
  class_names: Sequence[str] = ()
  with_images: bool = False


@dataclasses.dataclass(kw_only=True)
class Counts:
  """What was exported.

  Attributes:
    are_masks: whether objects are counted in pixels.
    marks_ignored: whether the format says what is ignored; otherwise that was left out.
    dead: images that are dead letters; none of them was exported.
    images: images that were exported.
    empty: those of them without an object above the cut.
    objects: objects above the cut, or pixels of objects.
    ignored: objects in the ignore band, or pixels below the cut.
    turned: images that viewers turn, so that labels seem to be in the wrong place.
  """

  are_masks: bool
  marks_ignored: bool
  dead: int
  images: int = 0
  empty: int = 0
  objects: int = 0
  ignored: int = 0
  turned: int = 0


def export(request: Request) -> Counts:
  """Exports labels; memory does not grow with the number of images, apart from 16 bytes for the id of each.

  Args:
    request: what to export.

  Returns:
    What was exported.

  Raises:
    ConfigError: the format cannot hold these labels, the cuts or class names do not fit them, or the output folder
      holds something.
    DataError: labels or images cannot be read, the output cannot be written, or two images would have the same name.
    LabelMismatchError: the labels do not belong to the images.
  """
  label_format = reading.label_format(manifest_lib.Manifest.load(request.label_dir))
  are_masks = isinstance(label_format, segmentation.MaskFormat)
  exporters = registry.MASKS if are_masks else registry.BOXES
  registry.find(exporters, request.form, label_format.name)
  output.check(request.output_dir)
  labelled = reading.open_labels(
    request.label_dir, request.image_files, request.cuts, request.class_names
  )
  are_numbers = reading.have_numbers(labelled)
  if are_masks:
    mask_exporter = registry.MASKS[request.form]
    return _write(request, labelled, reading.masks(labelled, are_numbers), mask_exporter)
  box_exporter = registry.BOXES[request.form]
  return _write(request, labelled, reading.boxes(labelled, are_numbers), box_exporter)


def _write(
  request: Request,
  labelled: reading.Labelled,
  images: Iterator[reading.Read[reading.LabelsT]],
  make_exporter: Callable[[output.Folder, base.Facts], base.Exporter[reading.LabelsT]],
) -> Counts:
  """Writes all images with their labels."""
  manifest = labelled.manifest
  facts = base.Facts(
    class_names=labelled.class_names,
    num_images=manifest.images - manifest.dead,
    origin=_origin(manifest, request.cuts),
  )
  with output.new_folder(request.output_dir) as folder:
    exporter = make_exporter(folder, facts)
    counts = Counts(
      are_masks=manifest.format == segmentation.MaskFormat.name,
      marks_ignored=exporter.marks_ignored,
      dead=manifest.dead,
    )
    with console.Progress('export', facts.num_images, 'images') as bar:
      for read in images:
        labels = read.labels
        _count(counts, read)
        exporter.add(read.image, labels if exporter.marks_ignored else labels.without_ignored())
        if request.with_images:
          name = f'{exporter.image_folder}/{read.image.file_name}'
          folder.write(name, read.image.content)
        bar.update(counts.images)
    exporter.finish()
    folder.write_text(PROVENANCE_NAME, json.dumps(facts.origin.as_dict(), indent=2) + '\n')
  return counts


def _count(counts: Counts, read: reading.Read[reading.LabelsT]) -> None:
  num_objects = read.labels.num_objects
  counts.images += 1
  counts.empty += num_objects == 0
  counts.objects += num_objects
  counts.ignored += read.labels.num_ignored
  counts.turned += read.is_turned


def _origin(manifest: manifest_lib.Manifest, cuts: cuts_lib.Cuts) -> base.Origin:
  teacher, versions = manifest.provenance.teacher, manifest.provenance.versions
  return base.Origin(
    teacher_sha256=teacher.get('sha256', ''),
    teacher_step=teacher.get('global_step'),
    labelled_with=f'{_PACKAGE} {versions.get(_PACKAGE, "")}'.rstrip(),
    exported_with=f'{_PACKAGE} {official_selftrain.__version__}',
    labels_sha256=manifest.labels_sha256,
    cut=cuts.cut,
    class_cuts=cuts.per_class,
    ignore_cut=cuts.ignore_cut,
  )
