"""A study as Markdown."""

import dataclasses
import unittest

from official_selftrain.report import study_contents, study_markdown
from tests.report import study_facts
from tests.report.study_facts import flat


class MarkdownTest(unittest.TestCase):
  def test_tables_and_sentences(self):
    facts = study_facts.study({'S1': 0.05, 'S4': 0.01}, flat(0.1), noise=0.0)
    (table,) = facts.layout.tables
    table = dataclasses.replace(table, paper={('random student', 'S4'): 45.6})
    facts = dataclasses.replace(facts, layout=study_contents.Layout((table,)))
    text = study_markdown.render(facts)
    self.assertIn(
      '## Made up <b>\n\nWhat helps?\n\n    python -m official_selftrain.study --study=a.yaml\n',
      text,
    )
    self.assertIn('- 12 of 12 runs are finished.\n- Self-training helps', text)
    self.assertIn('| By augmentation | augmentation S1 | augmentation S4 |\n|---|---|---|\n', text)
    self.assertIn('| random control | 0.403 ± 0.025 (3) | 0.403 ± 0.025 (3) |\n', text)
    self.assertIn('| random student | 0.453 ± 0.025 (3) | 0.413 ± 0.025 (3) · paper 45.6 |\n', text)

  def test_bars_in_names(self):
    axes = {'a|b': ('S1|x', 'S4'), 'init': ('random',)}
    results = [
      study_facts.result({'a|b': value, 'init': 'random'}, 1, 0.4, 0.5) for value in axes['a|b']
    ]
    wanted = study_contents.Table('Ta|ble', ('init',), 'a|b', ('control',))
    facts = study_facts.study(
      {'S1': 0.0, 'S4': 0.0}, {'S1': 0.0, 'S4': 0.0}, axes=axes, results=tuple(results)
    )
    first, *others = study_markdown.table(facts, wanted).splitlines()
    self.assertEqual(first, r'| Ta\|ble | a\|b S1\|x | a\|b S4 |')
    self.assertEqual({line.replace(r'\|', '').count('|') for line in [first, *others]}, {4})

  def test_an_empty_cell(self):
    facts = study_facts.study(flat(0.05), flat(0.1))
    facts = dataclasses.replace(facts, results=facts.results[:1])
    self.assertIn('| random control | 0.400 (1) | - |', study_markdown.render(facts))


if __name__ == '__main__':
  unittest.main()
