"""Owns which tokens of two pictures of a formula stand for one another: the cheapest assignment of their boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rtprune_cli.bench.scoring.omnidocbench.cdm.boxes import TokenBoxes

POSITION, ORDER = 0.05, 0.15  # their weights, that of the token itself being 1
LIKE = 0.05  # what a token costs that is but equivalent
OTHER = 1.0

_SAME = {
    r"\cdot": ".", r"\mid": "|", r"\to": r"\rightarrow", r"\top": "T", r"\Tilde": r"\tilde", r"\cdots": r"\dots",
    r"\prime": "'", r"\ast": "*", r"\left<": r"\langle", r"\right>": r"\rangle",
}  # fmt: skip
_FORMS = {
    r"\leq": r"\le", r"\geq": r"\ge",
    **dict.fromkeys((r"\lVert", r"\rVert", r"\Vert"), r"\|"),
    **dict.fromkeys((r"\lvert", r"\rvert", r"\vert"), "|"),
}  # fmt: skip

_Array = NDArray[np.float64]


def equivalent(token: str) -> str:
    r"""What stands for a token and all that counts as nearly equal. By its letters: ``\rightarrow`` is ``arrow``,
    ``\bigcup`` is ``p``."""
    token = _SAME.get(token, token)
    if token.startswith((r"\left", r"\right")):
        token = token.replace(r"\left", "").replace(r"\right", "")
    if token.startswith((r"\big", r"\Big")):
        rest = token[4:]
        token = "\\" + rest.split("\\")[-1] if "\\" in rest else token[-1]
    if token in _FORMS:
        return _FORMS[token]
    for arrow in ("rightarrow", "leftarrow"):
        if token.endswith(arrow):
            return f"\\{arrow}"
    if token.startswith(r"\wide"):
        return token.replace("wide", "")
    return token.replace(r"\var", "") if token.startswith(r"\var") else token


def token_costs(truth: Sequence[str], prediction: Sequence[str]) -> _Array:
    """(truth, prediction): 0 for the same token, :data:`LIKE` for an equivalent one, else :data:`OTHER`."""
    costs = np.where(_equal(list(map(equivalent, truth)), list(map(equivalent, prediction))), LIKE, OTHER)
    return np.where(_equal(truth, prediction), 0.0, costs)


def _equal(rows: Sequence[str], columns: Sequence[str]) -> NDArray[np.bool_]:
    numbers = {token: number for number, token in enumerate(dict.fromkeys([*rows, *columns]))}
    return np.equal.outer(*(np.array([numbers[token] for token in side]) for side in (rows, columns)))


def assign_boxes(truth: TokenBoxes, prediction: TokenBoxes) -> tuple[NDArray[np.intp], NDArray[np.intp], _Array]:
    """Rows of the truth, their columns of the prediction, and what each pair's token costs. Neither side is empty."""
    from scipy.optimize import linear_sum_assignment

    costs = token_costs(truth.tokens, prediction.tokens)
    boxes = (_relative(truth), _relative(prediction))
    order = (np.arange(len(side.tokens)) / len(side.tokens) for side in (truth, prediction))
    total = costs + POSITION * _apart(*boxes) + ORDER * np.abs(np.subtract.outer(*order))
    rows, columns = linear_sum_assignment(total)
    return rows, columns, costs[rows, columns]


def _relative(side: TokenBoxes) -> _Array:
    width, height = side.size
    return np.asarray(side.boxes, np.float64) / (width, height, width, height)


def _apart(rows: _Array, columns: _Array) -> _Array:
    """Mean distances of the boxes' four numbers."""
    from scipy.spatial.distance import cdist

    return np.asarray(cdist(rows, columns, "cityblock") / 4, np.float64)
