"""The card of an exported model: what it is, what it learned from, how well it does, and where not to trust it."""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from official_selftrain.core import comparison, files
from official_selftrain.report import contents

JSON_FILE, TEXT_FILE = 'model_card.json', 'model_card.md'
# Metrics of the table, if the model has them.
_SHOWN = ('AP', 'AP50', 'AP75', 'mean_iou', 'mean_iou_resized', 'pixel_accuracy')
# Of a class, AP or IoU: below it the model hardly finds the class.
_POOR = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
  """What is known of a model without its report.

  Attributes:
    name: `teacher`, `control`, `student`, `student-2`, `ceiling`, or `model` for an experiment of one model.
    experiment: registered name.
    task: `detection` or `segmentation`.
    network: family, backbone and decoder in words.
    input_size: height, width and channels of what the network sees.
    class_names: from class 1 on; empty if unknown.
    seed: of the run.
    step: training steps.
    weights_sha256: of the checkpoint's values.
    is_taught_online: whether labels were made during its training, see `configs.self_training.OnlineTeacher`.
    versions: by package.
    data: the data set in words, and the digests of its files by name.
    format: of the export.
    is_for_predict: whether `python -m official_selftrain.predict` takes the export.
    checked: how the export agrees with the model, in a sentence; '' if it was not compared.
  """

  name: str
  experiment: str
  task: str
  network: str
  input_size: Sequence[int]
  class_names: Sequence[str]
  seed: int
  step: int
  weights_sha256: str
  is_taught_online: bool
  versions: Mapping[str, str]
  data: Mapping[str, Any]
  format: str = 'saved_model'
  is_for_predict: bool = True
  checked: str = ''


def build(model: Model, report: Mapping[str, Any] | None) -> dict[str, Any]:
  """The card as JSON values.

  Args:
    model: the model.
    report: the `report.json` of its run, see `summary`; None without one.

  Returns:
    All of `model`, and `metrics`, `per_class`, `class_metric`, `comparisons` with intervals, `pseudo_labels`,
    `settings` that are not the defaults, `verdict` and `limits`, sentences; null or empty where the report does not
    say.
  """
  base = model.name.split('-')[0]
  is_known = report is not None and bool(report.get(base)) and _is_of_last_round(model.name, report)
  found: Mapping[str, Any] = report if report is not None and is_known else {}
  metrics = {k: v for k, v in (found.get(base) or {}).items() if k in _SHOWN and v is not None}
  learned = base == 'student' and found.get('pseudo_labels')
  card = {
    **dataclasses.asdict(model),
    'metrics': metrics,
    'class_metric': found.get('class_metric'),
    'per_class': _measured((found.get('per_class') or {}).get(base) or {}),
    'comparisons': {
      name: each
      for name, each in (found.get('comparisons') or {}).items()
      if base in name.split('_')
    },
    'pseudo_labels': _pseudo_labels(found['pseudo_labels']) if learned else None,
    'settings': found.get('changed_settings') or {},
    'verdict': (found.get('verdict') or {}).get('headline') if base == 'student' else None,
  }
  return {**card, 'limits': list(_limits(card, found))}


def _is_of_last_round(name: str, report: Mapping[str, Any]) -> bool:
  """Whether a report's figures are about this model; they are about the last round."""
  rounds = max(len(report.get('rounds') or ()), 1)
  base, _, number = name.partition('-')
  return base not in ('student', 'control') or int(number or 1) == rounds


def _measured(per_class: Mapping[str, float | None]) -> dict[str, float | None]:
  """Metrics of classes; None for one without any object in the validation images, which has -1."""
  return {k: None if v is None or v < 0 else v for k, v in per_class.items()}


def _pseudo_labels(facts: Mapping[str, Any]) -> dict[str, Any]:
  names = ('num_images', 'source', 'cut', 'class_cuts', 'ignore_cut', 'is_soft', 'labels_per_image')
  found = {name: facts.get(name) for name in (*names, 'human_labels_per_image')}
  return {**found, 'per_class': facts.get('counts_per_class')}


def _limits(card: Mapping[str, Any], report: Mapping[str, Any]) -> Iterator[str]:
  if not card['metrics']:
    yield 'How well it does is not known here: measure it before you use it.'
  images = [each['images'] for each in card['comparisons'].values()]
  if images and images[0] < comparison.MIN_IMAGES:
    yield f'It was measured on {images[0]} images, which is too few to tell anything.'
  poor = [name for name, value in card['per_class'].items() if value is not None and value < _POOR]
  if poor:
    yield f'It hardly finds {", ".join(poor)}: {card["class_metric"]} below {_POOR:g}.'
  counts = (card['pseudo_labels'] or {}).get('per_class')
  if counts is not None and not card['is_taught_online']:
    human = (report.get('pseudo_labels') or {}).get('counts_per_class_human') or {}
    none = [name for name in human if not counts.get(name)]
    if none:
      yield f'Pseudo labels had no {", ".join(none)}: it knows them from human labels alone.'
  height, width = card['input_size'][:2]
  yield f'It sees every image at {height} x {width} pixels or less: what is small there is lost.'
  yield 'Images unlike those that it was measured on were not tried.'
  yield f'It is one training with seed {card["seed"]}; another seed gives other figures.'


def markdown(card: Mapping[str, Any]) -> str:
  """The card for people; `card` is what `build` returns."""
  height, width = card['input_size'][:2]
  lines = [
    f'# {card["name"]} of {card["experiment"]}',
    '',
    f'{card["task"].capitalize()}: {card["network"]}, {height} x {width} pixels, {card["step"]:,} steps.',
  ]
  if card['class_names']:
    lines += ['', f'Classes: {", ".join(card["class_names"])}.']
  if card['verdict']:
    lines += ['', card['verdict']]
  lines += ['', '## How well it does', '']
  if card['metrics']:
    lines += _table(('metric', 'value'), card['metrics'].items())
  if card['per_class']:
    lines += ['', *_table(('class', card['class_metric']), card['per_class'].items())]
  for name, each in card['comparisons'].items():
    words = name.replace('_minus_', ' - ')
    lines += [
      '',
      f'{words}: {each["difference"]:+.3f}, {each["confidence"]:.0%} interval {each["low"]:+.3f} to '
      f'{each["high"]:+.3f} over {each["images"]:,} images.',
    ]
  lines += ['', '## Where not to trust it', '', *(f'- {each}' for each in card['limits'])]
  lines += ['', '## What it learned from', '', card['data']['words']]
  pseudo = card['pseudo_labels']
  if pseudo:
    cut = contents.cut_in_words(pseudo['cut'], pseudo['class_cuts'])
    maker = f'another program ({pseudo["source"]})' if pseudo['source'] else 'a teacher'
    lines += [
      '',
      f'Pseudo labels of {maker} on {pseudo["num_images"]:,} images, scores from {cut}: '
      f'{pseudo["labels_per_image"]:.2f} per image, where people draw {pseudo["human_labels_per_image"]:.2f}.'
      + (' Their scores were the targets.' if pseudo['is_soft'] else ''),
    ]
  if card['is_taught_online']:
    lines += [
      '',
      'After the warm-up it learned from labels that its own average made in each step, not from these.',
    ]
  lines += ['', '## How to run it', '']
  if card['is_for_predict']:
    lines += [
      '    python -m official_selftrain.predict --model=THIS_FOLDER --input=photos --output=predicted',
      '',
    ]
  lines += [
    f'Inputs and outputs of the format {card["format"]}, with an example: docs/export.md of the project.'
  ]
  if card['checked']:
    lines += ['', f'The export was {card["checked"]}.']
  lines += [
    '',
    '## How it was made',
    '',
    f'Seed {card["seed"]}, weights {card["weights_sha256"][:12]}, '
    + ', '.join(f'{name} {version}' for name, version in card['versions'].items())
    + f'. All settings: params.yaml. {JSON_FILE} has these facts for programs.',
  ]
  return '\n'.join(lines) + '\n'


def _table(headers: tuple[str, str], rows: Iterable[tuple[str, float | None]]) -> list[str]:
  body = [
    f'| {name.replace("|", chr(92) + "|")} | {"-" if value is None else f"{value:.3f}"} |'
    for name, value in rows
  ]
  return [f'| {headers[0]} | {headers[1]} |', '|---|---|', *body]


def write(card: Mapping[str, Any], directory: str) -> None:
  """Writes both files into a folder."""
  files.write_json(os.path.join(directory, JSON_FILE), card)
  files.write_text(os.path.join(directory, TEXT_FILE), markdown(card))
