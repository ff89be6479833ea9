"""Shares the products of stages between runs: what has the same key is made once.

A shelf is a folder with one folder per key (see `planning.keys`): the files of a product and the record of its stage. A
run takes a product by hard links, so it costs neither time nor space and every run directory is whole: it can be moved,
looked at, or gone on with by itself. Checkpoints and labels are only replaced or removed, never changed in place, so a
link is as good as a copy. Small files, such as logs that a later evaluation adds to, are copied; so are all where the
file system has no hard links.
"""

import contextlib
import dataclasses
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from official_selftrain.core import console, errors, files, lease
from official_selftrain.pipeline import graph, ledger, planning

_RECORD = 'record.json'
_LOCKS = 'locks'
# Bytes below which a file is copied.
_SMALL = 1 << 20


class BusyError(errors.SelfTrainError):
  """Another process is making a product that is needed here.

  Attributes:
    lease_path: lease that is free again when it has ended.
  """

  def __init__(self, stage: str, lease_path: str):
    super().__init__(f'{stage}: another process is making it.')
    self.lease_path = lease_path


@dataclasses.dataclass(frozen=True)
class Shelf:
  """A folder of products that runs share.

  Attributes:
    folder: of the products; made when missing.
    lifetime: of leases, see `lease.hold`.
  """

  folder: str
  lifetime: float = lease.LIFETIME

  def make(
    self,
    records: ledger.Ledger,
    stage: graph.Stage,
    inputs: planning.Inputs,
    key: str,
    work: Callable[[], dict[str, Any]],
  ) -> None:
    """Takes the product of a stage from the shelf, or makes it and puts it there.

    Args:
      records: of the run that needs it.
      stage: the stage.
      inputs: what it works with.
      key: the name of its product.
      work: makes it, see `ledger.Ledger.execute`.

    Raises:
      BusyError: another process is making it.
    """
    with self._turn(stage, key):
      found = self._take(records, stage, key)
      if found is not None:
        console.note(f'{stage.name}: another run has made it')
        records.adopt(stage, inputs, key, found['seconds'], found['result'])
        return
      records.execute(stage, inputs, key, work)
      self._put(records, stage, key)

  def offer(self, records: ledger.Ledger, stage: graph.Stage, key: str) -> None:
    """Puts the product of a finished stage on the shelf where it is missing: a kill may have come before that.

    Args:
      records: of the run that has it.
      stage: the stage.
      key: the name of its product.
    """
    if not os.path.exists(os.path.join(self.folder, key)):
      with contextlib.suppress(BusyError), self._turn(stage, key):
        self._put(records, stage, key)

  @contextlib.contextmanager
  def _turn(self, stage: graph.Stage, key: str) -> Iterator[None]:
    """Keeps other processes from making the product with this key while the body runs.

    Raises:
      BusyError: another one is making it.
    """
    path = os.path.join(self.folder, _LOCKS, key)
    with lease.hold(path, self.lifetime) as is_ours:
      if not is_ours:
        raise BusyError(stage.name, path)
      yield

  def _take(self, records: ledger.Ledger, stage: graph.Stage, key: str) -> dict[str, Any] | None:
    """Puts the product with a key into a run directory.

    Args:
      records: of the run; what a start that was given up has left of the product is replaced.
      stage: that makes it.
      key: of its product.

    Returns:
      What `_put` wrote: `seconds` and `result`. None when there is no such product.
    """
    product = os.path.join(self.folder, key)
    record = os.path.join(product, _RECORD)
    if not os.path.exists(record):
      return None
    records.clear(stage)
    for name in stage.makes:
      _link(os.path.join(product, name), os.path.join(records.model_dir, name))
    found: dict[str, Any] = files.read_json(record)
    return found

  def _put(self, records: ledger.Ledger, stage: graph.Stage, key: str) -> None:
    """Puts the finished product of a run on the shelf, whole or not at all, without what people have put into it.

    Args:
      records: of the run.
      stage: that made it.
      key: of its product.
    """
    product = os.path.join(self.folder, key)
    if os.path.exists(product):
      return
    temporary = f'{product}.{uuid.uuid4().hex}'
    for name in stage.makes:
      _link(os.path.join(records.model_dir, name), os.path.join(temporary, name))
    for name in stage.keeps:
      files.remove(os.path.join(temporary, name))
    (seconds,) = records.seconds((stage.name,)).values()
    files.write_json(
      os.path.join(temporary, _RECORD),
      {'stage': stage.name, 'seconds': seconds, 'result': records.result(stage.name)},
    )
    os.rename(temporary, product)


def _link(source: str, target: str) -> None:
  """Makes a file or a tree appear under another name, too."""
  os.makedirs(os.path.dirname(target), exist_ok=True)
  if os.path.isdir(source):
    shutil.copytree(source, target, copy_function=_link_file, dirs_exist_ok=True)
  elif os.path.exists(source):
    _link_file(source, target)


def _link_file(source: str, target: str) -> None:
  if os.path.getsize(source) >= _SMALL:
    with contextlib.suppress(OSError):
      os.link(source, target)
      return
  shutil.copy2(source, target)
