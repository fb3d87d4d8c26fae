"""Figures of pages and documents as the report writes them."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

NOTHING = "–"


class ReportCell(NamedTuple):
    """A figure in a table; ``value`` is what its column is sorted by: "" comes last, None: the text itself."""

    text: str
    value: float | str | None = None


def counted(value: float | None) -> ReportCell:
    """A whole number."""
    return ReportCell(NOTHING, "") if value is None else ReportCell(f"{value:,}", value)


def change(before: int | None, after: int | None) -> ReportCell:
    """Visual tokens before and after pruning."""
    return ReportCell(NOTHING, "") if before is None or after is None else ReportCell(f"{before:,} → {after:,}", before)


def share(value: float | None) -> ReportCell:
    """A share in per cent."""
    return ReportCell(NOTHING, "") if value is None else ReportCell(f"{100 * value:.1f} %", value)


def times(value: float | None) -> ReportCell:
    """A speed-up, below a heading that ends in ×."""
    return fixed(value, 2)


def fixed(value: float | None, digits: int) -> ReportCell:
    """A number with that many digits after the point."""
    return ReportCell(NOTHING, "") if value is None else ReportCell(f"{value:.{digits}f}", value)


def moment(started: str) -> str:
    """A time of a record, UTC, to the minute; one that is none stays as it is."""
    try:
        return f"{datetime.fromisoformat(started):%Y-%m-%d %H:%M}"
    except ValueError:
        return started
