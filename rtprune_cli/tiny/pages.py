"""What a synthetic page is, and what it can be: the bundled model's range.

Everything a page can be is stated by the constants and by ``RANGES``; the model promises nothing outside them.
Lengths are points on the page; px are pixels of the model's square view.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import pymupdf

from rtprune_cli.options import Mode

FONTS = {  # cuts built into PyMuPDF, by its short names
    "helv": "Helvetica",
    "hebo": "Helvetica bold",
    "tiro": "Times",
    "tibo": "Times bold",
    "cour": "Courier",
    "cobo": "Courier bold",
}
BOLD = {"helv": "hebo", "tiro": "tibo", "cour": "cobo"}
MARGIN = 14.0  # px left and right of the text
PITCH = (1.2, 2.0)  # sizes from baseline to baseline
ASCENT, DESCENT = 0.8, 0.3  # sizes; letters of the six cuts stay within
RULE = 0.04  # sizes, width of a table's rules
PAGE_HEIGHT = (300.0, 900.0)  # pt
INK = (0.0, 0.3)  # gray level, 0 is black
PAPER = (0.85, 1.0)
TINT = (0.0, 0.08)  # how much less blue than red the paper has
SKEW = 1.0  # degrees either way
BLUR = (0.3, 0.9)  # deviation, px
NOISE = (2.0, 10.0)  # deviation, of 255 gray levels
JPEG = (35, 90)  # quality
LAYOUTS = ("lines", "article", "table", "picture", "columns")

Rectangle = tuple[float, float, float, float]
"""Left, top, right, bottom."""


@dataclass(frozen=True)
class Range:
    """What pages for a mode can be. Sizes in px; ``columns`` is the most characters of a line."""

    side: int
    size: tuple[float, float]
    lines: int
    columns: int
    pitch: float = 0.0  # px from baseline to baseline, where 1.2 sizes are less
    aspect: tuple[float, float] = (0.7, 1.15)  # page width / height
    stretched: bool = False  # the mode resizes the page without keeping its aspect ratio
    two_columns: bool = False  # has room for them; elsewhere the layout "columns" is an article


RANGES = {
    "tiny": Range(512, size=(34.0, 48.0), lines=8, columns=30, pitch=58.0, stretched=True),
    "base": Range(1024, size=(26.0, 48.0), lines=30, columns=64, two_columns=True),
}


@dataclass(frozen=True)
class Mix:
    """Shares of kinds of line (the rest is English) and of worn pages; weights of 1, 2, ... lines and of layouts.

    ``size`` takes the place of the mode's range of type, px; ``tight`` is the share of the pages whose lines stand as
    close as 1.2 sizes, whatever the range says.
    """

    random: float = 0.1
    number: float = 0.1
    worn: float = 0.6
    tight: float = 0.0
    lines: tuple[float, ...] = ()  # empty: all alike
    size: tuple[float, float] | None = None
    layouts: dict[str, float] = field(default_factory=lambda: {"lines": 1.0})


@dataclass(frozen=True)
class Run:
    """Text on one baseline in one font."""

    text: str
    left: float
    baseline: float
    font: str
    size: float

    @property
    def box(self) -> Rectangle:
        """From the height of capitals to below the descenders."""
        right = self.left + text_width(self.text, self.font, self.size)
        return self.left, self.baseline - 0.75 * self.size, right, self.baseline + 0.25 * self.size


Line = tuple[Run, ...]
"""What the text has in one line: one run, or the cells of a table's row."""


@dataclass(frozen=True)
class PrintedBlock:
    """A part of the page: ``kind`` is title, text, table or image (DeepSeek-OCR's words); rules are a table's."""

    kind: str
    box: Rectangle
    lines: tuple[Line, ...] = ()
    rules: tuple[Rectangle, ...] = ()


@dataclass(frozen=True)
class Wear:
    """What age and scanning did to a page: skew in degrees, blur in px, noise in gray levels, JPEG's quality.

    0 is none of it.
    """

    angle: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    jpeg: int = 0


@dataclass(frozen=True)
class SyntheticPage:
    """One page: its blocks in reading order, and its looks; sizes in pt, gray levels from 0, black."""

    seed: int
    mode: Mode
    layout: str
    width: float
    height: float
    font: str
    size: float
    ink: float
    paper: float
    tint: float
    wear: Wear
    blocks: tuple[PrintedBlock, ...]

    @property
    def lines(self) -> list[Line]:
        """In reading order."""
        return [line for block in self.blocks for line in block.lines]

    @property
    def text(self) -> str:
        """What the model should write for the free-OCR prompt; a row's cells have a space between."""
        return "\n".join(line_text(line) for line in self.lines)


def line_text(line: Line) -> str:
    """A line as plain text."""
    return " ".join(run.text for run in line)


@cache
def advances(font: str) -> dict[str, float]:
    """Advance width of each printable character at size 1."""
    characters = "".join(map(chr, range(32, 127)))
    return dict(zip(characters, pymupdf.Font(font).char_lengths(characters, 1.0), strict=True))


def text_width(text: str, font: str, size: float) -> float:
    """Width of a line in the unit of ``size``."""
    widths = advances(font)
    return size * sum(widths[c] for c in text)
