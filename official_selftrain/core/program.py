"""What every program does around its work: quiet and fast start-up, errors in one line, exit statuses.

Importing this module is cheap: a program's --help must not wait for TensorFlow.
"""

import errno
import os
import sys
from collections.abc import Callable

from official_selftrain.core import console, errors

# Exit statuses when the user has to fix something, and after Ctrl-C (128 plus the signal's number).
_TO_FIX = 2
_INTERRUPTED = 130

# TensorFlow uses oneDNN by itself only on processors with AVX-512 VNNI. Without it, on an AMD EPYC with AVX2, a
# training step of the embedded experiment took 1.36 times as long. The user's own value wins.
_ONEDNN = ('TF_ENABLE_ONEDNN_OPTS', '1')

# What the operating system and SQLite say when nothing more can be written. TensorFlow passes it on in its own errors.
_NO_ROOM = (
  *(os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)),
  'database or disk is full',
)


def run(work: Callable[[], None], after_interrupt: str = 'the same command starts over.') -> int:
  """Does a program's work.

  Args:
    work: Is called once, after third parties were silenced: imports of TensorFlow belong inside.
    after_interrupt: What Ctrl-C leaves behind or what to do next, for the line that is printed then.

  Returns:
    The exit status: 0; 2 after an error that the user can fix, a full disk among them, which is printed in a line to
    stderr; 130 after Ctrl-C.

  Raises:
    Exception: Whatever else `work` raises is a bug of ours and keeps its traceback.
  """
  console.quiet()
  os.environ.setdefault(*_ONEDNN)
  try:
    work()
  except errors.SelfTrainError as error:
    print(f'error: {error}', file=sys.stderr)
    return _TO_FIX
  except KeyboardInterrupt:
    print(f'interrupted: {after_interrupt}', file=sys.stderr)
    return _INTERRUPTED
  except Exception as error:
    if not any(text in str(error) for text in _NO_ROOM):
      raise
    reason = errors.first_line(error)
    print(f'error: {reason}. Make room, and run the same command again.', file=sys.stderr)
    return _TO_FIX
  return 0
