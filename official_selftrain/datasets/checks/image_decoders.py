"""Decoders of images, and what they say of damage."""

import contextlib
import dataclasses
import io
import os
import re
import threading
from collections.abc import Callable, Iterator

import numpy as np

from official_selftrain.core import errors

# A process has one stderr.
_STDERR_LOCK = threading.Lock()
# What TensorFlow's decoder prints when pixels are lost. Bytes too many before the end are common in whole images.
_DAMAGE = re.compile(
  r'Corrupt JPEG data: (?!\d+ extraneous bytes).*|Inconsistent progression.*|Premature end of JPEG file.*'
)


@dataclasses.dataclass(frozen=True, eq=False)
class Decoded:
  """What a decoder made of an image.

  Attributes:
    pixels: uint8 [height, width, 3], RGB; None if it cannot decode the image.
    message: why not, or what damage it has filled in; '' for an image without damage.
  """

  pixels: np.ndarray | None
  message: str = ''


Decoder = Callable[[bytes], Decoded]


class TensorFlowDecoder:
  """Decodes as `dataloaders` do for training; imports TensorFlow at the first image."""

  def __call__(self, encoded: bytes) -> Decoded:
    """Decodes a JPEG, PNG, GIF or BMP.

    Raises:
      DataError: TensorFlow fails for a reason that is not the image, such as want of memory.
    """
    import tensorflow as tf

    with captured_stderr() as printed:
      try:
        image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
      except tf.errors.InvalidArgumentError as error:
        return Decoded(None, errors.first_line(error))
      except tf.errors.OpError as error:
        raise errors.DataError(
          f'TensorFlow cannot decode images here: {errors.first_line(error)}. Make memory free, and run the same '
          'command again.'
        ) from error
    damage = _DAMAGE.search(printed.getvalue())
    return Decoded(image.numpy(), damage.group() if damage else '')


@contextlib.contextmanager
def captured_stderr() -> Iterator[io.StringIO]:
  """Collects what decoders print, complete after the block; with it, all that is written to stderr meanwhile."""
  printed = io.StringIO()
  with _STDERR_LOCK, open(os.memfd_create('printed'), 'rb') as memory:
    try:
      kept = os.dup(2)
    except OSError:
      # A process without stderr, as a service may be.
      kept = -1
    os.dup2(memory.fileno(), 2)
    try:
      yield printed
    finally:
      if kept < 0:
        os.close(2)
      else:
        os.dup2(kept, 2)
        os.close(kept)
      memory.seek(0)
      printed.write(memory.read().decode('utf-8', 'replace'))
