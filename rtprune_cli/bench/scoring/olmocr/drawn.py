"""Two formulas as a browser drew them with KaTeX: does the page's show what the truth shows?

Rules as in allenai/olmocr, olmocr/bench/katex/render.py at commit f7cfe4c. The page's formula may hold more than the
truth, in its MathML and in its symbols alike. What KaTeX refuses has no symbols, and so a truth that it refuses is
found in any formula.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from rtprune_cli.bench.scoring.olmocr.places import DIRECTIONS, Places, placed_alike

TOLERANCE = 5.0  # pixels by which the centres of neighbours in a column or a row may be apart
MOST_SYMBOLS = 5_000  # of a formula whose places are compared; finding neighbours takes their square

DrawnAnswer = Literal["mathml", "layout", "no", "unknown"]  # by which rule it is found, if it is; unknown: at a bound

_BLANK = re.compile(r"[\s\u200a-\u200d\u2060\ufeff]+")


class DrawnText(NamedTuple):
    """A text in an element without inner ones, and its box in pixels of the page, y downwards."""

    text: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class DrawnFormula:
    """What KaTeX made of a formula: its MathML and its texts in order; what it refused has its message for MathML."""

    mathml: str
    texts: tuple[DrawnText, ...] = ()

    @cached_property
    def meaning(self) -> str:
        """The MathML inside of ``semantics`` without the LaTeX, and without blanks of any width."""
        from bs4 import BeautifulSoup, Tag

        soup = BeautifulSoup(self.mathml, "xml")
        semantics = soup.find("semantics")
        if semantics is None:
            return _BLANK.sub("", str(soup))
        parts = [each for each in semantics.children if not (isinstance(each, Tag) and each.name == "annotation")]
        return _BLANK.sub("", "".join(map(str, parts)))

    @cached_property
    def symbols(self) -> list[DrawnText]:
        """A text a character, of equal widths in its text's box."""
        found = []
        for text, x, y, width, height in self.texts:
            letters = _BLANK.sub("", text)
            share = len(letters)
            found += [
                DrawnText(letter, x + width * number / share, y, width / share, height)
                for number, letter in enumerate(letters)
            ]
        return found

    @cached_property
    def places(self) -> Places:
        """Its symbols, and which of them is next to which."""
        return Places([symbol.text for symbol in self.symbols], neighbours(self.symbols))


def found_in(truth: DrawnFormula, formula: DrawnFormula) -> DrawnAnswer:
    """Whether ``formula`` shows ``truth``: by its MathML, else by where its symbols stand."""
    if truth.meaning in formula.meaning:
        return "mathml"
    if not truth.symbols:
        return "layout"
    if not {symbol.text for symbol in truth.symbols} <= {symbol.text for symbol in formula.symbols}:
        return "no"  # the usual case: no neighbours are looked for
    if max(len(truth.symbols), len(formula.symbols)) > MOST_SYMBOLS:
        return "unknown"
    alike = placed_alike(truth.places, formula.places)
    return "unknown" if alike is None else "layout" if alike else "no"


def neighbours(symbols: list[DrawnText]) -> list[tuple[int, ...]]:
    """For each symbol the nearest one in each of :data:`DIRECTIONS`, -1 for none.

    Above and below count those with a centre at most :data:`TOLERANCE` to the side, left and right those with one at
    most as much higher or lower. Of several at one distance the first.
    """
    x = np.array([symbol.x + symbol.width / 2 for symbol in symbols])
    y = np.array([symbol.y + symbol.height / 2 for symbol in symbols])
    found = []
    for own_x, own_y in zip(x, y, strict=True):
        column, row = np.abs(x - own_x) <= TOLERANCE, np.abs(y - own_y) <= TOLERANCE
        distances = {
            "up": np.where(column & (y < own_y), own_y - y, np.inf),
            "down": np.where(column & (y > own_y), y - own_y, np.inf),
            "left": np.where(row & (x < own_x), own_x - x, np.inf),
            "right": np.where(row & (x > own_x), x - own_x, np.inf),
        }
        nearest = ((distances[each], int(distances[each].argmin())) for each in DIRECTIONS)
        found.append(tuple(at if distance[at] < np.inf else -1 for distance, at in nearest))
    return found
