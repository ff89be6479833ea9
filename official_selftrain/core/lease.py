"""Locks between processes, on one machine or several that share a folder: a file with a heartbeat.

A lease is a file that only one process can create. Its owner renews it while it works. One that was not renewed for
`LIFETIME` seconds belongs to a process that is dead, as does one whose process was on this machine and is gone: the
next one renames it away, which only one can, and creates its own. Ages are differences between times of the file system
that holds the files, so that clocks need not agree.

An owner that was suspended for longer than that, such as a laptop asleep, finds another's file in the place of its own
when it wakes up. Its process ends then at once: whatever it still wrote would go among the other's files.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

# Seconds without a heartbeat after which a lease is another's to take.
LIFETIME = 60.0
# Exit status of a process whose lease is another's.
_LOST = 2


@contextlib.contextmanager
def hold(path: str, lifetime: float = LIFETIME) -> Iterator[bool]:
  """Holds a lease while the body runs.

  Args:
    path: of the lease; its folder is created when missing.
    lifetime: seconds after which the lease of a dead process is taken over; it is renewed six times as often.

  Yields:
    Whether it is held: False when another process has it.
  """
  os.makedirs(os.path.dirname(path), exist_ok=True)
  owner = _Owner(path, lifetime)
  if not owner.take():
    yield False
    return
  owner.start()
  try:
    yield True
  finally:
    owner.release()


@contextlib.contextmanager
def wait(path: str, seconds: float = 0.2) -> Iterator[None]:
  """Waits for a lease, looking every so many seconds, and holds it while the body runs."""
  while True:
    with hold(path) as is_ours:
      if is_ours:
        yield
        return
    time.sleep(seconds)


def is_held(path: str, lifetime: float = LIFETIME) -> bool:
  """Whether some process holds a lease now."""
  age = _age(path)
  return age is not None and age <= lifetime and not _is_gone(_read(path))


def owner(path: str) -> str:
  """Who holds a lease, in words that follow others; '' if that cannot be read."""
  found = _read(path)
  return f' (process {found["pid"]} on {found["host"]})' if {'pid', 'host'} <= found.keys() else ''


class _Owner:
  """This process as the owner of one lease."""

  def __init__(self, path: str, lifetime: float):
    self._path = path
    self._lifetime = lifetime
    self._token = uuid.uuid4().hex
    self._stop = threading.Event()
    self._thread = threading.Thread(target=self._beat, daemon=True)

  def take(self) -> bool:
    """Creates the file, after removing one whose owner is dead; whether that worked."""
    who = {'host': socket.gethostname(), 'pid': os.getpid(), 'processes': _processes()}
    for _ in range(2):
      if _create(self._path, {**who, 'token': self._token}):
        return True
      if is_held(self._path, self._lifetime):
        return False
      self._bury()
    return False

  def _bury(self) -> None:
    """Renames a dead lease away; of several processes that try, one gets each file."""
    grave = f'{self._path}.{self._token}.dead'
    with contextlib.suppress(FileNotFoundError):
      os.rename(self._path, grave)
      # Between the look and the rename another may have taken it over: then it is alive, and goes back.
      if is_held(grave, self._lifetime):
        _create(self._path, _read(grave))
      os.remove(grave)

  def start(self) -> None:
    """Starts the heartbeat."""
    self._thread.start()

  def release(self) -> None:
    """Ends the heartbeat and removes the file, if it is still ours."""
    self._stop.set()
    self._thread.join()
    if self._is_ours():
      os.remove(self._path)

  def _beat(self) -> None:
    while not self._stop.wait(self._lifetime / 6):
      if self._is_lost():
        print(
          f'error: another process has taken over {self._path}; ending.',
          file=sys.stderr,
          flush=True,
        )
        os._exit(_LOST)
      with contextlib.suppress(OSError):
        os.utime(self._path)

  def _is_lost(self) -> bool:
    """Whether another process has taken the lease over, and may have given it back since.

    What cannot be read, on a file system that fails for a moment, has not been taken over.
    """
    try:
      with open(self._path, encoding='utf-8') as stream:
        value = json.load(stream)
    except FileNotFoundError:
      return True
    except (OSError, ValueError):
      return False
    return not isinstance(value, dict) or value.get('token') != self._token

  def _is_ours(self) -> bool:
    return bool(_read(self._path).get('token') == self._token)


def _create(path: str, content: Mapping[str, Any]) -> bool:
  """Creates a file that must not exist yet; whether that worked. Needs no hard links."""
  try:
    with open(path, 'x', encoding='utf-8') as stream:
      json.dump(content, stream)
  except FileExistsError:
    return False
  return True


def _age(path: str) -> float | None:
  """Seconds since the last heartbeat by the file system's own clock; None without a lease.

  A heartbeat in the future is from before that clock was set back. It counts as one of now, and is written so: its
  owner, if it lives, will renew it, and else it ages from here on, not only when the clock has caught up.
  """
  probe = f'{path}.{uuid.uuid4().hex}.now'
  try:
    then = os.stat(path).st_mtime
    with open(probe, 'w', encoding='utf-8'):
      now = os.stat(probe).st_mtime
    os.remove(probe)
    if now < then:
      with contextlib.suppress(PermissionError):  # Another user's waits for its owner.
        os.utime(path)
  except FileNotFoundError:
    return None
  return max(now - then, 0.0)


def _read(path: str) -> dict[str, Any]:
  """What is written in a lease; empty if it is gone or cannot be read."""
  try:
    with open(path, encoding='utf-8') as stream:
      value = json.load(stream)
  except (OSError, ValueError):
    return {}
  return value if isinstance(value, dict) else {}


def _is_gone(found: Mapping[str, Any]) -> bool:
  """Whether an owner's number means something here, and there is no process of that number."""
  if not found.get('processes') or found['processes'] != _processes():
    return False
  return not os.path.exists(f'/proc/{found["pid"]}')


def _processes() -> str:
  """Identifies the numbering of processes: that of this start of this machine, and of this container; '' if unknown."""
  try:
    with open('/proc/sys/kernel/random/boot_id', encoding='ascii') as stream:
      return f'{stream.read().strip()} {os.readlink("/proc/self/ns/pid")}'
  except OSError:
    return ''
