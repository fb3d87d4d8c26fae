"""Owns means over pages: with intervals, and against what chance gives.

An interval is a percentile bootstrap over pages (Efron 1979). A null is averaged over the pages draw by draw, so that
its range is that of a mean over as many pages.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from rtprune_cli.analysis.trajectory import p_value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

RESAMPLES = 2000
LEVEL = 0.95
TAILS = (1 - LEVEL) / 2, (1 + LEVEL) / 2
DIGITS = 8


def estimate(values: Array, seed: int) -> dict[str, Any]:
    """Mean over pages (n, ...) of what is not NaN, with a 95 % interval where that is of two pages or more."""
    if not len(values):
        return {"value": None, "low": None, "high": None}
    flat = values.reshape(len(values), -1)
    point = nanmean(flat)
    low = high = np.full(flat.shape[1], np.nan)
    if len(values) > 1:
        counts, known = resampled(len(flat), seed), np.isfinite(flat)
        with np.errstate(divide="ignore", invalid="ignore"):
            means = counts @ np.where(known, flat, 0) / (counts @ known.astype(np.float64))
        means[:, known.sum(0) < 2] = np.nan
        low, high = (_nanquantile(means, q) for q in TAILS)
    shape = values.shape[1:]
    return {
        name: plain(each.reshape(shape).tolist()) for name, each in (("value", point), ("low", low), ("high", high))
    }


@lru_cache(maxsize=2)
def resampled(pages: int, seed: int) -> Array:
    """How often each page is drawn, (RESAMPLES, pages): the same for every number of a group."""
    drawn = np.random.default_rng(seed).integers(pages, size=(RESAMPLES, pages))
    return np.stack([np.bincount(row, minlength=pages) for row in drawn]).astype(np.float64)


def statistic(values: Array, nulls: Mapping[str, Array], seed: int, *, low: bool = False) -> dict[str, Any]:
    """Mean of values (n,) over the pages that have one, with an interval, and what each null (n, R) says of the mean
    over the same pages; its ``excess`` is that of the pages over the mean of their own draws.

    ``low``: a low number supports the claim.
    """
    having = np.isfinite(values)
    mean, found = float(nanmean(values)), {}
    for null, drawn in nulls.items():
        means = nanmean(drawn[having]) if having.any() else np.zeros(0)
        found[null] = {**against(mean, means, low=low), "excess": estimate(values - nanmean(drawn.T), seed)}
    return {"pages": int(having.sum()), **estimate(values, seed), "null": found}


def against(value: float, null: Array, *, low: bool = False) -> dict[str, Any]:
    """Mean and 95 % range of a null (R,), and the p of a value."""
    p, null = p_value(value, null, low=low), null[np.isfinite(null)]
    if not len(null):
        return {"value": None, "low": None, "high": None, "p": None}
    ends = np.quantile(null, TAILS)
    return plain({"value": float(null.mean()), "low": float(ends[0]), "high": float(ends[1]), "p": p})


def null_range(means: Array) -> dict[str, Any]:
    """Mean and 95 % range over draws (R, ...) of means over pages."""
    low, high = np.quantile(means, TAILS, axis=0)
    return plain({"value": means.mean(0).tolist(), "low": low.tolist(), "high": high.tolist()})


def mean_of(arrays: Sequence[NDArray[Any]]) -> Array:
    """The mean of equal shapes, without a copy of all of them."""
    total = np.zeros(arrays[0].shape)
    for each in arrays:
        total += each
    return total / len(arrays)


def nanmean(values: Array) -> Array:
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


def plain(value: Any) -> Any:
    """Numbers for JSON: without NaN, and without digits that differ between machines."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return round(value, DIGITS) if math.isfinite(value) else None
    return value
