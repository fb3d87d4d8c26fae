"""Owns the setting of type: words into a column of lines, cells into a ruled grid, a value beside its label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rtprune_cli.bench.accuracy.synthetic.drawing import Rule, box
from rtprune_cli.tiny.pages import Line, Run, text_width

# Letters of the built-in fonts stay within these shares of the size above and below the baseline.
ASCENT, DESCENT = 0.78, 0.25


@dataclass(frozen=True)
class Type:
    """A font at a size, ``pitch`` from one baseline to the next; pt."""

    font: str
    size: float
    pitch: float

    def width(self, text: str) -> float:
        """How long the text gets, pt."""
        return text_width(text, self.font, self.size)

    def baseline(self, top: float) -> float:
        """Of a line that has ``pitch`` below ``top``, its letters in the middle."""
        return top + (self.pitch - (ASCENT + DESCENT) * self.size) / 2 + ASCENT * self.size


@dataclass
class Column:
    """A part of the page that is filled from ``top`` to ``bottom``; ``y`` is where the next line begins."""

    left: float
    right: float
    top: float
    bottom: float

    def __post_init__(self) -> None:
        self.y = self.top
        self.lines: list[Line] = []

    def has_room(self, face: Type, lines: int = 1) -> bool:
        """Whether so many lines still fit."""
        return self.y + lines * face.pitch <= self.bottom

    def set(self, words: Sequence[str], face: Type, *, centred: bool = False) -> list[str]:
        """Set words as a paragraph, ragged right; those that the column has no room for come back.

        A word that is wider than the column is left out.
        """
        left = [word for word in words if face.width(word) <= self.right - self.left]
        while left and self.has_room(face):
            count = 1
            while count < len(left) and face.width(" ".join(left[: count + 1])) <= self.right - self.left:
                count += 1
            self.put(" ".join(left[:count]), face, centred=centred)
            del left[:count]
        return left

    def put(self, text: str, face: Type, *, centred: bool = False) -> None:
        """Set one line, whether there is room or not."""
        slack = self.right - self.left - face.width(text)
        start = self.left + (slack / 2 if centred else 0.0)
        self.lines.append((Run(text, start, face.baseline(self.y), face.font, face.size),))
        self.y += face.pitch

    def skip(self, gap: float) -> None:
        """Leave a gap."""
        self.y += gap


def grid(
    rows: Sequence[Sequence[str]], types: Sequence[Type], edges: Sequence[float], top: float, pad: float
) -> tuple[list[Line], list[Rule]]:
    """A table with a rule on every side of every cell.

    Args:
        rows: cells, top to bottom; a cell that starts with a digit is set to the right.
        types: one for each row; its pitch is the row's height.
        edges: x of the vertical rules, one more than there are columns; pt.
        top: y of the first rule; pt.
        pad: between a rule and a cell's text; pt.
    """
    lines: list[Line] = []
    levels = [top]
    for cells, face in zip(rows, types, strict=True):
        line = []
        for cell, left, right in zip(cells, edges, edges[1:], strict=False):
            start = right - pad - face.width(cell) if cell[0].isdigit() else left + pad
            line.append(Run(cell, start, face.baseline(levels[-1]), face.font, face.size))
        lines.append(tuple(line))
        levels.append(levels[-1] + face.pitch)
    across = [(edges[0], y, edges[-1], y) for y in levels]
    return lines, across + [(x, levels[0], x, levels[-1]) for x in edges]


def field(
    name: str, text: str, types: tuple[Type, Type], column: Column, start: float, pad: float, *, boxed: bool
) -> list[Rule]:
    """Set ``name`` and the value ``text`` as the column's next line; the value's rule or box.

    Args:
        types: of name and value; they have one pitch.
        start: x of the rule; pt.
        pad: between the ends of the rule and the value; pt.
    """
    label, value = types
    baseline = label.baseline(column.y)
    column.lines.append((
        Run(name, column.left, baseline, label.font, label.size),
        Run(text, start + pad, baseline, value.font, value.size),
    ))  # fmt: skip
    column.skip(label.pitch)
    under = baseline + (DESCENT + 0.12) * value.size
    if boxed:
        return box(start, baseline - (ASCENT + 0.12) * value.size, column.right, under)
    return [(start, under, column.right, under)]


def fitting(make: Callable[[], str], otherwise: Callable[[], str], face: Type, room: float) -> str:
    """A text that is no wider than ``room``, pt; made ``otherwise`` where ``make`` seems to make none."""
    texts = (make() for _ in range(50))
    return next((text for text in texts if face.width(text) <= room), None) or otherwise()
