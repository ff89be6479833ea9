"""Finds unlabelled images that changed after they were labelled; used to explain a failure after the fact."""

import os
from collections.abc import Sequence

from official_selftrain.pseudo_labels import manifest, shards


def first_changed(image_files: Sequence[str], label_dir: str) -> str | None:
  """The first record that cannot be read now, but could be when it was labelled.

  Args:
    image_files: unlabelled shards.
    label_dir: folder of their labels.

  Returns:
    File, record, reason and what to do, in a sentence; None if there is none.
  """
  for path in image_files:
    marker = manifest.read_marker(os.path.join(label_dir, shards.label_shard_name(path)))
    known = {letter.index for letter in marker.dead_letters} if marker else set()
    for record in shards.iterate(path):
      if record.serialized is None and record.index not in known:
        return (
          f'{path}, record {record.index}: {record.reason}. It could be read when it was labelled; restore the file, '
          'or write the labels again.'
        )
  return None
