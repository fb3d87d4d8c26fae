"""Owns the second pass over a benchmark's pages: every formula drawn once, then CDM of every pair."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rtprune_cli.bench.accuracy.formulas.kept import NOT_KEPT, KeptDrawings, kept_drawings
from rtprune_cli.bench.accuracy.formulas.picture import FormulaOverdue, picture
from rtprune_cli.bench.accuracy.formulas.tools import TexTools, chinese_font, tex_tools
from rtprune_cli.bench.scoring.omnidocbench import FormulaPair, PageDetails, with_cdm
from rtprune_cli.bench.scoring.omnidocbench.cdm import (
    TokenBoxes,
    bare_prediction,
    bare_truth,
    cdm,
    drawing,
    token_boxes,
)
from rtprune_cli.bench.scoring.records import Marks
from rtprune_cli.errors import EnvironmentFault
from rtprune_cli.prepare import available_cores

log = logging.getLogger("rtprune")

RULES = 1  # raised where the same document would give other boxes


def render_formulas(marks: Sequence[Marks], folder: Path) -> Iterator[Marks]:
    """The pages' marks with CDM, in order, each as soon as its formulas are drawn.

    Raises:
        EnvironmentFault: there is nothing to draw with.
        OutputError: the folder cannot be made.
    """
    tools = tex_tools()
    if tools is None:
        raise EnvironmentFault("formulas cannot be drawn", "Install what the warning before names")
    with kept_drawings(folder, f"CDM {RULES}, {tools.version}") as kept, FormulaPool(tools, kept) as pool:
        sides = [[_sides(pair) for pair in _pairs(each)] for each in marks]
        for latex in dict.fromkeys(side for page in sides for pair in page for side in pair):
            pool.ask(latex)
        for each, page in zip(marks, sides, strict=True):
            yield with_cdm(each, [_score(pool, *pair) for pair in page])
        if pool.overdue:
            log.warning("%d formulas took too long to draw and count as wrong", pool.overdue)


def rendered() -> dict[str, str]:
    """What draws formulas, for the report."""
    tools = tex_tools()
    return {} if tools is None else {"formulas": "drawn", "by": tools.version}


def _pairs(marks: Marks) -> Sequence[FormulaPair]:
    return [each.pair for each in marks.details.formulas] if isinstance(marks.details, PageDetails) else []


def _sides(pair: FormulaPair) -> tuple[str, str]:
    return bare_truth(pair.truth), bare_prediction(pair.prediction)


def _score(pool: FormulaPool, truth: str, prediction: str) -> float | None:
    """CDM of a pair; None where a side cannot be drawn on this machine."""
    if not (pool.can_draw(truth) and pool.can_draw(prediction)):
        return None
    return cdm(pool.boxes(truth), pool.boxes(prediction)).f1


class FormulaPool:
    """Formulas by their LaTeX, drawn on all cores. A context manager: at its end all programs are ended.

    Threads are enough: the work is that of other programs. What took too long is not kept, since another time the
    machine may be faster.
    """

    def __init__(self, tools: TexTools, kept: KeptDrawings) -> None:
        self._tools, self._kept = tools, kept
        self._stop = threading.Event()
        self._threads = ThreadPoolExecutor(available_cores(), thread_name_prefix="formula")
        self._documents: dict[str, str | None] = {}  # of formulas; None: nothing of it would have a box
        self._futures: dict[str, Future[TokenBoxes | None]] = {}  # of documents that are being drawn
        self._boxes: dict[str, TokenBoxes | None] = {}  # of documents
        self._late: set[str] = set()
        self._undrawable: set[str] = set()

    def __enter__(self) -> FormulaPool:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._threads.shutdown(cancel_futures=True)

    @property
    def overdue(self) -> int:
        """How many formulas took too long."""
        return len(self._late)

    def ask(self, latex: str) -> None:
        """Have a formula drawn, unless it was."""
        if latex in self._documents or latex in self._undrawable:
            return
        formula = drawing(latex) if latex else None
        if formula is None or not formula.tokens:
            self._documents[latex] = None
            return
        font = chinese_font() if formula.needs_font else None
        if formula.needs_font and font is None:
            self._undrawable.add(latex)
            return
        self._documents[latex] = document = formula.document(font)
        if document in self._boxes or document in self._futures:
            return
        if (found := self._kept.find(document)) is NOT_KEPT:
            self._futures[document] = self._threads.submit(self._draw, document, formula.tokens)
        else:
            self._boxes[document] = _from_json(found)

    def can_draw(self, latex: str) -> bool:
        """Whether there is a font for a formula that was asked for."""
        return latex not in self._undrawable

    def boxes(self, latex: str) -> TokenBoxes | None:
        """The boxes of a formula that was asked for; None where it has no picture."""
        document = self._documents[latex]
        if document is None:
            return None
        if document in self._futures:
            try:
                self._boxes[document] = boxes = self._futures.pop(document).result()
            except FormulaOverdue:
                self._boxes[document] = None
                self._late.add(document)
            else:
                self._kept.add(document, None if boxes is None else [boxes.tokens, boxes.boxes, boxes.size])
        return self._boxes[document]

    def _draw(self, document: str, tokens: Sequence[str]) -> TokenBoxes | None:
        pixels = picture(document, self._tools, self._stop.is_set)
        return None if pixels is None else token_boxes(pixels, tokens)


def _from_json(found: Any) -> TokenBoxes | None:
    if found is None:
        return None
    tokens, boxes, (width, height) = found
    return TokenBoxes(tokens, [(x1, y1, x2, y2) for x1, y1, x2, y2 in boxes], (width, height))
