"""Owns which predictions stand for the display formulas of the truth in v1.6: several ways compete.

The truth is fixed; predictions are joined or split. The ways: what the matching of the whole page found, if it took
formulas alone; the same matching over formulas alone; the cheapest assignment one to one; and in reading order with
runs of predictions. Each with formulas of several lines whole, or split into lines in any grouping. And all of it again
with derivations in ``cases`` written as arrays. The least sum of distances wins; of equal ones the first. Official:
end2end_dataset.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rtprune_cli.bench.scoring.omnidocbench.matching import TruthLine, assign
from rtprune_cli.bench.scoring.omnidocbench.prediction import FORMULA, INLINE
from rtprune_cli.bench.scoring.omnidocbench.v16.matching import (
    FORMULAS,
    Candidate,
    Pairing,
    by_place,
    candidates,
    distance,
    joined,
    pair,
    with_rows,
)
from rtprune_cli.bench.scoring.omnidocbench.v16.prediction import FORMULA_LABELS, PredictedPage, PredictedPiece
from rtprune_cli.bench.scoring.omnidocbench.v16.rows import with_arrays
from rtprune_cli.bench.scoring.omnidocbench.v16.runs import RunItem, edits, in_order

# Officially any number, hours long where a model repeats itself: here the first ones compete.
MOST_FORMULAS = 1_000
MOST_GROUPINGS = 128
MOST_LINES = 8  # of a formula whose groupings are tried

_CLOSE = 1e-12


@dataclass(frozen=True)
class _Way:
    """Pairings, one for each formula of the truth. ``pieces``: what their numbers are looked up in. ``whole``: formulas
    before any is split. ``rewritten``: formulas whose ``cases`` became an array."""

    pairings: Sequence[Pairing]
    pieces: Sequence[PredictedPiece]
    whole: int
    rewritten: int = 0

    def key(self) -> tuple[float, float, int, float, int, int]:
        """What is compared: sum of distances, edits over lengths of pairs, predictions left, and so on."""
        distances = [each.edit for each in self.pairings]
        pairs = [each for each in self.pairings if each.predictions]
        length = sum(max(len(each.normal_truth), len(each.normal_prediction)) for each in pairs)
        count = sum(edits(each.normal_truth, each.normal_prediction) for each in pairs)
        numbers = {number for each in pairs for number in each.predictions if number < len(self.pieces)}
        sources = {self.pieces[number].source for number in numbers}
        return (
            sum(distances),
            count / length if length else 0.0,
            max(0, self.whole - len(sources)),
            sum(distances) / len(distances),
            -self.rewritten,
            len(self.pairings) - len(pairs),
        )

    def beats(self, other: _Way) -> bool:
        for mine, others in zip(self.key(), other.key(), strict=True):
            if mine + _CLOSE < others:
                return True
            if mine > others + _CLOSE:
                return False
        return False


def pair_formulas(truth: Sequence[TruthLine], page: PredictedPage, mixed: Sequence[Pairing]) -> list[Pairing]:
    """The best way to pair ``truth``, the page's formulas. ``mixed``: as the matching of the whole page paired them."""
    if not truth:
        return []
    pool = _pool(page)
    best: _Way | None = None
    for way in _ways(truth, pool, mixed):
        if best is None or way.beats(best):
            best = way
    assert best is not None  # the assignment is always complete
    return list(best.pairings)


def _pool(page: PredictedPage) -> list[PredictedPiece]:
    """Formulas, and what looks like one, each once and numbered."""
    rescued = [replace(piece, kind=FORMULA) for piece in page.rescued]
    pieces = dict.fromkeys([*(piece for piece in page.mixed if piece.kind == FORMULA), *rescued])
    first = sorted(pieces, key=lambda piece: piece.start)[:MOST_FORMULAS]
    return [replace(piece, source=number) for number, piece in enumerate(first)]


def _ways(truth: Sequence[TruthLine], pool: Sequence[PredictedPiece], mixed: Sequence[Pairing]) -> Iterator[_Way]:
    ordered = _ordered(pool)
    current = _relabelled(mixed)
    if _is_complete(current, len(truth)):
        yield _Way(current, ordered, len(ordered))
    yield from _ways_of(truth, pool, 0)
    derivations = [replace(piece, content=with_arrays(piece.content)) for piece in pool]
    changed = sum(one != other for one, other in zip(pool, derivations, strict=True))
    if changed:
        yield from _ways_of(truth, derivations, changed)


def _ways_of(truth: Sequence[TruthLine], pool: Sequence[PredictedPiece], rewritten: int) -> Iterator[_Way]:
    ordered = _ordered(pool)
    whole = len(ordered)
    quick = _relabelled(pair(truth, candidates(by_place(pool))))
    if _is_complete(quick, len(truth)):
        yield _Way(quick, ordered, whole, rewritten)
    lines = candidates(ordered)
    yield _Way(_one_to_one(truth, lines), ordered, whole, rewritten)
    for gaps in (False, True):
        if found := _in_order(truth, lines, gaps):
            yield _Way(found, ordered, whole, rewritten)
    for grouped in _groupings(ordered):
        pieces = _ordered(grouped)
        yield _Way(_one_to_one(truth, candidates(pieces)), pieces, whole, rewritten)
    split = with_rows(ordered)
    if whole < len(split) <= MOST_FORMULAS:
        for gaps in (False, True):
            if found := _in_order(truth, candidates(split), gaps):
                yield _Way(found, split, whole, rewritten)


def _ordered(pool: Sequence[PredictedPiece]) -> list[PredictedPiece]:
    return sorted(pool, key=lambda piece: (piece.start, piece.label == INLINE, piece.end))


def _label(label: str) -> str:
    return FORMULA if label in FORMULA_LABELS else label


def _relabelled(pairings: Sequence[Pairing]) -> list[Pairing]:
    return [replace(each, label=_label(each.label)) for each in pairings]


def _is_complete(pairings: Sequence[Pairing], count: int) -> bool:
    """Whether each formula of the truth is in a pairing of its own, with formulas or with nothing."""
    if len(pairings) != count or any(len(each.truth) != 1 for each in pairings):
        return False
    return all(each.label in ("", *FORMULAS) for each in pairings)


# --- Ways --------------------------------------------------------------------------------------------------------


def _one_to_one(truth: Sequence[TruthLine], lines: Sequence[Candidate]) -> list[Pairing]:
    """The cheapest assignment, where leaving one alone costs 1."""
    rows, columns = len(truth), len(lines)
    cost = np.ones((rows + columns, rows + columns))
    cost[rows:, columns:] = 0.0
    for row, line in enumerate(truth):
        for column, other in enumerate(lines):
            cost[row, column] = edits(line.normal, other.normal) / max(len(line.normal), len(other.normal))
    found = assign(cost)
    return [_pairing(truth, lines, row, (found[row],) if found[row] < columns else ()) for row in range(rows)]


def _in_order(truth: Sequence[TruthLine], lines: Sequence[Candidate], gaps: bool) -> list[Pairing] | None:
    items = [RunItem(each.normal, each.piece.source, _label(each.piece.label) == FORMULA) for each in lines]
    runs = in_order([line.normal for line in truth], items, gaps)
    return None if runs is None else [_pairing(truth, lines, row, run) for row, run in enumerate(runs)]


def _pairing(truth: Sequence[TruthLine], lines: Sequence[Candidate], row: int, run: Sequence[int]) -> Pairing:
    line, pieces = truth[row], [lines[number] for number in run]
    normal = " ".join(each.normal for each in pieces).strip()
    return Pairing(
        truth=[row],
        predictions=run,
        raw_truth=line.raw,
        raw_prediction=joined([each.raw for each in pieces], formula=True),
        normal_truth=line.normal,
        normal_prediction=normal,
        category=line.category,
        label=FORMULA if len(run) > 1 else _label(pieces[0].piece.label) if pieces else "",
        orders=[line.order],
        attributes=[line.attributes],
        place=pieces[0].piece.start if pieces else None,
        edit=distance(line.normal, normal) if pieces else 1.0,
    )


def _groupings(ordered: Sequence[PredictedPiece]) -> Iterator[list[PredictedPiece]]:
    """The predictions with formulas of several lines split, in every grouping of neighbouring lines.

    Nothing where that makes more than :data:`MOST_GROUPINGS`, or no formula has lines.
    """
    options: list[list[list[PredictedPiece]]] = []
    count = 1
    for piece in ordered:
        lines = with_rows([piece])
        if len(lines) < 2 or len(lines) > MOST_LINES:
            options.append([[piece]])
            continue
        options.append([[_merged(group) for group in grouping] for grouping in _partitions(lines)])
        count *= len(options[-1])
        if count > MOST_GROUPINGS:
            return
    if count > 1:
        yield from _combined(options)


def _combined(options: Sequence[Sequence[list[PredictedPiece]]]) -> Iterator[list[PredictedPiece]]:
    if not options:
        yield []
        return
    for first in options[0]:
        for rest in _combined(options[1:]):
            yield [*first, *rest]


def _partitions(lines: Sequence[PredictedPiece]) -> Iterator[list[Sequence[PredictedPiece]]]:
    """By the cuts between lines as bits of a number, the first cut the lowest."""
    for cuts in range(1 << (len(lines) - 1)):
        groups, start = [], 0
        for number in range(len(lines) - 1):
            if cuts >> number & 1:
                groups.append(lines[start : number + 1])
                start = number + 1
        yield [*groups, lines[start:]]


def _merged(group: Sequence[PredictedPiece]) -> PredictedPiece:
    if len(group) == 1:
        return group[0]
    content = joined([piece.content for piece in group], formula=True)
    return replace(group[0], content=rf"\[{content}\]", label=FORMULA, end=group[-1].end)
