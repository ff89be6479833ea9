"""What a check found, as one HTML page with pictures that needs no other file and no network."""

import base64
import html
import io
import string

from PIL import Image, ImageDraw

from official_selftrain.datasets import faults
from official_selftrain.datasets.checks import images
from official_selftrain.datasets.preparation import store, summary
from official_selftrain.datasets.sources import storage

# Side of a picture in pixels, and pictures per kind of fault.
_SIDE = 220
_PICTURES = 6

_PAGE = string.Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Data check</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; } td, th { padding: .25rem .75rem; border-bottom: 1px solid #ddd; text-align: left; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
figure { display: inline-block; vertical-align: top; margin: .5rem; max-width: 460px; }
figcaption { font-size: .8rem; overflow-wrap: anywhere; } img { max-width: 100%; }
.problem { background: #fdecea; border-left: 4px solid #b3261e; padding: .5rem 1rem; }
.good { background: #e8f5e9; border-left: 4px solid #2e7d32; padding: .5rem 1rem; }
</style></head><body><h1>Data check</h1>
$verdict
$table
$kinds
</body></html>
""")


def render(found: summary.Summary, problems: tuple[str, ...], source: store.Store) -> str:
  """Makes the page.

  Args:
    found: what was found.
    problems: why nothing may be written.
    source: the examined images; the files of the pictured ones are read again.

  Returns:
    HTML.
  """
  verdict = ''.join(f'<p class="problem">{html.escape(each)}</p>' for each in problems)
  verdict = verdict or '<p class="good">Nothing stands in the way of training.</p>'
  with storage.Reader() as reader:
    kinds = ''.join(_kind(kind, found, source, reader) for kind in found.examples)
  return _PAGE.substitute(verdict=verdict, table=_table(found), kinds=kinds)


def _kind(
  kind: faults.Kind, found: summary.Summary, source: store.Store, reader: storage.Reader
) -> str:
  """The section of a kind of fault."""
  meaning, examples = kind.rule.meaning, found.examples[kind]
  pictures = ''.join(_figure(each, source, reader) for each in examples[:_PICTURES])
  return (
    f'<h2>{html.escape(meaning[0].upper() + meaning[1:])}</h2>'
    f'<p>{sum(found.counts[kind].values()):,} x, {kind.rule.outcome.value}</p>'
    f'{pictures}{_more(examples[_PICTURES:])}'
  )


def _table(found: summary.Summary) -> str:
  head = ''.join(f'<th class="number">{part.value}</th>' for part in found.images)
  body = ''.join(
    f'<tr><td>{html.escape(meaning)}</td><td>{outcome}</td>'
    + ''.join(f'<td class="number">{count:,}</td>' for count in counts)
    + '</tr>'
    for meaning, outcome, counts in summary.rows(found)
  )
  return f'<table><tr><th></th><th>outcome</th>{head}</tr>{body}</table>'


def _figure(each: summary.Example, source: store.Store, reader: storage.Reader) -> str:
  pictures = [_picture(key, source, reader) for key in (each.key, each.other) if key]
  told = f'{each.name} ({each.detail})' if each.name and each.detail else each.name or each.detail
  caption = f'{each.part.value}: {told}'
  return f'<figure>{"".join(pictures)}<figcaption>{html.escape(caption)}</figcaption></figure>'


def _picture(key: int, source: store.Store, reader: storage.Reader) -> str:
  """An `img` with the image and its boxes; '' for one that cannot be shown."""
  entry = source.entry(key)
  if _is_dangerous(entry):
    return ''
  try:
    with Image.open(io.BytesIO(reader.read_bytes(entry.item.image))) as opened:
      opened.load()
      stored = opened.size
      image = images.displayed(opened).convert('RGB')
  # Pillow's readers raise whatever the bytes lead them to.
  except Exception:
    return ''
  scale = _SIDE / max(image.size)
  turned = image.size != stored
  image = image.resize([max(1, round(side * scale)) for side in image.size])
  draw = ImageDraw.Draw(image)
  for box in entry.finding.boxes if entry.finding and not turned else ():
    edges = [edge * scale for edge in (box.xmin, box.ymin, box.xmax, box.ymax)]
    draw.rectangle(edges, outline=(255, 60, 60))
  buffer = io.BytesIO()
  image.save(buffer, 'JPEG', quality=80)
  return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def _is_dangerous(entry: store.Entry) -> bool:
  """Whether decoding the image may end this process, as it has ended another, or fill its memory."""
  finding = entry.finding
  return finding is not None and (
    not finding.is_final or any(fault.kind is faults.Kind.BOMB for fault in finding.faults)
  )


def _more(examples: tuple[summary.Example, ...]) -> str:
  """A list of those without a picture."""
  lines = ''.join(
    f'<li>{html.escape(f"{each.part.value}: {each.name} {each.detail}")}</li>' for each in examples
  )
  return f'<ul>{lines}</ul>' if lines else ''
