"""Rewrites requirements.lock and requirements-beam.lock from setup.cfg: `make lock`, or `make lock UPGRADE=1`.

uv resolves for CPython 3.11 on Linux x86-64 and names every file of that platform with its digest.
This script keeps the digests of the wheels, or of the source archive where a release has no wheel,
and drops the addresses: pip finds the files in the index that it is set up with, and refuses any
file with another digest.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
# The extras of each lock. The second keeps the versions of the first as far as Beam lets it.
LOCKS = {
  ROOT / 'requirements.lock': ('dev', 'docs', 'onnx', 'serving'),
  ROOT / 'requirements-beam.lock': ('dev', 'beam'),
}
# glibc 2.28 is the oldest that every wheel of the set runs on; it came out in 2018.
PLATFORM = 'x86_64-manylinux_2_28'
HEADER = f"""\
# The exact set that the tests pass with: CPython 3.11, Linux x86-64 (glibc 2.28 or newer).
# Written by `make lock` from the ranges in setup.cfg with the %(extras)s extra; do not edit.
# Platform: {PLATFORM}
#
#     pip install --require-hashes -r %(name)s
"""


def resolve(uv: str, output: pathlib.Path, extras: Iterable[str]) -> None:
  """Lets uv resolve setup.cfg into a pylock file.

  Args:
    uv: the uv program.
    output: the pylock.toml to write. If it exists, uv keeps its versions as far as they fit.
    extras: of setup.cfg.

  Raises:
    subprocess.CalledProcessError: the ranges contradict each other; uv has said how.
  """
  command = [uv, 'pip', 'compile', 'setup.cfg', '--quiet']
  command += [word for extra in extras for word in ('--extra', extra)]
  command += ['--python-version', '3.11', '--python-platform', PLATFORM]
  command += ['--format', 'pylock.toml', '--output-file', str(output)]
  subprocess.run(command, cwd=ROOT, check=True)


def pinned(lock_text: str) -> Iterator[tuple[str, str]]:
  """Yields name and version of every package of a lock."""
  for line in lock_text.splitlines():
    if '==' in line and not line.startswith('#'):
      name, _, version = line.split()[0].partition('==')
      yield name, version


def preferences(pins: Iterable[tuple[str, str]]) -> str:
  """The text of a pylock file that names versions and no files: what `resolve` should keep.

  A constraint would not do: a version that a new range excludes has to give way.
  """
  head = 'lock-version = "1.0"\ncreated-by = "tools/update_lock.py"\n'
  return head + ''.join(
    f'[[packages]]\nname = "{name}"\nversion = "{version}"\n' for name, version in pins
  )


def entry(package: dict[str, Any]) -> str:
  """One package of a pylock file as lines of a requirements file.

  Args:
    package: an item of the `packages` table.

  Returns:
    `name==version` with one digest per file that may be installed.
  """
  files = package.get('wheels') or [package['sdist']]
  digests = sorted({file['hashes']['sha256'] for file in files})
  lines = [f'{package["name"]}=={package["version"]}']
  lines += [f'    --hash=sha256:{digest}' for digest in digests]
  return ' \\\n'.join(lines) + '\n'


def main() -> int:
  """Resolves and rewrites the lock; returns the exit status."""
  parser = argparse.ArgumentParser(description='Rewrites requirements.lock from setup.cfg.')
  parser.add_argument('--uv', default='uv', help='the uv program (default: %(default)s)')
  parser.add_argument('--upgrade', action='store_true', help='take the newest that fits the ranges')
  options = parser.parse_args()
  first = next(iter(LOCKS))
  for lock, extras in LOCKS.items():
    kept = lock if lock.exists() else first
    with tempfile.TemporaryDirectory() as folder:
      output = pathlib.Path(folder, 'pylock.toml')
      if kept.exists() and not options.upgrade:
        output.write_text(preferences(pinned(kept.read_text())))
      resolve(options.uv, output, extras)
      packages = tomllib.loads(output.read_text())['packages']
    header = HEADER % {'extras': ' and '.join(extras), 'name': lock.name}
    lock.write_text(header + ''.join(entry(package) for package in packages))
    print(f'{lock.name}: {len(packages)} packages')
  return 0


if __name__ == '__main__':
  sys.exit(main())
