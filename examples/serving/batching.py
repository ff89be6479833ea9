"""Requests that wait together go through the model together."""

import collections
import dataclasses
import io
import threading
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

_FORMATS = ('JPEG', 'PNG')
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
    return answers


def check_image(encoded: bytes, max_pixels: int) -> int:
  """The number of pixels, from the head of an image, which costs nothing, before anything is decoded.

  Raises:
    BadImageError: it is no JPEG or PNG, or has too many pixels.
  """
  try:
    with Image.open(io.BytesIO(encoded), formats=_FORMATS) as image:
      width, height = image.size
  except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
    raise BadImageError('not a JPEG or PNG image') from error
  if width * height > max_pixels:
    raise BadImageError(
      f'{width} x {height} pixels are too many: at most {max_pixels:,} are allowed'
    )
  return width * height


@dataclasses.dataclass(frozen=True)
class _Waiting:
  image: bytes
  pixels: int
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
      max_batch_pixels: most pixels of a call of more than one image: what is decoded lies in memory together.
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

  def submit(self, encoded: Sequence[bytes], pixels: Sequence[int]) -> list[futures.Future]:
    """Puts images into the queue, all or none; their futures have the answers, or `BadImageError`.

    Raises:
      BusyError: they do not fit.
    """
    made = [_Waiting(*each, futures.Future()) for each in zip(encoded, pixels, strict=True)]
    with self._changed:
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
        pixels = sum(each.pixels for each in batch) + self._waiting[0].pixels
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
      for each in batch:
        each.future.set_exception(error)
      return
    self.batches += 1
    self.images += len(batch)
    for each, answer in zip(batch, answers, strict=True):
      each.future.set_result(answer)
