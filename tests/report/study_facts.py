"""Made-up studies with known answers."""

import itertools

from official_selftrain.report import study_contents

AXES = {'augmentation': ('S1', 'S4'), 'init': ('random', 'simclr')}
# Differences from seed to seed that are the same in all runs, and so cancel in pairs.
LUCK = {1: 0.00, 2: 0.03, 3: -0.02, 4: 0.01}
# Differences that do not.
NOISE = {1: 0.002, 2: -0.001, 3: -0.001, 4: 0.0}

LAYOUT = study_contents.Layout(
  (study_contents.Table('By augmentation', ('init',), 'augmentation', ('control', 'student')),),
  (
    study_contents.Plot('Self-training', study_contents.SELF_TRAINING, 'augmentation'),
    study_contents.Plot('Pre-training', 'init', 'augmentation'),
  ),
)


def result(values, seed, control, student, **changes):
  """A finished run; `changes` are further attributes."""
  lead = student - control
  fields = {
    'name': f'{"_".join(values.values())}_seed{seed}',
    'values': values,
    'seed': seed,
    'status': 'done',
    'metrics': {'teacher': control - 0.02, 'control': control, 'student': student},
    'lead': study_contents.Interval(lead - 0.01, lead + 0.01),
    'seconds': {f'teacher-{seed}': 60.0, f'{"_".join(values.values())}-{seed}': 30.0},
  }
  return study_contents.Result(**(fields | changes))


def study(gain, pretraining, seeds=(1, 2, 3), noise=1.0, **changes):
  """A study in which self-training adds `gain` and SimCLR `pretraining`, both by augmentation, besides noise.

  Args:
    gain: of self-training by augmentation.
    pretraining: of the start by augmentation.
    seeds: of each combination.
    noise: factor of what differs between the two sides of a pair.
    **changes: further attributes of the facts.
  """
  results = []
  for augmentation, init in itertools.product(*AXES.values()):
    for seed in seeds:
      start = pretraining[augmentation] if init == 'simclr' else 0.0
      control = 0.4 + LUCK[seed] + start + (noise * NOISE[seed] if init == 'simclr' else 0.0)
      student = control + gain[augmentation] + noise * NOISE[seed]
      results.append(result({'augmentation': augmentation, 'init': init}, seed, control, student))
  fields = {
    'title': 'Made up <b>',
    'question': 'What helps?',
    'experiment': 'retinanet_selftrain',
    'command': 'python -m official_selftrain.study --study=a.yaml',
    'axes': AXES,
    'seeds': tuple(seeds),
    'metric': 'AP',
    'layout': LAYOUT,
    'results': tuple(results),
  }
  return study_contents.StudyFacts(**(fields | changes))


def flat(value):
  """The same for both augmentations."""
  return {'S1': value, 'S4': value}
