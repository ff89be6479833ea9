"""The style sheet of `report.html`."""

# Okabe-Ito colours, lightened on dark ground; each pair that is compared differs in lightness as
# well as in hue. Angle brackets and ampersands are avoided, so that the page stays well-formed XML.
CSS = """
:root {
  color-scheme: light dark;
  --ground: #f5f6f8; --card: #ffffff; --ink: #1b2129; --muted: #5c6773; --line: #dde2e8;
  --soft: #eef1f4; --shade: #1b212933;
  --yes: #00795a; --no: #b3400a; --open: #8a6100;
  --teacher: #d98c00; --control: #7d8793; --student: #0072b2; --ceiling: #7a4fa3;
  --human: #00896a; --pseudo: #b4568f; --faint: #b9c1ca;
  --c0: #0072b2; --c1: #d98c00; --c2: #00896a; --c3: #b4568f; --c4: #3fa3dc; --c5: #8a6d3b;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #11151a; --card: #1a2027; --ink: #e6eaef; --muted: #9aa6b2; --line: #313a44;
    --soft: #232b34; --shade: #000000aa;
    --yes: #3ecfa4; --no: #ff8f57; --open: #f0c04a;
    --teacher: #f0ab2e; --control: #8d98a5; --student: #56b4e9; --ceiling: #b694d6;
    --human: #2fc79c; --pseudo: #dd93bf; --faint: #5a6672;
    --c0: #56b4e9; --c1: #f0ab2e; --c2: #2fc79c; --c3: #dd93bf; --c4: #3b86c4; --c5: #c9a875;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 1120px; margin: 0 auto; padding: 28px 20px 56px; }
header { margin-bottom: 20px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.01em; }
h2 { font-size: 19px; line-height: 1.3; margin: 0 0 4px; }
h3 { font-size: 15px; margin: 22px 0 8px; }
p { margin: 0 0 10px; max-width: 78ch; }
.muted, .lead { color: var(--muted); }
.lead { margin-bottom: 16px; }
a { color: inherit; }
nav { display: flex; flex-wrap: wrap; gap: 4px 18px; margin-top: 12px; font-size: 14px; }
nav a { color: var(--muted); text-decoration: none; border-bottom: 1px solid var(--line); }
nav a:hover { color: var(--ink); border-color: var(--ink); }
section {
  background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 22px 24px; margin-bottom: 18px; scroll-margin-top: 12px;
}
.verdict { border-left: 6px solid var(--tone); }
.verdict .kicker { color: var(--tone); font-weight: 650; font-size: 14px; margin-bottom: 4px; }
.verdict .headline {
  font-size: 21px; line-height: 1.35; font-weight: 620; margin-bottom: 10px; max-width: 60ch;
}
.verdict h3 { margin-top: 16px; }
.verdict ul { margin: 0; padding-left: 20px; max-width: 78ch; }
.verdict li { margin-bottom: 4px; }
.helped { --tone: var(--yes); } .hurt, .not_helped { --tone: var(--no); }
.too_close, .unknown { --tone: var(--open); }
.facts {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px;
  margin: 0 0 18px;
}
.fact { background: var(--soft); border-radius: 8px; padding: 12px 14px; }
.fact.model { border-top: 3px solid var(--c); }
.fact dt { color: var(--muted); font-size: 13px; }
.fact dd { margin: 0; }
.fact .value {
  font-size: 24px; font-weight: 620; line-height: 1.3; font-variant-numeric: tabular-nums;
}
.fact .note { color: var(--muted); font-size: 13px; }
/* A shadow at an edge beyond which there is more; covers that move with the content hide it. */
.scroll {
  overflow-x: auto;
  background:
    linear-gradient(to right, var(--card) 40%, transparent) left / 36px 100% no-repeat local,
    linear-gradient(to left, var(--card) 40%, transparent) right / 36px 100% no-repeat local,
    linear-gradient(to right, var(--shade), transparent) left / 14px 100% no-repeat scroll,
    linear-gradient(to left, var(--shade), transparent) right / 14px 100% no-repeat scroll;
}
.scroll + p { margin-top: 12px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px; }
table.full { width: 100%; }
th, td {
  padding: 7px 12px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap;
}
th { color: var(--muted); font-weight: 560; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
thead th { white-space: normal; vertical-align: bottom; }
tbody th { color: var(--ink); }
tbody tr:last-child th, tbody tr:last-child td { border-bottom: 0; }
table.text td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
table.text th { text-align: left; vertical-align: top; font-weight: 500; }
tr.here td, tr.here th { background: var(--soft); font-weight: 640; }
.best { font-weight: 700; }
.charts {
  display: grid; gap: 22px 28px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 400px), 1fr));
}
.charts .wide { grid-column: 1 / -1; }
/* Titles of neighbours line up at the top, their plots at the bottom, with or without a legend. */
.chart { display: flex; flex-direction: column; }
.chart .scroll { margin-top: auto; }
figure { margin: 0; min-width: 0; }
figcaption { font-weight: 600; font-size: 14px; margin-bottom: 2px; }
.legend {
  display: flex; flex-wrap: wrap; gap: 2px 16px; list-style: none; margin: 0 0 6px; padding: 0;
  color: var(--muted); font-size: 13px;
}
.legend li { display: flex; align-items: center; gap: 6px; }
.swatch { width: 12px; height: 12px; border-radius: 3px; background: var(--c); flex: none; }
.swatch.line {
  width: 20px; height: 0; border-radius: 0; background: none; border-top: 3px solid var(--c);
}
.swatch.line.dashed { border-top-style: dashed; }
.swatch.box { background: var(--c); border: 1px solid #101216; box-shadow: 0 0 0 1px var(--line); }
.swatch.box.dashed {
  background: repeating-linear-gradient(90deg, var(--c) 0 4px, #101216 4px 6px);
}
svg { display: block; width: 100%; height: auto; }
svg text { font-size: 12px; fill: var(--muted); }
svg .tick { font-variant-numeric: tabular-nums; }
svg .grid { stroke: var(--line); } svg .base { stroke: var(--muted); }
svg .bar { fill: var(--c); }
svg .line { fill: none; stroke: var(--c); stroke-width: 2; stroke-linejoin: round; }
svg .line.dashed { stroke-dasharray: 6 4; }
svg .dot { fill: var(--c); }
svg .mark { stroke: var(--ink); stroke-width: 1.3; stroke-dasharray: 3 3; }
svg .mark-label { fill: var(--ink); paint-order: stroke; stroke: var(--card); stroke-width: 4px; }
.teacher { --c: var(--teacher); } .control { --c: var(--control); }
.student { --c: var(--student); } .ceiling { --c: var(--ceiling); }
.human { --c: var(--human); } .pseudo { --c: var(--pseudo); } .faint { --c: var(--faint); }
.band { --c: color-mix(in srgb, var(--pseudo) 45%, var(--card)); }
.c0 { --c: var(--c0); } .c1 { --c: var(--c1); } .c2 { --c: var(--c2); }
.c3 { --c: var(--c3); } .c4 { --c: var(--c4); } .c5 { --c: var(--c5); }
details { margin-top: 14px; }
summary { cursor: pointer; color: var(--muted); font-size: 14px; }
details .scroll { margin-top: 8px; }
.rows {
  display: grid; gap: 14px 26px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 500px), 1fr));
}
.row { display: grid; gap: 6px; grid-template-columns: repeat(var(--columns), minmax(96px, 1fr)); }
.tiles {
  --least: 150px; --fair: calc((100% - (var(--columns) - 1) * 10px) / var(--columns));
  display: grid; gap: 12px 10px;
  grid-template-columns: repeat(auto-fill, minmax(max(var(--least), var(--fair)), 1fr));
}
.tile img {
  display: block; width: 100%; height: auto; border-radius: 4px; background: var(--soft);
}
.tile label { display: block; cursor: zoom-in; }
.tile input { position: absolute; opacity: 0; pointer-events: none; }
.tile input:focus-visible + img { outline: 3px solid var(--student); outline-offset: 2px; }
.tile input:checked + img {
  position: fixed; inset: 0; margin: auto; z-index: 9; width: min(94vw, 94vh, 720px);
  cursor: zoom-out; box-shadow: 0 0 0 100vmax rgb(0 0 0 / 0.82);
}
.tile figcaption {
  font-weight: 400; font-size: 12px; color: var(--muted); margin-top: 3px;
  overflow-wrap: anywhere;
}
pre {
  background: var(--soft); border-radius: 8px; padding: 12px 14px; margin: 0 0 12px;
  overflow-x: auto;
  font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
code {
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: 13px;
}
.two {
  display: grid; gap: 8px 36px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px),
  1fr));
}
@media (max-width: 640px) {
  main { padding: 18px 10px 40px; }
  section { padding: 16px 14px; border-radius: 8px; }
  .verdict .headline { font-size: 18px; }
  table { font-size: 13px; }
  th, td { padding: 6px; }
  .facts { grid-template-columns: repeat(auto-fit, minmax(132px, 1fr)); gap: 8px; }
  .facts.models { grid-template-columns: repeat(3, 1fr); }
  .fact { padding: 9px 10px; } .fact .value { font-size: 19px; }
  .tiles { --least: 132px; }
}
@media print { body { background: #fff; } section { break-inside: avoid-page; } nav { display: none;
} }
"""
