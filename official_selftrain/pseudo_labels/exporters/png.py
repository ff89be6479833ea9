"""Class masks and confidences as PNG files, in the folders of PASCAL VOC."""

import io
from typing import ClassVar

import numpy as np
from PIL import Image

from official_selftrain.datasets import voc_layout
from official_selftrain.pseudo_labels.exporters import base, output


class Masks:
  """`SegmentationClass/<name>.png`, `Confidence/<name>.png`, and the lists of names and classes.

  Values of masks are class ids, 0 for the background and 255 below the cut, shown in the colours of VOC. Confidences
  are greyscale, in steps of 1/255, also below the cut.
  """

  marks_ignored: ClassVar[bool] = True
  image_folder: ClassVar[str] = 'JPEGImages'

  def __init__(self, folder: output.Folder, facts: base.Facts) -> None:
    """See `Exporter`."""
    self._folder = folder
    self._palette = voc_layout.colour_map().tobytes()
    self._list = folder.open('ImageSets/Segmentation/pseudo.txt')
    # Line n names value n, from 0.
    names = ('background', *facts.class_names)
    folder.write_text('classes.txt', ''.join(f'{name}\n' for name in names))

  def add(self, image: base.Image, labels: base.Mask) -> None:
    """See `Exporter`."""
    mask = Image.fromarray(labels.classes)
    mask.putpalette(self._palette)
    self._folder.write(f'SegmentationClass/{image.stem}.png', _encoded(mask))
    confidences = Image.fromarray(np.ascontiguousarray(labels.confidences))
    self._folder.write(f'Confidence/{image.stem}.png', _encoded(confidences))
    self._list.write(f'{image.stem}\n')

  def finish(self) -> None:
    """See `Exporter`."""


def _encoded(image: Image.Image) -> bytes:
  buffer = io.BytesIO()
  image.save(buffer, 'PNG')
  return buffer.getvalue()
