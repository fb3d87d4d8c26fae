"""Owns the pairing of display formulas in reading order: each takes a run of predictions, at the least distance in all.

A dynamic programme over (formulas of the truth, predictions). A formula or a prediction left alone costs 1; several
predictions in one run must follow each other, or be lines of one formula. Official: end2end_dataset.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rapidfuzz.distance import Levenshtein

_CLOSE = 1e-12


@dataclass(frozen=True)
class RunItem:
    """A prediction: as it is compared, which formula it is a line of, and whether it stands on its own lines."""

    normal: str
    source: int
    display: bool


@dataclass(frozen=True)
class _State:
    """The cheapest way to a place: sum of distances, edits and lengths of its pairs, inline formulas used."""

    cost: float
    edits: int
    length: int
    inline: int
    before: tuple[int, int]
    run: tuple[int, ...] | None  # None: something was skipped

    def beats(self, other: _State | None) -> bool:
        if other is None or self.cost + _CLOSE < other.cost:
            return True
        if self.cost > other.cost + _CLOSE:
            return False
        if self.length and other.length:
            mine, others = self.edits * other.length, other.edits * self.length
            if mine != others:
                return mine < others
        elif self.length or other.length:
            return bool(self.length)
        return self.inline < other.inline


@lru_cache(maxsize=65536)
def edits(one: str, other: str) -> int:
    """Levenshtein distance; the ways to pair formulas ask for the same ones."""
    return Levenshtein.distance(one, other)


def in_order(truth: Sequence[str], items: Sequence[RunItem], gaps: bool) -> list[tuple[int, ...]] | None:
    """The run of each formula of the truth, () for none; None where either side is empty.

    ``gaps``: lines of one formula may be left out of a run.
    """
    if not truth or not items:
        return None
    runs = [list(_runs(items, start, len(truth), gaps)) for start in range(len(items))]
    table: list[list[_State | None]] = [[None] * (len(items) + 1) for _ in range(len(truth) + 1)]
    table[0][0] = _State(0.0, 0, 0, 0, (0, 0), None)
    for row in range(len(truth) + 1):
        for column in range(len(items) + 1):
            if (state := table[row][column]) is None:
                continue
            here = row, column
            if column < len(items):
                _put(table, row, column + 1, _skipped(state, here))
            if row == len(truth):
                continue
            _put(table, row + 1, column, _skipped(state, here))
            for run, normal, inline in runs[column] if column < len(items) else ():
                length = max(len(truth[row]), len(normal))
                count = edits(truth[row], normal)
                _put(
                    table,
                    row + 1,
                    run[-1] + 1,
                    _State(
                        state.cost + count / length,
                        state.edits + count,
                        state.length + length,
                        state.inline + inline,
                        here,
                        run,
                    ),
                )
    return _way_back(table)


def _skipped(state: _State, here: tuple[int, int]) -> _State:
    return _State(state.cost + 1.0, state.edits, state.length, state.inline, here, None)


def _put(table: list[list[_State | None]], row: int, column: int, state: _State) -> None:
    if state.beats(table[row][column]):
        table[row][column] = state


def _way_back(table: list[list[_State | None]]) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = []
    row, column = len(table) - 1, len(table[0]) - 1
    while row or column:
        state = table[row][column]
        assert state is not None  # skipping leads everywhere
        if state.before[0] < row:
            found.append(state.run or ())
        row, column = state.before
    return found[::-1]


def _runs(items: Sequence[RunItem], start: int, rows: int, gaps: bool) -> Iterator[tuple[tuple[int, ...], str, bool]]:
    """(run, its text, whether it is one inline formula) for every run that begins at ``start``."""
    difference = abs(rows - len(items))
    most = min(len(items), 10 if rows <= 1 or difference < 2 else 12)
    skips = 0
    if gaps:
        skips = 2 if difference >= 3 else int(difference >= 1 or len(items) >= 4)
    stop = min(len(items), start + (most + 2 if gaps else most))
    for run in _sequences(items, start, stop, most, skips):
        if text := " ".join(items[number].normal for number in run).strip():
            yield run, text, len(run) == 1 and not items[start].display


def _sequences(items: Sequence[RunItem], start: int, stop: int, most: int, skips: int) -> Iterator[tuple[int, ...]]:
    """Ascending runs from ``start`` below ``stop``, of ``most`` numbers that leave out ``skips`` in all.

    Of several, all are lines of one formula, or display formulas without a gap.
    """
    pending: list[tuple[tuple[int, ...], int]] = [((start,), skips)]
    while pending:
        run, left = pending.pop()
        yield run
        if len(run) == most:
            continue
        last = run[-1]
        one_source = all(items[number].source == items[start].source for number in run)
        displays = last - start + 1 == len(run) and all(items[number].display for number in run)
        for number in range(min(stop, last + left + 2) - 1, last, -1):
            if (one_source and items[number].source == items[start].source) or (
                displays and number == last + 1 and items[number].display
            ):
                pending.append(((*run, number), left - (number - last - 1)))
