"""Labels from workers of Apache Beam. What needs Beam itself runs in its own environment: `make test-beam`."""

import contextlib
import importlib.util
import io
import os
import subprocess
import sys
import tempfile
from unittest import mock

import pytest
import tensorflow as tf

from official_selftrain import label_beam
from official_selftrain.pipeline import run
from official_selftrain.pseudo_labels import labeller
from official_selftrain.pseudo_labels import manifest as manifest_lib
from tests.testing import tiny_run

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

_HAS_BEAM = importlib.util.find_spec('apache_beam') is not None
_LABELS = 'labels/round-1/*.labels.tfrecord'


def _main(*arguments):
  """Exit status and what was printed."""
  out, err = io.StringIO(), io.StringIO()
  with (
    contextlib.redirect_stdout(out),
    contextlib.redirect_stderr(err),
    mock.patch('official_selftrain.core.console.quiet'),
  ):
    status = label_beam.main(arguments)
  return status, out.getvalue(), err.getvalue()


def _start_with(results, folder):
  """A worker that has these results by image shard, and its folder."""
  made = mock.create_autospec(labeller.Labeller, instance=True)
  made.run_one.side_effect = lambda image_file, output_dir: results[image_file]
  return made, folder


def _result(name, dead=0):
  letters = tuple(
    manifest_lib.DeadLetter(shard=name, index=i, source_id='', reason='no image')
    for i in range(dead)
  )
  entry = manifest_lib.ShardEntry(
    image_file=name, image_bytes=1, records=5, label_file=f'{name}.labels', label_bytes=1,
    label_sha256='', labelled=4 - dead, empty=1, dead=dead, damaged=False,
  )  # fmt: skip
  return manifest_lib.ShardResult(entry=entry, summary={}, dead_letters=letters, settings='')


class _TwoDeadInB:
  """Stands for a labeller; Beam sends functions of modules to its workers, and no mocks."""

  def run_one(self, image_file, output_dir):
    del output_dir
    return _result(image_file, dead=2 if image_file == 'b' else 0)


def _start_two_dead_in_b():
  return _TwoDeadInB(), tempfile.mkdtemp()


class ProgramTest(tf.test.TestCase):
  def test_a_dry_run_measures(self):
    status, said, _ = _main(
      f'--run={tiny_run.finished()}', '--dry_run', '--workers=2', '--probe_images=4'
    )
    self.assertEqual(status, 0)
    self.assertRegex(said, r'image shards +3\n')
    self.assertRegex(said, r'images +24\n')
    self.assertRegex(said, r'images/s of a worker like this machine +[0-9.]+\n')

  def test_what_is_no_run_is_refused(self):
    status, _, said = _main('--run=nowhere')
    self.assertEqual(status, 2)
    self.assertIn('params.yaml does not exist', said)

  def test_without_beam_it_says_where_it_comes_from(self):
    if _HAS_BEAM:
      self.skipTest('Beam is installed')
    status, _, said = _main(f'--run={tiny_run.finished()}')
    self.assertEqual(status, 2)
    self.assertIn('Apache Beam is not installed', said)


@pytest.mark.skipif(not _HAS_BEAM, reason='needs the environment of make test-beam')
class BeamTest(tf.test.TestCase):
  def test_counts_are_metrics_of_the_pipeline(self):
    import apache_beam as beam
    from apache_beam.metrics import metric

    from official_selftrain.pipeline import beam_labelling

    pipeline = beam.Pipeline(runner='DirectRunner')
    step = beam.ParDo(beam_labelling.LabelShard(_start_two_dead_in_b))
    _ = pipeline | beam.Create(['a', 'b']) | step.with_outputs(beam_labelling.DEAD_LETTERS)
    result = pipeline.run()
    result.wait_until_finish()
    only_ours = metric.MetricsFilter().with_namespace(beam_labelling.NAMESPACE)
    found = {
      each.key.metric.name: each.committed for each in result.metrics().query(only_ours)['counters']
    }
    self.assertEqual(found, {'records': 10, 'labelled': 6, 'empty': 2, 'dead': 2})

  def test_counts_and_dead_letters(self):
    from official_selftrain.pipeline import beam_labelling

    folder = self.create_tempdir().full_path
    results = {'a': _result('a'), 'b': _result('b', dead=2)}
    step = beam_labelling.LabelShard(lambda: _start_with(results, folder))
    step.setup()
    found = [*step.process('a'), *step.process('b')]
    self.assertEqual(
      found[0],
      {
        'image_file': 'a',
        'label_file': 'a.labels',
        'records': 5,
        'labelled': 4,
        'empty': 1,
        'dead': 0,
      },
    )
    letters = [each for each in found if getattr(each, 'tag', '') == beam_labelling.DEAD_LETTERS]
    self.assertEqual([each.value['index'] for each in letters], [0, 1])
    self.assertEqual(letters[0].value['reason'], 'no image')
    # The leases of the shards have been given back.
    self.assertEqual(os.listdir(folder), [])

  def test_processes_of_the_direct_runner_write_the_labels_of_one(self):
    expected = tiny_run.snapshot(tiny_run.finished(), _LABELS)
    self.assertGreater(len(expected), 2)
    params = tiny_run.load(override=tiny_run.with_teacher())
    for number in (2, 4):
      with self.subTest(processes=number):
        folder = os.path.join(self.create_tempdir().full_path, 'run')
        run.run(params, 'train', folder, 'teacher')
        done = self._label(folder, number)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn('Labelled: 3 shards, 24 records, ', done.stdout)
        self.assertEqual(tiny_run.snapshot(folder, _LABELS), expected)
    # Again: all of it is there.
    before = tiny_run.times(folder, _LABELS)
    self.assertEqual(self._label(folder, 2).returncode, 0)
    self.assertEqual(tiny_run.times(folder, _LABELS), before)
    # And the ordinary command goes on with them.
    run.run(params, 'train', folder, 'labels')
    self.assertEqual(tiny_run.times(folder, _LABELS), before)
    manifest = manifest_lib.Manifest.load(os.path.join(folder, 'labels', 'round-1'))
    self.assertEqual((manifest.images, len(manifest.shards)), (24, 3))

  def _label(self, folder, number):
    command = [
      *(sys.executable, '-m', 'official_selftrain.label_beam', f'--run={folder}', '--'),
      *('--runner=DirectRunner', f'--direct_num_workers={number}'),
      '--direct_running_mode=multi_processing',
    ]
    return subprocess.run(
      command, cwd=tiny_run.REPOSITORY, capture_output=True, text=True, check=False
    )


if __name__ == '__main__':
  tf.test.main()
