"""Files that are either whole or absent."""

import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Callable
from typing import Any, TypeVar

from official_selftrain.core import errors

_T = TypeVar('_T')

_TEMPORARY_SUFFIX = '.tmp'


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
  """Writes `content` so that a reader sees all of it or no file at all.

  Args:
    path: destination; its folder is created when missing.
    content: the whole content.
  """
  target = pathlib.Path(path)
  target.parent.mkdir(parents=True, exist_ok=True)
  temporary = target.with_name(target.name + _TEMPORARY_SUFFIX)
  with open(temporary, 'wb') as stream:
    stream.write(content)
    stream.flush()
    os.fsync(stream.fileno())
  os.replace(temporary, target)


def write_text(path: str | os.PathLike[str], text: str) -> None:
  """`write_bytes` for UTF-8 text."""
  write_bytes(path, text.encode('utf-8'))


def write_json(path: str | os.PathLike[str], value: object) -> None:
  """Writes `value` as indented JSON with sorted keys.

  Args:
    path: destination; its folder is created when missing.
    value: what JSON can hold.

  Raises:
    ValueError: `value` contains NaN or an infinity.
    TypeError: `value` contains something else that JSON cannot hold.
  """
  write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + '\n')


def read_json(path: str | os.PathLike[str]) -> Any:
  """Reads a JSON file."""
  return json.loads(pathlib.Path(path).read_text(encoding='utf-8'))


def parse_json(path: str | os.PathLike[str], parse: Callable[[Any], _T], advice: str) -> _T:
  """Reads a JSON file that one of our programs has written.

  Args:
    path: of the file.
    parse: makes the result of the file's value; it need not check the form of that.
    advice: what to do about a damaged file; the end of the message.

  Returns:
    The result.

  Raises:
    FileNotFoundError: there is no such file.
    DataError: its value is not JSON, or not what `parse` expects.
  """
  try:
    return parse(read_json(path))
  except errors.SelfTrainError:
    raise
  except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
    reason = f'{type(error).__name__}: {errors.first_line(error)}'
    raise errors.DataError(
      f'{path} is damaged, or another version has written it ({reason}). {advice}'
    ) from error


def temporary_path(path: str | os.PathLike[str]) -> str:
  """The name under which a file is written before it is renamed to `path`."""
  return os.fspath(path) + _TEMPORARY_SUFFIX


def publish(path: str | os.PathLike[str]) -> None:
  """Makes the finished file at `temporary_path(path)` appear as `path`."""
  os.replace(temporary_path(path), path)


def sha256(path: str | os.PathLike[str]) -> str:
  """Hex SHA-256 digest of a file, read in chunks of 1 MiB."""
  digest = hashlib.sha256()
  with open(path, 'rb') as stream:
    while chunk := stream.read(1 << 20):
      digest.update(chunk)
  return digest.hexdigest()


def digest_of(value: object) -> str:
  """Hex SHA-256 of a JSON-serialisable value, independent of the order of its keys."""
  return hashlib.sha256(json.dumps(value, sort_keys=True).encode('utf-8')).hexdigest()


def remove(path: str | os.PathLike[str]) -> None:
  """Removes a file or a folder with all it holds; nothing happens when there is none."""
  if os.path.isdir(path):
    shutil.rmtree(path)
  elif os.path.exists(path):
    os.remove(path)


def check_is_local(flag: str, path: str) -> None:
  """Raises ConfigError for a path in remote storage, such as gs://; `flag` gave it."""
  scheme, separator, _ = path.partition('://')
  if separator:
    raise errors.ConfigError(
      f'{flag}={path}: the output must be a local path or a mounted one, because files are renamed into place; '
      f'{scheme}:// cannot do that. Write it to a local folder and copy it, or mount the storage.'
    )
