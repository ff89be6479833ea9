"""YOLO: one text file per image, sides relative to the image."""

from typing import ClassVar

import yaml

from official_selftrain.pseudo_labels.exporters import base, output


class Labels:
  """`labels/<name>.txt` with a line `class cx cy width height confidence` per object, and `data.yaml`.

  Classes count from 0: class 1 of the labels is class 0 here.
  """

  marks_ignored: ClassVar[bool] = False
  image_folder: ClassVar[str] = 'images'

  def __init__(self, folder: output.Folder, facts: base.Facts) -> None:
    """See `Exporter`."""
    self._folder = folder
    # No `path`: without it programs look next to data.yaml, wherever the folder is. No `val`: pseudo labels measure
    # nothing.
    settings = {'train': self.image_folder, 'names': dict(enumerate(facts.class_names))}
    text = yaml.safe_dump(settings, allow_unicode=True, sort_keys=False)
    folder.write_text('data.yaml', text)

  def add(self, image: base.Image, labels: base.Boxes) -> None:
    """See `Exporter`; an image without objects has an empty file."""
    self._folder.write_text(f'labels/{image.stem}.txt', ''.join(map(_line, labels.boxes)))

  def finish(self) -> None:
    """See `Exporter`."""


def _line(box: base.Box) -> str:
  centre = ((box.xmin + box.xmax) / 2, (box.ymin + box.ymax) / 2)
  sides = (box.xmax - box.xmin, box.ymax - box.ymin)
  numbers = ' '.join(f'{number:.8f}' for number in (*centre, *sides))
  return f'{box.class_id - 1} {numbers} {box.score}\n'
