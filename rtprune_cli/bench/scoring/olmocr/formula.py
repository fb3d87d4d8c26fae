"""The test math: a formula is on the page.

It is if one of the page's is the same LaTeX, or drawn shows the same: :mod:`rtprune_cli.bench.scoring.olmocr.drawn`.
Without drawings only what KaTeX would turn into the same passes, so that the share of passed tests is a lower bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from rapidfuzz import fuzz

from rtprune_cli.bench.scoring.olmocr.spans import take_out
from rtprune_cli.bench.scoring.olmocr.spelling import canonical


@dataclass(frozen=True)
class Formula:
    """``latex`` stands between ``\\(``, ``\\[``, and unless ``ignore_dollars`` ``$`` or ``$$``, and their partners."""

    latex: str
    ignore_dollars: bool = False

    def passes(self, markdown: str) -> bool:
        """By the LaTeX alone."""
        found = formulas(markdown, self.ignore_dollars)
        if self.latex in found:
            return True
        wanted = canonical(self.latex)
        return any(canonical(latex) == wanted for latex in found)

    def to_compare(self, markdown: str) -> list[str]:
        """The page's formulas whose drawings decide, those most like this one first; none where it is among them."""
        found = list(dict.fromkeys(formulas(markdown, self.ignore_dollars)))
        return [] if self.latex in found else sorted(found, key=lambda latex: -fuzz.ratio(latex, self.latex))


@lru_cache(8)  # tests of one page follow each other
def formulas(markdown: str, ignore_dollars: bool = False) -> Sequence[str]:
    r"""The LaTeX of all formulas: those in ``\(``, then ``\[``, ``$$``, ``$``, each out of what the last left."""
    found: list[str] = []
    marks = [(r"\(", r"\)"), (r"\[", r"\]")] + ([] if ignore_dollars else [("$$", "$$"), ("$", "$")])
    for opening, closing in marks:
        inside, markdown = take_out(markdown, opening, closing)
        found += [latex.strip() for latex in inside]
    return tuple(found)
