"""Requests that wait together go through the model together."""

import collections
import dataclasses
import io
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from PIL import ExifTags, Image, ImageOps

_FORMATS = ('JPEG', 'PNG')
_QUARTER_TURNS = (5, 6, 7, 8)
_LOG = logging.getLogger(__name__)

Answer = dict[str, np.ndarray]


class BadImageError(ValueError):
  """An image is none, or too large; the message is for the client."""


class BusyError(RuntimeError):
  """More images wait than may wait."""


class Model:
  """A SavedModel of official_selftrain that takes encoded images.

  Attributes:
    output_names: of the signature.
  """

  def __init__(self, path: str):
    """Loads the model and answers for one image, so that the first client does not wait for this."""
    # The functions of a model live as long as the object that was loaded.
    self._loaded = tf.saved_model.load(path)
    self._predict = self._loaded.signatures[tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY]
    (given,) = self._predict.structured_input_signature[1].values()
    if given.dtype != tf.string or given.shape[0] is not None:
      raise SystemExit(
        f'error: {path} must take image files and batches of any size: export it with --input_type=image_bytes and '
        'without --batch_size.'
      )
    self.output_names = sorted(self._predict.structured_outputs)
    self([tf.io.encode_png(np.zeros([64, 64, 3], np.uint8)).numpy()])

  def __call__(self, encoded: Sequence[bytes]) -> list[Answer]:
    """The outputs for each image, without the axis of the batch; masks have the size of their own image."""
    found = {k: v.numpy() for k, v in self._predict(inputs=tf.constant(list(encoded))).items()}
    answers = [{name: value[i] for name, value in found.items()} for i in range(len(encoded))]
    for answer in answers:
      if 'image_sizes' in answer:
        height, width = answer['image_sizes']
        answer |= {name: answer[name][:height, :width] for name in ('classes', 'confidences')}
    # Views would keep the arrays of the whole batch, padding included, until the slowest client has its answer.
    return [{name: value.copy() for name, value in answer.items()} for answer in answers]


class Head(NamedTuple):
  """What the head of an image says.

  Attributes:
    height: in pixels, turned as EXIF says.
    width: in pixels, turned as EXIF says.
    is_as_trained: whether TensorFlow decodes what training would have seen; if not, see `as_trained`.
  """

  height: int
  width: int
  is_as_trained: bool


def check_image(encoded: bytes, max_pixels: int) -> Head:
  """Reads the head of an image, which costs nothing, before anything is decoded.

  Raises:
    BadImageError: it is no JPEG or PNG, or has too many pixels.
  """
  try:
    with Image.open(io.BytesIO(encoded), formats=_FORMATS) as image:
      width, height = image.size
      orientation, has_transparency = _orientation(image), _has_transparency(image)
  except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
    raise BadImageError('not a JPEG or PNG image') from error
  if width * height > max_pixels:
    raise BadImageError(
      f'{width} x {height} pixels are too many: at most {max_pixels:,} are allowed'
    )
  if orientation in _QUARTER_TURNS:
    height, width = width, height
  return Head(height, width, orientation == 1 and not has_transparency)


def as_trained(encoded: bytes) -> bytes:
  """The image as `prepare` and `predict` would have it: turned as EXIF says, on white where it is transparent.

  A JPEG becomes one of quality 95 without subsampling, as with these two, so that answers are the same; a PNG stays
  one, and loses nothing. A damaged image stays as it is: the model says what is wrong with it.
  """
  stream = io.BytesIO()
  try:
    with Image.open(io.BytesIO(encoded), formats=_FORMATS) as opened:
      form = 'PNG' if opened.format == 'PNG' else 'JPEG'
      image: Image.Image = opened if _orientation(opened) == 1 else ImageOps.exif_transpose(opened)
      if _has_transparency(image):
        layered = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', layered.size, 'white'), layered)
      is_kept = image.mode in ('L', 'RGB') or image.mode.startswith('I')
      image = image if is_kept else image.convert('RGB')
      options = {'compress_level': 1} if form == 'PNG' else {'quality': 95, 'subsampling': 0}
      image.save(stream, form, **options)
  except Exception:  # Pillow's readers raise whatever the bytes lead them to.
    return encoded
  return stream.getvalue()


def _orientation(image: Image.Image) -> int:
  """EXIF's, 1 to 8; 1 where there is none or EXIF is damaged. `getexif` would decode the whole of a PNG."""
  exif = Image.Exif()
  try:
    exif.load(image.info.get('exif', b''))
    found = exif.get(ExifTags.Base.Orientation, 1)
  except Exception:  # As above.
    return 1
  return found if found in range(1, 9) else 1


def _has_transparency(image: Image.Image) -> bool:
  """Whether a colour or pixels may be transparent; grey of 16 bits, which Pillow cannot make RGB, does not count."""
  return image.has_transparency_data and not image.mode.startswith('I')


def padded_pixels(sizes: Sequence[tuple[int, int]]) -> int:
  """Pixels of images, (height, width) each, that are padded to the largest height and the largest width of them."""
  return len(sizes) * max(h for h, _ in sizes) * max(w for _, w in sizes)


@dataclasses.dataclass(frozen=True)
class _Waiting:
  image: bytes
  size: tuple[int, int]
  future: futures.Future


class Batcher:
  """Collects images in a thread of its own, which is the only one that calls the model."""

  def __init__(
    self,
    predict: Callable[[Sequence[bytes]], list[Any]],
    *,
    max_batch: int,
    max_batch_pixels: int,
    wait_seconds: float,
    max_waiting: int,
  ):
    """Starts the thread.

    Args:
      predict: from encoded images to an answer for each.
      max_batch: most images of a call.
      max_batch_pixels: most pixels of a call of more than one image, see `padded_pixels`: its masks lie in memory
        together, padded to one size.
      wait_seconds: how long the first image of a batch waits for others.
      max_waiting: most images that may wait.
    """
    self._predict = predict
    self._max_batch = max_batch
    self._max_batch_pixels = max_batch_pixels
    self._wait_seconds = wait_seconds
    self._max_waiting = max_waiting
    self._waiting: collections.deque[_Waiting] = collections.deque()
    self._changed = threading.Condition()
    self.batches = self.images = 0
    threading.Thread(target=self._work, daemon=True).start()

  @property
  def waiting(self) -> int:
    """Images that wait now."""
    return len(self._waiting)

  def submit(
    self, encoded: Sequence[bytes], sizes: Sequence[tuple[int, int]]
  ) -> list[futures.Future]:
    """Puts images into the queue, all or none; their futures have the answers, or `BadImageError`.

    A future that is cancelled while its image waits gives up the place.

    Args:
      encoded: the images.
      sizes: (height, width) of each, in pixels.

    Raises:
      BusyError: they do not fit.
    """
    made = [_Waiting(*each, futures.Future()) for each in zip(encoded, sizes, strict=True)]
    with self._changed:
      wanted = [each for each in self._waiting if not each.future.cancelled()]
      self._waiting = collections.deque(wanted)
      if len(self._waiting) + len(made) > self._max_waiting:
        raise BusyError('the server is busy, try again')
      self._waiting.extend(made)
      self._changed.notify()
    return [each.future for each in made]

  def _work(self) -> None:
    while True:
      self._answer(self._next_batch())

  def _next_batch(self) -> list[_Waiting]:
    """What goes through the model together; clients that gave up are left out."""
    batch: list[_Waiting] = []
    with self._changed:
      self._changed.wait_for(lambda: self._waiting)
      end = time.monotonic() + self._wait_seconds
      while len(batch) < self._max_batch:
        left = end - time.monotonic()
        if not self._waiting and not self._changed.wait_for(lambda: self._waiting, max(left, 0.0)):
          break
        pixels = padded_pixels([each.size for each in (*batch, self._waiting[0])])
        if batch and pixels > self._max_batch_pixels:
          break
        first = self._waiting.popleft()
        if first.future.set_running_or_notify_cancel():
          batch.append(first)
    return batch

  def _answer(self, batch: list[_Waiting]) -> None:
    if not batch:
      return
    try:
      answers = self._predict([each.image for each in batch])
    except tf.errors.InvalidArgumentError:
      if len(batch) > 1:
        # One of them is damaged; the others are answered all the same.
        for each in batch:
          self._answer([each])
        return
      batch[0].future.set_exception(BadImageError('the image is damaged'))
      return
    except Exception as error:  # The thread must go on; each client hears of it.
      _LOG.exception('the model failed on %d images', len(batch))
      for each in batch:
        each.future.set_exception(error)
      return
    self.batches += 1
    self.images += len(batch)
    for each, answer in zip(batch, answers, strict=True):
      each.future.set_result(answer)
