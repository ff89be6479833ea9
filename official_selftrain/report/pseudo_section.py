"""The page's section on the pseudo labels."""

import math
from collections.abc import Mapping

from official_selftrain.report import charts, markup, parts, records, table

# Shown at both ends, this much of a digest tells two checkpoints apart.
_DIGEST_LENGTH = 16


def pseudo_labels(inputs: records.ReportInputs) -> markup.Markup | None:
  """Counts, scores, quality by cut and class balance; None when there were no pseudo labels."""
  facts = inputs.pseudo_labels
  if facts is None:
    return None
  figures = [
    _scores(inputs, facts),
    *_quality_charts(inputs, facts),
    _class_balance(facts),
  ]
  return parts.section(
    'pseudo-labels',
    'Pseudo labels',
    _lead(inputs, facts),
    _facts(inputs, facts),
    markup.element('div', figures, class_='charts'),
    _quality_table(inputs, facts),
    _dead_letters(facts),
  )


def _lead(inputs: records.ReportInputs, facts: records.PseudoLabelFacts) -> str:
  band = ''
  if facts.ignore_cut is not None:
    band = (
      f' Labels between {facts.ignore_cut:g} and the cut are ignored: neither object nor '
      'background.'
    )
  digest = f' Written by the teacher {facts.teacher_digest[:_DIGEST_LENGTH]}.'
  return (
    f'What the teacher wrote on the unlabelled images. The student sees {inputs.unit} that score '
    f'{facts.cut:g} or more.{band}{digest if facts.teacher_digest else ""}'
  )


def _facts(inputs: records.ReportInputs, facts: records.PseudoLabelFacts) -> markup.Markup:
  ratio = table.number(facts.box_count_ratio, '.2f')
  cells = [
    parts.fact('Unlabelled images', f'{facts.num_images:,}', _coverage(facts)),
    parts.fact(
      'Kept at the cut', table.number(facts.kept_share_at_cut, '.0%'), f'of all {inputs.unit}'
    ),
    parts.fact(
      f'{inputs.unit.capitalize()} per image',
      table.number(facts.boxes_per_image, '.2f'),
      f'people drew {table.number(facts.boxes_per_image_human, ".2f")}',
    ),
    parts.fact('Box-count ratio', ratio, '1 is as many as people draw'),
  ]
  at_cut = facts.quality_at_cut
  if at_cut is not None:
    cells.append(
      parts.fact(
        'Precision and recall',
        f'{table.number(at_cut.precision, ".2f")} / {table.number(at_cut.recall, ".2f")}',
        f'at the cut {at_cut.cut:g}, held-out truth',
      )
    )
  return parts.facts(cells)


def _coverage(facts: records.PseudoLabelFacts) -> str:
  return f'{facts.labelled:,} labelled, {facts.empty:,} empty, {facts.dead:,} unreadable'


def _scores(inputs: records.ReportInputs, facts: records.PseudoLabelFacts) -> markup.Markup:
  styles = [(-math.inf, 'faint', 'dropped')]
  marks = []
  if facts.ignore_cut is not None:
    styles.append((facts.ignore_cut, 'band', 'ignored'))
  styles.append((facts.cut, 'pseudo', 'kept'))
  marks.append(charts.Mark(facts.cut, f'cut {facts.cut:g}'))
  if facts.suggested_cut is not None and facts.suggested_cut != facts.cut:
    marks.append(charts.Mark(facts.suggested_cut, f'suggested {facts.suggested_cut:g}'))
  labels = charts.Labels('Scores of all pseudo labels', 'score', inputs.unit)
  return charts.histogram(labels, facts.score_histogram, styles, marks)


def _quality_charts(
  inputs: records.ReportInputs, facts: records.PseudoLabelFacts
) -> list[markup.Markup]:
  rows = facts.quality
  if not rows:
    return []

  def points(name: str) -> list[tuple[float, float]]:
    return [(row.cut, getattr(row, name)) for row in rows]

  cut = charts.Mark(facts.cut, f'cut {facts.cut:g}')
  quality = charts.line_chart(
    charts.Labels('Precision and recall by cut', 'cut', 'share'),
    (
      charts.Line('precision', 'c0', points('precision')),
      charts.Line('recall', 'c1', points('recall'), dashed=True),
      charts.Line('F1', 'c2', points('f1')),
    ),
    (cut,),
  )
  ratio = charts.line_chart(
    charts.Labels('Box-count ratio by cut', 'cut', f'pseudo {inputs.unit} per true one'),
    (charts.Line('box-count ratio', 'pseudo', points('box_count_ratio')),),
    (cut, charts.Mark(1.0, 'as many as in truth', horizontal=True)),
  )
  return [quality, ratio]


def _shares(counts: Mapping[str, int], names: list[str]) -> list[float]:
  total = sum(counts.values())
  return [counts.get(name, 0) / total if total else math.nan for name in names]


def _class_balance(facts: records.PseudoLabelFacts) -> markup.Markup:
  # The human labels' order first; classes that only the teacher names come last.
  names = list(dict.fromkeys([*facts.counts_per_class_human, *facts.counts_per_class]))
  return charts.bar_chart(
    charts.Labels('Class balance', 'class', 'share of labels'),
    names,
    (
      charts.Bars('human labels', 'human', _shares(facts.counts_per_class_human, names)),
      charts.Bars('pseudo labels at the cut', 'pseudo', _shares(facts.counts_per_class, names)),
    ),
    percent=True,
  )


def _quality_table(
  inputs: records.ReportInputs, facts: records.PseudoLabelFacts
) -> markup.Markup | None:
  at_cut = facts.quality_at_cut
  if not facts.quality or at_cut is None:
    return None
  rows = [
    (
      f'{row.cut:g}',
      table.number(row.precision),
      table.number(row.recall),
      table.number(row.f1),
      table.number(row.box_count_ratio, '.2f'),
    )
    for row in facts.quality
  ]
  grid = parts.grid(
    ('cut', 'precision', 'recall', 'F1', 'box-count ratio'), rows, here=facts.quality.index(at_cut)
  )
  return parts.fold('Quality by cut as a table', grid)


def _dead_letters(facts: records.PseudoLabelFacts) -> markup.Markup | None:
  if not facts.dead_letters:
    return None
  rows = [
    (dead.source_id or '?', dead.shard, str(dead.index), dead.reason) for dead in facts.dead_letters
  ]
  title = f'Unreadable images ({len(rows):,} of {facts.dead:,} shown)'
  return parts.fold(
    title, parts.grid(('image', 'shard', 'record', 'reason'), rows, style='text full')
  )
