"""Owns the second look at text that found no near prediction: neighbours near it, joined, may be nearer (v1.6).

Titles, and longer paragraphs or those with formulas, that are further than 0.45 from what they got may take up to 4
predictions in a row (8 with formulas) that stand for nothing else, where that brings them 0.2 nearer and to 0.35 at
most (0.45). Official: end2end_dataset.py, "local text span fallback".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rtprune_cli.bench.scoring.omnidocbench.prediction import FORMULA
from rtprune_cli.bench.scoring.omnidocbench.v16 import normalise
from rtprune_cli.bench.scoring.omnidocbench.v16.latex import undelimited
from rtprune_cli.bench.scoring.omnidocbench.v16.matching import FORMULAS, Pairing, distance
from rtprune_cli.bench.scoring.omnidocbench.v16.prediction import PredictedPiece

FAR = 0.45
GAIN = 0.2
NEIGHBOURHOOD = 8  # pieces before and behind those that the text had
LONG = 80  # characters of a paragraph worth a second look
_CLOSE = 1e-12

_HINT = re.compile(r"\$[^$]+\$|\\\([^)]*\\\)|\\frac|\\sum|\\int|\\sqrt|\\left|\\right")


@dataclass(frozen=True)
class _Found:
    start: int
    stop: int
    normal: str
    edit: float
    away: int

    def beats(self, other: _Found | None) -> bool:
        """Nearer; or as near with fewer pieces; or as many of them, nearer to those the text had."""
        if other is None or self.edit + _CLOSE < other.edit:
            return True
        if self.edit > other.edit + _CLOSE:
            return False
        width, others = self.stop - self.start, other.stop - other.start
        return width < others or (width == others and self.away < other.away)


def rendered(category: str, source: str) -> str:
    """A piece as text: a formula without its delimiters, inline formulas as Unicode."""
    return normalise.inline_as_unicode(undelimited(source) if category in FORMULAS else source)


def with_windows(found: Sequence[Pairing], pool: Sequence[PredictedPiece]) -> list[Pairing]:
    """``found`` with better windows of ``pool``, the pieces by place; the one that gains most chooses first.

    Numbers of a pairing's predictions count lines of formulas singly, and the pool does not; officially they are taken
    for the same.
    """
    search = _Search(pool)
    used = [search.numbers(each) for each in found]
    times: dict[int, int] = {}
    for numbers in used:
        for number in numbers:
            times[number] = times.get(number, 0) + 1
    better: list[tuple[float, int, _Found]] = []
    for at, each in enumerate(found):
        if not _is_worth_it(each):
            continue
        own = set(used[at])
        blocked = {number for number, count in times.items() if count - (number in own) > 0}
        if window := search.best(each, used[at], blocked):
            better.append((each.edit - window.edit, at, window))
    out = list(found)
    taken: set[int] = set()
    for _, at, window in sorted(better, key=lambda each: -each[0]):
        numbers = range(window.start, window.stop)
        if not taken.isdisjoint(numbers):
            continue
        taken.update(numbers)
        out[at] = replace(
            out[at],
            predictions=list(numbers),
            raw_prediction="".join(pool[number].content for number in numbers),
            normal_prediction=window.normal,
            label="text_block",
            place=pool[window.start].start,
            edit=window.edit,
        )
    return out


def _is_worth_it(each: Pairing) -> bool:
    if each.category not in ("title", "text_block") or each.edit <= FAR:
        return False
    return each.category == "title" or _has_formula(each.raw_truth) or len(each.normal_truth) >= LONG


def _has_formula(text: str) -> bool:
    return _HINT.search(text) is not None or (("^" in text or "_" in text) and ("$" in text or "\\" in text))


class _Search:
    """The pool, and the normal form of every window that was looked at."""

    def __init__(self, pool: Sequence[PredictedPiece]) -> None:
        self._pool = pool
        self._rendered = [rendered(piece.kind, piece.content) for piece in pool]
        self._normal: dict[tuple[int, int], str] = {}

    def numbers(self, each: Pairing) -> Sequence[int]:
        """The pieces that a pairing has, ascending; by place where its numbers are beyond the pool."""
        if numbers := sorted({number for number in each.predictions if number < len(self._pool)}):
            return numbers
        if each.place is None:
            return ()
        return [number for number, piece in enumerate(self._pool) if piece.start <= each.place <= piece.end]

    def best(self, each: Pairing, own: Sequence[int], blocked: Mapping[int, int] | set[int]) -> _Found | None:
        """The nearest window, if it is near enough and enough nearer than what the pairing has."""
        hint = _has_formula(each.raw_truth)
        text = each.raw_truth
        normal = normalise.text(normalise.inline_as_formula(text) if hint else rendered(each.category, text))
        if not normal:
            return None
        first = max(0, own[0] - NEIGHBOURHOOD) if own else 0
        last = min(len(self._pool) - 1, own[-1] + NEIGHBOURHOOD) if own else len(self._pool) - 1
        best: _Found | None = None
        for start in range(first, last + 1):
            for stop in range(start + 1, min(last + 1, start + (8 if hint else 4)) + 1):
                if stop - 1 in blocked or (self._pool[stop - 1].kind == FORMULA and not hint):
                    break
                window = self._window(start, stop)
                if not window:
                    continue
                away = abs(start - own[0]) if own else 0
                one = _Found(start, stop, window, distance(normal, window), away)
                if one.beats(best):
                    best = one
        if best is None or best.edit >= each.edit - GAIN or best.edit > (FAR if hint else 0.35):
            return None
        return best

    def _window(self, start: int, stop: int) -> str:
        key = start, stop
        if key not in self._normal:
            self._normal[key] = normalise.text("".join(self._rendered[start:stop]))
        return self._normal[key]
