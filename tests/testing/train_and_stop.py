"""Runs train.py and sends itself a signal when a function is called for the n-th time.

python -m tests.testing.train_and_stop package.module:function 2 SIGKILL --experiment=...
"""

import functools
import importlib
import os
import runpy
import signal
import sys


def _install(target: str, call: int, signum: int) -> None:
  """Replaces `module:attribute` or `module:Class.method` by one that stops the process."""
  module, _, path = target.partition(':')
  *owners, name = path.split('.')
  owner = functools.reduce(getattr, owners, importlib.import_module(module))
  original = getattr(owner, name)
  calls = 0

  @functools.wraps(original)
  def stopping(*args, **kwargs):
    nonlocal calls
    calls += 1
    if calls == call:
      os.kill(os.getpid(), signum)
    return original(*args, **kwargs)

  setattr(owner, name, stopping)


def main() -> None:
  target, call, name, *arguments = sys.argv[1:]
  # A shell starts what it runs in the background with SIGINT ignored, and children inherit that.
  signal.signal(signal.SIGINT, signal.default_int_handler)
  # As train.py does it: before TensorFlow is imported.
  from official_selftrain.core import console

  console.quiet()
  _install(target, int(call), signal.Signals[name])
  sys.argv = ['train.py', *arguments]
  runpy.run_path('train.py', run_name='__main__')


if __name__ == '__main__':
  main()
