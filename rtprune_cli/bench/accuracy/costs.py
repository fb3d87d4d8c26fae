"""Owns what a page costs under a configuration: visual tokens, the prefill's operations, seconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from statistics import fmean

from rtprune_cli.bench.accuracy.rows import Row
from rtprune_cli.records import PageRecord

NO_COSTS: Mapping[str, float | None] = {"visual_tokens": None, "prefill_flops": None, "seconds": None}


def visual_tokens(rows: Iterable[Row]) -> dict[str, dict[str, float]]:
    """By configuration and sample the visual tokens that enter the decoder, without newlines and separator.

    Only of pages that the model was asked about.
    """
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        if (page := _asked(row)) is not None and page.kept is not None:
            found.setdefault(row.configuration, {})[row.sample] = page.kept
    return found


def costs(rows: Sequence[Row], started: str | None) -> dict[str, dict[str, float | None]]:
    """Means over the pages that the model was asked about, by configuration: ``visual_tokens`` as above,
    ``prefill_flops`` and ``seconds``; None where a page does not say. ``started``: when the run began."""
    times = seconds(rows, started)
    found: dict[str, dict[str, float | None]] = {}
    for name in dict.fromkeys(row.configuration for row in rows):
        pages = [page for row in rows if row.configuration == name and (page := _asked(row)) is not None]
        found[name] = {
            "visual_tokens": _mean([page.kept for page in pages]),
            "prefill_flops": _mean([page.prefill_flops for page in pages]),
            "seconds": times.get(name),
        }
    return found


def seconds(rows: Iterable[Row], started: str | None) -> dict[str, float]:
    """Seconds a page of all stages, by configuration: means that can be compared, or nothing at all.

    They cannot be where some pages were read by an earlier run, on another machine maybe, or beside other work.
    """
    found: dict[str, list[float]] = {}
    for row in rows:
        page = _asked(row)
        if page is None or page.seconds is None:
            continue
        if started is not None and page.started is not None and _time(page.started) < _time(started):
            return {}
        found.setdefault(row.configuration, []).append(page.seconds)
    return {name: fmean(times) for name, times in found.items()}


def _asked(row: Row) -> PageRecord | None:
    """The record of a page that the model has read."""
    return row.page if row.status == "ok" and row.page is not None and row.page.visual_tokens_before else None


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _mean(numbers: Sequence[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return fmean(known) if known and len(known) == len(numbers) else None
