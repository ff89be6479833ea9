"""Which formats there are, and for which kinds of labels."""

from collections.abc import Mapping
from typing import TypeVar

from official_selftrain.core import errors
from official_selftrain.pseudo_labels.exporters import (
  base,
  coco,
  cvat,
  label_studio,
  png,
  voc,
  yolo,
)

BOXES: Mapping[str, base.BoxExporter] = {
  'coco': coco.BoxDataset,
  'coco_results': coco.Results,
  'yolo': yolo.Labels,
  'voc': voc.Annotations,
  'label_studio': label_studio.Rectangles,
  'cvat': cvat.Annotations,
}
MASKS: Mapping[str, base.MaskExporter] = {
  'png': png.Masks,
  'coco': coco.MaskDataset,
  'label_studio': label_studio.Brushes,
}

_Found = TypeVar('_Found')


def find(exporters: Mapping[str, _Found], name: str, task: str) -> _Found:
  """The exporter of a format.

  Args:
    exporters: `BOXES` or `MASKS`.
    name: of the format to write.
    task: that the labels are for.

  Raises:
    ConfigError: the format is not one of them; names those that are.
  """
  if name not in exporters:
    raise errors.ConfigError(
      f'--format is {name}, which is not written for labels of {task}. Choose one of: {", ".join(exporters)}.'
    )
  return exporters[name]
