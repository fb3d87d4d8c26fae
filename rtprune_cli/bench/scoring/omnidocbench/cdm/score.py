"""Owns CDM itself: two pictures of a formula -> how many of their tokens are found in both, in the same places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtprune_cli.bench.scoring.omnidocbench.cdm.boxes import TokenBoxes
from rtprune_cli.bench.scoring.omnidocbench.cdm.geometry import alike
from rtprune_cli.bench.scoring.omnidocbench.cdm.matching import OTHER, assign_boxes

DIGITS = 3


@dataclass(frozen=True)
class CdmScore:
    """To three digits, as officially. CDM is ``f1``."""

    f1: float
    recall: float
    precision: float


NO_PICTURE = CdmScore(0.0, 0.0, 0.0)


def cdm(truth: TokenBoxes | None, prediction: TokenBoxes | None) -> CdmScore:
    """The score of a pair. None stands for a side that could not be drawn: then it is 0, whichever side it is."""
    if truth is None or prediction is None or not truth.tokens or not prediction.tokens:
        return NO_PICTURE
    rows, columns, costs = assign_boxes(truth, prediction)
    standing = alike(_centres(truth)[rows], _centres(prediction)[columns]) & (costs != OTHER)
    matched, counts = int(standing.sum()), (len(truth.tokens), len(prediction.tokens))
    return CdmScore(
        round(2 * matched / sum(counts), DIGITS), round(matched / counts[0], DIGITS), round(matched / counts[1], DIGITS)
    )


def _centres(side: TokenBoxes) -> NDArray[np.float64]:
    """(n, 2): y, x."""
    x1, y1, x2, y2 = np.asarray(side.boxes, np.float64).T
    return np.stack([(y1 + y2) / 2, (x1 + x2) / 2], axis=1)
