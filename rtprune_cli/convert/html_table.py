"""A table as HTML -> its cells on a grid."""

from __future__ import annotations

from dataclasses import dataclass
from html.parser import HTMLParser

MOST_COLUMNS = 1000  # a model in a loop writes colspan="100000"


@dataclass(frozen=True)
class GridCell:
    """A cell whose corner is ``row``, ``column``, from 0; ``text`` is one line."""

    row: int
    column: int
    rows: int
    columns: int
    text: str
    header: bool


@dataclass(frozen=True)
class Grid:
    """The cells of a table by rows; what a cell spans is no other's."""

    rows: int
    columns: int
    cells: tuple[GridCell, ...]

    def by_row(self) -> list[list[str]]:
        """Texts, a list of all columns for each row: a spanned cell's stands once, in its corner."""
        texts = [[""] * self.columns for _ in range(self.rows)]
        for cell in self.cells:
            texts[cell.row][cell.column] = cell.text
        return texts


def parse_table(source: str) -> Grid:
    """The table in ``source``; tables inside cells are text of theirs. Never raises on any text."""
    reader = _TableReader()
    reader.feed(source)
    reader.close()
    reader.end_cell()
    return _placed(reader.found)


@dataclass
class _Raw:
    rows: int
    columns: int
    header: bool
    text: str = ""


class _TableReader(HTMLParser):
    """Rows of cells as they are written."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[list[_Raw]] = []
        self._cell: _Raw | None = None
        self._tables = 0
        self._in_head = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tables += tag == "table"
        if self._tables > 1 or tag not in ("tr", "td", "th", "thead"):
            if self._cell is not None and tag in ("br", "p", "li", "tr", "td", "th"):
                self._cell.text += " "
            return
        self.end_cell()
        if tag == "thead":
            self._in_head = True
        elif tag == "tr":
            self.found.append([])
        else:
            given = dict(attrs)
            if not self.found:
                self.found.append([])
            self._cell = _Raw(_span(given.get("rowspan")), _span(given.get("colspan")), self._in_head or tag == "th")
            self.found[-1].append(self._cell)

    def handle_endtag(self, tag: str) -> None:
        if self._tables <= 1 and tag in ("tr", "td", "th", "thead", "table"):
            self.end_cell()
        if tag == "thead":
            self._in_head = False
        if tag == "table" and self._tables:
            self._tables -= 1

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.text += data

    def end_cell(self) -> None:
        if self._cell is not None:
            self._cell.text = " ".join(self._cell.text.split())
            self._cell = None


def _span(value: str | None) -> int:
    text = (value or "").strip()
    return min(max(int(text), 1), MOST_COLUMNS) if text.isascii() and text.isdigit() and len(text) < 10 else 1


def _placed(rows: list[list[_Raw]]) -> Grid:
    """Each cell at the first free column of its row, as browsers do; what reaches beyond the last row is cut."""
    cells: list[GridCell] = []
    taken: dict[int, int] = {}  # column -> the row before which it is taken
    width = 0
    for row, raws in enumerate(rows):
        column = 0
        for raw in raws:
            while taken.get(column, 0) > row:
                column += 1
            if column >= MOST_COLUMNS:
                break
            columns = 1
            while columns < min(raw.columns, MOST_COLUMNS - column) and taken.get(column + columns, 0) <= row:
                columns += 1
            height = min(raw.rows, len(rows) - row)
            cells.append(GridCell(row, column, height, columns, raw.text, raw.header))
            taken.update(dict.fromkeys(range(column, column + columns), row + height))
            column += columns
            width = max(width, column)
    return Grid(len(rows), width, tuple(cells))
