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


def duration(seconds: float) -> str:
    """As a person says it: 0.4 s, 11 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def rate_of(pages: int, seconds: float) -> str:
    """8.9 pages/s: two digits, or all that stand before the point."""
    rate = pages / max(seconds, 1e-3)
    return f"{rate:.0f} pages/s" if rate >= 10 else f"{rate:.2g} pages/s"


def fitted(parts: Sequence[tuple[int, str]], width: int) -> str:
    """Parts on one line of so many columns, whole ones only: those with the highest numbers go first."""
    left = [part for part in parts if part[1]]
    while left:
        line = " · ".join(text for _, text in left)
        if len(line) <= width:
            return line
        left.remove(max(left, key=lambda part: part[0]))
    return ""
