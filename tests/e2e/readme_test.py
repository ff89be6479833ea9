"""What README.md tells users to type is accepted."""

import pathlib
import re
import unittest

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.core import config
from official_selftrain.pipeline import run

_README = pathlib.Path(__file__).parents[2] / 'README.md'


class ReadmeTest(unittest.TestCase):
  def setUp(self):
    super().setUp()
    self.text = _README.read_text(encoding='utf-8')

  def test_the_file_for_own_data_loads(self):
    block = re.search(r'    # mine\.yaml\n((?:    .*\n)+)', self.text).group(1)
    path = pathlib.Path(self.enterContext(_temporary()), 'mine.yaml')
    path.write_text(re.sub('^    ', '', block, flags=re.M), encoding='utf-8')
    with self.assertNoLogs('absl', 'WARNING'):
      params = config.load_experiment('retinanet_resnetfpn_selftrain', [str(path)])
    self.assertEqual(len(params.dataset.class_names), params.task.model.num_classes - 1)
    self.assertEqual(params.task.train_data.input_path, 'data/train-*.tfrecord')
    self.assertEqual(params.task.model.backbone.type, 'resnet')
    self.assertEqual(params.teacher.trainer.train_steps, 20_000)

  def test_experiments_of_photographs_are_as_the_table_says(self):
    rows = re.findall(r'\n\| `(\w+_selftrain)` \|[^|]*\| (\d+) \| (\d+) \+ (\d+) \|', self.text)
    self.assertEqual(len(rows), 3)
    for name, pixels, labelled, pseudo in rows:
      task = config.load_experiment(name).task
      batches = task.train_data.global_batch_size, task.pseudo_data.global_batch_size
      self.assertEqual(batches, (int(labelled), int(pseudo)), name)
      self.assertEqual(task.model.input_size, [int(pixels), int(pixels), 3], name)

  def test_flags_stages_and_settings_exist(self):
    source = (_README.parent / 'official_selftrain' / 'train.py').read_text(encoding='utf-8')
    for flag in set(re.findall(r'python train\.py [^\n]*?--(\w+)', self.text)):
      self.assertIn(f"'{flag}'", source)
    for mode in re.findall(r'--mode=(\w+)', self.text):
      self.assertIn(mode, run.MODES)
    known = config.flatten(config.load_experiment('retinanet_selftrain'))
    for name in re.findall(r'`(task\.[a-z_.]+|runtime\.[a-z_]+)`', self.text):
      self.assertIn(name, known)


def _temporary():
  import tempfile

  return tempfile.TemporaryDirectory()


if __name__ == '__main__':
  unittest.main()
