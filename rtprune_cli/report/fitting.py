"""Tables that fit a screen: which columns stay, and lines in which no figure is cut or folded."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len

if TYPE_CHECKING:
    from rich.console import Console

GAP = "  "
LEAST_NAME = 12  # cells that a shortened name has at least
CUT = "…"
NOTHING = "–"  # of a figure that there is not
NOTHINGS = {"", NOTHING, "0"}


@dataclass(frozen=True)
class TableColumn:
    """``cells`` of all rows; ``total`` stands below them.

    ``goes``: where the screen is too narrow, columns go in this order, the lowest first; None: it stays. ``is_name``:
    it is shortened, as no figure is. ``is_left``: it lies left, as names do.
    """

    heading: str
    cells: Sequence[str]
    total: str = ""
    goes: int | None = None
    is_name: bool = False
    is_left: bool = False

    @property
    def width(self) -> int:
        """Cells of the screen that it takes."""
        return max(map(cell_len, (self.heading, self.total, *self.cells)))


def told_once(
    columns: Sequence[TableColumn], width: int, failed: Collection[int] = ()
) -> tuple[list[TableColumn], list[str]]:
    """The columns that differ from row to row; and of the others, in words, what all rows have but those that
    ``failed``, by number, where they have nothing. What is nothing or 0 in all rows is not worth a word. What a single
    row says stays. A name takes at most ``width`` cells."""
    stay, same = list[TableColumn](), list[str]()
    for column in columns:
        found = {cell for number, cell in enumerate(column.cells) if cell or number not in failed}
        if len(found) > 1 or (found - NOTHINGS and len(column.cells) == 1):
            stay.append(column)
        elif found - NOTHINGS:
            value = found.pop()
            same.append(f"{column.heading} {shortened(value, width) if column.is_name else value}")
    return stay, same


class Fitted:
    """Columns as a screen of ``width`` cells has room for them."""

    def __init__(self, columns: Sequence[TableColumn], width: int) -> None:
        self.columns = list(columns)
        while self._least() > width:
            going = [column for column in self.columns if column.goes is not None]
            if not going:
                break
            self.columns.remove(min(going, key=lambda column: column.goes or 0))
        self.widths = [_least(column) for column in self.columns]
        room = max(width - self._least(), 0)  # goes to the names that want some, one cell after the other
        while room > 0 and (wanting := [n for n, c in enumerate(self.columns) if c.width > self.widths[n]]):
            for number in wanting[:room]:
                self.widths[number] += 1
            room -= len(wanting)

    def _least(self) -> int:
        return sum(map(_least, self.columns)) + len(GAP) * (len(self.columns) - 1)

    @property
    def heading(self) -> str:
        return self.line([column.heading for column in self.columns])

    @property
    def total(self) -> str:
        return self.line([column.total for column in self.columns])

    @property
    def rows(self) -> list[str]:
        """A line each."""
        return [self.line(cells) for cells in zip(*(column.cells for column in self.columns), strict=True)]

    def line(self, cells: Iterable[str]) -> str:
        """Cells of one row, below one another with those of others."""
        parts = []
        for column, width, cell in zip(self.columns, self.widths, cells, strict=True):
            text = shortened(cell, width) if column.is_name else cell
            space = " " * (width - cell_len(text))
            parts.append(text + space if column.is_name or column.is_left else space + text)
        return GAP.join(parts).rstrip()


def _least(column: TableColumn) -> int:
    """Names can be shortened, but not below their heading and their total."""
    if not column.is_name:
        return column.width
    return min(column.width, max(LEAST_NAME, cell_len(column.heading), cell_len(column.total)))


def shortened(name: str, width: int) -> str:
    """A path or name in so many cells of a screen, on one line. The file's own name stays, which tells it from others;
    one that does not fit loses its middle, since many begin or end alike: a third is of its beginning."""
    name = "".join(character if character.isprintable() else " " for character in name)
    if cell_len(name) <= width:
        return name
    own = name.rstrip("/").rpartition("/")[2]
    head = own if cell_len(CUT + own) > width >= LEAST_NAME else ""
    while head and cell_len(head) > width // 3:
        head = head[:-1]
    tail = name[len(head) :]
    while tail and cell_len(head + CUT + tail) > width:
        tail = tail[1:]
    return head + CUT + tail if width > 0 else ""


def print_line(console: Console, line: str, style: str = "") -> None:
    """A line that fits already, as it is: nothing is folded, cut or coloured by what it says."""
    console.print(line, style=style, markup=False, highlight=False, no_wrap=True, overflow="ignore", crop=False)


def joined(parts: Sequence[str], width: int, separator: str = ", ") -> list[str]:
    """Parts one after the other, in lines of at most so many cells; a part is not folded."""
    lines: list[str] = []
    for part in parts:
        if lines and cell_len(lines[-1] + separator + part) <= width:
            lines[-1] += separator + part
        else:
            lines.append(part)
    return lines
