"""Memory of this process."""

import os
import pathlib


def resident_bytes() -> int:
  """What the process holds in RAM now, shared libraries included."""
  pages = int(pathlib.Path('/proc/self/statm').read_text(encoding='ascii').split()[1])
  return pages * os.sysconf('SC_PAGE_SIZE')


def gibibytes(number: float) -> str:
  """A number of bytes in words, `1.25 GiB`."""
  return f'{number / 2**30:.3g} GiB'
