"""Owns what can be said of pruned pages beside other resolutions: the line of unpruned modes, the best at a budget.

Each configuration is a point: its visual tokens a page (those that are prunable, after pruning; their mean over pages)
and its accuracy, as in :mod:`rtprune_cli.bench.accuracy.statistics`. The line goes through the points of the unpruned
modes, straight from each to the next in tokens; of modes with as many tokens the first counts. A pruned point's
difference to the line is its accuracy less the line's at as many tokens, over the pages that it and the two ends of its
stretch of the line have in common. In each resample of the bootstrap everything is computed again from the pages drawn:
the three accuracies and the three means of tokens, so that the place on the line moves with the tokens. Which two modes
are its neighbours is settled on all pages. Outside of the line nothing is extrapolated.

At equal tokens the decoder's prefill costs the same, but the encoder has seen the finer view: the line asks less of it
than the pruned point does.

The best configuration at a budget is the one with the highest accuracy among those with no more tokens. What cannot be
told from it by a paired interval of the difference is named beside it. As the best of many it owes something to luck:
its own interval does not cover that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest

import numpy as np

from rtprune_cli.bench.accuracy.resampling import (
    Array,
    Estimate,
    Figure,
    Mask,
    Scores,
    average,
    estimate,
    make_sides,
)
from rtprune_cli.bench.scoring.records import Metric

Tokens = Mapping[str, Mapping[str, float]]  # of a configuration: sample -> its visual tokens after pruning


@dataclass(frozen=True)
class LineResult:
    """A pruned point beside the line of unpruned modes.

    ``between``: the unpruned configurations at both ends of its stretch, None where it has fewer or more tokens than
    any of them; then there is nothing else either. ``accuracy`` is the line's at as many tokens, over ``pages``.
    """

    between: tuple[str, str] | None = None
    accuracy: float | None = None
    difference: Estimate | None = None
    pages: int = 0


@dataclass(frozen=True)
class BudgetResult:
    """The best configuration for budgets from ``tokens``, its own, to ``end`` (not included; None: without end).

    ``equal``: configurations with fewer tokens than ``end`` whose difference to it holds 0, with that difference.
    """

    best: str
    tokens: float
    end: float | None
    accuracy: Estimate
    equal: tuple[tuple[str, Estimate], ...]


@dataclass(frozen=True)
class LineComparison:
    """By configuration its place beside the line, of pruned ones where there is a line; and what is best, by budget."""

    beside: dict[str, LineResult]
    best: tuple[BudgetResult, ...]


def beside_line(
    scores: Mapping[str, Scores],
    metrics: Sequence[Metric],
    headline: Sequence[str],
    tokens: Tokens,
    unpruned: Sequence[str],
    *,
    seed: int,
    resamples: int,
) -> LineComparison:
    """Pruned configurations beside the line through the ``unpruned`` ones, and the best at every budget.

    With the scores, seed and resamples that :func:`rtprune_cli.bench.accuracy.statistics.compare` got the draws are the
    same. Configurations without ``tokens`` or accuracy are left out. Fewer than two unpruned points make no line.
    """
    points = _Points(scores, metrics, headline, tokens, seed, resamples)
    line: dict[float, str] = {}
    for name in unpruned:
        if name in points.means:
            line.setdefault(points.means[name], name)
    stretches = list(pairwise(name for _, name in sorted(line.items())))
    others = [name for name in points.means if name not in unpruned] if stretches else []
    return LineComparison({name: points.to_line(name, stretches) for name in others}, tuple(points.budgets()))


class _Points:
    """Configurations as points. ``means``: tokens a page of each that has tokens and an accuracy."""

    def __init__(
        self,
        scores: Mapping[str, Scores],
        metrics: Sequence[Metric],
        headline: Sequence[str],
        tokens: Tokens,
        seed: int,
        resamples: int,
    ) -> None:
        self._metrics = [metric for metric in metrics if metric.name in headline]
        self._sides, self._draws, pages = make_sides(scores, metrics, seed=seed, resamples=resamples)
        self._rows = [row for row, metric in enumerate(metrics) if metric.name in headline]
        self._tokens: dict[str, Array] = {
            name: np.array([tokens.get(name, {}).get(page, np.nan) for page in pages]) for name in self._sides
        }
        self._accuracies = {name: self._together(name)[0] for name in self._sides}
        self.means = {
            name: float(np.nanmean(row))
            for name, row in self._tokens.items()
            if np.isfinite(row).any() and self._accuracies[name] is not None
        }

    def to_line(self, name: str, stretches: Sequence[tuple[str, str]]) -> LineResult:
        """A point beside the stretch of the line under it."""
        own = self.means[name]
        between = next((ends for ends in stretches if self.means[ends[0]] <= own <= self.means[ends[1]]), None)
        if between is None:
            return LineResult()
        figures, pages = self._together(name, *between), self._pages(name, *between)
        share = _share(*(self._mean_tokens(each, name, *between) for each in (name, *between)))
        accuracy, left, right = figures
        if accuracy is None or left is None or right is None or not np.isfinite(share.point):
            return LineResult(between)
        at = Figure(
            left.point + share.point * (right.point - left.point),
            left.resampled + share.resampled * (right.resampled - left.resampled),
        )
        difference = Figure(accuracy.point - at.point, accuracy.resampled - at.resampled)
        return LineResult(between, at.point, estimate(difference, pages), pages)

    def budgets(self) -> list[BudgetResult]:
        """The points that are more accurate than all with fewer tokens, each with the budgets for which it is best."""
        accuracies = {name: figure.point for name, figure in self._accuracies.items() if figure is not None}
        order = sorted(self.means, key=lambda name: (self.means[name], -accuracies[name], name))
        best: list[str] = []
        for name in order:
            if not best or accuracies[name] > accuracies[best[-1]]:
                best.append(name)
        ends: list[float | None] = [self.means[name] for name in best[1:]]
        found = []
        for name, end in zip_longest(best, ends):
            others = [other for other in order if other != name and (end is None or self.means[other] < end)]
            equal = [(other, difference) for other in others if _holds_0(difference := self._difference(other, name))]
            accuracy = estimate(self._accuracies[name], self._pages(name))
            found.append(BudgetResult(name, self.means[name], end, accuracy, tuple(equal)))
        return found

    def _difference(self, name: str, other: str) -> Estimate:
        left, right = self._together(name, other)
        if left is None or right is None:
            return Estimate(None)
        return estimate(Figure(left.point - right.point, left.resampled - right.resampled), self._pages(name, other))

    def _together(self, *names: str) -> list[Figure | None]:
        """The accuracies of some configurations, by the headline metrics and on the pages that all of them have."""
        has = self._has(*names)
        values = [[self._sides[name].values(has)[row] for row in self._rows] for name in names]
        used = [place for place in range(len(self._rows)) if all(own[place] is not None for own in values)]
        if not used:
            return [None] * len(names)
        return [
            average([figure.as_accuracy(self._metrics[place]) for place in used if (figure := own[place]) is not None])
            for own in values
        ]

    def _mean_tokens(self, name: str, *names: str) -> Figure:
        """Tokens a page of a configuration, over the pages that all of ``names`` have."""
        own = self._tokens[name]
        pages = self._has(*names)[self._rows].any(axis=0) & np.isfinite(own)
        sums = self._draws.sums(np.stack([np.where(pages, own, 0.0), pages.astype(np.float64)]))
        with np.errstate(divide="ignore", invalid="ignore"):
            return Figure(float(own[pages].mean()) if pages.any() else np.nan, sums[0] / sums[1])

    def _has(self, *names: str) -> Mask:
        """(M, P): metrics and pages that all of ``names`` have."""
        return np.logical_and.reduce([self._sides[name].has for name in names])

    def _pages(self, *names: str) -> int:
        return int(self._has(*names)[self._rows].any(axis=0).sum())


def _share(own: Figure, left: Figure, right: Figure) -> Figure:
    """How far along a stretch a point lies: 0 at its left end, 1 at its right one; NaN where both have as many."""
    width = right.resampled - left.resampled
    with np.errstate(divide="ignore", invalid="ignore"):
        resampled = np.where(width != 0, (own.resampled - left.resampled) / width, np.nan)
    return Figure((own.point - left.point) / (right.point - left.point or np.nan), resampled)


def _holds_0(difference: Estimate) -> bool:
    """Whether a difference may be chance. Without an interval nothing is known of it."""
    return difference.low is not None and difference.high is not None and difference.low <= 0 <= difference.high
