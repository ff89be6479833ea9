"""Errors that a user can cause, as opposed to bugs.

Programs print these without a traceback (`core/program.py`). Anything else that escapes is a bug of ours and keeps its
traceback.
"""


class SelfTrainError(Exception):
  """Base of every error whose message is written for the user."""


class ConfigError(SelfTrainError, ValueError):
  """A setting is unknown, has the wrong type or contradicts another one."""


class StageChangedError(ConfigError):
  """A setting that a finished stage depends on differs from the one it ran with."""


class DataError(SelfTrainError, ValueError):
  """Input data is missing, empty, corrupt or does not fit the model."""


class LabelMismatchError(DataError):
  """Pseudo labels were not made from the images they are read with."""


class GateError(SelfTrainError, RuntimeError):
  """Training a student would be pointless: the pseudo labels do not pass the gate."""


class NonFiniteLossError(SelfTrainError, RuntimeError):
  """A loss became NaN or infinite."""


class WorkerError(SelfTrainError, RuntimeError):
  """Another of several workers has stopped."""


class StudyError(SelfTrainError, RuntimeError):
  """Some runs of a study failed."""


def first_line(error: Exception) -> str:
  """The first line of an error, without TensorFlow's leading node names and trailing op names."""
  text = getattr(error, 'message', None) or str(error) or type(error).__name__
  text = text.split('}} ', 1)[-1].split(' [Op:')[0]
  return text.strip().splitlines()[0]
