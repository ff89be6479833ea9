"""Reads a prepared data set whole and checks that it is what was written.

  python -m official_selftrain.datasets.verify --dataset=data

Every record is read, with TFRecord's checksums, and the digests of the files, COCO annotations among them, are compared
with those of the data card. Cards of earlier versions have none of annotations, which are then not looked at.
A table has one row for each file. The program ends with status 2 when something is wrong. Training itself only looks
whether the files are there.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence

import tensorflow as tf
from google.protobuf import message  # type: ignore[import-untyped]

from official_selftrain.core import console, dataset_card, errors, files, program
from official_selftrain.datasets import tf_examples

_GOOD = 'as written'


def verify(directory: str | os.PathLike[str]) -> Iterator[tuple[str, str]]:
  """Checks the files of a data set, one after the other.

  Args:
    directory: of the data set.

  Yields:
    Name of a file of records or annotations, and what is wrong with it; '' if nothing is.

  Raises:
    DataError: there is no data card, or a file is missing.
  """
  for each in dataset_card.read(directory).sets().values():
    for name, expected in each.files.items():
      yield name, _fault(os.path.join(directory, name), expected)
    if each.annotation_digest:
      is_same = (
        files.sha256(os.path.join(directory, each.annotation_file)) == each.annotation_digest
      )
      yield each.annotation_file, '' if is_same else 'has another content than the data card says'


def main(arguments: Sequence[str] | None = None) -> int:
  """Command line; returns the exit status."""
  parser = argparse.ArgumentParser(
    prog='python -m official_selftrain.datasets.verify',
    description='Checks that a prepared data set is what was written.',
  )
  parser.add_argument('--dataset', required=True, help='directory of the data set')
  options = parser.parse_args(arguments)
  return program.run(lambda: _run(options.dataset))


def _run(directory: str) -> None:
  found = list(verify(directory))
  console.say(console.table([(name, fault or _GOOD) for name, fault in found], ('file', 'state')))
  wrong = [name for name, fault in found if fault]
  if wrong:
    raise errors.DataError(
      f'{len(wrong)} of {len(found)} files of {directory} are not as they were written; the first is {wrong[0]}. '
      'Prepare or copy them again.'
    )


def _fault(path: str, expected: str) -> str:
  digest = tf_examples.RecordsDigest()
  try:
    for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
      digest.add_record(record)
  except (tf.errors.OpError, message.DecodeError) as error:
    return errors.first_line(error)
  return '' if digest.hexdigest() == expected else 'has other records than the data card says'


if __name__ == '__main__':
  sys.exit(main())
