"""Owns the second pass of olmOCR-Bench: its tests of formulas that only a drawing decides."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path

from rtprune_cli.bench.accuracy.formulas.browser import NoBrowser
from rtprune_cli.bench.accuracy.formulas.katex import KATEX, Katex
from rtprune_cli.bench.accuracy.formulas.kept import NOT_KEPT, KeptDrawings, kept_drawings
from rtprune_cli.bench.scoring.olmocr.drawn import DrawnAnswer, DrawnFormula, DrawnText, found_in
from rtprune_cli.bench.scoring.olmocr.score import UndrawnTest, with_drawn
from rtprune_cli.bench.scoring.records import Marks
from rtprune_cli.packages import pip_install

log = logging.getLogger("rtprune")

FORM = 1  # of what is kept; raised when that changes
IN_MEMORY = 2_000  # drawings, with what was made of them

Draw = Callable[[str], DrawnFormula | None]


class DrawnMath:
    """The tests of formulas, drawn where there is a browser. :attr:`how` tells what was done."""

    def __init__(self) -> None:
        self._how: Mapping[str, str] = {}

    def how(self) -> Mapping[str, str]:
        """How formulas were compared in the last :meth:`complete`; empty where none had to be."""
        return self._how

    def complete(self, marks: Sequence[Marks], folder: Path) -> Iterator[Marks]:
        """The marks with the verdicts on the tests in their ``details``; ``folder`` keeps drawings for other runs.

        Without Playwright or a Chromium the marks stay as they are, by the formulas' texts, and a warning says so.

        Raises:
            OutputError: the folder cannot be made.
            EnvironmentFault: the browser ended, and does not start again.
        """
        self._how = {}
        if not any(each.details for each in marks):
            yield from marks
            return
        with ExitStack() as stack:
            try:
                katex = stack.enter_context(Katex())
            except NoBrowser as missing:
                log.warning(
                    "formulas are compared as LaTeX, not as drawn, which is a lower bound: %s. For the official "
                    "comparison: %s, and Chromium or: playwright install chromium",
                    missing,
                    pip_install("playwright"),
                )
                self._how = {"formulas": "compared as LaTeX", "because": str(missing)}
                yield from marks
                return
            self._how = {"formulas": "drawn", "katex": KATEX, "chromium": katex.chromium}
            kept = stack.enter_context(kept_drawings(folder, f"{FORM}, KaTeX {KATEX}, Chromium {katex.chromium}"))

            @lru_cache(IN_MEMORY)
            def draw(latex: str) -> DrawnFormula | None:
                return _drawn(latex, kept, katex)

            for each in marks:
                yield with_drawn(each, [verdict(test, draw) for test in each.details]) if each.details else each


def _drawn(latex: str, kept: KeptDrawings, katex: Katex) -> DrawnFormula | None:
    """A formula's drawing, kept or made; one that KaTeX gave up is tried again in the next run."""
    if (found := kept.find(latex)) is not NOT_KEPT:
        mathml, texts = found
        return DrawnFormula(mathml, tuple(DrawnText(*each) for each in texts))
    if (drawing := katex.draw(latex)) is not None:
        kept.add(latex, [drawing.mathml, drawing.texts])
    return drawing


def verdict(test: UndrawnTest, draw: Draw) -> DrawnAnswer:
    """The rule by which the first of the page's formulas that shows the truth does; unknown if none is known to, and a
    bound kept one from saying."""
    truth, unknown = draw(test.truth), False
    for latex in test.formulas:
        formula = draw(latex)
        answer: DrawnAnswer = "unknown" if truth is None or formula is None else found_in(truth, formula)
        if answer in ("mathml", "layout"):
            return answer
        unknown |= answer == "unknown"
    return "unknown" if unknown else "no"
