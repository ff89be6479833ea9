"""Studies as a user runs them: several processes on one directory, one of them killed."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from xml.etree import ElementTree as ET

import pytest
import yaml

from official_selftrain.core import files
from tests.testing import tiny_run

_STUDY = {
  'title': 'Two cuts',
  'experiment': tiny_run.SELFTRAIN,
  'config_files': tiny_run.config_files(),
  'overrides': {'export.enabled': False, 'report.num_pictures': 1},
  'seeds': [1, 2],
  'axes': {'cut': {'low': {}, 'high': {'task.pseudo_data.cut': 0.006}}},
  'tables': [{'title': 'Cuts', 'rows': [], 'columns': 'cut'}],
}
_CELLS = ('low_seed1', 'low_seed2', 'high_seed1', 'high_seed2')


def _start(study, model_dir, *flags):
  command = [
    sys.executable,
    '-m',
    'official_selftrain.study',
    f'--study={study}',
    f'--model_dir={model_dir}',
  ]
  return subprocess.Popen(
    [*command, *flags],
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    cwd=tiny_run.REPOSITORY,
    start_new_session=True,
  )


def _wait_for(path, process):
  """Waits until there is a file."""
  for _ in range(6000):
    if path.exists():
      return
    if process.poll() is not None:
      raise AssertionError(process.communicate()[0])
    time.sleep(0.05)
  raise AssertionError(f'no {path}')


@pytest.mark.slow
@pytest.mark.timeout(1200)
class StudyTest(unittest.TestCase):
  def setUp(self):
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)
    self.study = self.folder / 'study.yaml'
    self.study.write_text(yaml.safe_dump(_STUDY, sort_keys=False), encoding='utf-8')

  def test_three_runners_of_which_one_is_killed(self):
    model_dir = self.folder / 'study'
    first = _start(self.study, model_dir)
    _wait_for(model_dir / 'cells' / 'low_seed1.yaml', first)  # It has begun with the first run.
    others = [_start(self.study, model_dir) for _ in range(2)]
    # Its teacher is half made; what it has in hand is the others' when its leases are over.
    _wait_for(model_dir / 'cells' / 'low_seed1' / 'teacher' / 'checkpoint', first)
    self.assertEqual([process.poll() for process in others], [None, None])
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    said = [process.communicate()[0] for process in others]
    for process, text in zip(others, said, strict=True):
      self.assertEqual(process.returncode, 0, text)
      self.assertRegex(text, r'\(\d of 4; \d+ products left: \w')
      self.assertIn('4 of 4 runs are finished.', text)
      self.assertIn('With 2 seeds for each combination this study cannot tell', text)
    self.check_results(model_dir)
    # Teachers, labels and controls of a seed are shared by both cuts, and nothing was made twice.
    everything = '\n'.join(said)
    for stage, count in (('teacher', 2), ('control', 2), ('student', 4)):
      self.assertEqual(len(re.findall(rf'^{stage} 100%.* took', everything, re.M)), count, stage)
    for stage in ('teacher', 'labels', 'control'):
      taken = f'{stage}: another run has made it'
      self.assertEqual(everything.count(taken), 2, stage)
    self.check_again(model_dir)

  def check_results(self, model_dir):
    value = files.read_json(model_dir / 'study.json')
    self.assertEqual([r['name'] for r in value['results']], list(_CELLS))
    self.assertEqual({r['status'] for r in value['results']}, {'done'})
    for seed in (1, 2):
      digests = {
        files.read_json(model_dir / 'cells' / f'{cut}_seed{seed}' / 'stages' / 'teacher.json')[
          'result'
        ]['digest']
        for cut in ('low', 'high')
      }
      self.assertEqual(len(digests), 1)
    page = (model_dir / 'study.html').read_text(encoding='utf-8')
    root = ET.fromstring(page.removeprefix('<!DOCTYPE html>\n'))
    self.assertEqual(root.find('.//h1').text, 'Two cuts')
    self.assertIn('The class that gains least from self-training: ', page)
    self.assertNotRegex(page, r'(src|href)="(?!data:|#)')  # Nothing is read from elsewhere.

  def check_again(self, model_dir):
    """Nothing is left, and a cell is an ordinary run directory."""
    again = _start(self.study, model_dir)
    text = again.communicate()[0]
    self.assertNotIn('[1/', text)
    settings = model_dir / 'cells' / 'high_seed2.yaml'
    command = [
      sys.executable,
      'train.py',
      f'--experiment={tiny_run.SELFTRAIN}',
      f'--config_file={settings}',
    ]
    done = subprocess.run(
      [*command, f'--model_dir={model_dir / "cells" / "high_seed2"}'],
      capture_output=True,
      text=True,
      cwd=tiny_run.REPOSITORY,
      check=True,
    )
    self.assertIn('is finished already: nothing to do', done.stdout)

  def test_plan_and_refusals(self):
    plan = _start(self.study, self.folder / 'plan', '--dry_run').communicate()[0]
    self.assertRegex(plan, r'high_seed1 +teacher, labels, control')
    self.assertIn('4 runs, 16 products, of which 10 different; 10 are left.', plan)
    bad = {**_STUDY, 'axes': {'cut': {'low': {'task.pseudo_data.cutt': 0.5}}}}
    self.study.write_text(yaml.safe_dump(bad, sort_keys=False), encoding='utf-8')
    process = _start(self.study, self.folder / 'bad')
    text = process.communicate()[0]
    self.assertEqual(process.returncode, 2)
    self.assertRegex(text, r'cell low_seed1: .*task\.pseudo_data\.cutt')


if __name__ == '__main__':
  unittest.main()
