"""Owns HTML tables before they are compared: their normal form, and the text of their cells."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rtprune_cli.bench.scoring.omnidocbench.spans import without

if TYPE_CHECKING:
    from bs4 import BeautifulSoup
    from bs4.element import PageElement

_CLOSE = re.compile(r"</table>", re.IGNORECASE)
_OPEN = re.compile(r"<table\b", re.IGNORECASE)
_ATTRIBUTES = tuple(re.compile(f' {name}=".*?"') for name in ("style", "height", "width", "align", "class"))
_BODY = re.compile(r"</?tbody>")
_SPACE = re.compile(r"\s+")
_PLAIN_TAGS = ("sup", "sub", "span", "div", "p")


def normal_table(
    source: str, groups: Sequence[str] = ("thead",), tidy: Callable[[BeautifulSoup], None] | None = None
) -> str:
    """The table as one line of HTML in which only structure and text are left; "" where ``source`` holds none.

    Official: utils/data_preprocess.py. Entities become characters, and so markup where they spell it. The tags of
    ``groups`` of rows go; ``tidy`` changes the cells after that.
    """
    if "<table" not in source.replace(" ", "").replace("'", '"'):
        return ""
    soup = _soup(source)
    if soup is None:
        return ""
    _plain_cells(soup, groups)
    if tidy:
        soup = _soup(str(soup)) or soup  # what has become one string is one
        tidy(soup)
    table = _content(unicodedata.normalize("NFKC", html.unescape(str(soup)).replace("\n", "")).strip())
    for pattern in (*_ATTRIBUTES, _BODY):
        table = pattern.sub("", table)
    table = f'<html><body><table border="1" >{_SPACE.sub(" ", table)}</table></body></html>'
    for tag in _PLAIN_TAGS:
        table = table.replace(f"<{tag}>", "").replace(f"</{tag}>", "")
    return without(table, "<colgroup>", "</colgroup>")


def cell_texts(source: str) -> list[str]:
    """The text of each cell that holds nothing but one string."""
    from bs4.element import Tag

    soup = _soup(source)
    cells = soup.find_all("td") if soup else []
    strings: dict[int, PageElement | None] = {}  # of a cell, by identity
    for cell in reversed(cells):
        # Tag.string, which calls itself: hostile HTML nests deeper than Python's stack. Inner cells are known already.
        node: PageElement | None = cell
        while isinstance(node, Tag):
            node = node.contents[0] if len(node.contents) == 1 else None
            node = strings.get(id(node), node)
        strings[id(cell)] = node
    found = [strings[id(cell)] for cell in cells]
    return [str(text).replace(r"$\cdot$", "").strip() for text in found if text]


def _plain_cells(soup: BeautifulSoup, groups: Sequence[str]) -> None:
    """Every cell a ``td``, without ``groups`` and ``span``, MathML as its LaTeX."""
    for head in soup.find_all("th"):
        head.name = "td"
    # Innermost first, and of formulas the outermost only: of tags nested 30,000 deep all else takes quadratic time.
    for group in reversed(soup.find_all(groups)):
        group.unwrap()
    for math in soup.find_all("math"):
        if math.find_parent("math") is None:
            math.replace_with(f"${math.get('alttext', '')}$")
    for span in reversed(soup.find_all("span")):
        span.unwrap()


def _soup(source: str) -> BeautifulSoup | None:
    """The parsed HTML, or None where the parser refuses it (``<![``); there the official run ends with a traceback."""
    from bs4 import BeautifulSoup
    from bs4.exceptions import ParserRejectedMarkup

    try:
        return BeautifulSoup(source, "html.parser")
    except ParserRejectedMarkup:
        return None


def _content(table: str) -> str:
    """What stands between the first opening and the last closing tag, or ""."""
    closings = list(_CLOSE.finditer(table))
    opening = _OPEN.search(table)
    start = table.find(">", opening.end()) + 1 if opening else 0
    return table[start : closings[-1].start()] if start and closings and start <= closings[-1].start() else ""
