"""Requests that wait together go through the model together."""

import io
import queue
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


def check_image(encoded: bytes, max_pixels: int) -> None:
  """Reads the head of an image, which costs nothing, before anything is decoded.

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


class Batcher:
  """Collects images in a thread of its own, which is the only one that calls the model."""

  def __init__(
    self,
    predict: Callable[[Sequence[bytes]], list[Any]],
    max_batch: int,
    wait_seconds: float,
    max_waiting: int,
  ):
    """Starts the thread.

    Args:
      predict: from encoded images to an answer for each.
      max_batch: most images of a call.
      wait_seconds: how long the first image of a batch waits for others.
      max_waiting: most images that may wait.
    """
    self._predict = predict
    self._max_batch = max_batch
    self._wait_seconds = wait_seconds
    self._waiting: queue.Queue[tuple[bytes, futures.Future]] = queue.Queue(max_waiting)
    self.batches = self.images = 0
    threading.Thread(target=self._work, daemon=True).start()

  def submit(self, encoded: Sequence[bytes]) -> list[futures.Future]:
    """Puts images into the queue; their futures have the answers, or `BadImageError`.

    Raises:
      BusyError: the queue is full. Images of this request that are in it already are given up.
    """
    made: list[futures.Future] = []
    for image in encoded:
      future: futures.Future = futures.Future()
      try:
        self._waiting.put_nowait((image, future))
      except queue.Full:
        for each in made:
          each.cancel()
        raise BusyError('the server is busy, try again') from None
      made.append(future)
    return made

  def _work(self) -> None:
    while True:
      batch = [self._waiting.get()]
      end = time.monotonic() + self._wait_seconds
      while len(batch) < self._max_batch:
        try:
          batch.append(self._waiting.get(timeout=max(end - time.monotonic(), 0.0)))
        except queue.Empty:
          break
      self._answer([each for each in batch if each[1].set_running_or_notify_cancel()])

  def _answer(self, batch: list[tuple[bytes, futures.Future]]) -> None:
    if not batch:
      return
    try:
      answers = self._predict([image for image, _ in batch])
    except tf.errors.InvalidArgumentError:
      if len(batch) > 1:
        # One of them is damaged; the others are answered all the same.
        for each in batch:
          self._answer([each])
        return
      batch[0][1].set_exception(BadImageError('the image is damaged'))
      return
    except Exception as error:  # The thread must go on; each client hears of it.
      for _, future in batch:
        future.set_exception(error)
      return
    self.batches += 1
    self.images += len(batch)
    for (_, future), answer in zip(batch, answers, strict=True):
      future.set_result(answer)
