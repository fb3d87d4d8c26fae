"""Owns what can be said of a metric over pages: its value, and intervals of it by a bootstrap paired by page.

Over a set of pages, with the parts of :mod:`rtprune_cli.bench.scoring.records`:

- value = mean over strata of (sum of totals / sum of weights); a stratum without weight is left out.
- accuracy = 1 - value of a metric of which less is better, else value; of a configuration: the mean over headline
  metrics that have a value.
- difference = value - the baseline's value, relative accuracy = accuracy / the baseline's accuracy, where both sides
  are taken over the pages for which both have a value. So with pages that only one of them has, the difference is not
  that of the two values.

The bootstrap (Efron 1979; percentile intervals) draws as many pages as there are, with replacement, and computes all
of this again from the pages drawn, ``resamples`` times; an interval runs from the 2.5th to the 97.5th percentile. One
draw serves the configuration, the baseline and every metric: how hard the pages are that happen to be drawn then
cancels in differences and ratios, which is why their intervals are narrower than those of the values themselves, and
why overlapping intervals of two values do not mean that the two do not differ. Pages with the same set of strata are
drawn from among themselves (olmOCR-bench draws within each of its files of tests), so a stratum never runs empty.

What it does not cover: pages of one document resemble each other, and are drawn as if they did not, so with many pages
a document the intervals are too narrow; nor what another seed of the method or another machine would change. With few
pages percentile intervals are too narrow as well: for page errors that are gamma distributed, most of them small, the
95 % interval of a difference held the truth in 85 % of 300 trials with 20 pages, in 90 % with 50 and in 94 % with 200.
An interval of no width says that the pages at hand do not differ, not that others would not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum, prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtprune_cli.bench.scoring.records import Metric, Part

LEVEL = 0.95
CHUNK = 2**22  # counts that are made or multiplied at once, in 8 bytes each; they are kept in 2
DIGITS = 10  # sums of floats in another order differ below this

Array = NDArray[np.float64]
Scores = Mapping[str, Mapping[str, Sequence[Part]]]  # of a configuration: metric -> page -> parts


@dataclass(frozen=True)
class Estimate:
    """A figure and its interval. None: nothing to compute it from, or fewer than two pages for an interval."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class MetricResult:
    """A metric of a configuration. ``pages`` have a value; ``paired`` of them have one under the baseline too.

    ``difference`` and ``relative`` are None where there is nothing to compare with.
    """

    value: Estimate
    pages: int
    difference: Estimate | None = None
    relative: Estimate | None = None
    paired: int = 0


@dataclass(frozen=True)
class ComparisonResult:
    """A configuration's metrics and its headline accuracy, alone and relative to the baseline's."""

    metrics: dict[str, MetricResult]
    accuracy: Estimate
    relative: Estimate | None


def value(pages: Iterable[Sequence[Part]]) -> float | None:
    """A metric over pages, of which each has its parts: the mean over strata of sum(total) / sum(weight).

    None where no stratum has weight. The order of pages does not matter, to the last bit.
    """
    strata: dict[str, tuple[list[float], list[float]]] = {}
    for part in (part for parts in pages for part in parts):
        totals, weights = strata.setdefault(part.stratum, ([], []))
        totals.append(part.total)
        weights.append(part.weight)
    return _mean([fsum(totals) / weight for totals, weights in strata.values() if (weight := fsum(weights)) > 0])


def page_accuracy(
    metrics: Sequence[Metric], headline: Sequence[str], scores: Mapping[str, Sequence[Part]]
) -> float | None:
    """The mean accuracy of one page over the headline metrics that say something of it; None where none does."""
    found = [(m.lower, value([scores[m.name]])) for m in metrics if m.name in headline and m.name in scores]
    return _mean([1 - number if lower else number for lower, number in found if number is not None])


def compare(
    scores: Mapping[str, Scores],
    metrics: Sequence[Metric],
    headline: Sequence[str],
    baseline: str,
    *,
    seed: int,
    resamples: int,
) -> dict[str, ComparisonResult]:
    """Every configuration against the baseline.

    The same pages, seed and resamples give the same numbers, whatever the order of configurations, pages and metrics.

    Args:
        scores: by configuration; the baseline may be absent, then nothing is compared.
        metrics: those to compute.
        headline: names of the metrics whose accuracies' mean is the accuracy of a configuration.
        baseline: name of the configuration to compare with.
        seed: of the draws.
        resamples: how many draws.
    """
    pages = sorted({page for each in scores.values() for by_page in each.values() for page in by_page})
    draws = _Draws([_strata(page, scores.values()) for page in pages], seed, resamples)
    sides = {name: _Side(each, metrics, pages, draws) for name, each in scores.items()}
    base = sides.get(baseline)
    return {name: _result(side, None if side is base else base, metrics, headline) for name, side in sides.items()}


def ratio_of_sums(
    numerators: Mapping[str, float], denominators: Mapping[str, float], *, seed: int, resamples: int
) -> Estimate | None:
    """Of two positive figures a page, over the pages that have both, with its interval; None where no page has."""
    pages = sorted(numerators.keys() & denominators.keys())
    if not pages:
        return None
    columns = np.array([[numerators[page] for page in pages], [denominators[page] for page in pages]])
    above, below = _Draws([()] * len(pages), seed, resamples).sums(columns)
    return _estimate(_Figure(fsum(columns[0]) / fsum(columns[1]), above / below), len(pages))


class _Draws:
    """How often each page is drawn in each resample: ``counts`` (R, P)."""

    def __init__(self, strata: Sequence[tuple[str, ...]], seed: int, resamples: int) -> None:
        """``strata``: those of each page; pages with the same ones are drawn from among themselves."""
        self.strata = sorted({stratum for each in strata for stratum in each})
        groups: dict[tuple[str, ...], list[int]] = {}
        for place, each in enumerate(strata):
            groups.setdefault(each, []).append(place)
        self._counts = np.zeros((resamples, len(strata)), np.uint16)
        random = np.random.default_rng(seed)
        for _, places in sorted(groups.items()):
            for rows in self._chunks():
                drawn = random.integers(len(places), size=(rows.stop - rows.start, len(places)))
                drawn += len(places) * np.arange(len(drawn))[:, None]
                counts = np.bincount(drawn.ravel(), minlength=drawn.size)
                self._counts[rows, places] = counts.reshape(drawn.shape)

    def sums(self, columns: Array) -> Array:
        """Sums over the pages drawn: (..., P) -> (..., R)."""
        flat = columns.reshape(prod(columns.shape[:-1]), columns.shape[-1])
        used = flat.any(axis=1)  # most strata are empty on most pages
        sums = np.zeros((len(flat), len(self._counts)))
        for rows in self._chunks():
            sums[used, rows] = flat[used] @ self._counts[rows].T.astype(np.float64)
        return sums.reshape(*columns.shape[:-1], len(self._counts))

    def _chunks(self) -> Iterable[slice]:
        resamples, pages = self._counts.shape
        step = max(1, CHUNK // max(1, pages))
        return (slice(start, min(start + step, resamples)) for start in range(0, resamples, step))


class _Figure(NamedTuple):
    """A number over the pages, and over the pages of each resample (R,); NaN where it is not defined there."""

    point: float
    resampled: Array

    def as_accuracy(self, metric: Metric) -> _Figure:
        return _Figure(1 - self.point, 1 - self.resampled) if metric.lower else self


class _Side:
    """A configuration's marks as arrays, of M metrics, S strata and P pages.

    ``parts`` (2, M, S, P): totals and weights. ``has`` (M, P): whether the metric says something of the page.
    """

    def __init__(self, scores: Scores, metrics: Sequence[Metric], pages: Sequence[str], draws: _Draws) -> None:
        self._pages, self._draws = pages, draws
        self._scores = [scores.get(metric.name, {}) for metric in metrics]
        self._known: dict[bytes, list[_Figure | None]] = {}
        self.parts = np.zeros((2, len(metrics), len(draws.strata), len(pages)))
        self.has = np.zeros((len(metrics), len(pages)), bool)
        page_places = {page: place for place, page in enumerate(pages)}
        strata_places = {stratum: place for place, stratum in enumerate(draws.strata)}
        for row, by_page in enumerate(self._scores):
            for page, parts in by_page.items():
                self.has[row, page_places[page]] = True
                for part in parts:
                    self.parts[:, row, strata_places[part.stratum], page_places[page]] += part.total, part.weight

    def values(self, has: NDArray[np.bool_]) -> list[_Figure | None]:
        """Each metric over those pages of ``has`` (M, P), which are some of ``self.has``."""
        key = has.tobytes()  # as a rule every configuration has every page, and the baseline is asked for once
        if key not in self._known:
            totals, weights = self._draws.sums(self.parts * has[:, None])
            with np.errstate(divide="ignore", invalid="ignore"):
                by_stratum = np.where(weights > 0, totals / weights, np.nan)
                resampled = np.nansum(by_stratum, axis=1) / np.isfinite(by_stratum).sum(axis=1)
            points = [
                value(by_page[self._pages[place]] for place in np.flatnonzero(row).tolist())
                for by_page, row in zip(self._scores, has, strict=True)
            ]
            self._known[key] = [
                None if point is None else _Figure(point, row) for point, row in zip(points, resampled, strict=True)
            ]
        return self._known[key]


def _result(side: _Side, base: _Side | None, metrics: Sequence[Metric], headline: Sequence[str]) -> ComparisonResult:
    both = side.has & base.has if base else np.zeros_like(side.has)
    own, mine = side.values(side.has), side.values(both)
    theirs = base.values(both) if base else mine
    found: dict[str, MetricResult] = {}
    alone: list[_Figure] = []
    pairs: list[tuple[_Figure, _Figure]] = []
    for row, metric in enumerate(metrics):
        pages, paired = int(side.has[row].sum()), int(both[row].sum())
        figure, left, right = own[row], mine[row], theirs[row]
        difference = relative = None
        if left is not None and right is not None:
            difference = _estimate(_Figure(left.point - right.point, left.resampled - right.resampled), paired)
            pair = left.as_accuracy(metric), right.as_accuracy(metric)
            relative = _ratio(*pair, paired)
            pairs += [pair] * (metric.name in headline)
        if figure is not None and metric.name in headline:
            alone.append(figure.as_accuracy(metric))
        found[metric.name] = MetricResult(_estimate(figure, pages), pages, difference, relative, paired)
    rows = [row for row, metric in enumerate(metrics) if metric.name in headline]
    overall = _estimate(_average(alone) if alone else None, _pages_with_any(side.has[rows]))
    if not pairs:
        return ComparisonResult(found, overall, None)
    left, right = (_average([pair[i] for pair in pairs]) for i in (0, 1))
    return ComparisonResult(found, overall, _ratio(left, right, _pages_with_any(both[rows])))


def _ratio(figure: _Figure, base: _Figure, pages: int) -> Estimate | None:
    """Of two accuracies; None where the baseline's is not above 0. Resamples where it is not are left out."""
    if base.point <= 0:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        resampled = np.where(base.resampled > 0, figure.resampled / base.resampled, np.nan)
    return _estimate(_Figure(figure.point / base.point, resampled), pages)


def _average(figures: Sequence[_Figure]) -> _Figure:
    return _Figure(
        fsum(figure.point for figure in figures) / len(figures),
        np.mean([figure.resampled for figure in figures], axis=0),
    )


def _estimate(figure: _Figure | None, pages: int) -> Estimate:
    if figure is None:
        return Estimate(None)
    point, defined = round(figure.point, DIGITS), figure.resampled[np.isfinite(figure.resampled)]
    if pages < 2 or not len(defined):
        return Estimate(point)
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(point, round(float(low), DIGITS), round(float(high), DIGITS))


def _pages_with_any(has: NDArray[np.bool_]) -> int:
    return int(has.any(axis=0).sum())


def _strata(page: str, scores: Iterable[Scores]) -> tuple[str, ...]:
    """The strata in which a page counts, by any metric under any configuration."""
    by_pages = (by_page for each in scores for by_page in each.values())
    return tuple(sorted({part.stratum for by_page in by_pages for part in by_page.get(page, ())}))


def _mean(values: Sequence[float]) -> float | None:
    return fsum(values) / len(values) if values else None
