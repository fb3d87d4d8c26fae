"""Owns which pairs of boxes lie alike in both pictures: those that one move and one scaling explain, three times over.

RANSAC (Fischler and Bolles 1981) as scikit-image 0.20 does it, since which samples are drawn decides about scores.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ROUNDS = 3
SAMPLES = 3
WITHIN = 25.0  # pixels
TRIALS = 50
SEED = 42

_Array = NDArray[np.float64]


class _Move(NamedTuple):
    """A translation (2,) and a scale about the mean of whatever points it is applied to."""

    shift: _Array
    scale: float

    def distances(self, source: _Array, target: _Array) -> _Array:
        """Of the moved (n, 2) from the target (n, 2)."""
        centre = source.mean(axis=0)
        moved = self.scale * (source - centre) + centre + self.shift
        return np.asarray(np.sqrt(((moved - target) ** 2).sum(axis=1)))


def alike(source: _Array, target: _Array) -> NDArray[np.bool_]:
    """Which of the pairs of points (n, 2) stand. Few always do."""
    standing = np.zeros(len(source), bool)
    if len(source) <= SAMPLES:
        return ~standing
    for _ in range(ROUNDS):
        rest = np.flatnonzero(~standing)
        if len(rest) <= SAMPLES:
            break
        found = _consensus(source[rest], target[rest])
        if not found.any():
            break
        standing[rest[found]] = True
    return standing


def _consensus(source: _Array, target: _Array) -> NDArray[np.bool_]:
    """The largest set of pairs that one move explains, of those that samples by chance suggest."""
    count, random = len(source), np.random.default_rng(SEED)
    best = np.zeros(count, bool)
    most, least, trials, trial = 0, np.inf, float(TRIALS), 0
    sample = random.choice(count, SAMPLES, replace=False)
    while trial < trials:
        trial += 1
        move = _estimated(source[sample], target[sample])
        distances = move.distances(source, target)
        inliers = distances < WITHIN
        squares = float((distances**2).sum())
        number = int(inliers.sum())
        if number > most or (number == most and squares < least):
            best, most, least = inliers, number, squares
            trials = min(trials, _enough(most / count))
            if least <= 0:
                break
        sample = random.choice(count, SAMPLES, replace=False)
    return best


def _estimated(source: _Array, target: _Array) -> _Move:
    centres = source.mean(axis=0), target.mean(axis=0)
    spreads = [
        np.linalg.norm(points - centre, axis=1).mean() for points, centre in zip((source, target), centres, strict=True)
    ]
    return _Move(centres[1] - centres[0], float(spreads[1] / (spreads[0] + 1e-10)))


def _enough(share: float) -> float:
    """How many samples find one of inliers alone with certainty, to the last bit of a float."""
    epsilon = float(np.spacing(1))
    all_inliers = min(max(share**SAMPLES, epsilon), 1 - epsilon)
    return float(np.ceil(np.log(epsilon) / np.log(1 - all_inliers)))
