"""Reads records that people have labelled, and looks for bad ones among them."""

from collections.abc import Callable
from typing import TypeAlias

import tensorflow as tf
from official.core import config_definitions as cfg

from official_selftrain.core import console
from official_selftrain.dataloaders import fractions, record_order, tfrecords
from official_selftrain.ops import pipelines

Example = dict[str, tf.Tensor]
InputContext: TypeAlias = tf.distribute.InputContext | None
# From a serialized record to an example, and from there to one whose labels are checked.
DecodingSteps: TypeAlias = tuple[Callable[[tf.Tensor], Example], Callable[[Example], Example]]


def find_bad(
  params: cfg.DataConfig, field: str, check: Callable[[cfg.DataConfig, tf.Tensor], None]
) -> str | None:
  """See `StreamsMixin.find_bad_record`; `check` is as `StreamsMixin.check_record`."""
  if not params.input_path:
    return None
  files = tfrecords.match_files(params.input_path, f'task.{field}.input_path')
  for fault in tfrecords.examine(files, lambda record: check(params, record)):
    if fault and not (fault.is_unreadable and params.skip_errors):
      advice = ' Repair or remove it.'
      if fault.is_unreadable:
        advice = f' Repair or remove it, or set task.{field}.skip_errors to leave such records out.'
      return fault.text + ('' if fault.text.endswith('.') else '.') + advice
  return None


def examples(
  path_name: str,
  decoding_steps: Callable[[cfg.DataConfig], DecodingSteps],
  params: cfg.DataConfig,
  options: record_order.StreamOptions,
  input_context: InputContext,
) -> tf.data.Dataset:
  """Reads labelled images; with the first two arguments given it is a `stream_specs.ReadExamples`.

  Args:
    path_name: dotted name of the setting with the paths, for messages.
    decoding_steps: see `StreamsMixin.decoding_steps`.
    params: the stream's config.
    options: order and start.
    input_context: the host's place among others.

  Returns:
    Dataset of int64 ordinals and decoded examples.

  Raises:
    DataError: no file matches, or all are empty.
  """
  files = tfrecords.match_files(params.input_path, path_name)
  tfrecords.check_not_empty(files, path_name)
  corrected = _corrected_files(params, path_name)
  if params.fraction < 1:
    parts = fractions.choose(files, params.fraction, params.fraction_seed, params.skip_errors)
    drawn = sum(sum(is_chosen) for _, is_chosen in parts)
    # Pictures of a first batch read the stream, too.
    console.note_once(
      f'{path_name}: {drawn} images, a fraction of {params.fraction:g} drawn with seed {params.fraction_seed}'
    )
    parts += fractions.choose(corrected, 1.0, 0, params.skip_errors) if corrected else []
    source: record_order.RecordFiles = fractions.PartFiles(parts)
  else:
    source = tfrecords.TFRecordFiles([*files, *corrected])
  dataset = tfrecords.record_stream(source, options, input_context)
  return decoded(dataset, params, decoding_steps(params))


def decoded(
  dataset: tf.data.Dataset, params: cfg.DataConfig, steps: DecodingSteps
) -> tf.data.Dataset:
  """From ordinals and records to ordinals and examples; `skip_errors` concerns decoding alone."""
  decode, check = steps
  dataset = pipelines.map_in_order(dataset, lambda i, record: (i, decode(record)))
  if params.skip_errors:
    dataset = dataset.ignore_errors(log_warning=True)
  return pipelines.map_in_order(dataset, lambda i, example: (i, check(example)))


def _corrected_files(params: cfg.DataConfig, path_name: str) -> list[str]:
  if not params.is_training or not params.corrected_path:
    return []
  return tfrecords.match_files(
    params.corrected_path, f'{path_name.removesuffix("input_path")}corrected_path'
  )
