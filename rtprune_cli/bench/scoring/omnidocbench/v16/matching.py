"""Owns which predicted pieces stand for which blocks of the truth in v1.6 (match_quick.py).

The matching is v1.5's (see its module) with three changes: a formula is not sought within a longer prediction, at most
160 predictions are joined, and a match keeps its distance, on which later steps decide. Officially 300 seconds for the
joining and 420 for the page limit it; here nothing does, since the same page must always get the same result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from rapidfuzz.distance import Levenshtein

from rtprune_cli.bench.scoring.omnidocbench.adjacency import SURE
from rtprune_cli.bench.scoring.omnidocbench.matching import TruthLine, assign, costs, link
from rtprune_cli.bench.scoring.omnidocbench.prediction import FORMULA as PREDICTED_FORMULA
from rtprune_cli.bench.scoring.omnidocbench.prediction import INLINE
from rtprune_cli.bench.scoring.omnidocbench.truth import FORMULA, IGNORED, TruthBlock
from rtprune_cli.bench.scoring.omnidocbench.v16 import normalise
from rtprune_cli.bench.scoring.omnidocbench.v16.latex import undelimited
from rtprune_cli.bench.scoring.omnidocbench.v16.prediction import PredictedPiece
from rtprune_cli.bench.scoring.omnidocbench.v16.rows import formula_rows

MOST_JOINED = 160
FORMULAS = (PREDICTED_FORMULA, INLINE)


@dataclass(frozen=True)
class Candidate:
    """A prediction as it is matched: as it is, as it is compared, and which piece of the page it is taken for."""

    raw: str
    normal: str
    piece: PredictedPiece


@dataclass(frozen=True)
class Pairing:
    """Blocks of the truth with what stands for them: numbers on both sides, and both sides' text.

    ``place``: of the first prediction on its page; None where there is none. ``edit``: normalised distance, or 1 where
    no near prediction was found, however near the one is that was left.
    """

    truth: Sequence[int]
    predictions: Sequence[int]
    raw_truth: str
    raw_prediction: str
    normal_truth: str
    normal_prediction: str
    category: str
    label: str
    orders: Sequence[float | None]
    attributes: Sequence[Mapping[str, Any]]
    place: int | None
    edit: float


def truth_lines(blocks: Sequence[TruthBlock]) -> list[TruthLine]:
    """Blocks that are not empty. Order and attributes are those of the block at the same number among all blocks.

    So behind an empty block they belong to an earlier one: the official code looks them up in the unfiltered list.
    """
    normal = [
        normalise.formula(each.content) if each.category == FORMULA else normalise.text(each.content) for each in blocks
    ]
    kept = [(block, text) for block, text in zip(blocks, normal, strict=True) if block.content and text]
    return [
        TruthLine(block.content, text, block.category, at.order, at.attributes)
        for (block, text), at in zip(kept, blocks, strict=False)
    ]


def candidates(pieces: Sequence[PredictedPiece]) -> list[Candidate]:
    """Pieces that are not empty; what they are and where shifts behind empty ones as in :func:`truth_lines`."""
    kept = [(piece.content, text) for piece in pieces if piece.content and (text := _normal(piece.kind, piece.content))]
    return [Candidate(raw, text, at) for (raw, text), at in zip(kept, pieces, strict=False)]


@lru_cache(maxsize=8192)
def _normal(kind: str, content: str) -> str:
    return normalise.formula(content) if kind == PREDICTED_FORMULA else normalise.text(content)


def by_place(pieces: Sequence[PredictedPiece]) -> list[PredictedPiece]:
    """By place, inline formulas last."""
    return sorted(pieces, key=lambda piece: (piece.label == INLINE, piece.start))


def with_rows(pieces: Sequence[PredictedPiece]) -> list[PredictedPiece]:
    """Formulas of several lines as their lines."""
    out: list[PredictedPiece] = []
    for piece in pieces:
        rows = formula_rows(piece.content) if piece.kind == PREDICTED_FORMULA else None
        out += (
            [piece]
            if rows is None
            else [
                replace(piece, content=row.formula, start=piece.start + row.start, end=piece.start + row.end)
                for row in rows
            ]
        )
    return out


def distance(one: str, other: str) -> float:
    """Levenshtein distance over the longer length; 1 where one is empty."""
    if not one or not other:
        return float(one != other)
    return Levenshtein.distance(one, other) / max(len(one), len(other))


def pair(truth: Sequence[TruthLine], predicted: Sequence[Candidate]) -> list[Pairing]:
    """Every line of the truth in one pairing; those of ignored categories last."""
    if not predicted:
        return [_pairing(truth, predicted, [row], (), 1) for row in range(len(truth))]
    if len(truth) == len(predicted) == 1:  # however far apart they are
        return [_pairing(truth, predicted, [0], (0,), distance(truth[0].normal, predicted[0].normal))]
    rows = [row for row, line in enumerate(truth) if line.category not in IGNORED]
    ignored, near = _ignored(truth, predicted)
    columns = [column for column in range(len(predicted)) if column not in near]
    found = []
    lines, pieces = [truth[row].normal for row in rows], [predicted[column].normal for column in columns]
    formulas = [number for number, row in enumerate(rows) if truth[row].category == FORMULA]
    for each in link(lines, pieces, apart=formulas, most=MOST_JOINED):
        edit = 1.0 if each.forced else _edit(lines, pieces, each.truth, each.predictions)
        numbers = [rows[number] for number in each.truth], [columns[number] for number in each.predictions]
        found.append(_pairing(truth, predicted, *numbers, edit))
    return found + ignored


def _edit(lines: Sequence[str], pieces: Sequence[str], rows: Sequence[int], columns: Sequence[int]) -> float:
    """Of several blocks of the truth the first prediction alone is compared, as the official code does."""
    compared = columns if len(rows) == 1 else columns[:1]
    return distance("".join(lines[row] for row in rows), " ".join(pieces[column] for column in compared))


def _ignored(truth: Sequence[TruthLine], predicted: Sequence[Candidate]) -> tuple[list[Pairing], set[int]]:
    """Pairings of ignored blocks, and every prediction that is near one: it is out of the game."""
    rows = [row for row, line in enumerate(truth) if line.category in IGNORED]
    cost = costs([truth[row].normal for row in rows], [each.normal for each in predicted])
    hits = np.argwhere(cost < SURE).tolist()
    last = {number: hit for hit, (number, _) in enumerate(hits)}
    pairs = [(number, hits[hit][1]) for number, hit in last.items()]
    free_hits = sorted(set(range(len(hits))) - set(last.values()))
    free_rows = sorted(set(range(len(rows))) - set(last))
    if free_hits and free_rows:
        left = cost[np.ix_(free_rows, [hits[hit][1] for hit in free_hits])]
        pairs += [(free_rows[row], hits[free_hits[hit]][1]) for row, hit in assign(left).items()]
    found = [_pairing(truth, predicted, [rows[number]], (column,), 0) for number, column in pairs]
    return found, {column for _, column in hits}


def _pairing(
    truth: Sequence[TruthLine], predicted: Sequence[Candidate], rows: Sequence[int], columns: Sequence[int], edit: float
) -> Pairing:
    lines, pieces = [truth[row] for row in rows], [predicted[column] for column in columns]
    category = Counter(line.category for line in lines).most_common(1)[0][0]
    label = pieces[0].piece.label if pieces else ""
    return Pairing(
        truth=rows,
        predictions=columns,
        raw_truth=joined([line.raw for line in lines], category == FORMULA),
        raw_prediction=joined([piece.raw for piece in pieces], "equation" in label),
        normal_truth="".join(line.normal for line in lines),
        normal_prediction="".join(piece.normal for piece in pieces),
        category=category,
        label=label,
        orders=[line.order for line in lines],
        attributes=[line.attributes for line in lines],
        place=pieces[0].piece.start if pieces else None,
        edit=edit,
    )


def joined(parts: Sequence[str], formula: bool) -> str:
    """Several formulas as the rows of one array; text, or one part alone, as it stands."""
    if not formula or len(parts) < 2:
        return "".join(parts)
    rows = r" \\ ".join("{" + undelimited(part) + "}" for part in parts)
    return rf"\begin{{array}}{{l}} {rows} \end{{array}}"
