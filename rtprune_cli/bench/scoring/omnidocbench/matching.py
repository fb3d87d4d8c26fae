"""Owns which predicted blocks stand for which blocks of the truth (match_quick.py of the v1.5 evaluator).

Nothing here watches the clock. The official code gives a page 30 seconds and then matches it in a simpler way, so that
its result depends on the machine; here the same page always gets the same result, however long that takes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

from rtprune_cli.bench.scoring.omnidocbench.adjacency import SURE, has_window, join_neighbours
from rtprune_cli.bench.scoring.omnidocbench.truth import IGNORED

FAR = 0.7  # a pair that is further apart is no pair
WITHIN = 0.4  # how far, of its length, a lost block may be from a window of the prediction that holds it


@dataclass(frozen=True)
class TruthLine:
    """A block of the truth: as it is, and as it is compared."""

    raw: str
    normal: str
    category: str
    order: float | None
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class PredictedLine:
    """A predicted block: as it is compared, what it is, where on its page it stands, and as it is."""

    normal: str
    label: str
    position: int
    raw: str = ""


@dataclass(frozen=True)
class Match:
    """Blocks of the truth, at least one, with the predictions that stand for them, or none."""

    truth: Sequence[TruthLine]
    predictions: Sequence[PredictedLine]

    @property
    def category(self) -> str:
        """The commonest category; of equally common ones the first."""
        return Counter(line.category for line in self.truth).most_common(1)[0][0]

    @property
    def label(self) -> str:
        """What the first prediction is, or ""."""
        return self.predictions[0].label if self.predictions else ""


@dataclass(frozen=True)
class Matching:
    """All matches of a page, those of ignored categories left out, and the predictions that matched nothing."""

    matches: Sequence[Match]
    surplus: Sequence[PredictedLine]


class Link(NamedTuple):
    """Blocks of the truth and the predictions for them, by number. ``forced``: no near ones, or none at all."""

    truth: Sequence[int]
    predictions: Sequence[int]
    forced: bool


def match(truth: Sequence[TruthLine], predictions: Sequence[PredictedLine]) -> Matching:
    """Match a page; both sides without empty lines."""
    if len(truth) == len(predictions) == 1:  # however far apart they are
        scored = truth[0].category not in IGNORED
        return Matching([Match(truth, predictions)] if scored else [], [])
    ignored = [line.normal for line in truth if line.category in IGNORED]
    scored_lines = [line for line in truth if line.category not in IGNORED]
    kept = list(predictions)
    if ignored and predictions:
        near = costs(ignored, [line.normal for line in predictions]).min(axis=0) < SURE
        kept = [line for line, is_near in zip(predictions, near, strict=True) if not is_near]
    links = link([line.normal for line in scored_lines], [line.normal for line in kept])
    used = {column for each in links for column in each.predictions}
    return Matching(
        [
            Match([scored_lines[row] for row in each.truth], [kept[column] for column in each.predictions])
            for each in links
        ],
        [line for column, line in enumerate(kept) if column not in used],
    )


def costs(rows: Sequence[str], columns: Sequence[str]) -> NDArray[np.float64]:
    """(rows, columns) normalised Levenshtein distances; none of the strings is empty."""
    if not rows or not columns:
        return np.zeros((len(rows), len(columns)))
    distances = cdist(rows, columns, scorer=Levenshtein.distance, dtype=np.int32)
    lengths = np.maximum.outer([len(row) for row in rows], [len(column) for column in columns])
    return np.asarray(distances / lengths, dtype=np.float64)


def assign(cost: NDArray[np.float64]) -> dict[int, int]:
    """Row -> column of the cheapest one-to-one assignment (Hungarian method)."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(cost)
    return dict(zip(rows.tolist(), columns.tolist(), strict=True))


def link(
    truth: Sequence[str], predictions: Sequence[str], apart: Collection[int] = (), most: int | None = None
) -> list[Link]:
    """Every block of the truth is in one link, in order of discovery; none of the strings is empty.

    ``apart``: blocks of the truth that are not sought within a prediction. ``most``: predictions joined into one.
    """
    cost = costs(truth, predictions)
    groups = join_neighbours(cost, truth, predictions, most)
    if len(groups) < len(predictions):
        cost = costs(truth, [" ".join(predictions[group.start : group.stop]) for group in groups])
    found: dict[tuple[int, ...], list[int]] = {
        tuple(groups[column]): [row] for row, column in sorted(assign(cost).items()) if cost[row, column] <= FAR
    }
    _attach(found, truth, predictions, apart)
    near = len(found)
    # Sets, since the official order is that of a set difference: between equally cheap assignments it decides.
    rows = list(_rest(len(truth), (row for rows in found.values() for row in rows)))
    columns = list(_rest(len(predictions), (column for columns in found for column in columns)))
    if rows and columns:
        leftovers = costs([truth[row] for row in rows], [predictions[column] for column in columns])
        found.update({(columns[column],): [rows[row]] for row, column in assign(leftovers).items()})
    links = [
        Link(sorted(rows), columns, number >= near) for number, (columns, rows) in enumerate(found.items()) if rows
    ]
    alone = sorted(_rest(len(truth), (row for each in links for row in each.truth)))
    return links + [Link([row], (), True) for row in alone]


def _attach(
    found: dict[tuple[int, ...], list[int]], truth: Sequence[str], predictions: Sequence[str], apart: Collection[int]
) -> None:
    """Add each block of the truth that is still alone to the first prediction that holds it.

    A prediction that holds only blocks which an earlier one got is kept with an empty list, and so is out of the game.
    """
    lone = sorted(_rest(len(truth), [*(row for rows in found.values() for row in rows), *apart]))
    attached: set[int] = set()
    for column, prediction in enumerate(predictions):
        held = [row for row in lone if has_window(prediction, truth[row], _limit(len(truth[row])))]
        if held:
            found.setdefault((column,), []).extend(row for row in held if row not in attached)
            attached.update(held)


def _limit(length: int) -> int:
    """The most edits that are less than the share :data:`WITHIN` of ``length``."""
    limit = int(WITHIN * length) + 1
    while limit / length >= WITHIN:
        limit -= 1
    return limit


def _rest(count: int, taken: Iterable[int]) -> set[int]:
    return set(range(count)) - set(taken)
