"""Whether label shards are still the files that were written.

At the start of every run sizes and dates are compared, not contents: the confidences of ImageNet's masks are tens of
gigabytes. The date of a shard's marker says up to when its content is known. The marker is written after the shard, so
a shard that is newer than its marker was changed since, or both were copied without their dates. Such a shard is
hashed. If its digest is the manifest's, the marker takes the shard's date, and the next start does not hash it again.

A change that keeps size and date is not seen here. The program `official_selftrain.pseudo_labels.verify` reads
everything.
"""

import contextlib
import os
from collections.abc import Sequence

from official_selftrain.core import console, errors, files
from official_selftrain.pseudo_labels import manifest as manifest_lib

OTHER_DIGEST = 'is not the file that was written (its SHA-256 differs)'


def size_fault(label_file: str, entry: manifest_lib.ShardEntry) -> str | None:
  """The fault of a label shard, judged by its size.

  Args:
    label_file: path of the label shard.
    entry: what the manifest says of it.

  Returns:
    The end of a sentence about the shard, or None.
  """
  if not os.path.exists(label_file):
    return 'is missing'
  size = os.path.getsize(label_file)
  if size != entry.label_bytes:
    return f'has {size} bytes, but {entry.label_bytes} were written'
  return None


def check_dates(label_dir: str, shards: Sequence[manifest_lib.ShardEntry], advice: str) -> None:
  """Hashes the label shards that are newer than their markers.

  A shard without a marker is compared with the date of the manifest, and nothing is remembered of it.

  Args:
    label_dir: folder of the label shards, their markers and their manifest.
    shards: the shards; all of them exist.
    advice: end of the message.

  Raises:
    LabelMismatchError: A shard that was hashed is not the file that was written.
  """
  newer = []
  for entry in shards:
    label_file = os.path.join(label_dir, entry.label_file)
    date = os.stat(label_file).st_mtime_ns
    if date > _known_until(label_dir, label_file):
      newer.append((entry, label_file, date))
  if newer:
    gigabytes = sum(entry.label_bytes for entry, _, _ in newer) / 1e9
    console.note(
      f'{len(newer)} of {len(shards)} label shards in {label_dir} are newer than their markers, as after a copy '
      f'without dates: comparing their SHA-256 ({gigabytes:.1f} GB)'
    )
  for entry, label_file, date in newer:
    if files.sha256(label_file) != entry.label_sha256:
      raise errors.LabelMismatchError(
        f'The label shard {label_file} of {entry.image_file} {OTHER_DIGEST}. {advice}'
      )
    # The date from before hashing: a change during it makes the shard newer again. In a folder that may not be
    # written, or without a marker, the shard is hashed at every start.
    with contextlib.suppress(OSError):
      os.utime(manifest_lib.marker_path(label_file), ns=(date, date))


def _known_until(label_dir: str, label_file: str) -> int:
  """Date of the marker of a label shard, or of the manifest when there is no marker, in nanoseconds."""
  marker = manifest_lib.marker_path(label_file)
  known = marker if os.path.exists(marker) else os.path.join(label_dir, manifest_lib.FILE_NAME)
  return os.stat(known).st_mtime_ns
