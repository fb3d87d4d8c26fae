"""Owns what a page costs under a configuration, as its record says: visual tokens, the operations of prefill and
prune step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from rtprune_cli.bench.accuracy.rows import Row
from rtprune_cli.records import PageRecord

NO_COSTS: Mapping[str, float | None] = {"visual_tokens": None, "prefill_flops": None, "prune_flops": None}


def visual_tokens(rows: Iterable[Row]) -> dict[str, dict[str, float]]:
    """By configuration and sample the visual tokens that enter the decoder, without newlines and separator.

    Only of pages that the model was asked about.
    """
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        if (page := _asked(row)) is not None and page.kept is not None:
            found.setdefault(row.configuration, {})[row.sample] = page.kept
    return found


def costs(rows: Sequence[Row]) -> dict[str, dict[str, float | None]]:
    """Means over the pages that the model was asked about, by configuration: ``visual_tokens`` as above,
    ``prefill_flops`` and ``prune_flops``; None where a page does not say."""
    found: dict[str, dict[str, float | None]] = {}
    for name in dict.fromkeys(row.configuration for row in rows):
        pages = [page for row in rows if row.configuration == name and (page := _asked(row)) is not None]
        found[name] = {
            "visual_tokens": _mean([page.kept for page in pages]),
            "prefill_flops": _mean([page.prefill_flops for page in pages]),
            "prune_flops": _mean([page.prune_flops for page in pages]),
        }
    return found


def _asked(row: Row) -> PageRecord | None:
    """The record of a page that the model has read."""
    return row.page if row.status == "ok" and row.page is not None and row.page.visual_tokens_before else None


def giga_flops(row: Mapping[str, float | None]) -> float | None:
    """Of prefill and prune step together, of a summary's configuration; None where one of them is not known."""
    prefill, prune = row.get("prefill_flops"), row.get("prune_flops")
    return None if prefill is None or prune is None else (prefill + prune) / 1e9


def _mean(numbers: Sequence[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return fmean(known) if known and len(known) == len(numbers) else None
