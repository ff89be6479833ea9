"""The command line of contact sheets: what it writes, and how it refuses."""

import contextlib
import io
import pathlib
import subprocess
import sys
import types
import typing

import numpy as np
import tensorflow as tf
from PIL import Image

from official_selftrain.augment import __main__ as command
from official_selftrain.augment import sheet_inputs
from official_selftrain.configs import augmentation
from tests.augment import image_files

_HELP = """
import sys
from official_selftrain.augment import __main__ as command
try:
  command.main(['--help'])
except SystemExit:
  pass
print('imported:', sorted({'tensorflow', 'official', 'numpy', 'PIL'} & set(sys.modules)))
"""


def _main(*arguments):
  """Exit code, standard output and standard error."""
  out, err = io.StringIO(), io.StringIO()
  with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
    try:
      code = command.main(arguments)
    except SystemExit as stop:  # argparse
      code = stop.code
  return types.SimpleNamespace(code=code, out=out.getvalue(), err=err.getvalue())


class MainTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(self.create_tempdir().full_path)
    mask = np.zeros([24, 32], np.uint8)
    mask[6:12, 8:16] = 1
    record = image_files.record(image_files.flat(24, 32), [[0.25, 0.25, 0.5, 0.5]], mask)
    self.records = image_files.write_records(self.root / 'a.tfrecord', [record] * 3)
    self.output = str(self.root / 'sheet.png')

  def run_main(self, *arguments, source=None, output=None):
    return _main(
      f'--input={source or self.records}', f'--output={output or self.output}', *arguments
    )

  def sheet(self):
    return np.asarray(Image.open(self.output))

  def assert_refused(self, message, *arguments, **places):
    done = self.run_main(*arguments, **places)
    self.assertEqual((done.code, done.out), (2, ''))
    self.assertRegex(done.err, f'^error: {message}')
    self.assertEqual(done.err.count('\n'), 1)
    self.assertFalse(pathlib.Path(self.output).exists())


class WrittenTest(MainTest):
  def test_a_policy(self):
    done = self.run_main('--policy=S4', '--images=2', '--draws=3', '--set=pixel_scale=0.05')
    self.assertEqual((done.code, done.err), (0, ''))
    self.assertEqual(done.out, f'contact sheet of 2 row(s), 3 draw(s) each: {self.output}\n')
    self.assertEqual(self.sheet().shape[1], 8 + 4 * (256 + 8))
    # Flat but for box and mask; 32 pixels are 256, so that the box goes from 48 to 95 and 64 to 127.
    tile = self.sheet()[8:200, 8:264]
    self.assertEqual(tile[0, 0].tolist(), [10, 20, 30])
    self.assertNotEqual(tile[70, 64].tolist(), [10, 20, 30])
    self.assertNotEqual(tile[70, 100].tolist(), tile[70, 64].tolist())

  def test_the_same_seed_gives_the_same_bytes(self):
    written = []
    for seed in (4, 4, 5):
      self.run_main('--policy=S1', '--images=1', '--draws=2', f'--seed={seed}', '--tile=64')
      written.append(pathlib.Path(self.output).read_bytes())
    self.assertEqual(written[0], written[1])
    self.assertNotEqual(written[0], written[2])

  def test_ops_at_levels(self):
    done = self.run_main(
      '--op=Invert', '--op=Cutout', '--levels=0,10', '--images=1', '--draws=1', '--labels=none', '--tile=64'
    )  # fmt: skip
    self.assertStartsWith(done.out, 'contact sheet of 4 row(s), 1 draw(s)')
    # The second tile of the first row.
    self.assertEqual(self.sheet()[8 + 10, 80 + 10].tolist(), [245, 235, 225])

  def test_size_of_results(self):
    self.run_main('--policy=none', '--size=64,16', '--images=1', '--draws=1', '--tile=64')
    sheet = self.sheet()
    # 16 pixels wide, of which 12 rows show the image and the rest is padding.
    self.assertEqual(sheet[8 + 11, 80].tolist(), [10, 20, 30])
    self.assertEqual(sheet[8 + 63, 80].tolist()[:1], sheet[8 + 63, 81].tolist()[:1])
    self.assertEqual(sheet[8 + 63, 80 + 16].tolist(), [255, 255, 255])

  def test_what_is_offered_is_what_there_is(self):
    self.assertEqual(command.POLICIES, typing.get_args(augmentation.PolicyName))
    self.assertEqual(command.LABELS, typing.get_args(sheet_inputs.Labels))


class RefusedTest(MainTest):
  def test_no_input_says_where_to_get_one(self):
    done = _main(f'--output={self.output}')
    self.assertEqual(done.code, 2)
    self.assertRegex(
      done.err, r'^error: --input is missing: .*official_selftrain\.datasets\.digits --output=data/'
    )

  def test_input(self):
    self.assert_refused('--input: /nowhere.jpg does not exist', source='/nowhere.jpg')
    self.assert_refused(f'--input: {__file__} is neither an image', source=__file__)
    image = self.root / 'a.png'
    image.write_bytes(image_files.encoded(image_files.flat(4, 4)))
    self.assert_refused('--labels=masks: .* has no masks', '--labels=masks', source=image)

  def test_output(self):
    self.assert_refused('--output: the folder /nowhere/x does not', output='/nowhere/x/sheet.png')
    self.assert_refused('--output is .*sheet.jpg: it must .* ends in .png', output='sheet.jpg')
    folder = self.root / 'folder.png'
    folder.mkdir()
    self.assert_refused('--output is .*folder.png: it must be a file', output=folder)

  def test_output_that_cannot_be_written(self):
    # The name under which the file is written first is taken.
    (self.root / 'sheet.png.tmp').mkdir()
    self.assert_refused(
      f'--output: cannot write {self.output}: Is a directory',
      '--policy=none',
      '--images=1',
      '--draws=1',
    )

  def test_ops_and_levels(self):
    self.assert_refused("--op: there is no op 'Rotate'; there are .*Rotate_BBox", '--op=Rotate')
    self.assert_refused('--op shows single ops and --policy', '--op=Color', '--policy=S1')
    self.assert_refused('--levels has no effect without --op', '--levels=2')
    for levels in ('2,31', '-1', 'two', '', '2,,3', 'nan'):
      self.assert_refused(
        f'--levels={levels}: expected numbers in 0..30', '--op=Color', f'--levels={levels}'
      )

  def test_settings(self):
    for text, message in {
      'faithfull=true': "faithfull = True .*: unknown name, did you mean 'faithful'",
      'pixel_scale=large': "pixel_scale = 'large' .*: must be float",
      'rand_augment.preset=tfm17': "rand_augment.preset = 'tfm17'.*tfm16",
      'faithful': "expected name=value,name=value or a YAML mapping, got 'faithful'",
      'min_visible=2': r'augmentation\.min_visible is 2\.0',
      'policy=S3': 'policy is given by --policy',
    }.items():
      self.assert_refused(f'--set: {message}', f'--set={text}')
    self.assert_refused(
      '--set: scale_max has no effect with --op; pixel_scale, .* have',
      '--op=Color',
      '--set=scale_max=3',
    )
    self.assert_refused("exclude_ops: there is no op 'Zoom'", '--set=exclude_ops=[Zoom]')
    self.assert_refused('copy_paste_probability needs instance', '--set=copy_paste_probability=1')

  def test_numbers(self):
    for name, value in {'images': 0, 'draws': 0, 'tile': 10, 'seed': 2**31}.items():
      self.assert_refused(f'--{name} is {value}: it must be in ', f'--{name}={value}')
    for size in ('640', '0,5', '1,2,3', 'a,b'):
      self.assert_refused(f'--size={size}: expected height,width', f'--size={size}')

  def test_what_argparse_refuses(self):
    done = self.run_main('--policy=S5')
    self.assertEqual(done.code, 2)
    self.assertRegex(done.err, r"--policy: invalid choice: 'S5' \(choose from 'none', 'S1'")


class HelpTest(tf.test.TestCase):
  def test_help_imports_nothing_that_is_slow(self):
    done = subprocess.run(
      [sys.executable, '-c', _HELP],
      cwd=pathlib.Path(__file__).resolve().parents[2],
      capture_output=True,
      text=True,
      check=True,
    )
    self.assertIn('imported: []', done.stdout)
    self.assertIn('python -m official_selftrain.augment --policy=S4', done.stdout)


if __name__ == '__main__':
  tf.test.main()
