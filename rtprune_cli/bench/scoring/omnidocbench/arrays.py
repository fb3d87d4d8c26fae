"""Owns single-column LaTeX arrays: each row is a formula of its own, in the truth and in the prediction."""

from __future__ import annotations

import re
from typing import NamedTuple

_ARRAY = re.compile(r"\\begin\{array\}\{([^}]*)\}")
_END = r"\end{array}"
_RULES = re.compile(r"[\s|]+")


class ArrayRow(NamedTuple):
    r"""A row as the formula ``\[...\]``, and where it stood in the array's source."""

    formula: str
    place: int


def array_rows(latex: str) -> list[ArrayRow] | None:
    """The rows of the first array in ``latex``, or None where there is none or it has several columns."""
    opening = _ARRAY.search(latex)
    end = latex.find(_END, opening.end()) if opening else -1
    if not opening or end < 0 or _RULES.sub("", opening[1]) not in ("l", "c", "r"):
        return None
    rows, place = [], opening.end()
    for row in latex[opening.end() : end].split(r"\\"):
        if row := row.strip():
            place = latex.find(row, place)
            rows.append(ArrayRow(rf"\[{row}\]", place))
            place += len(row)
    return rows
