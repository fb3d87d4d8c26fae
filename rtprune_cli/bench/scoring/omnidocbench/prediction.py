"""Owns one predicted page: markdown -> text, formulas and tables with their places (utils/extract.py)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rtprune_cli.bench.scoring.omnidocbench.pipes import pipe_rows, pipes_to_html
from rtprune_cli.bench.scoring.omnidocbench.spans import between, blanked, delimited, outermost

TEXT = "text_all"
FORMULA = "equation_isolated"
INLINE = "equation_inline"
HTML_TABLE = "html_table"
PIPE_TABLE = "md2html_table"
LATEX_TABLE = "latex_table"

_FENCES = tuple(re.compile(rf"^```{name}\n?", re.MULTILINE) for name in ("markdown", "html", "latex"))
_FENCE_END = re.compile(r"```\n?$", re.MULTILINE)
_CODE = re.compile(r"```\w+\n")
# With dollars within it, \[...\] is read again by these alone.
_DOLLARS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"))
MATH = (_DOLLARS[0], (r"\[", r"\]"), *_DOLLARS[1:])


@dataclass(frozen=True)
class Item:
    """A piece of the page. ``kind`` says how it is normalised, ``label`` what it is called in a match."""

    kind: str
    label: str
    position: int
    content: str


@dataclass(frozen=True)
class ParsedPrediction:
    """What a page was read as. ``pool``: text and formulas; an inline formula is in it, and in its text as well."""

    pool: Sequence[Item]
    html_tables: Sequence[Item]
    latex_tables: Sequence[Item]


def read_markdown(markdown: str) -> ParsedPrediction:
    """Take a page apart as the official code does, in its order: what one step takes, the next does not see."""
    content = _cleaned(markdown)
    latex = latex_tables_of(content)
    content = blanked(content, map(_span, latex))
    tables = html_tables_of(content)
    content = blanked(content, map(_span, tables))
    pool = []
    displayed = []
    for span in delimited(content, MATH):
        formula = formula_of(content[span.start : span.end], span.start)
        pool.append(formula)
        if formula.label != INLINE:  # an inline formula stays in its text
            displayed.append((span.start, span.end))
    content = blanked(content, displayed)
    if sum(1 for _ in pipe_rows(content + "\n")) > 1:
        content = pipes_to_html(content)
        spans = [(span.start, span.end) for span in between(content, "<table", "</table>")]
        tables += [Item(HTML_TABLE, PIPE_TABLE, start, content[start:end]) for start, end in spans]
        content = blanked(content, spans)
    code = list(code_blocks(content))
    pool += [item for _, item in code]
    content = blanked(content, [span for span, _ in code])
    for item in _paragraphs(unwrapped(content)):
        (tables if item.kind == HTML_TABLE else pool).append(item)
    return ParsedPrediction(by_kind(pool), sorted(tables, key=_position), latex)


def _position(item: Item) -> int:
    return item.position


def by_kind(pool: list[Item]) -> list[Item]:
    """By kind, the one that the page begins with first, and by place: what decides between pieces at one place."""
    pool = sorted(pool, key=_position)
    return sorted(pool, key=lambda item: item.kind != pool[0].kind)


def _cleaned(markdown: str) -> str:
    return without_wrapping("\n".join(_without_images(line) for line in markdown.split("\n")))


def without_wrapping(content: str) -> str:
    """Without fences and the outer tags of HTML; long runs of underscores and blanks cut to four."""
    for fence in (*_FENCES, _FENCE_END):
        content = fence.sub("", content)
    content = re.sub(" {4,}", "    ", re.sub("_{4,}", "____", content))
    for tag in ("<html>", "</html>", "<body>", "</body>"):
        content = content.replace(tag, "")
    return content


def _without_images(line: str) -> str:
    parts, at = [], 0
    for start, _, end in image_places(line):
        parts.append(line[at:start])
        at = end
    return "".join([*parts, line[at:]])


def image_places(line: str) -> Iterator[tuple[int, int, int]]:
    """(start, end of the alternative text, end) of every ``![...](...)`` of a line."""
    start = line.find("![")
    while start >= 0:
        address = line.find("](", start + 2)
        close = line.find(")", address + 2)
        if address < 0 or close < 0:
            break
        yield start, address, close + 1
        start = line.find("![", close + 1)


def latex_tables_of(content: str) -> list[Item]:
    r"""``table`` environments, and the ``tabular`` ones outside of them.

    Of a ``tabular`` the official code takes one character too many, mostly the line end: so the blank line after it is
    none, and the next paragraph begins at the table's place.
    """
    spans = [(span.start, span.end) for span in between(content, r"\begin{table}", r"\end{table}")]
    tables = [Item(LATEX_TABLE, LATEX_TABLE, start, content[start:end]) for start, end in spans]
    rest = blanked(content, spans)
    begins, ends = (_places(rest, mark) for mark in (r"\begin{tabular}", r"\end{tabular}"))
    for start, end in outermost(begins, ends, step=14, restart=16):
        tables.append(Item(LATEX_TABLE, LATEX_TABLE, start, rest[start : end + 14]))
    return sorted(tables, key=_position)


def html_tables_of(content: str) -> list[Item]:
    """``<table ...>`` to ``</table>``, outermost ones."""
    last_bracket = content.rfind(">")
    begins = [place for place in _places(content, "<table") if place + len("<table") <= last_bracket]
    return [
        Item(HTML_TABLE, HTML_TABLE, start, content[start : end + len("</table>")])
        for start, end in outermost(begins, _places(content, "</table>"), step=8, restart=16)
    ]


def _span(item: Item) -> tuple[int, int]:
    return item.position, item.position + len(item.content)


def _places(text: str, mark: str) -> list[int]:
    return [hit.start() for hit in re.finditer(re.escape(mark), text)]


def formula_of(source: str, position: int) -> Item:
    r"""A formula on one line between ``\[`` and ``\]``; inline where it was ``$`` or ``\(``, or holds one."""
    line = " ".join(source.strip().split("\n"))
    parts, at, label = [], 0, FORMULA
    for number, span in enumerate(delimited(line, _DOLLARS)):
        width = len(span.opening)
        inside = line[span.start + width : span.end - width]
        if number == 0 and (span.opening != "$$" or not inside):
            label = INLINE
        # The official replacement for inline formulas names the groups of $ and \( only, that for others $$ only.
        kept = inside if (span.opening == "$$") != (label == INLINE) else ""
        parts += [line[at : span.start], rf"\[{kept}\]"]
        at = span.end
    return Item(FORMULA, label, position, "".join([*parts, line[at:]]))


def code_blocks(content: str) -> Iterator[tuple[tuple[int, int], Item]]:
    """Fenced code that names its language. Most fences are gone before this: see :func:`_cleaned`."""
    opening = _CODE.search(content)
    while opening and (close := content.find("```", opening.end())) >= 0:
        span = (opening.start(), close + 3)
        yield span, Item(TEXT, "code", span[0], content[opening.end() : close].strip())
        opening = _CODE.search(content, span[1])


def unwrapped(content: str) -> str:
    """``content`` with the text of LaTeX headings in place of the macros."""
    content = _unwrap(content, re.compile(r"\\title\{"), one_line=True)
    content = _unwrap(content, re.compile(r"\\title\s*\{"))
    content = _unwrap(content, re.compile(r"\\text\s*\{"))
    content = _unwrap(content, re.compile(r"\\section\*?\{"), one_line=True)
    return _unwrap(content, re.compile(r"\\section\*?\{"))


def _unwrap(content: str, opening: re.Pattern[str], *, one_line: bool = False) -> str:
    """What stands between an opening and the next brace; stripped, unless both must be on ``one_line``."""
    parts, at = [], 0
    hit = opening.search(content)
    while hit:
        line_end = content.find("\n", hit.end()) if one_line else -1
        close = content.find("}", hit.end(), line_end if line_end >= 0 else len(content))
        if close >= 0:
            inside = content[hit.end() : close]
            parts += [content[at : hit.start()], inside if one_line else inside.strip()]
            at = close + 1
        elif not one_line:
            break
        hit = opening.search(content, max(at, hit.end()))
    return "".join([*parts, content[at:]])


def _paragraphs(content: str) -> Iterator[Item]:
    """Paragraphs at the sum of the lengths before them, separators left out: so they drift against the formulas."""
    pieces = content.split("\n\n")
    if len(pieces) == 1:
        pieces = content.split("\n")
    position = 0
    for piece in pieces:
        text = "\n".join(stripped for line in piece.split("\n") if (stripped := line.strip()))
        if text.startswith("<table") and text.endswith("</table>"):
            yield Item(HTML_TABLE, HTML_TABLE, position, text)
        elif text.startswith("$") and text.endswith("$"):
            if text.replace("$", "").strip():
                yield Item(FORMULA, FORMULA, position, text)
        elif text:
            yield Item(TEXT, "text_block", position, text)
        position += len(piece)
