"""The labeller: image shards in, label shards out.

`Labeller.label_shard` is a function of files with no memory between shards, so that a loop, a pool
of machines or a Beam pipeline can map it. `Labeller.run` is the loop: it skips finished shards and
writes the manifest.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import os
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

import tensorflow as tf
from absl import logging

from official_selftrain.core import errors, keys
from official_selftrain.pseudo_labels import batches, formats, shards, teachers
from official_selftrain.pseudo_labels import label_shard as label_shard_lib
from official_selftrain.pseudo_labels import manifest as manifest_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
  """Progress of `Labeller.run`.

  Attributes:
    images: images of this run that are done, dead letters included.
    bytes_done: bytes of image shards that are done, those of earlier runs included.
    bytes_total: bytes of all image shards.
    shards_done: finished shards, those of earlier runs included.
    shards_total: all shards.
  """

  images: int
  bytes_done: int
  bytes_total: int
  shards_done: int
  shards_total: int


class Labeller:
  """Writes pseudo labels with a teacher.

  Record i of a label shard is about record i of its image shard, always: images without labels and
  dead letters have a record too, which says so in keys.LABEL_STATUS.
  """

  def __init__(
    self,
    label_format: formats.LabelFormat,
    preprocess_fn: batches.PreprocessFn,
    predict_fn: teachers.PredictFn,
    provenance: manifest_lib.Provenance,
    batch_size: int = 16,
    num_parallel_calls: int = batches.PARALLEL_BATCHES,
    left_out: Mapping[str, str] | None = None,
    strategy: tf.distribute.Strategy | None = None,
  ):
    """Builds the labeller.

    Args:
      label_format: how predictions are stored.
      preprocess_fn: one encoded image (string scalar) -> the model's inputs for one image, with
        static shapes, and image/height and image/width of the original. Runs inside tf.data.
      predict_fn: those inputs, batched, always `batch_size` of them -> what the format's
        `postprocess` makes arrays with one row per image of. When these hold `num_detections`
        `[batch]`, the other arrays with a second dimension are cut to that many entries per image.
      provenance: what is recorded about teacher and settings.
      batch_size: images per call of `predict_fn`.
      num_parallel_calls: batches preprocessed at a time; each needs the memory of a batch of inputs.
      left_out: why images become dead letters, by id. It must be in the provenance.
      strategy: its replicas predict at the same time, each a batch of its own, so that labels do not
        depend on their number; None predicts where TensorFlow puts it.

    Raises:
      ConfigError: `batch_size` is below 1.
      ValueError: `preprocess_fn` returns no original size or a shape that is not static.
    """
    if batch_size < 1:
      raise errors.ConfigError(
        f'batch_size of the labeller is {batch_size}; allowed are integers from 1'
      )
    self._format = label_format
    self._left_out = left_out or {}
    self._provenance = provenance
    self._settings = provenance.digest(label_format)
    self._teacher = teachers.Teacher(predict_fn, strategy or tf.distribute.get_strategy())
    self._batches = batches.ImageBatches(preprocess_fn, batch_size, num_parallel_calls)
    self._turn = threading.Lock()

  def label_shard(self, image_file: str, label_file: str) -> manifest_lib.ShardResult:
    """Labels one shard and marks it as done.

    Args:
      image_file: TFRecord file of tf.Examples with image/encoded and, if known, image/source_id.
      label_file: the label shard to write; an old one is replaced.

    Returns:
      Counts, digests and dead letters.

    Raises:
      DataError: The image shard does not exist or is empty, or predictions contradict the format.
    """
    check_image_files([image_file])
    results = self._label([(image_file, label_file)], lambda images, end: None)
    with contextlib.closing(results):
      return next(results)

  def run(
    self,
    image_files: Sequence[str],
    output_dir: str,
    progress: Callable[[Progress], None] | None = None,
  ) -> manifest_lib.Manifest:
    """Labels all shards that are not done yet and writes the manifest.

    Args:
      image_files: image shards; their order is the order of the manifest.
      output_dir: where label shards, markers, manifest.json and dead_letters.jsonl go.
      progress: called after each batch and each shard.

    Returns:
      The manifest, over all shards, those that an earlier run or another worker had finished included.

    Raises:
      DataError: There is no image shard, one does not exist or is empty, two have the same file
        name, no image at all could be used, or predictions contradict the format.
    """
    results = self._label_missing(check_image_files(image_files), output_dir, progress)
    ordered = [results[path] for path in image_files]
    manifest = manifest_lib.save(output_dir, self._format, self._provenance, ordered)
    self._check_any_usable(manifest)
    return manifest

  def run_share(
    self,
    image_files: Sequence[str],
    output_dir: str,
    worker: int,
    workers: int,
    progress: Callable[[Progress], None] | None = None,
  ) -> None:
    """Labels one worker's part of the shards, every `workers`-th; `run` then finds them done and writes the manifest.

    Args:
      image_files: all image shards.
      output_dir: that of all workers.
      worker: its place among them, from 0.
      workers: how many they are.
      progress: see `run`; totals are those of the part.

    Raises:
      DataError: see `run`.
    """
    sizes = check_image_files(image_files)
    part = {path: sizes[path] for path in image_files[worker::workers]}
    self._label_missing(part, output_dir, progress)

  def run_one(self, image_file: str, output_dir: str) -> manifest_lib.ShardResult:
    """Labels one shard of many unless it is done; `run` then finds it done and writes the manifest.

    Threads may share a labeller: they take turns.

    Args:
      image_file: the image shard.
      output_dir: that of all shards.

    Returns:
      Its result, which may be that of an earlier run.

    Raises:
      DataError: the image shard does not exist or is empty, or predictions contradict the format.
    """
    with self._turn:
      return self._label_missing(check_image_files([image_file]), output_dir, None)[image_file]

  def _label_missing(
    self,
    sizes: Mapping[str, int],
    output_dir: str,
    progress: Callable[[Progress], None] | None,
  ) -> dict[str, manifest_lib.ShardResult]:
    """Labels image shards, given with their sizes in bytes, that are not done yet; the results of all of them."""
    label_files = {path: os.path.join(output_dir, shards.label_shard_name(path)) for path in sizes}
    results = {}
    for path in sizes:
      shards.remove_leftovers(label_files[path])
      shards.remove_leftovers(manifest_lib.marker_path(label_files[path]))
      done = self._finished(label_files[path], sizes[path])
      if done is not None:
        results[path] = done
    pending = [(path, label_files[path]) for path in sizes if path not in results]
    logging.info('%d of %d label shards are already done', len(results), len(sizes))
    if pending:
      # What an earlier labelling says of other labels must not stand beside these, whenever this one is stopped.
      manifest_lib.take_back(output_dir, [label_file for _, label_file in pending], self._settings)

    images_of_shards = 0

    def report(images: int, end: int) -> None:
      if progress is not None:
        state = Progress(
          images=images_of_shards + images,
          bytes_done=sum(sizes[path] for path in results) + end,
          bytes_total=sum(sizes.values()),
          shards_done=len(results),
          shards_total=len(sizes),
        )
        progress(state)

    with contextlib.closing(self._label(pending, report)) as labelling:
      for (path, _), result in zip(pending, labelling, strict=True):
        results[path] = result
        images_of_shards += result.entry.records
        report(0, 0)
    return results

  def _add_labels(self, predicted: teachers.Predicted, shard: label_shard_lib.LabelShard) -> None:
    """Adds images to the shard that is being made, with what the teacher predicts for them; in the host's thread."""
    for batch, outputs in zip(predicted.group, predicted.outputs, strict=True):
      shard.add_predictions(batch.records, outputs)

  def _check_any_usable(self, manifest: manifest_lib.Manifest) -> None:
    """Raises DataError if every image is a dead letter: that is a wrong input, not a bad image."""
    if manifest.dead == manifest.images:
      first = manifest.dead_letters[0]
      is_left_out = first.reason in self._left_out.values()
      expected = (
        ''
        if is_left_out
        else f'. Expected: TFRecord files of tf.Examples with {keys.IMAGE_ENCODED}'
      )
      raise errors.DataError(
        f'None of the {manifest.images} unlabelled images could be used. The first one, record '
        f'{first.index} of {first.shard}: {first.reason}{expected}'
      )

  def _finished(self, label_file: str, image_bytes: int) -> manifest_lib.ShardResult | None:
    """The result of an earlier run if it is valid for these images and settings, else None."""
    result = manifest_lib.read_marker(label_file)
    if result is None or not os.path.exists(label_file):
      return None
    found = (os.path.getsize(label_file), image_bytes, self._settings)
    if found == (result.entry.label_bytes, result.entry.image_bytes, result.settings):
      return result
    logging.info('%s is of other images, settings or another teacher: writing it again', label_file)
    return None

  def _label(
    self, pending: Sequence[tuple[str, str]], report: Callable[[int, int], None]
  ) -> Generator[manifest_lib.ShardResult, None, None]:
    """Labels shards in turn.

    Args:
      pending: image shards and the label shards to write.
      report: called after each batch with the shard's images done so far and the offset in bytes.

    Yields:
      A result for each shard, after it was written and before anything is reported of the next one.
    """
    with contextlib.ExitStack() as stack:
      reading = stack.enter_context(
        contextlib.closing(self._batches.read([image_file for image_file, _ in pending]))
      )
      predictions = stack.enter_context(self._teacher.predictions(reading))
      # The host processes a batch, or writes a shard, while the model works on the next batch.
      host = _Host(stack.enter_context(concurrent.futures.ThreadPoolExecutor(max_workers=1)))
      for image_file, label_file in pending:
        shard = label_shard_lib.LabelShard(image_file, self._format, self._left_out)
        images = 0
        while isinstance(item := next(predictions), teachers.Predicted):
          yield from host.then(functools.partial(self._add_labels, item, shard))
          images += sum(len(batch.records) for batch in item.group)
          report(images, item.group[-1].records[-1].end)
        yield from host.then(functools.partial(shard.write, label_file, item, self._settings))
      yield from host.then(None)


class _Host:
  """Does one thing after the other in a thread of its own, at most one of them at a time."""

  def __init__(self, thread: concurrent.futures.Executor):
    self._thread = thread
    self._doing: concurrent.futures.Future[manifest_lib.ShardResult | None] | None = None

  def then(
    self, work: Callable[[], manifest_lib.ShardResult | None] | None
  ) -> Iterator[manifest_lib.ShardResult]:
    """Waits for what it does now, then begins other work, if any; yields the result of what has ended, if any."""
    ended = self._doing.result() if self._doing is not None else None
    self._doing = self._thread.submit(work) if work is not None else None
    if ended is not None:
      yield ended


def check_image_files(image_files: Sequence[str]) -> dict[str, int]:
  """Checks that image shards can be labelled.

  Args:
    image_files: paths of image shards.

  Returns:
    Their sizes in bytes, by path.

  Raises:
    DataError: There is none, one does not exist or is empty, or two have the same file name.
  """
  if not image_files:
    raise errors.DataError('There are no unlabelled images; give at least one TFRecord file')
  names = collections.Counter(os.path.basename(path) for path in image_files)
  name, times = names.most_common(1)[0]
  if times > 1:
    raise errors.DataError(
      f'{times} unlabelled image files are called {name}; their label shards would overwrite each '
      'other. Give every file a different name'
    )
  sizes = {path: shards.file_size(path) for path in image_files}
  for path, size in sizes.items():
    if not size:
      raise errors.DataError(
        f'The unlabelled image file {path} holds no record (0 bytes); remove it or write it again'
      )
  return sizes
