"""Numbers of things in words, for what a person reads of a run."""

from __future__ import annotations

from collections.abc import Sequence


def page_ranges(pages: Sequence[int]) -> str:
    """Page numbers as ``--pages`` takes them: 1-3,7."""
    runs: list[list[int]] = []
    for page in pages:
        if runs and page == runs[-1][-1] + 1:
            runs[-1][1:] = [page]
        else:
            runs.append([page])
    return ",".join("-".join(map(str, run)) for run in runs)


def warned(number: int) -> str:
    """So many pages with warnings."""
    return f"{number} with warnings"


def counted(number: int, what: str) -> str:
    """1 page, 2 pages."""
    return f"{number} {what}{'' if number == 1 else 's'}"
