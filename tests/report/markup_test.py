"""Tests for building markup."""

import unittest

from official_selftrain.report import markup


class ElementTest(unittest.TestCase):
  def test_text_is_escaped_and_markup_is_not(self):
    inner = markup.element('b', 'a < b & c')
    self.assertEqual(inner, '<b>a &lt; b &amp; c</b>')
    self.assertEqual(
      markup.element('p', '<i>', inner, None, [['x'], inner]),
      '<p>&lt;i&gt;<b>a &lt; b &amp; c</b>x<b>a &lt; b &amp; c</b></p>',
    )

  def test_attributes(self):
    self.assertEqual(
      markup.element('a', class_='x', stroke_width=2.0, viewBox='0 0 1 1', title='"<&', id=None),
      '<a class="x" stroke-width="2" viewBox="0 0 1 1" title="&quot;&lt;&amp;"></a>',
    )

  def test_void_elements_close_themselves(self):
    self.assertEqual(markup.element('meta', charset='utf-8'), '<meta charset="utf-8" />')

  def test_numbers(self):
    cases = [(1.0, '1'), (0.333, '0.33'), (-0.001, '0'), (123456.7, '123457'), (10.5, '10.5')]
    for value, expected in cases:
      self.assertEqual(markup.text(value), expected)


if __name__ == '__main__':
  unittest.main()
