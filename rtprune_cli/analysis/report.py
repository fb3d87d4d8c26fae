"""Owns what is written of an analysis: a record a page, and means over the pages of a group with intervals.

An interval is a percentile bootstrap over pages (Efron 1979). A null is averaged over the pages draw by draw, so that
its range is that of a mean over as many pages.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rtprune_cli.analysis.attention import GROUPS
from rtprune_cli.analysis.trajectory import BINS, NULLS, SUPPORTS_HIGH, TINY, PageMeasures, by_name, p_value
from rtprune_cli.storage import Json

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rich.console import Console

    Array = NDArray[np.float64]

SCHEMA_VERSION = 1
RESAMPLES = 2000
LEVEL = 0.95
DIGITS = 8
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
    }
    return {name: _plain(value) for name, value in record.items()}


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
        "norm_edges": _plain(edges.tolist()),
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
        "share_null": {null: _range([page.null_share[null] for page in pages]) for null in NULLS},
        "share_by_layer": mean(lambda page: page.share_by_layer),
        "drop_by_layer": mean(lambda page: page.layer_drops),
        "coverage": named(lambda page: by_name(page.coverage)),
        "statistics": {what: _statistic(what, pages, seed) for what in SUPPORTS_HIGH},
        "turned": {
            "pages": len(turned),
            "share": mean(lambda page: page.turn_step is not None),
            "time": estimate(np.array([(page.turn_step or 0) / page.steps for page in turned]), seed),
        },
        "norms": {
            "high": _counts([page.norms[page.high] for page in pages], edges),
            "low": _counts([page.norms[~page.high] for page in pages], edges),
        },
    }


def _statistic(name: str, pages: Sequence[PageMeasures], seed: int) -> dict[str, Any]:
    """Its mean over the pages that have it, with an interval, and what each null says of the mean over the same."""
    values = np.array([page.statistics[name] for page in pages])
    having = [page for page, known in zip(pages, np.isfinite(values), strict=True) if known]
    found, nulls = estimate(values, seed), {}
    for null in NULLS:
        means = _nanmean(np.array([page.null_statistics[null][name] for page in having])) if having else np.zeros(0)
        low, middle, high = _quantiles(means)
        p = p_value(float(_nanmean(values)), means, name)
        nulls[null] = {"value": middle, "low": low, "high": high, "p": _plain(p)}
    return {"pages": len(having), **found, "null": nulls}


def estimate(values: Array, seed: int) -> dict[str, Any]:
    """Mean over pages (n, ...) of what is not NaN, with a 95 % interval where there are two pages or more."""
    if not len(values):
        return {"value": None, "low": None, "high": None}
    flat = values.reshape(len(values), -1)
    point = _nanmean(flat)
    low = high = np.full(flat.shape[1], np.nan)
    if len(values) > 1:
        # The same seed draws the same pages for every number of a group.
        drawn = np.random.default_rng(seed).integers(len(flat), size=(RESAMPLES, len(flat)))
        counts = np.stack([np.bincount(row, minlength=len(flat)) for row in drawn]).astype(np.float64)
        known = np.isfinite(flat)
        with np.errstate(divide="ignore", invalid="ignore"):
            means = counts @ np.where(known, flat, 0) / (counts @ known.astype(np.float64))
        low, high = (_nanquantile(means, q) for q in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    shape = values.shape[1:]
    return {
        name: _plain(each.reshape(shape).tolist()) for name, each in (("value", point), ("low", low), ("high", high))
    }


def _range(nulls: Sequence[Array]) -> dict[str, Any]:
    """Mean and 95 % range over draws (R, B) of the mean over pages."""
    means = np.mean(nulls, axis=0)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return {"value": _plain(means.mean(0).tolist()), "low": _plain(low.tolist()), "high": _plain(high.tolist())}


def _quantiles(values: Array) -> tuple[float | None, float | None, float | None]:
    values = values[np.isfinite(values)]
    if not len(values):
        return None, None, None
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return _plain(float(low)), _plain(float(values.mean())), _plain(float(high))


def _nanmean(values: Array) -> Array:
    """Over the first axis; NaN, without a warning, where nothing is known."""
    known = np.isfinite(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Array = np.where(known, values, 0).sum(0) / known.sum(0)
    return found


def _nanquantile(values: Array, q: float) -> Array:
    found = np.full(values.shape[1], np.nan)
    known = np.isfinite(values).any(0)
    found[known] = np.nanquantile(values[:, known], q, axis=0)
    return found


def _plain(value: Any) -> Any:
    """Numbers for JSON: without NaN, and without digits that differ between machines."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return round(value, DIGITS) if math.isfinite(value) else None
    return value


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


def print_summary(analysis: Json, console: Console) -> None:
    """The groups as a table."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="attention on high-norm tokens", title_justify="left", header_style="bold")
    table.add_column("group")
    for heading in ("pages", "steps", "× per token", "first half", "second half", "drop, points", "p", "turned"):
        table.add_column(heading, justify="right")
    for group in analysis["groups"]:
        share, drop = group["share"]["value"], group["statistics"]["drop"]
        first, second = (sum(part) / len(part) for part in (share[: BINS // 2], share[BINS // 2 :]))
        interval = "" if drop["low"] is None else f" [{100 * drop['low']:+.1f}, {100 * drop['high']:+.1f}]"
        p = drop["null"]["shifted"]["p"]
        table.add_row(
            escape(group["name"]),
            str(group["pages"]),
            f"{group['steps']['value']:.0f}",
            f"{group['preference']['value']:.2f}",
            f"{100 * first:.1f} %",
            f"{100 * second:.1f} %",
            f"{100 * drop['value']:+.1f}{interval}",
            "–" if p is None else f"{p:.3f}",
            f"{group['turned']['pages']}",
        )
    console.print(table)
