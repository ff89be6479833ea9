"""A few of the kills of `tests.faults.kills`, which has made 200."""

import pytest
import tensorflow as tf

from tests.faults import kills

# Processes, each of which imports TensorFlow.
pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]


class KillsTest(tf.test.TestCase):
  def test_runs_killed_at_random_moments_end_like_one_that_was_not(self):
    said = kills.report(kills=4, seed=7)
    self.assertRegex(said, r'^4 kills in \d+ runs \(.+\): all ended like the undisturbed run$')


if __name__ == '__main__':
  tf.test.main()
