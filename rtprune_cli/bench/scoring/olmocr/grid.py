"""Owns the tables of a page as cells that know their neighbours, from pipe tables and HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from rtprune_cli.bench.scoring.flatten import without_comments

# Against hostile tables. Browsers cut a colspan at 1,000 too; where a span would take a table past its slots, it counts
# as 1; a table in which elements are nested deeper is not read.
MAX_SPAN = 1_000
MAX_SLOTS = 200_000
MAX_DEPTH = 500
MAX_WALK = 2_000  # cells on the way to the headings of one

_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)\b[^<>]*?(/?)>")
_VOID = frozenset(("br", "col", "hr", "img", "input", "wbr"))


@dataclass(frozen=True)
class Cell:
    """What a table's source says of a cell."""

    text: str
    heading: bool
    rows: int = 1
    columns: int = 1


@dataclass(eq=False)
class Node:
    """A cell in its table. Neighbours touch it over the full width or height that it spans, blank slots skipped."""

    text: str
    heading: bool
    up: list[Node] = field(default_factory=list)
    down: list[Node] = field(default_factory=list)
    left: list[Node] = field(default_factory=list)
    right: list[Node] = field(default_factory=list)

    def headings(self, direction: str) -> list[Node]:
        """Heading cells anywhere in a direction (``up``, ``left``); where there are none, the outermost cells."""
        headings, outermost = [], []
        seen, ahead = {id(self)}, [self]
        while ahead and len(seen) < MAX_WALK:
            node = ahead.pop()
            if node is not self and node.heading:
                headings.append(node)
            following: list[Node] = getattr(node, direction)
            if not following and node is not self:
                outermost.append(node)
            for neighbour in following:
                if id(neighbour) not in seen:
                    seen.add(id(neighbour))
                    ahead.append(neighbour)
        return headings or outermost


def tables(markdown: str) -> Iterator[list[Node]]:
    """The cells of each table, pipe tables first."""
    for rows in [*_pipe_tables(markdown), *_html_tables(markdown)]:
        if nodes := _linked(rows):
            yield nodes


def _linked(rows: Sequence[Sequence[Cell]]) -> list[Node]:
    """Cells placed as a browser does, rows that end early left open, and joined to their neighbours."""
    nodes: list[Node] = []
    above: list[Node | None] = []  # nearest cell over each column, down to the row at hand
    spanning: dict[int, tuple[Node, int]] = {}  # column -> cell from above that comes down to it, and for how many rows
    slots = 0
    for number, cells in enumerate(rows):
        row: dict[int, Node] = {}
        for column, (node, left) in list(spanning.items()):
            row[column] = node
            if left == 1:
                del spanning[column]
            else:
                spanning[column] = (node, left - 1)
        column = 0
        for cell in cells:
            while column in row:
                column += 1
            node = Node(cell.text, cell.heading)
            nodes.append(node)
            width, height = min(cell.columns, MAX_SPAN), min(cell.rows, len(rows) - number)  # no further than the table
            if slots + width * height > MAX_SLOTS:
                width = height = 1
            slots += width * height
            for place in range(column, column + width):
                row[place] = node
                if height > 1:
                    spanning[place] = (node, height - 1)
            column += width
        _join_sideways(row)
        above.extend([None] * (max(row, default=-1) + 1 - len(above)))
        for place, node in row.items():
            upper = above[place]
            if upper is not None and upper is not node:
                _join(upper, "down", node, "up")
            above[place] = node
    return nodes


def _join_sideways(row: dict[int, Node]) -> None:
    before: Node | None = None
    for place in sorted(row):
        node = row[place]
        if before is not None and before is not node:
            _join(before, "right", node, "left")
        before = node


def _join(one: Node, there: str, other: Node, back: str) -> None:
    """Once, however many slots they share; such slots follow one another."""
    neighbours: list[Node] = getattr(one, there)
    if not neighbours or neighbours[-1] is not other:
        neighbours.append(other)
    neighbours = getattr(other, back)
    if not neighbours or neighbours[-1] is not one:
        neighbours.append(one)


# --- Sources -----------------------------------------------------------------------------------------------------


def _pipe_tables(markdown: str) -> Iterator[list[list[Cell]]]:
    """Two lines or more in a row that hold a bar; the first row and the first column are headings."""
    block: list[str] = []
    for line in [*markdown.strip().split("\n"), ""]:
        if "|" in line:
            block.append(line)
            continue
        if len(block) > 1:
            rows = list(filter(None, map(_pipe_cells, block)))
            yield [
                [Cell(text, number == 0 or place == 0) for place, text in enumerate(row)]
                for number, row in enumerate(rows)
            ]
        block = []


def _pipe_cells(line: str) -> list[str]:
    """The texts of a row; none for a separator."""
    if line.strip() and not line.strip("|-: "):
        return []
    cells = [cell.strip() for cell in line.split("|")]
    if cells and not cells[0]:
        del cells[0]
    if cells and not cells[-1]:
        del cells[-1]
    return cells


def _html_tables(markdown: str) -> Iterator[list[list[Cell]]]:
    for html in _outermost(markdown):
        from bs4 import BeautifulSoup

        for table in BeautifulSoup(html, "html.parser").find_all("table"):
            rows = table.find_all("tr")
            yield [_html_cells(row, len(rows) - number) for number, row in enumerate(rows)]


def _html_cells(row: Any, rows_left: int) -> list[Cell]:
    in_head = row.find_parent("thead") is not None
    cells = []
    for cell in row.find_all(["th", "td"], recursive=False):
        for line_break in cell.find_all("br"):
            line_break.replace_with("\n")
        rows = rows_left if str(cell.get("rowspan")).strip() == "0" else _span(cell.get("rowspan"))
        cells.append(Cell(cell.get_text().strip(), cell.name == "th" or in_head, rows, _span(cell.get("colspan"))))
    return cells


def _span(value: Any) -> int:
    try:
        return max(1, int(value))
    except (TypeError, ValueError):  # absent, or no number
        return 1


def _outermost(markdown: str) -> Iterator[str]:
    """The HTML of each outermost table, also of one that does not end."""
    markdown = without_comments(markdown)
    start = tables = depth = deepest = 0
    for tag in _TAG.finditer(markdown):
        name, step = tag[2].lower(), -1 if tag[1] else 1
        if not tables:
            if name != "table" or step < 0:
                continue
            start, depth, deepest = tag.start(), 0, 0
        if name not in _VOID and not tag[3]:
            depth += step
            deepest = max(deepest, depth)
            tables += step * (name == "table")
        if not tables and deepest <= MAX_DEPTH:
            yield _escaped(markdown[start : tag.end()])
    if tables and deepest <= MAX_DEPTH:
        yield _escaped(markdown[start:])


def _escaped(html: str) -> str:
    """Without loose angle brackets, on some of which Python's HTML parser is quadratic."""
    parts, end = [], 0
    for tag in _TAG.finditer(html):
        parts += [html[end : tag.start()].replace("<", "&lt;"), tag[0]]
        end = tag.end()
    return "".join([*parts, html[end:].replace("<", "&lt;")])
