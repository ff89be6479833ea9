"""Predicts on images that have no prediction yet, a batch at a time, while the next batch is read."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent import futures

import tensorflow as tf

from official_selftrain.core import console, errors
from official_selftrain.prediction import images, journal, models

_Batch = list[tuple[images.Image, images.Read]]


def predict(
  model: models.Model, found: Sequence[images.Image], done: journal.Journal, batch_size: int
) -> None:
  """Predicts on all images that are not in the journal.

  Args:
    model: the model.
    found: the images.
    done: the journal, which takes in each batch.
    batch_size: images at a time; that of the model, if it has one of its own.
  """
  missing = [image for image in found if not done.has(image)]
  already = len(found) - len(missing)
  size = model.batch_size or batch_size
  with console.Progress('predict', len(found), 'images', initial=already) as bar:
    left_out = 0
    for count, batch in enumerate(_batches(missing, size), start=1):
      entries = list(_entries(model, batch))
      done.add(entries)
      left_out += sum(entry.prediction is None for entry, _ in entries)
      bar.update(already + min(count * size, len(missing)), left_out=left_out)


def _batches(found: Sequence[images.Image], size: int) -> Iterator[_Batch]:
  """Images in batches; the next one is read in the background."""

  def read(batch: Iterable[images.Image]) -> _Batch:
    return [(image, images.read(image)) for image in batch]

  with futures.ThreadPoolExecutor(1) as pool:
    coming: futures.Future[_Batch] | None = None
    for start in range(0, len(found), size):
      following = pool.submit(read, found[start : start + size])
      if coming is not None:
        yield coming.result()
      coming = following
    if coming is not None:
      yield coming.result()


def _entries(model: models.Model, batch: _Batch) -> Iterator[tuple[journal.Entry, images.Image]]:
  """What goes into the journal for a batch, in the order of the images."""
  encoded = [read.encoded for _, read in batch if read.encoded is not None]
  answers = iter(_answers(model, encoded))
  for image, read in batch:
    answer: models.Prediction | str = read.reason
    if read.encoded is not None:
      answer = next(answers)
    if isinstance(answer, str):
      yield journal.Entry(image.name, reason=answer), image
    else:
      yield journal.Entry(image.name, read.height, read.width, '', answer), image


def _answers(model: models.Model, encoded: Sequence[bytes]) -> list[models.Prediction | str]:
  """Predictions for images; for one that the model cannot decode, the reason."""
  if not encoded:
    return []
  try:
    return list(model(encoded))
  except tf.errors.InvalidArgumentError as error:
    # Anything else is no fault of an image: the run stops.
    if len(encoded) == 1:
      return [errors.first_line(error)]
    return [answer for each in encoded for answer in _answers(model, [each])]
