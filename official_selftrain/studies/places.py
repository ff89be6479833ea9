"""Where a study keeps what: names of files and folders below its directory."""

import dataclasses
import os

from official_selftrain.core import files


@dataclasses.dataclass(frozen=True)
class Places:
  """The directory of a study."""

  root: str

  @property
  def products(self) -> str:
    """Products that runs share, see `pipeline.sharing`."""
    return os.path.join(self.root, 'products')

  @property
  def data(self) -> str:
    """The embedded data sets that runs share."""
    return os.path.join(self.root, 'data')

  @property
  def results(self) -> str:
    """`study.json`, from which another directory can go on."""
    return os.path.join(self.root, 'study.json')

  def run(self, cell: str) -> str:
    """Run directory of a cell."""
    return os.path.join(self.root, 'cells', cell)

  def model(self, cell: str, kind: str) -> str:
    """Folder of a model of a cell, `control` or `student` being those of its last round, as its report says."""
    report = os.path.join(self.run(cell), 'report.json')
    rounds = len(files.read_json(report).get('rounds') or ()) if os.path.exists(report) else 1
    is_of_a_round = kind in ('control', 'student') and rounds > 1
    return os.path.join(self.run(cell), f'{kind}-{rounds}' if is_of_a_round else kind)

  def settings(self, cell: str) -> str:
    """Its settings, a YAML file for `train.py --config_file`."""
    return os.path.join(self.root, 'cells', f'{cell}.yaml')

  def done(self, cell: str) -> str:
    """Digest of the settings with which it was finished."""
    return os.path.join(self.root, 'cells', f'{cell}.done.json')

  def failure(self, cell: str) -> str:
    """Why its last start failed."""
    return os.path.join(self.root, 'cells', f'{cell}.failed.json')

  def waiting(self, cell: str) -> str:
    """The lease for which its last start had no patience."""
    return os.path.join(self.root, 'cells', f'{cell}.waiting.json')

  @property
  def page_lease(self) -> str:
    """Held by the process that writes results and page."""
    return os.path.join(self.root, 'leases', 'study.json')

  def lease(self, cell: str) -> str:
    """Held by the process that works on a cell."""
    return os.path.join(self.root, 'leases', cell)
