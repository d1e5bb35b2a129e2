"""A page of HTML built of elements: whatever text goes into one is text, and nothing of it becomes markup."""

import html
from typing import Iterable, List, Sequence, Tuple

from orderflow.model import text as texts

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""A browser loads and runs nothing that the page names, even if a mistake of ours let markup through."""
STYLE = """
:root{color-scheme:light dark;--ink:#1d2430;--faint:#667085;--line:#d9dee7;--bar:#c2410c;--paper:#fff}
@media(prefers-color-scheme:dark){
:root{--ink:#e6e9ef;--faint:#98a2b3;--line:#344054;--bar:#fb923c;--paper:#12161d}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper)}
body{margin:2rem auto;max-width:70rem;padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}
.faint{color:var(--faint)}
.figures{display:flex;flex-wrap:wrap;gap:1rem 2.5rem;margin:1.5rem 0;padding:0}
.figures div{display:flex;flex-direction:column-reverse}.figures dt{color:var(--faint)}
.figures dd{margin:0;font-size:1.6rem;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%}
th{text-align:left;font-weight:600;color:var(--faint)}
th,td{padding:.35rem .8rem .35rem 0;border-bottom:1px solid var(--line);vertical-align:top}
.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
code{font:13px/1.5 ui-monospace,monospace;overflow-wrap:anywhere}
svg{display:block;max-width:100%;height:auto}td svg{max-width:none}svg rect{fill:var(--bar)}
@media print{body{margin:0;max-width:none}}
""".strip()


class Html(str):
    """Markup that was made here. Any other text is escaped before it goes in."""

    __slots__ = ()


def shown(text: str) -> Html:
    """The text as it is to be read: controls spelt out, markup made harmless."""
    return Html(html.escape(texts.escape(text), quote=True))


def element(name: str, *inner: str, classes: str = "", title: str = "") -> Html:
    """One element around text, which is escaped, and other elements."""
    attributes = f' class="{shown(classes)}"' if classes else ""
    attributes += f' title="{shown(title)}"' if title else ""
    return Html(f"<{name}{attributes}>{joined(inner)}</{name}>")


def joined(parts: Iterable[str]) -> Html:
    """Elements and texts one after another."""
    return Html("".join(part if isinstance(part, Html) else shown(part) for part in parts))


def table(heading: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int]) -> Html:
    """A table; the columns at the places in `numbers` are to the right."""

    def line(cells: Sequence[str], kind: str) -> Html:
        told = (element(kind, cell, classes="number" * (at in numbers)) for at, cell in enumerate(cells))
        return element("tr", *told)

    head = element("thead", line(heading, "th"))
    body = element("tbody", *(line(row, "td") for row in rows))
    return element("div", element("table", head, body), classes="wide")


def figures(named: Sequence[Tuple[str, str]]) -> Html:
    """Large numbers with what they count."""
    each = (element("div", element("dt", name), element("dd", number)) for name, number in named)
    return element("dl", *each, classes="figures")


def bars(counts: Sequence[int], titles: Sequence[str], width: int, height: int) -> Html:
    """A bar chart as SVG; what happened at all is never drawn as nothing."""
    highest, step = max(counts, default=0), width / max(1, len(counts))
    drawn: List[str] = []
    for place, count in enumerate(counts):
        if count:
            size = max(2.0, height * count / highest)
            at = f'x="{place * step:.1f}" y="{height - size:.1f}"'
            rect = f'<rect {at} width="{max(1.0, step - 1):.1f}" height="{size:.1f}">'
            drawn.append(f"{rect}<title>{shown(titles[place])}</title></rect>")
    box = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return Html(f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {box}>{"".join(drawn)}</svg>')


def page(title: str, body: Iterable[str]) -> str:
    """The whole document, which needs nothing but itself."""
    head = (
        Html('<meta charset="utf-8">'),
        Html('<meta name="viewport" content="width=device-width,initial-scale=1">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        Html('<meta name="referrer" content="no-referrer">'),
        element("title", title),
        Html(f"<style>{STYLE}</style>"),
    )
    return f'<!doctype html>\n<html lang="en">{element("head", *head)}{element("body", *body)}</html>\n'
