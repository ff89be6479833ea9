"""Images without pixels, and exports of them by one exporter."""

import os
import pathlib
import tempfile

from official_selftrain.pseudo_labels.exporters import base, output

ORIGIN = base.Origin(
  teacher_sha256='ab' * 32,
  teacher_step=7,
  labelled_with='official-selftrain 0.1.0',
  exported_with='official-selftrain 0.2.0',
  labels_sha256='cd' * 32,
  cut=0.5,
  ignore_cut=0.25,
)


def facts(*class_names: str, origin: base.Origin = ORIGIN) -> base.Facts:
  """Facts about two images with these classes."""
  return base.Facts(class_names=class_names, num_images=2, origin=origin)


def image(
  stem: str, height: int = 40, width: int = 60, extension: str = '.png', **more
) -> base.Image:
  """An image called `stem`, whose id is that, too."""
  values = {
    'number': 1,
    'image_id': 1,
    'source_id': stem,
    'content': b'',
    'channels': 3,
    **more,
  }
  return base.Image(stem=stem, extension=extension, height=height, width=width, **values)


def written(exporter, given: base.Facts, pairs) -> dict[str, bytes]:
  """Contents of the files by name that an exporter writes for pairs of image and labels."""
  with tempfile.TemporaryDirectory() as root:
    path = os.path.join(root, 'out')
    with output.new_folder(path) as folder:
      started = exporter(folder, given)
      for each, labels in pairs:
        started.add(each, labels)
      started.finish()
    found = (each for each in pathlib.Path(path).rglob('*') if each.is_file())
    return {str(each.relative_to(path)): each.read_bytes() for each in found}
