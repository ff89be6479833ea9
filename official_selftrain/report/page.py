"""`report.html`: one file that needs nothing else."""

import os

from official_selftrain.core import files
from official_selftrain.report import (
  calibration_section,
  contents,
  judgement,
  markup,
  pseudo_section,
  rounds_section,
  sections,
  start_section,
  style,
)

# The browser itself then refuses anything that is not inside the file.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def render_html(inputs: contents.ReportInputs, verdict: judgement.Verdict) -> str:
  """The whole page.

  Args:
    inputs: the run's facts. All text in them is escaped.
    verdict: what `judgement.verdict` says about them.

  Returns:
    An HTML document that is well-formed XML, with its style, charts and pictures inside.
  """
  named = [
    ('results', 'Results', sections.results(inputs)),
    ('classes', 'Classes', sections.per_class(inputs)),
    ('confusion', 'Confusions', sections.confusion(inputs)),
    ('rounds', 'Rounds', rounds_section.rounds(inputs)),
    ('pseudo-labels', 'Pseudo labels', pseudo_section.pseudo_labels(inputs)),
    ('calibration', 'Calibration', calibration_section.calibration(inputs)),
    ('starts', 'Starts', start_section.starts(inputs)),
    ('losses', 'Losses', sections.losses(inputs)),
    *(
      (f'sheet-{i}', contact.title, sections.sheet(i, contact))
      for i, contact in enumerate(inputs.sheets)
    ),
    ('settings', 'Settings', sections.settings(inputs)),
  ]
  shown = [entry for entry in named if entry[2] is not None]
  links = [markup.element('a', name, href=f'#{anchor}') for anchor, name, _ in shown]
  header = markup.element(
    'header',
    markup.element('h1', 'Self-training report'),
    markup.element('p', _subtitle(inputs), class_='muted'),
    markup.element('nav', links),
  )
  main = markup.element(
    'main', header, sections.verdict_card(verdict), [content for _, _, content in shown]
  )
  title = f'Self-training report: {inputs.experiment}, seed {inputs.seed}'
  page = markup.element('html', head(title), markup.element('body', main), lang='en')
  return f'<!DOCTYPE html>\n{page}\n'


def write_html(
  inputs: contents.ReportInputs, verdict: judgement.Verdict, path: str | os.PathLike[str]
) -> None:
  """Writes `render_html` to `path`, whole or not at all."""
  files.write_text(path, render_html(inputs, verdict))


def head(title: str) -> markup.Markup:
  """The head of a page that may load nothing from outside."""
  return markup.element(
    'head',
    markup.element('meta', charset='utf-8'),
    markup.element('meta', http_equiv='Content-Security-Policy', content=_POLICY),
    markup.element('meta', name_='viewport', content='width=device-width, initial-scale=1'),
    markup.element('title', title),
    markup.element('style', markup.Markup(style.CSS)),
  )


def _subtitle(inputs: contents.ReportInputs) -> str:
  facts = inputs.pseudo_labels
  counts = (
    (inputs.num_labelled_images, 'labelled'),
    (facts.num_images if facts else None, 'unlabelled'),
    (inputs.num_validation_images, 'validation'),
  )
  images = ', '.join(f'{count:,} {name}' for count, name in counts if count is not None)
  words = [inputs.experiment, f'seed {inputs.seed}']
  if inputs.class_names:
    words.append(f'{len(inputs.class_names)} classes')
  if images:
    words.append(f'{images} images')
  return ' · '.join(words)
