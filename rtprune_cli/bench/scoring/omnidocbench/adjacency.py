"""Owns the joining of predicted paragraphs that are one paragraph of the truth (match_quick.py, deal_with_truncated).

Letters: n blocks of the truth, m predicted ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

SURE = 0.25  # a pair that is closer is left alone
PIECE = 0.6  # how far, of its length, a piece may be from the closest window of the paragraph it belongs to


@dataclass(frozen=True)
class _Choice:
    """Neighbours that may be one paragraph, and their distance to it joined."""

    group: range
    cost: float


def join_neighbours(
    cost: NDArray[np.float64], truth: Sequence[str], predictions: Sequence[str], most: int | None = None
) -> list[range]:
    """Groups of neighbouring predictions, all m of them in order; a range of one where nothing is joined.

    For each block of the truth that nothing is sure to be, every prediction that is sure of nothing is joined with
    those after it while that brings it no further away; the best is its choice. Choices that overlap compete.

    Args:
        cost: (n, m) normalised distances of ``truth`` and ``predictions``.
        truth: normalised, none empty.
        predictions: normalised, none empty.
        most: predictions in a group; None is any number.
    """
    sure = np.asarray(cost < SURE)
    taken: list[bool] = np.asarray(sure.any(axis=0)).tolist()
    pieces = [None if is_taken else text for text, is_taken in zip(predictions, taken, strict=True)]
    rows = np.flatnonzero(~sure.any(axis=1)).tolist() if not all(taken) else []
    longest = len(predictions) if most is None else most
    choices = [_Paragraph(truth[row], pieces, cost[row].tolist(), longest).best() for row in rows]
    joined = {group.start: group for group in _compatible(choices)}
    groups = []
    start = 0
    while start < len(predictions):
        group = joined.get(start, range(start, start + 1))
        groups.append(group)
        start = group.stop
    return groups


class _Paragraph:
    """One block of the truth, which predictions are tried against. ``pieces``: None where one is sure of something."""

    def __init__(self, text: str, pieces: Sequence[str | None], costs: Sequence[float], most: int) -> None:
        self._text = text
        self._most = most
        self._pieces = [*pieces, None]
        self._costs = costs
        self._near: dict[tuple[str, bool], bool] = {}  # by text: a model in a loop repeats itself

    def best(self) -> _Choice:
        """The best group of all, the first of equally good ones."""
        best: _Choice | None = None
        seen: dict[str, list[str | None]] = {}  # by its first piece, what the last search looked at
        for start, piece in enumerate(self._pieces):
            # What repeats an earlier place cannot be better, and a page of one line 5,000 times is soon done.
            if piece is None or ((before := seen.get(piece)) and self._pieces[start : start + len(before)] == before):
                continue
            choice = self._from(start, piece)
            seen[piece] = self._pieces[start : choice.group.stop + 1]
            if best is None or choice.cost < best.cost:
                best = choice
        assert best is not None  # there is a piece
        return best

    def _from(self, start: int, first: str) -> _Choice:
        """The piece ``start`` and as many after it as make it no worse; none beyond the next is looked at."""
        joined, cost, stop = first, self._costs[start], start + 1
        while stop - start < self._most and (piece := self._pieces[stop]) is not None:
            longer = f"{joined} {piece}"
            longer_cost = self._cost_within(longer, cost)
            if longer_cost is None or not self._holds(piece, last=True):
                break
            if not all(self._holds(each, last=False) for each in self._pieces[start:stop] if each is not None):
                break
            joined, cost = longer, longer_cost
            stop += 1
            if len(joined) > len(self._text):
                break
        return _Choice(range(start, stop), cost)

    def _cost_within(self, joined: str, limit: float) -> float | None:
        """The normalised distance to ``joined``, or None where it is above ``limit``."""
        length = max(len(joined), len(self._text))
        # One more than the limit allows, against rounding; the comparison below decides.
        cost = Levenshtein.distance(self._text, joined, score_cutoff=int(limit * length) + 1) / length
        return cost if cost <= limit else None

    def _holds(self, piece: str, last: bool) -> bool:
        """Whether a window of the paragraph is near enough to ``piece``; for the last one the limit is exclusive."""
        key = piece, last
        if key not in self._near:
            limit = int(PIECE * len(piece)) + 1
            while limit / len(piece) > PIECE or (last and limit / len(piece) == PIECE):
                limit -= 1
            self._near[key] = has_window(self._text, piece, limit)
        return self._near[key]


def has_window(text: str, part: str, limit: int) -> bool:
    """Whether some window of ``text``, as long as ``part``, is within ``limit`` edits of it."""
    start, last = 0, len(text) - len(part)
    while start <= last:
        distance = Levenshtein.distance(text[start : start + len(part)], part)
        if distance <= limit:
            return True
        # One step on changes a window by two edits at most: so much nearer, at best, is each next one.
        start += (distance - limit + 1) // 2
    return False


def _compatible(choices: Sequence[_Choice]) -> list[range]:
    """Of choices that overlap in a row, the set of disjoint ones that is cheapest on average."""
    ordered = sorted(choices, key=lambda choice: choice.group.start)
    rows: list[list[_Choice]] = []
    for choice in ordered:
        if rows and any(_overlap(choice, other) for other in rows[-1]):
            rows[-1].append(choice)
        else:
            rows.append([choice])
    return [choice.group for row in rows for choice in _cheapest(row)]


def _cheapest(row: Sequence[_Choice]) -> list[_Choice]:
    """The official search: each choice joins every set that it fits in, or begins a new one."""
    sets = [[row[0]]]
    for choice in row[1:]:
        placed = False
        for members in sets:
            same = next((other for other in members if other.group == choice.group), None)
            if same is not None:
                placed = True
                if same.cost > choice.cost:
                    members.remove(same)
                    members.append(choice)
            elif not any(_overlap(choice, other) for other in members):
                placed = True
                members.append(choice)
        if not placed:
            sets.append([choice])
    return min(sets, key=lambda members: sum(choice.cost for choice in members) / len(members))


def _overlap(one: _Choice, other: _Choice) -> bool:
    return one.group.start < other.group.stop and other.group.start < one.group.stop
