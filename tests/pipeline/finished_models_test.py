"""Finished models: each is measured once, and each round with its own cuts."""

import types
import unittest
from unittest import mock

from official_selftrain.pipeline import finished_models, reporting
from official_selftrain.pseudo_labels import cuts


def _model(name, step=4):
  return types.SimpleNamespace(job=types.SimpleNamespace(name=name, model_dir=name), step=step)


class MetricsTest(unittest.TestCase):
  def test_what_was_measured_is_not_looked_up_again(self):
    found = finished_models.FinishedModels(mock.Mock(), mock.Mock(), mock.Mock())
    training = mock.patch.object(finished_models, 'training').start()
    self.addCleanup(mock.patch.stopall)
    # The chief of several workers writes the file while another one evaluates.
    training.recorded_metrics.side_effect = [None, {'AP': 0.1}, {'AP': 0.3}]
    training.run.return_value = {'AP': 0.2}
    for model, expected in (
      (_model('student'), 0.2),
      (_model('student'), 0.2),
      (_model('control'), 0.1),
      (_model('student', step=8), 0.3),
    ):
      self.assertEqual(found.metrics(model), {'AP': expected})
    training.run.assert_called_once()


class RoundsTest(unittest.TestCase):
  def test_labels_of_a_round_are_shown_at_its_own_cuts(self):
    first, last = cuts.Cuts(0.5), cuts.Cuts(0.3)
    run = mock.Mock(cuts=last)
    facts = types.SimpleNamespace(labels_per_image=1.5, quality_at_cut=None)
    run.presentation.facts.return_value = facts
    human = mock.sentinel.human
    found = types.SimpleNamespace(number=1, label_dir='labels', cuts=first, models={}, metrics={})
    with (
      mock.patch.object(reporting, '_measured'),
      mock.patch.object(reporting.corrections, 'load', return_value=None),
    ):
      self.assertEqual(reporting._round(run, found, human).labels_per_image, 1.5)
    self.assertEqual(run.presentation.facts.call_args.args[1:3], (first, human))

  def test_cuts_come_from_the_gate_of_the_round(self):
    params = mock.Mock()
    gates = {
      'gate': {'matched': {'cut': 0.4, 'class_cuts': [0.4, 0.2], 'ignore_cut': None}},
      'gate-2': {'matched': {'cut': 0.3, 'class_cuts': [0.3, 0.1], 'ignore_cut': None}},
    }
    ledger = types.SimpleNamespace(result=lambda name: gates[name])
    jobs = mock.Mock()
    jobs.task.side_effect = lambda _: types.SimpleNamespace(pseudo_data=types.SimpleNamespace())
    jobs.label_dir.side_effect = 'labels-{}'.format
    found = finished_models.FinishedModels(params, jobs, ledger)
    task = mock.Mock()
    task.label_cuts.side_effect = lambda pseudo: cuts.Cuts(pseudo.cut)
    with mock.patch.object(finished_models.contract, 'make', return_value=task):
      facts = [found.round_facts((), number) for number in (1, 2)]
    self.assertEqual([each.label_dir for each in facts], ['labels-1', 'labels-2'])
    self.assertEqual([each.cuts.cut for each in facts], [0.4, 0.3])


if __name__ == '__main__':
  unittest.main()
