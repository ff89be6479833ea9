"""Files of images, good and bad, and work on them without processes of their own."""

import contextlib
import io
import pathlib
from collections.abc import Iterable, Iterator
from unittest import mock

import numpy as np
import tensorflow as tf
from PIL import Image

from official_selftrain.datasets.preparation import parallel, work

HEIGHT, WIDTH = 48, 64
_ORIENTATION = 0x0112


def picture(seed: int) -> Image.Image:
  """A smooth picture; those of different seeds do not look alike."""
  noise = np.random.default_rng(seed).integers(0, 256, [6, 8, 3], dtype=np.uint8)
  return Image.fromarray(noise).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)


def jpeg(seed: int, orientation: int = 1, mode: str = 'RGB') -> bytes:
  """A JPEG of a picture."""
  exif = Image.Exif()
  if orientation != 1:
    exif[_ORIENTATION] = orientation
  buffer = io.BytesIO()
  picture(seed).convert(mode).save(buffer, 'JPEG', quality=90, exif=exif)
  return buffer.getvalue()


def recompressed(encoded: bytes) -> bytes:
  """The same JPEG in a lower quality."""
  buffer = io.BytesIO()
  Image.open(io.BytesIO(encoded)).save(buffer, 'JPEG', quality=70)
  return buffer.getvalue()


def png(values: np.ndarray) -> bytes:
  """A PNG of uint8 values, [h, w] or [h, w, 3]."""
  buffer = io.BytesIO()
  Image.fromarray(values).save(buffer, 'PNG')
  return buffer.getvalue()


def write(folder: pathlib.Path, files: dict[str, bytes | str]) -> None:
  """Writes files by name."""
  for name, content in files.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def records(*paths: pathlib.Path) -> dict[str, dict[str, list]]:
  """Features of the records in files by `image/source_id`, in their order."""
  found = {}
  for path in sorted(paths):
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
      features = tf.train.Example.FromString(record).features.feature
      values = {
        name: list(getattr(each, each.WhichOneof('kind')).value) if each.WhichOneof('kind') else []
        for name, each in features.items()
      }
      found[values['image/source_id'][0].decode()] = values
  return found


def contents(folder: pathlib.Path) -> dict[str, bytes]:
  """Bytes of all files in a folder by name."""
  return {
    path.relative_to(folder).as_posix(): path.read_bytes()
    for path in sorted(folder.rglob('*'))
    if path.is_file()
  }


class _Here:
  """Takes the place of `parallel.Workers`, and works in this process."""

  def __init__(self, processes: int) -> None:
    del processes
    self.close()

  def close(self) -> None:
    # Processes start and end with nothing open.
    work._open.cache_clear()

  def map(self, task: parallel.Work, inputs: Iterable) -> Iterator:
    return map(task.function, inputs)


def without_processes() -> contextlib.AbstractContextManager:
  """Does the work of processes in this one, which need not import TensorFlow again."""
  return mock.patch.object(parallel, 'Workers', _Here)


def pixels(encoded: bytes) -> np.ndarray:
  """Pixels of an image, uint8."""
  return np.asarray(Image.open(io.BytesIO(encoded)))
