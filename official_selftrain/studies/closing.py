"""The last thing that a study does: its page with pictures, and its words on the console."""

import os

from official_selftrain.core import console, errors, files, lease
from official_selftrain.report import study_contents, study_markdown, study_page, study_words
from official_selftrain.studies import definition, pictures, places

_PAGE, _MARKDOWN = 'study.html', 'study.md'


def write(study: definition.Study, facts: study_contents.StudyFacts, where: places.Places) -> str:
  """Writes `study.html` and `study.md`.

  Args:
    study: the study.
    facts: what its runs found.
    where: its directory.

  Returns:
    What to print.
  """
  path = os.path.join(where.root, _PAGE)
  try:
    sheets = tuple(pictures.sheets(study, facts, where))
  except errors.SelfTrainError as error:
    # Checkpoints or data may have been removed since.
    console.note(f'the page has no pictures: {error}')
    sheets = ()
  page = study_page.render_html(facts, sheets)
  with lease.wait(where.page_lease):
    files.write_text(path, page)
    files.write_text(os.path.join(where.root, _MARKDOWN), study_markdown.render(facts))
  words = '\n'.join(f'- {sentence}' for sentence in study_words.sentences(facts))
  return f'\nPage of the study: {path}\n\n{words}'
