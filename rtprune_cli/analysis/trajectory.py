"""Owns the numbers of one page: how attention moves between high- and low-norm tokens while the page is written.

Pure functions over arrays. M columns are M choices of tokens: the page's high-norm ones first, then the draws of the
null. Steps count from 1; a step t of T stands for the time from (t - 1) / T to t / T.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rtprune_cli.analysis.recorder import GROUPS, TokenGroups, Watched

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Mask = NDArray[np.bool_]

BINS = 20  # of normalised time
NULLS = ("shuffled", "shifted")
DRAWS = 200  # of each null, so that p can be as small as 0.005
ALPHA = 0.05  # a page turns where chance gives as sharp a turn this seldom
LEAST_STEPS = 8  # a shorter text has no course to speak of
TINY = 1e-12  # a layer may leave visual tokens alone altogether
STATISTICS = ("drop", "lead", "first_read", "turn")
WANTS_LOW = ("first_read",)  # of those: a low number supports the claim, else a high one


@dataclass(frozen=True)
class Statistics:
    """Each (M,): numbers that say whether a choice of tokens is looked at before the others; see docs/analysis.md.

    ``turn_step`` counts from 1, the last step before the change; 0 where the text is too short.
    """

    drop: Array
    lead: Array
    first_read: Array
    turn: Array
    turn_step: NDArray[np.int64]


@dataclass(frozen=True)
class PageMeasures:
    """One page's numbers. B bins of time, R draws of each null.

    ``share`` (B,), ``share_by_layer`` (L, B), ``masses`` (5, B), ``coverage`` (2, B) of high and low, ``null_share``
    and ``null_statistics`` by null: (R, B) and for each statistic (R,); ``statistics`` its value on the page, ``p`` by
    statistic and null. ``norms`` (P,) and ``high`` (P,) are of the prunable tokens.
    """

    steps: int
    share: Array
    share_by_layer: Array
    masses: Array
    coverage: Array
    null_share: dict[str, Array]
    statistics: dict[str, float]
    null_statistics: dict[str, dict[str, Array]]
    p: dict[str, dict[str, float]]
    turn_step: int | None
    change_step: int | None
    mean_masses: Array
    layer_shares: Array
    layer_drops: Array
    norms: Array
    high: Mask
    counts: dict[str, int]


def draws(*seed: int) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """A function from what each prunable token has (P,) to what is drawn for it, (2 * DRAWS, P), by :data:`NULLS`.

    ``shuffled``: each token gets that of another, anywhere. ``shifted``: that of the token a random number of places
    before it in the page's order, the same number for all, which keeps that tokens of high norm stand beside each
    other, as ink does. Whatever is drawn for a page, the n-th draw moves it in the same way.
    """

    def draw(values: NDArray[Any]) -> NDArray[Any]:
        random = np.random.default_rng(seed)
        shuffled = random.permuted(np.tile(values, (DRAWS, 1)), axis=1)
        shifts = random.integers(1, max(2, len(values)), DRAWS)
        return np.concatenate([shuffled, np.stack([np.roll(values, shift) for shift in shifts])])

    return draw


def measure(watched: Watched, groups: TokenGroups, norms: Array) -> PageMeasures:
    """All of a page's numbers; ``norms`` (P,) of its prunable tokens."""
    masses = watched.masses.astype(np.float64)  # (T, L, 5)
    steps = len(masses)
    high, low = masses[..., 0], masses[..., 1]
    visual = (high + low).mean(1)  # (T,)
    shares = (
        np.concatenate([high.mean(1)[:, None], watched.drawn.astype(np.float64)], axis=1)
        / visual.clip(min=TINY)[:, None]
    )
    choices = np.concatenate([groups.high[None], groups.draws])
    first = first_reads(watched.read, len(norms))
    found = statistics(shares, choices, first)
    weights = bin_weights(steps)
    by_layer = high / (high + low).clip(min=TINY)
    values = {name: getattr(found, name) for name in STATISTICS}
    null_statistics = {
        null: {name: each[columns] for name, each in values.items()} for null, columns in null_columns().items()
    }
    p = {
        name: {null: p_value(float(each[0]), null_statistics[null][name], low=name in WANTS_LOW) for null in NULLS}
        for name, each in values.items()
    }
    change = int(found.turn_step[0]) or None
    return PageMeasures(
        steps=steps,
        share=weights @ shares[:, 0],
        share_by_layer=(weights @ by_layer).T,
        masses=(weights @ masses.mean(1)).T,
        coverage=np.stack([weights @ coverage(first[each], steps) for each in (groups.high, ~groups.high)]),
        null_share={null: (weights @ shares[:, columns]).T for null, columns in null_columns().items()},
        statistics={name: float(each[0]) for name, each in values.items()},
        null_statistics=null_statistics,
        p=p,
        turn_step=change if p["turn"]["shifted"] <= ALPHA else None,
        change_step=change,
        mean_masses=masses.mean((0, 1)),
        layer_shares=by_layer.mean(0),
        layer_drops=halves(by_layer),
        norms=norms,
        high=groups.high,
        counts={
            "high": int(groups.high.sum()),
            "low": int((~groups.high).sum()),
            "layout": int((~groups.prunable).sum()),
            "read_per_step": groups.read_count,
        },
    )


def statistics(shares: Array, choices: Mask, first: Array) -> Statistics:
    """Of shares (T, M) of attention, choices (M, P) of tokens, and the steps (P,) at which each was first read."""
    steps = len(shares)
    # For each token the part of the time in which it has been read; the mean over a group is its mean coverage.
    since = np.where(np.isfinite(first), (steps - first + 1) / steps, 0.0)
    when = np.where(np.isfinite(first), first / steps, 0.0)
    was_read = np.isfinite(first).astype(np.float64)
    chosen = choices.astype(np.float64)
    sizes = chosen.sum(1)
    lead = chosen @ since / sizes - (1 - chosen) @ since / (chosen.shape[1] - sizes)
    with np.errstate(divide="ignore", invalid="ignore"):  # NaN where none of a group was read
        first_read = chosen @ when / (chosen @ was_read) - (1 - chosen) @ when / ((1 - chosen) @ was_read)
    turn, turn_step = change_points(shares)
    return Statistics(halves(shares), lead, first_read, turn, turn_step)


def halves(shares: Array) -> Array:
    """Mean share (M,) in the first half of the time less that in the second; half of a middle step counts in each."""
    weights = bin_weights(len(shares), 2)
    first, second = weights @ shares
    return first - second


def change_points(shares: Array, least: int = LEAST_STEPS) -> tuple[Array, NDArray[np.int64]]:
    """The sharpest fall of each column (T, M) from one level to a lower one: its size, and the last step before it.

    Least squares with one change (the CUSUM statistic, Page 1954): the t that maximises
    sqrt(t (T - t) / T) * (mean of steps 1..t - mean of steps t + 1..T). Negative where shares only rise. NaN and 0
    below ``least`` steps.
    """
    steps, columns = shares.shape
    if steps < least:
        return np.full(columns, np.nan), np.zeros(columns, np.int64)
    t = np.arange(1, steps)[:, None]
    sums = np.cumsum(shares - shares.mean(0), axis=0)[:-1]  # t (T - t) / T times the difference of both means
    gains = sums / np.sqrt(t * (steps - t) / steps)
    best = gains.argmax(0)
    return gains[best, np.arange(columns)], best + 1


def first_reads(read: NDArray[np.int64], count: int) -> Array:
    """The step (count,) at which each token was first among those read, (T, k) places; infinite where never."""
    first = np.full(count, np.inf)
    steps = np.repeat(np.arange(1, len(read) + 1), read.shape[1])
    np.minimum.at(first, read.ravel(), steps)
    return first


def coverage(first: Array, steps: int) -> Array:
    """Share (T,) of a group's tokens that have been read by each step."""
    return (first[:, None] <= np.arange(1, steps + 1)).mean(0)


def bin_weights(steps: int, bins: int = BINS) -> Array:
    """(bins, T), rows that sum to 1: the mean over a bin of a series that stands still during each step.

    A text with fewer steps than bins leaves none empty.
    """
    edges, ticks = np.arange(bins + 1) / bins, np.arange(steps + 1) / steps
    overlap = np.minimum(edges[1:, None], ticks[None, 1:]) - np.maximum(edges[:-1, None], ticks[None, :-1])
    found: Array = overlap.clip(min=0) * bins
    return found / found.sum(1, keepdims=True)


def p_value(value: float, null: Array, *, low: bool = False) -> float:
    """One-sided: how often chance gives as much (``low``: as little), the page itself counted as one draw; NaN if
    undefined."""
    null = null[np.isfinite(null)]
    if not np.isfinite(value) or not len(null):
        return float("nan")
    as_much = null <= value if low else null >= value
    return float((1 + as_much.sum()) / (1 + len(null)))


def null_columns() -> dict[str, slice]:
    """Where each null's draws are among M columns, of which the first is the page itself."""
    return {null: slice(1 + i * DRAWS, 1 + (i + 1) * DRAWS) for i, null in enumerate(NULLS)}


def by_name(groups: Array) -> dict[str, Any]:
    """What the first axis has of the first of :data:`GROUPS`, by their names."""
    return dict(zip(GROUPS, groups, strict=False))
