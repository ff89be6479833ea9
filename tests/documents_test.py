"""Documents are true: the programs and flags of indented commands, and the messages of docs/errors.md, exist.

Overrides are looked up, too, unless they hold a path or go with a data set.
"""

import argparse
import contextlib
import functools
import importlib.util
import io
import pathlib
import re
import shlex
import unittest
from unittest import mock

from official_selftrain import cli, registry_imports  # noqa: F401
from official_selftrain.core import config

_ROOT = pathlib.Path(__file__).parents[1]
_DOCUMENTS = sorted(
  [
    _ROOT / 'README.md',
    _ROOT / 'CONTRIBUTING.md',
    *(_ROOT / 'docs').glob('*.md'),
    *(_ROOT / 'experiments').rglob('*.md'),
  ]
)
_COMMAND = re.compile(r'^ {4,}((?:python|selftrain|make)\s[^\n]*)$', re.MULTILINE)
_TRAIN_FLAGS = {
  *re.findall(r"DEFINE_\w+\(\s*'(\w+)'", (_ROOT / 'official_selftrain' / 'train.py').read_text()),
  'verbosity',
}


@functools.cache
def _commands():
  """Document and words of each command; comments, loops of the shell and what stands for the rest are left out."""
  found = []
  for path in _DOCUMENTS:
    text = re.sub(r'\\\n\s*', '', path.read_text(encoding='utf-8'))
    for match in _COMMAND.finditer(text):
      command = re.sub(r'\s+#.*|\s+&$|\s*[;>].*', '', match[1])
      if not re.search(r'\.\.\.|\$|<<', command):
        found.append((path.name, tuple(shlex.split(command))))
  return found


class _Parsed(Exception):
  """The arguments were understood."""


def _parse(module, arguments):
  """Raises `_Parsed` if the program's parser takes the arguments, and SystemExit if not."""
  parse = argparse.ArgumentParser.parse_args

  def parse_and_stop(parser, args=None, namespace=None):
    parse(parser, args, namespace)
    raise _Parsed

  with mock.patch.object(argparse.ArgumentParser, 'parse_args', parse_and_stop):
    found = importlib.import_module(module)
    if hasattr(found, '__path__'):
      found = importlib.import_module(f'{module}.__main__')
    found.main(list(arguments))


class CommandsTest(unittest.TestCase):
  def _assert_parses(self, module, arguments):
    with (
      contextlib.redirect_stderr(io.StringIO()) as err,
      contextlib.redirect_stdout(io.StringIO()),
    ):
      try:
        _parse(module, arguments)
      except _Parsed:
        return
      except SystemExit as ending:
        self.fail(f'{module} {" ".join(arguments)}: {ending}, {err.getvalue()}')
    self.fail(f'{module} does not parse its arguments with argparse')

  def _assert_trains(self, arguments):
    flags = {}
    for word in arguments:
      self.assertTrue(word.startswith('--'), word)
      name, _, value = word.removeprefix('--').partition('=')
      self.assertIn(name, _TRAIN_FLAGS)
      flags.setdefault(name, []).append(value)
    files = flags.get('config_file', [])
    for name in files:
      if name.startswith('experiments/'):
        self.assertTrue((_ROOT / name).exists(), name)
    override = ','.join(flags.get('params_override', ()))
    # Letters stand for what changes from run to run; a path is not there.
    override = re.sub(r'=(N|P|CUT|SEED)\b', '=1', override.replace('policy=P', 'policy=S1'))
    is_here = all((_ROOT / name).exists() for name in files)
    if is_here and 'dataset' not in flags and '/' not in override:
      config.load_experiment(
        flags['experiment'][0], [str(_ROOT / name) for name in files], override
      )

  def test_commands_can_be_typed(self):
    targets = set(re.findall(r'^([a-z-]+):', (_ROOT / 'Makefile').read_text(), re.MULTILINE))
    kinds = set()
    for document, (program, *words) in _commands():
      with self.subTest(document=document, command=' '.join([program, *words])):
        if program == 'make':
          self.assertIn(next(word for word in words if '=' not in word), targets)
          kinds.add('make')
        elif program == 'selftrain':
          number = 2 if ' '.join(words[:2]) in cli.COMMANDS else 1
          self.assertIn(' '.join(words[:number]), cli.COMMANDS)
          kinds.add('selftrain')
        elif words[0] == 'train.py':
          self._assert_trains(words[1:])
          kinds.add('train')
        elif words[0] == '-m' and words[1].startswith('official_selftrain.'):
          self._assert_parses(words[1], words[2:])
          kinds.add(words[1])
        elif words[0] == '-m' and words[1] in ('benchmarks', 'tests.faults.kills'):
          kinds.add(words[1])
        elif words[0] == '-m':
          self.assertIsNotNone(importlib.util.find_spec(words[1]))
        else:
          self.assertTrue((_ROOT / words[0]).is_file(), words)
    self.assertGreater(len(kinds), 12, kinds)

  def test_a_wrong_flag_is_found(self):
    with self.assertRaisesRegex(AssertionError, 'unrecognized arguments: --formats=onnx'):
      self._assert_parses('official_selftrain.export', ['--run=a', '--output=b', '--formats=onnx'])
    with self.assertRaises(AssertionError):
      self._assert_trains(['--experiment=retinanet_selftrain', '--modes=train'])


class MessagesTest(unittest.TestCase):
  def test_messages_exist(self):
    source = '\n'.join(
      path.read_text(encoding='utf-8') for path in (_ROOT / 'official_selftrain').rglob('*.py')
    )
    # Texts that are written in several literals.
    source = re.sub(r"""['"]\s*\n\s*f?['"]""", '', source)
    text = (_ROOT / 'docs' / 'errors.md').read_text(encoding='utf-8')
    quoted = [
      part
      for bold in re.findall(r'^\*\*`.*$', text, re.MULTILINE)
      for part in re.findall('`([^`]+)`', bold)
    ]
    self.assertGreater(len([part for part in quoted if len(part) > 12]), 15)
    for part in quoted:
      with self.subTest(part):
        self.assertIn(part, source)


if __name__ == '__main__':
  unittest.main()
