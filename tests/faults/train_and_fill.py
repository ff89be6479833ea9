"""Runs train.py, and from one stage on no file may grow beyond a few bytes, as on a full disk.

python -m tests.faults.train_and_fill STAGE BYTES --experiment=...
"""

import resource
import runpy
import sys


def main() -> None:
  name, size, *arguments = sys.argv[1:]
  # As train.py does it: before TensorFlow is imported.
  from official_selftrain.core import console

  console.quiet()
  from official_selftrain.pipeline import ledger

  original = ledger.Ledger.execute

  def filled(self, stage, inputs, key, work):
    def _work():
      if stage.name == name:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), resource.RLIM_INFINITY))
      return work()

    return original(self, stage, inputs, key, _work)

  ledger.Ledger.execute = filled
  sys.argv = ['train.py', *arguments]
  runpy.run_path('train.py', run_name='__main__')


if __name__ == '__main__':
  main()
