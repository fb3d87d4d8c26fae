r"""Owns the breaks of LaTeX environments: rows at ``\\``, cells at ``&``, where they are outside of what is nested."""

from __future__ import annotations

import re

_MARK = re.compile(r"\\(?:begin|end)\{[^}]{0,200}\}|\\\\|\\[{}&]|[{}&]")
_ENDS = (r"\begin{", r"\end{")


def split_rows(body: str) -> list[str]:
    r"""``body`` at the ``\\`` outside of braces and environments, with what may follow it; no empty row."""
    rows, at, braces, environments = [], 0, 0, 0
    hit = _MARK.search(body)
    while hit:
        mark, place = hit[0], hit.end()
        if mark == "\\\\":
            if braces == environments == 0:
                rows.append(body[at : hit.start()].strip())
                at = place = _after_break(body, place)
            elif body.startswith(_ENDS, hit.start() + 1):
                place -= 1
        elif mark.startswith(r"\begin"):
            environments += 1
        elif mark.startswith(r"\end"):
            environments = max(0, environments - 1)
        elif mark in "{}":
            braces = max(0, braces + (1 if mark == "{" else -1))
        hit = _MARK.search(body, place)
    rows.append(body[at:].strip())
    return [row for row in rows if row]


def _after_break(body: str, place: int) -> int:
    r"""Behind the star and the distance of ``\\*[2pt]``."""
    while body[place : place + 1].isspace():
        place += 1
    place += body.startswith("*", place)
    close = body.find("]", place + 1) if body.startswith("[", place) else -1
    return close + 1 if close >= 0 else place


def cells_of(row: str) -> list[str]:
    """``row`` at the alignment marks outside of environments."""
    cells, at, environments = [], 0, 0
    for hit in _MARK.finditer(row):
        mark = hit[0]
        if mark.startswith(r"\begin"):
            environments += 1
        elif mark.startswith(r"\end"):
            environments = max(0, environments - 1)
        elif mark == "&" and not environments:
            cells.append(row[at : hit.start()].strip())
            at = hit.end()
    return [*cells, row[at:].strip()]
