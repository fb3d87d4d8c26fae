"""Owns what can be said of a metric over pages: its value, and intervals of it by a bootstrap paired by page.

Over a set of pages, with the parts of :mod:`rtprune_cli.bench.scoring.records`:

- value = mean over strata of (sum of totals / sum of weights); a stratum without weight is left out.
- accuracy = 1 - value of a metric of which less is better, else value; of a configuration: the mean over headline
  metrics that have a value.
- difference = value - the baseline's value, relative accuracy = accuracy / the baseline's accuracy, where both sides
  are taken over the pages for which both have a value. So with pages that only one of them has, the difference is not
  that of the two values. The baseline is the unpruned reading in the same mode.

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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum

import numpy as np

from rtprune_cli.bench.accuracy.resampling import (
    Draws,
    Estimate,
    Figure,
    Mask,
    Scores,
    Side,
    average,
    estimate,
    make_sides,
    mean,
    value,
)
from rtprune_cli.bench.scoring.records import Metric, Part


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


def page_accuracy(
    metrics: Sequence[Metric], headline: Sequence[str], scores: Mapping[str, Sequence[Part]]
) -> float | None:
    """The mean accuracy of one page over the headline metrics that say something of it; None where none does."""
    found = [(m.lower, value([scores[m.name]])) for m in metrics if m.name in headline and m.name in scores]
    return mean([1 - number if lower else number for lower, number in found if number is not None])


def compare(
    scores: Mapping[str, Scores],
    metrics: Sequence[Metric],
    headline: Sequence[str],
    baselines: Mapping[str, str],
    *,
    seed: int,
    resamples: int,
) -> dict[str, ComparisonResult]:
    """Every configuration against its baseline.

    The same pages, seed and resamples give the same numbers, whatever the order of configurations, pages and metrics.

    Args:
        scores: by configuration.
        metrics: those to compute.
        headline: names of the metrics whose accuracies' mean is the accuracy of a configuration.
        baselines: by configuration the name of the one to compare it with. What is its own baseline, or has one that is
            not there, is compared with nothing.
        seed: of the draws.
        resamples: how many draws.
    """
    sides, _, _ = make_sides(scores, metrics, seed=seed, resamples=resamples)
    bases = {name: sides.get(baselines[name]) if baselines[name] != name else None for name in sides}
    return {name: _result(side, bases[name], metrics, headline) for name, side in sides.items()}


def ratio_of_sums(
    numerators: Mapping[str, float], denominators: Mapping[str, float], *, seed: int, resamples: int
) -> Estimate | None:
    """Of two positive figures a page, over the pages that have both, with its interval; None where no page has."""
    pages = sorted(numerators.keys() & denominators.keys())
    if not pages:
        return None
    columns = np.array([[numerators[page] for page in pages], [denominators[page] for page in pages]])
    above, below = Draws([()] * len(pages), seed, resamples).sums(columns)
    return estimate(Figure(fsum(columns[0]) / fsum(columns[1]), above / below), len(pages))


def _result(side: Side, base: Side | None, metrics: Sequence[Metric], headline: Sequence[str]) -> ComparisonResult:
    both = side.has & base.has if base else np.zeros_like(side.has)
    own, mine = side.values(side.has), side.values(both)
    theirs = base.values(both) if base else mine
    found: dict[str, MetricResult] = {}
    alone: list[Figure] = []
    pairs: list[tuple[Figure, Figure]] = []
    for row, metric in enumerate(metrics):
        pages, paired = int(side.has[row].sum()), int(both[row].sum())
        figure, left, right = own[row], mine[row], theirs[row]
        difference = relative = None
        if left is not None and right is not None:
            difference = estimate(Figure(left.point - right.point, left.resampled - right.resampled), paired)
            pair = left.as_accuracy(metric), right.as_accuracy(metric)
            relative = _ratio(*pair, paired)
            pairs += [pair] * (metric.name in headline)
        if figure is not None and metric.name in headline:
            alone.append(figure.as_accuracy(metric))
        found[metric.name] = MetricResult(estimate(figure, pages), pages, difference, relative, paired)
    rows = [row for row, metric in enumerate(metrics) if metric.name in headline]
    overall = estimate(average(alone) if alone else None, _pages_with_any(side.has[rows]))
    if not pairs:
        return ComparisonResult(found, overall, None)
    left, right = (average([pair[i] for pair in pairs]) for i in (0, 1))
    return ComparisonResult(found, overall, _ratio(left, right, _pages_with_any(both[rows])))


def _ratio(figure: Figure, base: Figure, pages: int) -> Estimate | None:
    """Of two accuracies; None where the baseline's is not above 0. Resamples where it is not are left out."""
    if base.point <= 0:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        resampled = np.where(base.resampled > 0, figure.resampled / base.resampled, np.nan)
    return estimate(Figure(figure.point / base.point, resampled), pages)


def _pages_with_any(has: Mask) -> int:
    return int(has.any(axis=0).sum())
