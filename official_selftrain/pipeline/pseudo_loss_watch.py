"""Says when a student learns nothing from pseudo labels, or hardly from anything else."""

from collections.abc import Mapping

from official_selftrain.core import console

# A single report may be about a few unlucky batches.
_REPORTS = 3
_LOW, _HIGH = 0.01, 100.0


class PseudoLossWatch:
  """Looks at what training logs; each finding is told once, after some reports in a row."""

  def __init__(self, name: str):
    """Builds the watch of a stage."""
    self._name = name
    self._count = {'zero': 0, 'ratio': 0}

  def __call__(self, values: Mapping[str, float]) -> None:
    """Looks at one report.

    Args:
      values: what was logged, by name: `pseudo_loss`, and with the normalised loss `loss_ratio`. Without them nothing
        happens.
    """
    is_zero = values.get('pseudo_loss', 1.0) == 0.0
    # With nothing to divide by the ratio says nothing.
    ratio = 1.0 if is_zero else values.get('loss_ratio', 1.0)
    if self._goes_on('zero', is_zero):
      console.note(
        f'{self._name}: the pseudo loss has been 0 for {_REPORTS} reports: nothing is learned from pseudo labels. Look '
        'at what the cut leaves of them (task.pseudo_data.cut).'
      )
    elif self._goes_on('ratio', not _LOW <= ratio <= _HIGH):
      console.note(
        f'{self._name}: on average the human loss is {ratio:.2g} times the pseudo loss, and the normalised loss '
        'multiplies the pseudo loss by that. Look at the pseudo labels, or try '
        'task.self_training.normalize_loss=false.'
      )

  def _goes_on(self, finding: str, is_there: bool) -> bool:
    """Counts reports in a row; True at the one at which the finding is told."""
    if self._count[finding] < _REPORTS:
      self._count[finding] = self._count[finding] + 1 if is_there else 0
      return self._count[finding] == _REPORTS
    return False
