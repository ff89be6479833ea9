"""Says when a training learns nothing: a student from pseudo labels, or from little else; SimCLR from its views."""

import collections
from collections.abc import Mapping

from official_selftrain.core import console

# A single report may be about a few unlucky batches.
_REPORTS = 3
_LOW, _HIGH = 0.01, 100.0
# Of the views that guessing would miss, SimCLR has to find more than this part.
_LEARNED = 0.01


class LossWatch:
  """Looks at what training logs; what may pass is told once, after some reports in a row, the rest at the end."""

  def __init__(self, name: str, images_per_step: int):
    """Builds the watch of a stage.

    Args:
      name: of the stage.
      images_per_step: of all replicas and streams.
    """
    self._name = name
    self._images_per_step = images_per_step
    self._count = {'zero': 0, 'ratio': 0}
    self._accuracies: collections.deque[float] = collections.deque(maxlen=_REPORTS)

  def __call__(self, values: Mapping[str, float], is_last: bool) -> None:
    """Looks at one report.

    Args:
      values: what was logged, by name: `pseudo_loss`, and with the normalised loss `loss_ratio`; or
        `contrastive_accuracy`. Without them nothing happens.
      is_last: training ends with it.
    """
    if 'contrastive_accuracy' in values:
      self._accuracies.append(values['contrastive_accuracy'])
      if is_last:
        self._look_at_views()
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

  def _look_at_views(self) -> None:
    # A view is told from all others of the batch but itself.
    chance = 1 / (2 * self._images_per_step - 1)
    accuracy = max(self._accuracies)
    if accuracy - chance < _LEARNED * (1 - chance):
      console.note(
        f'{self._name}: SimCLR has learned next to nothing: at the end {accuracy:.2%} of the views find their '
        f'partner at best, by guessing {chance:.2%} would. Do not start from it: lower its learning rate, or '
        'train for longer.'
      )

  def _goes_on(self, finding: str, is_there: bool) -> bool:
    """Counts reports in a row; True at the one at which the finding is told."""
    if self._count[finding] < _REPORTS:
      self._count[finding] = self._count[finding] + 1 if is_there else 0
      return self._count[finding] == _REPORTS
    return False
