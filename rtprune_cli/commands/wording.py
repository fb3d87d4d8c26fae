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


def shortened(text: str, width: int) -> str:
    """The end of a text that is wider than so many columns."""
    from rich.cells import cell_len

    if cell_len(text) <= width:
        return text
    while text and cell_len(text) > width - 1:
        text = text[1:]
    return f"…{text}" if width > 0 else ""


def fitted(parts: Sequence[tuple[int, str]], width: int) -> str:
    """Parts on one line of so many columns, whole ones only: those with the highest numbers go first."""
    left = [part for part in parts if part[1]]
    while left:
        line = " · ".join(text for _, text in left)
        if len(line) <= width:
            return line
        left.remove(max(left, key=lambda part: part[0]))
    return ""
