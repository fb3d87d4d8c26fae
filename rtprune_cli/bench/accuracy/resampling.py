"""Owns the draws of the bootstrap, and metrics over the pages drawn. What they mean: statistics.py beside this."""

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
Mask = NDArray[np.bool_]
Scores = Mapping[str, Mapping[str, Sequence[Part]]]  # of a configuration: metric -> page -> parts


@dataclass(frozen=True)
class Estimate:
    """A figure and its interval. None: nothing to compute it from, or fewer than two pages for an interval."""

    value: float | None
    low: float | None = None
    high: float | None = None


def value(pages: Iterable[Sequence[Part]]) -> float | None:
    """A metric over pages, of which each has its parts: the mean over strata of sum(total) / sum(weight).

    None where no stratum has weight. The order of pages does not matter, to the last bit.
    """
    strata: dict[str, tuple[list[float], list[float]]] = {}
    for part in (part for parts in pages for part in parts):
        totals, weights = strata.setdefault(part.stratum, ([], []))
        totals.append(part.total)
        weights.append(part.weight)
    return mean([fsum(totals) / weight for totals, weights in strata.values() if (weight := fsum(weights)) > 0])


class Draws:
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


class Figure(NamedTuple):
    """A number over the pages, and over the pages of each resample (R,); NaN where it is not defined there."""

    point: float
    resampled: Array

    def as_accuracy(self, metric: Metric) -> Figure:
        return Figure(1 - self.point, 1 - self.resampled) if metric.lower else self


class Side:
    """A configuration's marks as arrays, of M metrics, S strata and P pages.

    ``parts`` (2, M, S, P): totals and weights. ``has`` (M, P): whether the metric says something of the page.
    """

    def __init__(self, scores: Scores, metrics: Sequence[Metric], pages: Sequence[str], draws: Draws) -> None:
        self._pages, self._draws = pages, draws
        self._scores = [scores.get(metric.name, {}) for metric in metrics]
        self._known: dict[bytes, list[Figure | None]] = {}
        self.parts = np.zeros((2, len(metrics), len(draws.strata), len(pages)))
        self.has = np.zeros((len(metrics), len(pages)), bool)
        page_places = {page: place for place, page in enumerate(pages)}
        strata_places = {stratum: place for place, stratum in enumerate(draws.strata)}
        for row, by_page in enumerate(self._scores):
            for page, parts in by_page.items():
                self.has[row, page_places[page]] = True
                for part in parts:
                    self.parts[:, row, strata_places[part.stratum], page_places[page]] += part.total, part.weight

    def values(self, has: Mask) -> list[Figure | None]:
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
                None if point is None else Figure(point, row) for point, row in zip(points, resampled, strict=True)
            ]
        return self._known[key]


def make_sides(
    scores: Mapping[str, Scores], metrics: Sequence[Metric], *, seed: int, resamples: int
) -> tuple[dict[str, Side], Draws, list[str]]:
    """Every configuration as arrays, the draws that all of them share, and the pages in the order of their columns.

    The same pages, strata, seed and resamples make the same draws, whatever the order of configurations and pages.
    """
    pages = sorted({page for each in scores.values() for by_page in each.values() for page in by_page})
    draws = Draws([_strata(page, scores.values()) for page in pages], seed, resamples)
    return {name: Side(each, metrics, pages, draws) for name, each in scores.items()}, draws, pages


def average(figures: Sequence[Figure]) -> Figure:
    """The mean of some figures, in each resample too."""
    return Figure(
        fsum(figure.point for figure in figures) / len(figures),
        np.mean([figure.resampled for figure in figures], axis=0),
    )


def estimate(figure: Figure | None, pages: int) -> Estimate:
    """A figure with its interval, where it is over at least two pages."""
    if figure is None:
        return Estimate(None)
    point, defined = round(figure.point, DIGITS), figure.resampled[np.isfinite(figure.resampled)]
    if pages < 2 or not len(defined):
        return Estimate(point)
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(point, round(float(low), DIGITS), round(float(high), DIGITS))


def _strata(page: str, scores: Iterable[Scores]) -> tuple[str, ...]:
    """The strata in which a page counts, by any metric under any configuration."""
    by_pages = (by_page for each in scores for by_page in each.values())
    return tuple(sorted({part.stratum for by_page in by_pages for part in by_page.get(page, ())}))


def mean(values: Sequence[float]) -> float | None:
    """None of nothing."""
    return fsum(values) / len(values) if values else None
