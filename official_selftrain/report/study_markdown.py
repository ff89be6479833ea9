"""The results of a study as Markdown, for documents that show them."""

from official_selftrain.report import study_contents, study_page, study_words


def render(facts: study_contents.StudyFacts) -> str:
  """Question, answer, tables and method; the same figures as the page."""
  parts = [f'## {facts.title}']
  if facts.question:
    parts.append(facts.question)
  parts.append(f'    {facts.command}')
  parts.append('\n'.join(f'- {sentence}' for sentence in study_words.sentences(facts)))
  parts += [table(facts, each) for each in facts.layout.tables]
  parts.append(study_words.METHOD)
  return '\n\n'.join(parts) + '\n'


def table(facts: study_contents.StudyFacts, wanted: study_contents.Table) -> str:
  """One table: mean and standard deviation of the runs, and their number."""
  columns = facts.axes[wanted.columns]
  heads = ' | '.join(_escaped(f'{wanted.columns} {column}') for column in columns)
  lines = [
    f'| {_escaped(wanted.title)} | {heads} |',
    '|---' * (1 + len(columns)) + '|',
  ]
  for name, cells in study_page.table_rows(facts, wanted):
    texts = [study_page.text_with_paper(wanted, name, column, cells[column]) for column in columns]
    lines.append(f'| {_escaped(name)} | {" | ".join(texts)} |')
  return '\n'.join(lines)


def _escaped(text: str) -> str:
  """A text in a cell, which a bar would end."""
  return text.replace('|', r'\|')
