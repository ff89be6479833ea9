"""Draws what self-training gave in the studies of experiments/results, for README.

    python tools/draw_results.py

The same studies give the same bytes, so a test can tell whether the picture is up to date.
"""

import dataclasses
import json
import pathlib
import sys
from typing import Any

import matplotlib

matplotlib.use('svg')

from matplotlib import pyplot as plt

_ROOT = pathlib.Path(__file__).parents[1]
RESULTS = _ROOT / 'experiments' / 'results'
PICTURE = _ROOT / 'docs' / 'images' / 'self_training.svg'

_METRICS = {'AP': 'AP', 'mean_iou': 'mIoU'}
_COLOURS = {'helps': '#1b7837', 'noise': '#777777', 'hurts': '#b2182b'}


@dataclasses.dataclass(frozen=True)
class Row:
  """What self-training gave with one choice of settings.

  Attributes:
    name: study and settings.
    mean: student - control, mean over seeds.
    low: lower end of the 90 % interval over validation images.
    high: upper end.
    seeds: student - control of each seed.
    outcome: `helps`, `noise` or `hurts`.
  """

  name: str
  mean: float
  low: float
  high: float
  seeds: tuple[float, ...]
  outcome: str


def rows(study: dict[str, Any]) -> list[Row]:
  """The rows of one study.json, in its order; none of runs without a control."""
  found = []
  for each in study['effects']:
    if (each['choice'], each['model'], each['baseline']) != ('self-training', 'student', 'control'):
      continue
    # Axes with a single value tell nothing apart.
    context = {
      name: value for name, value in each['context'].items() if len(study['axes'][name]) > 1
    }
    words = ', '.join(f'{name} {value}' for name, value in context.items())
    effect = each['effect']
    found.append(
      Row(
        name=f'{study["title"]}\n{words} ({_METRICS[study["metric"]]})',
        mean=effect['mean'],
        low=effect['over_images']['low'],
        high=effect['over_images']['high'],
        seeds=tuple(
          cell['metrics']['student'] - cell['metrics']['control']
          for cell in study['results']
          if cell['status'] == 'done'
          and all(cell['values'].get(a) == v for a, v in context.items())
        ),
        outcome=effect['outcome'],
      )
    )
  return found


def draw(shown: list[Row], path: pathlib.Path) -> None:
  """Writes a picture with a line for each row as SVG."""
  settings = {'svg.hashsalt': 'official_selftrain', 'font.size': 9, 'axes.spines.top': False}
  with plt.rc_context({**settings, 'axes.spines.right': False, 'axes.spines.left': False}):
    figure, axes = plt.subplots(figsize=(8, 0.8 + 0.5 * len(shown)), layout='constrained')
    figure.patch.set_facecolor('white')
    axes.axvline(0, color='black', linewidth=0.8)
    for place, row in enumerate(shown):
      colour = _COLOURS[row.outcome]
      axes.plot([row.low, row.high], [place, place], color=colour, linewidth=2)
      axes.plot(row.mean, place, 'o', color=colour, markersize=7)
      axes.plot(row.seeds, [place + 0.25] * len(row.seeds), '|', color=colour, markersize=6)
    axes.set_yticks(range(len(shown)), [row.name for row in shown])
    axes.tick_params(axis='y', length=0)
    axes.invert_yaxis()
    axes.grid(axis='x', color='#dddddd')
    axes.set_axisbelow(True)
    axes.set_xlabel(
      'student - control\n(mean over seeds, 90 % interval over images; strokes: single seeds)'
    )
    figure.savefig(path, format='svg', metadata={'Date': None})
    plt.close(figure)


def all_rows() -> list[Row]:
  """The rows of all committed studies, in the order of their file names."""
  studies = [
    json.loads(path.read_text(encoding='utf-8')) for path in sorted(RESULTS.glob('*.json'))
  ]
  return [row for study in studies for row in rows(study)]


if __name__ == '__main__':
  draw(all_rows(), pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE)
