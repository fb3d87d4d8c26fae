r"""Owns which tokens of a formula are drawn in a colour of their own, by which their boxes are found.

The k-th of them (k = 1, 2, ...) becomes ``\mathcolor[RGB]{r,g,b}{...}``, where r, g and b are 15 times the digits of k
to the base 18. latex_processor.py and cdm_metric.py of the evaluator; its quirks decide which tokens count.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rtprune_cli.bench.scoring.omnidocbench.cdm.commands import named
from rtprune_cli.bench.scoring.omnidocbench.cdm.groups import (
    ACCENTS,
    BRACKETS,
    FONTS,
    FRACTIONS,
    ROOTS,
    STACKS,
    closing,
)

STEP, BASE = 15, 18
COLOURS = 5800  # what comes behind so many tokens has none
_HIDDEN = frozenset((r"\fontfamily", r"\vphantom", r"\phantom", r"\rowcolor", r"\ref"))  # with their group
_CELLS = frozenset((r"\multicolumn", r"\multirow"))  # only the last of their three groups is drawn
_PLAIN = STACKS | {
    "\\", r"\\", "&", "$", "~",
    *named(
        "index a multirow def raggedright url cr ensuremath left right mathchoice scriptstyle displaystyle qquad quad "
        ", ! boldmath"
    ),
}  # fmt: skip
_NOT_DRAWN = re.compile(r"[{}\[\]^_]|\\begin\{.*?\}|\\end\{.*?\}|\\.*rule|\\.*line")  # where a token begins so


@dataclass(frozen=True)
class ColouredFormula:
    """LaTeX with a colour for each of ``tokens``, in their order."""

    latex: str
    tokens: Sequence[str]


def colour(number: int) -> tuple[int, int, int]:
    """Red, green and blue of the token ``number``, counted from 0."""
    rest, blue = divmod(number + 1, BASE)
    red, green = divmod(rest, BASE)
    return STEP * red, STEP * green, STEP * blue


def coloured(latex: str) -> ColouredFormula:
    """The formula in colours.

    Raises:
        LatexError: groups do not match.
        IndexError: a command at the end lacks its argument.
    """
    painter = _Painter(latex.strip().split(" "))
    place = 0
    while place < len(painter.parts):
        place = painter.paint(place)
    return ColouredFormula(" ".join(painter.parts), painter.tokens)


class _Painter:
    """``parts``: the formula's tokens, some painted. A group that is painted grows by a brace, behind what was looked
    at; places of group ends that were found before are not moved on, as in the evaluator."""

    def __init__(self, parts: list[str]) -> None:
        self.parts = parts
        self.tokens: list[str] = []

    def paint(self, place: int, *, in_brackets: bool = False) -> int:
        """Paint the token at ``place``, and return the place to go on at."""
        token = self.parts[place]
        if not token:
            return place + 1
        if token in _HIDDEN:
            return (closing(self.parts, place + 1) if self.parts[place + 1] == "{" else place + 1) + 1
        if token in FRACTIONS:
            return self._whole(place, closing(self.parts, closing(self.parts, place + 1) + 1))
        if token in ACCENTS:
            return self._accent(place, closing(self.parts, place + 1))
        if token in FONTS:
            return self._inside_of(place + 1)
        if token in ROOTS:
            return self._root(place)
        if token in _CELLS:
            second = closing(self.parts, closing(self.parts, place + 1) + 1)
            return self._all(second + 2, closing(self.parts, second + 1)) + 1
        if (token in _PLAIN or _NOT_DRAWN.match(token)) and not self._lone_bracket(place):
            return place + 1
        in_group = token not in BRACKETS and (in_brackets or (place > 1 and self.parts[place - 1] == "_"))
        painted = f"{self._begin(token)}{token}}}"
        self.parts[place] = f"{{{painted}}}" if in_group else painted
        return place + 1

    def _begin(self, token: str) -> str:
        number = len(self.tokens)
        self.tokens.append(token)
        shade = ",".join(map(str, colour(number))) if number < COLOURS else f"<color_{number}>"
        return rf"\mathcolor[RGB]{{{shade}}}{{"

    def _whole(self, place: int, end: int, opening: str = "", ending: str = "}") -> int:
        """Paint a command with its groups, which go on to be painted by themselves."""
        token = self.parts[place]
        self.parts[place] = f"{opening}{self._begin(token)}{token}"
        self.parts.insert(end + 1, ending)
        return place + 1

    def _accent(self, place: int, end: int) -> int:
        if self.parts[place] != r"\underbrace" and self.parts[end + 1 : end + 2] == ["_"]:
            return self._whole(place, end, "{", "}}")
        return self._whole(place, end)

    def _inside_of(self, start: int) -> int:
        """Paint what stands in a group; a single token there always counts."""
        end = closing(self.parts, start)
        if end - start == 2:
            token = self.parts[start + 1]
            self.parts[start + 1] = f"{self._begin(token)}{token}}}"
        else:
            self._all(start + 1, end)
        return end + 1

    def _root(self, place: int) -> int:
        start = place + 1
        if self.parts[start] == "{":
            end = closing(self.parts, start)
            self._whole(place, end)
            return self._all(start + 1, end) + 1
        # rewriting has seen to it that a bracket or a brace stands here
        first = closing(self.parts, start, BRACKETS)
        end = closing(self.parts, first + 1)
        self._whole(place, end)
        self._all(start + 1, first, in_brackets=True)
        return self._all(first + 2, end) + 1

    def _all(self, place: int, end: int, *, in_brackets: bool = False) -> int:
        while place < end:
            place = self.paint(place, in_brackets=in_brackets)
        return end

    def _lone_bracket(self, place: int) -> bool:
        r"""Whether a square bracket is a symbol, and not the end of a ``\sqrt``'s index."""
        token, parts = self.parts[place], self.parts
        return (token == "[" and parts[place - 1] != r"\sqrt") or (
            token == "]" and place >= 3 and parts[place - 3] != r"\sqrt"
        )
