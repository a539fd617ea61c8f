"""The style sheet of the published page, for screens light and dark, and for paper.

Used by `pki.certificates.published_html`. No script, no font, no picture: nothing is fetched from anywhere.
"""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root {
  color-scheme: light dark;
  --ground: #ffffff; --card: #f6f7f9; --line: #d5dae1; --text: #1a2330; --soft: #515c6b; --link: #0b57a4;
  --current: #17692f; --current-ground: #e3f4e7; --next: #0b57a4; --next-ground: #e4effb;
  --deprecated: #7a4b00; --deprecated-ground: #fcf1da; --bad: #a4161a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #10141a; --card: #181d25; --line: #323b47; --text: #e6eaf0; --soft: #a6b1bf; --link: #86bdf5;
    --current: #8fdca5; --current-ground: #15311f; --next: #93c5fa; --next-ground: #152c45;
    --deprecated: #f0c677; --deprecated-ground: #37290f; --bad: #ff9d9f;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2rem 1.25rem 3rem; max-width: 92rem; background: var(--ground); color: var(--text);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
}
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .5rem; overflow-wrap: anywhere; }
p { margin: .4rem 0; max-width: 62rem; }
a { color: var(--link); }
.soft { color: var(--soft); }
.bad { color: var(--bad); }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; padding: 0; margin: .8rem 0 0; }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem; margin: .6rem 0 1rem; }
.wide:focus-visible { outline: 2px solid var(--link); }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
caption { text-align: left; padding: .6rem .8rem; color: var(--soft); }
th, td { text-align: left; vertical-align: top; padding: .45rem .8rem; border-top: 1px solid var(--line); }
thead th { border-top: 0; background: var(--card); }
tbody th { font-weight: 600; background: var(--card); white-space: nowrap; }
.sides tbody th { position: sticky; left: 0; }
.sides td { min-width: 13rem; border-left: 1px solid var(--line); overflow-wrap: anywhere; }
.sides thead th + th { border-left: 1px solid var(--line); }
.sides thead th.current { background: var(--current-ground); color: var(--current); }
.sides thead th.next { background: var(--next-ground); color: var(--next); }
.sides thead th.deprecated { background: var(--deprecated-ground); color: var(--deprecated); }
.sides thead th small { display: block; font-weight: 400; }
code { font: .86em/1.45 ui-monospace, "Cascadia Mono", Menlo, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
time { white-space: nowrap; }
td ul, dd ul { list-style: none; margin: 0; padding: 0; }
td li + li { margin-top: .25rem; }
dl { display: grid; grid-template-columns: 14rem minmax(0, 1fr); gap: .15rem 1rem; margin: 0; font-size: .92rem; }
dt { font-weight: 600; }
dd { margin: 0; overflow-wrap: anywhere; }
article { border: 1px solid var(--line); border-radius: .5rem; padding: .2rem 1rem .9rem; margin: .8rem 0; }
article h3 { margin-top: .6rem; }
footer { margin-top: 3rem; padding-top: .8rem; border-top: 1px solid var(--line); color: var(--soft); }
@media (max-width: 40rem) {
  dl { grid-template-columns: 1fr; }
  dd { margin-bottom: .5rem; }
  .sides tbody th { position: static; white-space: normal; }
}
@media print {
  :root { color-scheme: light; --ground: #ffffff; --card: #eef1f5; --line: #7c8796; --text: #000000;
    --soft: #1a2330; --link: #000000;
    --current: #000000; --current-ground: #eef1f5; --next: #000000; --next-ground: #eef1f5; --deprecated: #000000;
    --deprecated-ground: #eef1f5; }
  @page { size: landscape; margin: 1.2cm; }
  html { font-size: 8pt; }
  body { padding: 0; max-width: none; }
  nav { display: none; }
  .wide { overflow: visible; border: 0; }
  .sides td { min-width: 0; }
  article, tr { break-inside: avoid; }
}
"""
