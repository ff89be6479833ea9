"""The manifest: where pseudo labels come from and what is in them.

Each label shard has a marker, `<label shard>.json`, written after the shard: a shard with a marker
is done. The manifest adds the markers up. Neither holds a time or a machine's name, so the same
labels give the same bytes.
"""

import contextlib
import dataclasses
import glob
import hashlib
import importlib.metadata
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import official_selftrain
from official_selftrain.core import errors, files
from official_selftrain.pseudo_labels import formats

FILE_NAME = 'manifest.json'
DEAD_LETTERS_NAME = 'dead_letters.jsonl'
# The manifest is read by people and loaded whole; the rest of a long list is in dead_letters.jsonl.
MAX_DEAD_LETTERS = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeadLetter:
  """An image that has no labels because it could not be read, decoded or predicted.

  Attributes:
    shard: file name of the image shard.
    index: position in the shard, from 0.
    source_id: the record's own id, or '<shard>:<index>' when it has none that can be read.
    reason: what went wrong.
  """

  shard: str
  index: int
  source_id: str
  reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Provenance:
  """Origin of labels.

  Attributes:
    teacher: description of the teacher, see `describe_teacher`; its digest decides whether shards
      are redone.
    config: JSON-serialisable settings that change the labels (input size, NMS, ...).
    versions: versions of the software, see `software_versions`; recorded, not compared.
    class_names: names of the classes from class 1 on; empty when they are not known. Labels hold ids, so other names do
      not make shards be written again; `reader.check_classes` compares them with those of the student.
  """

  teacher: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  versions: Mapping[str, str] = dataclasses.field(default_factory=lambda: software_versions())
  class_names: tuple[str, ...] = ()

  def digest(self, label_format: formats.LabelFormat) -> str:
    """Digest of everything that changes the labels; names and the place of the teacher's files do not count."""
    return self.digest_with(label_format.name, label_format.settings())

  def digest_with(self, name: str, settings: Mapping[str, Any]) -> str:
    """The same, for a label format that is known by its name and settings."""
    teacher = {key: value for key, value in self.teacher.items() if key != 'checkpoint'}
    return files.digest_of([name, dict(settings), teacher, dict(self.config)])


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardEntry:
  """One image shard and its label shard.

  Attributes:
    image_file: file name of the image shard, without folder.
    image_bytes: its size.
    records: number of its positions: labelled + empty + dead.
    label_file: file name of the label shard, without folder.
    label_bytes: its size.
    label_sha256: hex digest of the label shard.
    labelled: images with at least one label.
    empty: images without.
    dead: images that are dead letters.
    damaged: whether a plain TFRecord reader fails on the image shard.
  """

  image_file: str
  image_bytes: int
  records: int
  label_file: str
  label_bytes: int
  label_sha256: str
  labelled: int
  empty: int
  dead: int
  damaged: bool

  def __post_init__(self) -> None:
    """Nothing is ever silently lost."""
    if self.records != self.labelled + self.empty + self.dead:
      raise ValueError(f'the counts of {self.label_file} do not add up')


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardResult:
  """Result of labelling one image shard; the content of its marker.

  Attributes:
    entry: the files and the counts.
    summary: the format's counts.
    dead_letters: all of this shard.
    settings: `Provenance.digest` of the run that wrote it.
  """

  entry: ShardEntry
  summary: formats.Summary
  dead_letters: tuple[DeadLetter, ...]
  settings: str

  def __post_init__(self) -> None:
    """Every dead record has a letter."""
    if self.entry.dead != len(self.dead_letters):
      raise ValueError(
        f'the dead letters of {self.entry.label_file} are not as many as their count'
      )


def marker_path(label_path: str | os.PathLike[str]) -> str:
  """Path of the marker that says that a label shard is done."""
  return os.fspath(label_path) + '.json'


def write_marker(label_path: str | os.PathLike[str], result: ShardResult) -> None:
  """Marks a label shard as done."""
  files.write_json(marker_path(label_path), dataclasses.asdict(result))


def take_back(
  folder: str | os.PathLike[str],
  label_files: Sequence[str | os.PathLike[str]],
  settings: str | None = None,
) -> None:
  """Removes markers of label shards that will be written, and the manifest of their folder unless it stays true.

  Args:
    folder: where the label shards are.
    label_files: those that will be written.
    settings: `Provenance.digest` of what will be written: a manifest of the same stays, as other workers may rely on
      it. None removes any.
  """
  for path in map(marker_path, label_files):
    pathlib.Path(path).unlink(missing_ok=True)
  with contextlib.suppress(errors.DataError):
    if Manifest.load(folder).settings == settings:
      return
  pathlib.Path(folder, FILE_NAME).unlink(missing_ok=True)


def read_marker(label_path: str | os.PathLike[str]) -> ShardResult | None:
  """Reads the marker of a label shard; None without one that this version understands."""
  try:
    return files.parse_json(marker_path(label_path), _shard_result, 'Write the labels again.')
  except (FileNotFoundError, errors.DataError):
    return None


def _shard_result(value: Mapping[str, Any]) -> ShardResult:
  return ShardResult(
    entry=ShardEntry(**value['entry']),
    summary=value['summary'],
    dead_letters=tuple(DeadLetter(**letter) for letter in value['dead_letters']),
    settings=value['settings'],
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
  """All shards of one labelling run.

  Attributes:
    format: name of the label format.
    format_settings: its settings.
    provenance: teacher, config and software versions.
    shards: files and counts, in the order of the image files.
    summary: the format's counts over all shards.
    dead_letters: the first `MAX_DEAD_LETTERS` of them; dead_letters.jsonl has all.
  """

  format: str
  format_settings: Mapping[str, Any]
  provenance: Provenance
  shards: tuple[ShardEntry, ...]
  summary: formats.Summary
  dead_letters: tuple[DeadLetter, ...] = ()

  @property
  def settings(self) -> str:
    """`Provenance.digest` of the labels."""
    return self.provenance.digest_with(self.format, self.format_settings)

  @property
  def images(self) -> int:
    """Number of images: labelled + empty + dead."""
    return sum(shard.records for shard in self.shards)

  @property
  def labelled(self) -> int:
    """Number of images with at least one label."""
    return sum(shard.labelled for shard in self.shards)

  @property
  def empty(self) -> int:
    """Number of images without a label."""
    return sum(shard.empty for shard in self.shards)

  @property
  def dead(self) -> int:
    """Number of dead letters."""
    return sum(shard.dead for shard in self.shards)

  @property
  def class_names(self) -> tuple[str, ...]:
    """Names of the classes from class 1 on; empty in labels that were written without them."""
    return self.provenance.class_names

  @property
  def labels_sha256(self) -> str:
    """Digest of the digests of all label shards: tells labels from others."""
    return files.digest_of([shard.label_sha256 for shard in self.shards])

  @property
  def damaged(self) -> bool:
    """Whether any image shard needs the reader that survives damage."""
    return any(shard.damaged for shard in self.shards)

  def to_json(self) -> dict[str, Any]:
    """The content of manifest.json."""
    totals = {name: getattr(self, name) for name in ('images', 'labelled', 'empty', 'dead')}
    return {**dataclasses.asdict(self), 'totals': totals}

  @classmethod
  def load(cls, folder: str | os.PathLike[str]) -> 'Manifest':
    """Reads the manifest of a folder of label shards.

    Raises:
      DataError: There is no manifest, it was not written by this version's `save`, or the folder is in remote storage.
    """
    if '://' in os.fspath(folder):
      raise errors.DataError(
        f'The label shards of {folder} cannot be read: they must lie in a local folder or a mounted one. Copy the '
        'folder, or mount the storage. Images may lie in remote storage.'
      )
    path = pathlib.Path(folder, FILE_NAME)
    try:
      return files.parse_json(path, cls._parse, 'Write the labels again.')
    except FileNotFoundError as error:
      raise errors.DataError(
        f'{path} does not exist: the labels are not finished. Run the labels stage'
      ) from error

  @classmethod
  def _parse(cls, value: Mapping[str, Any]) -> 'Manifest':
    return cls(
      format=value['format'],
      format_settings=value['format_settings'],
      provenance=_provenance(value['provenance']),
      shards=tuple(ShardEntry(**entry) for entry in value['shards']),
      summary=value['summary'],
      dead_letters=tuple(DeadLetter(**letter) for letter in value['dead_letters']),
    )


def _provenance(value: Mapping[str, Any]) -> Provenance:
  """Provenance from JSON, which has no tuples, and, from older versions, no class names."""
  return Provenance(**{**value, 'class_names': tuple(value.get('class_names', ()))})


def save(
  folder: str | os.PathLike[str],
  label_format: formats.LabelFormat,
  provenance: Provenance,
  results: Sequence[ShardResult],
) -> Manifest:
  """Adds up the shards and writes manifest.json and dead_letters.jsonl.

  Args:
    folder: where the label shards are.
    label_format: their format.
    provenance: where they come from.
    results: one per shard, in the order of the image files.

  Returns:
    The manifest.
  """
  summary = label_format.new_summary()
  for result in results:
    summary = formats.merge_summaries(summary, result.summary)
  letters = [letter for result in results for letter in result.dead_letters]
  manifest = Manifest(
    format=label_format.name,
    format_settings=label_format.settings(),
    provenance=provenance,
    shards=tuple(result.entry for result in results),
    summary=summary,
    dead_letters=tuple(letters[:MAX_DEAD_LETTERS]),
  )
  lines = [json.dumps(dataclasses.asdict(letter), sort_keys=True) + '\n' for letter in letters]
  files.write_text(pathlib.Path(folder, DEAD_LETTERS_NAME), ''.join(lines))
  files.write_json(pathlib.Path(folder, FILE_NAME), manifest.to_json())
  return manifest


def describe_teacher(checkpoint: str, global_step: int) -> dict[str, str | int]:
  """Describes a teacher by its content, not only by its path.

  Args:
    checkpoint: prefix of a TensorFlow checkpoint, such as 'runs/teacher/ckpt-1500', local or in remote storage.
    global_step: number of training steps it had.

  Returns:
    `checkpoint`, `global_step` and `sha256`, a digest over the names and contents of the
    checkpoint's files.

  Raises:
    DataError: There is no such checkpoint.
  """
  if '://' in checkpoint:
    digests = _remote_digests(checkpoint)
  else:
    pattern = glob.escape(checkpoint)
    paths = sorted(glob.glob(f'{pattern}.index') + glob.glob(f'{pattern}.data-*'))
    digests = {path.removeprefix(checkpoint): files.sha256(path) for path in paths}
  if not digests:
    raise errors.DataError(
      f'No checkpoint has the prefix {checkpoint}; expected {checkpoint}.index next to its data'
    )
  # Suffixes only: best checkpoints are renamed, and a copy of a teacher is the same teacher.
  digest = files.digest_of([[suffix, digests[suffix]] for suffix in sorted(digests)])
  return {'checkpoint': checkpoint, 'global_step': int(global_step), 'sha256': digest}


def _remote_digests(checkpoint: str) -> dict[str, str]:
  """SHA-256 of a checkpoint's files by suffix."""
  import tensorflow as tf  # TensorFlow is slow to import, and local files do not need it.

  folder, prefix = checkpoint.rsplit('/', 1)
  found = {}
  for name in tf.io.gfile.listdir(folder) if tf.io.gfile.isdir(folder) else ():
    suffix = name.removeprefix(prefix)
    if name.startswith(prefix) and (suffix == '.index' or suffix.startswith('.data-')):
      with tf.io.gfile.GFile(f'{folder}/{name}', 'rb') as stream:
        digest = hashlib.sha256()
        while chunk := stream.read(1 << 20):
          digest.update(chunk)
      found[suffix] = digest.hexdigest()
  return found


def software_versions() -> dict[str, str]:
  """Versions of what changes predictions: this package, TensorFlow and the Model Garden."""
  others = ('tensorflow', 'tf-models-official')
  return {
    'official-selftrain': official_selftrain.__version__,
    **{name: importlib.metadata.version(name) for name in others},
  }
