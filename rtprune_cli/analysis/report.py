"""Owns what is written of an analysis: a record a page, and means over the pages of a group with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rtprune_cli.analysis.depth import DepthMeasures
from rtprune_cli.analysis.depth_summary import depth_record, summarise_depth
from rtprune_cli.analysis.estimates import estimate, mean_of, null_range, plain, statistic
from rtprune_cli.analysis.recorder import GROUPS
from rtprune_cli.analysis.trajectory import BINS, NULLS, STATISTICS, TINY, WANTS_LOW, PageMeasures, by_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

SCHEMA_VERSION = 1
NORM_BINS = 40
ALL = "all"  # the group of all pages, where there are several groups


@dataclass(frozen=True)
class Analysed:
    """A page that was read: where it comes from, its numbers, and how its text ended."""

    document: str
    page: int
    group: str
    finish_reason: str
    numbers: PageMeasures
    depth: DepthMeasures


def analysed_record(analysed: Analysed) -> dict[str, Any]:
    """A line of pages.jsonl."""
    page = analysed.numbers
    record = {
        "document": analysed.document,
        "page": analysed.page,
        "group": analysed.group,
        "status": "ok",
        "steps": page.steps,
        "finish_reason": analysed.finish_reason,
        "tokens": page.counts,
        "mean_norm": {"high": float(page.norms[page.high].mean()), "low": float(page.norms[~page.high].mean())},
        "mass": {name: float(mass) for name, mass in by_name(page.mean_masses).items()},
        "mass_per_token": _per_token(page),
        "share_by_layer": page.layer_shares.tolist(),
        "drop_by_layer": page.layer_drops.tolist(),
        "statistics": {name: {"value": value, "p": page.p[name]} for name, value in page.statistics.items()},
        "change_step": page.change_step,
        "turning_step": page.turn_step,
        "depth": depth_record(analysed.depth),
    }
    return {name: plain(value) for name, value in record.items()}


def unread_record(document: str, page: int | None, group: str, error: Any) -> dict[str, Any]:
    """The line of a page, or with None of a document, that could not be read; ``error`` an RtpruneError."""
    return {
        "document": document,
        "page": page,
        "group": group,
        "status": "failed",
        "error": {"code": error.code, "message": error.message, "hint": error.hint},
    }


def summarise(pages: Sequence[Analysed], seed: int) -> dict[str, Any]:
    """Results by group; with several groups the first is all pages together."""
    names = list(dict.fromkeys(page.group for page in pages))
    edges = _norm_edges(pages)
    parts = [(name, [page for page in pages if page.group == name]) for name in names]
    if len(names) > 1:
        parts.insert(0, (ALL, list(pages)))
    return {
        "time_bins": BINS,
        "norm_edges": plain(edges.tolist()),
        "groups": [_group(name, some, edges, seed) for name, some in parts],
    }


def _group(name: str, analysed: Sequence[Analysed], edges: Array, seed: int) -> dict[str, Any]:
    pages = [each.numbers for each in analysed]

    def mean(find: Callable[[PageMeasures], Any]) -> dict[str, Any]:
        return estimate(np.array([find(page) for page in pages], dtype=np.float64), seed)

    def named(find: Callable[[PageMeasures], Mapping[str, Any]]) -> dict[str, Any]:
        rows = [find(page) for page in pages]
        return {what: estimate(np.array([row[what] for row in rows], dtype=np.float64), seed) for what in rows[0]}

    turned = [page for page in pages if page.turn_step is not None]
    return {
        "name": name,
        "pages": len(pages),
        "cut_short": sum(each.finish_reason != "eos" for each in analysed),
        "steps": mean(lambda page: page.steps),
        "tokens": named(lambda page: page.counts),
        "mass": named(lambda page: by_name(page.mean_masses)),
        "mass_over_time": named(lambda page: by_name(page.masses)),
        "mass_per_token": named(_per_token),
        "preference": mean(_preference),
        "share": mean(lambda page: page.share),
        "share_null": {null: null_range(mean_of([page.null_share[null] for page in pages])) for null in NULLS},
        "share_by_layer": mean(lambda page: page.share_by_layer),
        "drop_by_layer": mean(lambda page: page.layer_drops),
        "coverage": named(lambda page: by_name(page.coverage)),
        "statistics": {what: _statistic(what, pages, seed) for what in STATISTICS},
        "turned": {
            "pages": len(turned),
            "share": mean(lambda page: page.turn_step is not None),
            "time": estimate(np.array([(page.turn_step or 0) / page.steps for page in turned]), seed),
        },
        "norms": {
            "high": _counts([page.norms[page.high] for page in pages], edges),
            "low": _counts([page.norms[~page.high] for page in pages], edges),
        },
        "depth": summarise_depth([each.depth for each in analysed], seed),
    }


def _statistic(name: str, pages: Sequence[PageMeasures], seed: int) -> dict[str, Any]:
    values = np.array([page.statistics[name] for page in pages])
    nulls = {null: np.array([page.null_statistics[null][name] for page in pages]) for null in NULLS}
    return statistic(values, nulls, seed, low=name in WANTS_LOW)


def _norm_edges(pages: Sequence[Analysed]) -> Array:
    """Of the histogram's bins: over all pages, so that groups can be compared."""
    if not pages:
        return np.zeros(0)
    low = min(float(page.numbers.norms.min()) for page in pages)
    high = max(float(page.numbers.norms.max()) for page in pages)
    return np.linspace(low, high if high > low else low + 1, NORM_BINS + 1)


def _counts(norms: Sequence[Array], edges: Array) -> list[int]:
    counts: list[int] = np.histogram(np.concatenate(norms), edges)[0].tolist()
    return counts


def _per_token(page: PageMeasures) -> dict[str, float]:
    """Mean attention on one token of high and on one of low norm."""
    return {name: float(page.mean_masses[i] / page.counts[name]) for i, name in enumerate(GROUPS[:2])}


def _preference(page: PageMeasures) -> float:
    """How much more attention a high-norm token gets than one of low norm."""
    mass = _per_token(page)
    return mass["high"] / max(mass["low"], TINY)
