"""Settings for every test; nothing here imports TensorFlow."""

import ctypes
import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator

# Read when TensorFlow is first imported: no start-up messages from native code.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
# The same kernels on every processor, and in the programs that tests start: those switch oneDNN on unless this says no,
# and then a box of a label differs in its last bit.
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')
# XLA's code need not be fast here; with its optimisations a step takes a minute and a half to compile, not seconds.
os.environ.setdefault(
  'XLA_FLAGS', '--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true'
)

import hypothesis
import pytest
from absl import flags

# pytest has its own command line; absl would refuse any use of a flag before parsing.
flags.FLAGS.mark_as_parsed()

# Tracing makes millions of objects that live long; looking through them at every step of it takes a tenth of the time.
gc.set_threshold(200_000, 20, 20)

# The same examples in every run, and no failure for being slow on a busy machine.
hypothesis.settings.register_profile('repeatable', derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile('repeatable')


# Folder in which all processes of a session share what is dear to make, see `testing.tiny_run`.
_SHARED = 'SELFTRAIN_TESTS_SHARED'

# First one that takes ten minutes and shares nothing, then those that make what is shared, then another long one. The
# other tests that start several processes stay where they are: two of them at once take longer than in turn.
_FIRST = (
  'tests/experiments/precision_test.py::',
  'tests/e2e/pipeline_test.py::',
  'tests/e2e/segmentation_test.py::',
  'tests/e2e/workers_test.py::SelfTrainingTest::',
)


def pytest_configure(config: pytest.Config) -> None:
  """Makes the shared folder, in the process that starts the others."""
  if not hasattr(config, 'workerinput'):
    os.environ[_SHARED] = tempfile.mkdtemp(prefix='selftrain-shared-')


def pytest_unconfigure(config: pytest.Config) -> None:
  """Removes the shared folder."""
  if not hasattr(config, 'workerinput'):
    shutil.rmtree(os.environ.pop(_SHARED), ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
  """Puts some tests first: nobody is to wait for what others make, see `testing.tiny_run`, nor for others to end."""

  def place(item: pytest.Item) -> int:
    found = (i for i, start in enumerate(_FIRST) if item.nodeid.startswith(start))
    return next(found, len(_FIRST))

  items.sort(key=place)


def pytest_collection_finish() -> None:
  """Gives TensorFlow two logical CPUs, for the tests with replicas, before a test starts its runtime."""
  tf = sys.modules.get('tensorflow')
  if tf is None:
    return
  cpu = tf.config.list_physical_devices('CPU')[0]
  tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


def _forget_gradients() -> None:
  """Drops the gradients that TensorFlow keeps for good: each holds the whole graph of the training step it is from.

  `tf.custom_gradient`, which swish is made of, registers one under a new name wherever it is traced. A tiny training
  run leaves 100 MB that way. No test takes the gradient of a graph that another file has traced.
  """
  registered = sys.modules['tensorflow.python.framework.ops'].gradient_registry._registry
  for name in [name for name in registered if name.startswith('CustomGradient-')]:
    del registered[name]


@pytest.fixture(autouse=True, scope='module')
def _give_memory_back() -> Iterator[None]:
  """Drops what a file's tests have left, which would otherwise pile up over a hundred files in one process."""
  yield
  tf = sys.modules.get('tensorflow')
  if tf is not None:
    _forget_gradients()
    tf.keras.backend.clear_session()
  gc.collect()
  # Freed memory stays with the process until glibc is asked to return it.
  ctypes.CDLL('libc.so.6').malloc_trim(0)
