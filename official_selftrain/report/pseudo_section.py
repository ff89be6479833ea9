"""The page's section on the pseudo labels."""

import math
from collections.abc import Mapping

from official_selftrain.report import charts, contents, markup, parts, table

# Shown at both ends, this much of a digest tells two checkpoints apart.
_DIGEST_LENGTH = 16


def pseudo_labels(inputs: contents.ReportInputs) -> markup.Markup | None:
  """Counts, scores, quality by cut and class balance; None when there were no pseudo labels."""
  facts = inputs.pseudo_labels
  if facts is None:
    return None
  figures = [
    _scores(inputs, facts),
    *_quality_charts(inputs, facts),
    _class_balance(inputs, facts),
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


def _lead(inputs: contents.ReportInputs, facts: contents.PseudoLabelFacts) -> str:
  band = ''
  if facts.ignore_cut == 0:
    band = ' Pixels below the cut are ignored, those of the background too.'
  elif facts.ignore_cut is not None:
    band = (
      f' Labels between {facts.ignore_cut:g} and the cut are ignored: neither object nor '
      'background.'
    )
  if facts.is_soft:
    band += ' Their scores are the targets (soft labels).'
  digest = f' Written by the teacher {facts.teacher_digest[:_DIGEST_LENGTH]}.'
  what = 'What the teacher wrote on the unlabelled images.'
  if facts.source:
    what = f'What another program found in the unlabelled images: {facts.source}.'
    digest = f' Digest of its labels: {facts.teacher_digest[:_DIGEST_LENGTH]}.'
  return (
    f'{what} The student sees {inputs.unit} that score '
    f'{facts.cut_in_words} or more.{band}{digest if facts.teacher_digest else ""}'
  )


def _facts(inputs: contents.ReportInputs, facts: contents.PseudoLabelFacts) -> markup.Markup:
  ratio = table.number(facts.count_ratio, '.2f')
  cells = [
    parts.fact('Unlabelled images', f'{facts.num_images:,}', _coverage(facts)),
    parts.fact(
      'Kept at the cut', table.number(facts.kept_share_at_cut, '.0%'), f'of all {inputs.unit}'
    ),
    parts.fact(
      f'{inputs.unit.capitalize()} per image',
      contents.quantity(facts.labels_per_image),
      f'people drew {contents.quantity(facts.human_labels_per_image)}',
    ),
    parts.fact('Count ratio', ratio, '1 means as many as people draw'),
  ]
  at_cut = facts.quality_at_cut
  if at_cut is not None:
    cells.append(
      parts.fact(
        'Precision and recall',
        f'{table.number(at_cut.precision, ".2f")} / {table.number(at_cut.recall, ".2f")}',
        f'at {facts.named_cut}, held-out truth',
      )
    )
  if at_cut is not None and at_cut.kept_share is not None:
    cells.append(
      parts.fact(
        'Pixels kept',
        table.number(at_cut.kept_share, '.0%'),
        f'of all; {table.number(at_cut.accuracy, ".1%")} of these are right',
      )
    )
  if facts.spared:
    cells.append(
      parts.fact(
        'Left to human labels',
        ', '.join(facts.spared),
        'pseudo labels teach nothing of these classes (task.pseudo_data.spared_classes)',
      )
    )
  return parts.facts(cells)


def _coverage(facts: contents.PseudoLabelFacts) -> str:
  return f'{facts.labelled:,} labelled, {facts.empty:,} empty, {facts.dead:,} left out'


def _scores(inputs: contents.ReportInputs, facts: contents.PseudoLabelFacts) -> markup.Markup:
  styles = [] if facts.ignore_cut == 0 else [(-math.inf, 'faint', 'dropped')]
  marks: list[charts.Mark] = []
  if facts.ignore_cut is not None:
    styles.append((facts.ignore_cut, 'band', 'ignored'))
  kept = 'kept' if facts.class_cuts is None else 'kept, of some classes'
  styles.append((facts.class_cuts[0] if facts.class_cuts else facts.cut, 'pseudo', kept))
  marks += _cuts(facts)
  suggests = facts.class_cuts is None and not facts.is_soft
  if suggests and facts.suggested_cut not in (None, facts.cut):
    marks.append(charts.Mark(facts.suggested_cut, f'suggested {facts.suggested_cut:g}'))
  labels = charts.Labels('Scores of all pseudo labels', 'score', inputs.unit)
  return charts.histogram(labels, facts.score_histogram, styles, marks)


def _cuts(facts: contents.PseudoLabelFacts) -> tuple[charts.Mark, ...]:
  """The cut, or the lowest and the highest one of the classes."""
  if facts.class_cuts is None:
    return (charts.Mark(facts.cut, f'cut {facts.cut:g}'),)
  lowest, highest = facts.class_cuts
  return (charts.Mark(lowest, f'cut {lowest:g}'), charts.Mark(highest, f'to {highest:g}'))


def _quality_charts(
  inputs: contents.ReportInputs, facts: contents.PseudoLabelFacts
) -> list[markup.Markup]:
  rows = facts.quality
  if not rows:
    return []

  def points(name: str) -> list[tuple[float, float]]:
    return [(row.cut, getattr(row, name)) for row in rows]

  cuts = _cuts(facts)
  quality = charts.line_chart(
    charts.Labels('Precision and recall by cut', 'cut', 'share'),
    (
      charts.Line('precision', 'c0', points('precision')),
      charts.Line('recall', 'c1', points('recall'), dashed=True),
      charts.Line('F1', 'c2', points('f1')),
    ),
    cuts,
  )
  ratio = charts.line_chart(
    charts.Labels('Count ratio by cut', 'cut', f'pseudo {inputs.unit} per true one'),
    (charts.Line('count ratio', 'pseudo', points('count_ratio')),),
    (*cuts, charts.Mark(1.0, 'as many as in truth', horizontal=True)),
  )
  return [quality, ratio, *_pixel_charts(facts)]


def _pixel_charts(facts: contents.PseudoLabelFacts) -> list[markup.Markup]:
  """Facts about all pixels, including the background."""
  if not facts.has_pixels or not facts.quality:
    return []
  rows, cuts = facts.quality, _cuts(facts)
  by_cut = charts.line_chart(
    charts.Labels('Pixels kept, and their accuracy, by cut', 'cut', 'share'),
    (
      charts.Line('kept pixels', 'pseudo', [(row.cut, row.kept_share or 0.0) for row in rows]),
      charts.Line(
        'accuracy',
        'c1',
        [(row.cut, row.accuracy) for row in rows if row.accuracy is not None],
        True,
      ),
    ),
    cuts,
  )
  if not facts.accuracy_by_confidence:
    return [by_cut]
  by_confidence = charts.line_chart(
    charts.Labels('Accuracy of pixels by confidence', 'confidence', 'accuracy'),
    (
      charts.Line('accuracy', 'c1', facts.accuracy_by_confidence),
      charts.Line('perfectly calibrated', 'c3', [(0.0, 0.0), (1.0, 1.0)], True),
    ),
    cuts,
  )
  return [by_cut, by_confidence]


def _shares(counts: Mapping[str, int], names: list[str]) -> list[float]:
  total = sum(counts.values())
  return [counts.get(name, 0) / total if total else math.nan for name in names]


def _class_balance(
  inputs: contents.ReportInputs, facts: contents.PseudoLabelFacts
) -> markup.Markup:
  # The human labels' order first; classes that only the teacher names come last.
  names = list(dict.fromkeys([*facts.counts_per_class_human, *facts.counts_per_class]))
  return charts.bar_chart(
    charts.Labels('Class balance', 'class', f'share of {inputs.unit}'),
    names,
    (
      charts.Bars('human labels', 'human', _shares(facts.counts_per_class_human, names)),
      charts.Bars('pseudo labels at the cut', 'pseudo', _shares(facts.counts_per_class, names)),
    ),
    percent=True,
  )


def _quality_table(
  inputs: contents.ReportInputs, facts: contents.PseudoLabelFacts
) -> markup.Markup | None:
  if not facts.quality:
    return None
  header = ['cut', 'precision', 'recall', 'F1', 'count ratio']
  if facts.has_pixels:
    header += ['kept pixels', 'accuracy']
  rows = []
  for row in facts.quality:
    cells = [f'{row.cut:g}', *map(table.number, (row.precision, row.recall, row.f1))]
    cells.append(table.number(row.count_ratio, '.2f'))
    if facts.has_pixels:
      cells += [table.number(row.kept_share), table.number(row.accuracy)]
    rows.append(cells)
  at_cut = facts.quality_at_cut if facts.class_cuts is None else None
  grid = parts.grid(header, rows, here=facts.quality.index(at_cut) if at_cut else None)
  return parts.fold('Quality by cut as a table', grid)


def _dead_letters(facts: contents.PseudoLabelFacts) -> markup.Markup | None:
  if not facts.dead_letters:
    return None
  rows = [
    (dead.source_id or '?', dead.shard, str(dead.index), dead.reason) for dead in facts.dead_letters
  ]
  title = f'Images left out ({len(rows):,} of {facts.dead:,} shown)'
  return parts.fold(
    title, parts.grid(('image', 'shard', 'record', 'reason'), rows, style='text full')
  )
