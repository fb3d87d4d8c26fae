"""Owns summary.json: the rows of a run as figures a configuration, with intervals, groups and gates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from statistics import fmean
from typing import Any

from rtprune_cli.bench.accuracy import statistics
from rtprune_cli.bench.accuracy.costs import NO_COSTS, costs, visual_tokens
from rtprune_cli.bench.accuracy.datasets.base import Dataset
from rtprune_cli.bench.accuracy.gates import ACCURACY, RELATIVE, Gate, judge
from rtprune_cli.bench.accuracy.line import LineComparison, LineResult, beside_line
from rtprune_cli.bench.accuracy.plan import BASELINE, Configuration
from rtprune_cli.bench.accuracy.resampling import LEVEL, Estimate
from rtprune_cli.bench.accuracy.rows import Row
from rtprune_cli.bench.accuracy.sentences import conclusions
from rtprune_cli.bench.accuracy.statistics import ComparisonResult, MetricResult
from rtprune_cli.bench.accuracy.timing import PageTimes, Timings
from rtprune_cli.bench.scoring.records import Metric
from rtprune_cli.report import summarise as summarise_pages

SCHEMA_VERSION = 1


def summarise(
    dataset: Dataset,
    configurations: Sequence[Configuration],
    rows: Sequence[Row],
    *,
    seed: int,
    resamples: int,
    gates: Sequence[Gate],
    facts: Mapping[str, Any],
    official: Mapping[str, Any] | None,
    timings: Timings | None = None,
) -> dict[str, Any]:
    """The whole of summary.json; what each figure means: :mod:`rtprune_cli.bench.accuracy.statistics`.

    A configuration's ``pages`` are all that were asked of it, of which some ``failed`` or are ``missing``; whether a
    page without text counts is the dataset's to say, and ``pages`` of a metric says how many did. Retention is
    the sum of visual tokens after over the sum before; the speed-up by FLOPs and costs (``visual_tokens``,
    ``prefill_flops``, ``prune_flops``) are means over the pages that were read; ``output_tokens`` is a sum. Times
    are those of ``timings``: ``milliseconds`` and ``seconds`` are means a page, speed-ups sums
    without pruning over sums with it. What no page says is None. ``line`` is a pruned configuration's place beside the
    unpruned modes, ``best`` the best at each budget of tokens (line.py), ``conclusions`` that in words.

    Args:
        dataset: its metrics and headline are used.
        configurations: in the order of the tables.
        rows: one for each configuration and page.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        gates: applied to every configuration; those of relative accuracy to every one but the baseline.
        facts: of the run: command, versions, machine and the like.
        official: the benchmark's own totals by configuration.
        timings: of pages that were read in turns, where times were taken.
    """

    baselines = {each.name: each.baseline for each in configurations}

    def analyse(some: Sequence[Row]) -> dict[str, ComparisonResult]:
        return statistics.compare(
            _scores(configurations, some), dataset.metrics, dataset.headline, baselines, seed=seed, resamples=resamples
        )

    results = analyse(rows)
    line = beside_line(
        _scores(configurations, rows),
        dataset.metrics,
        dataset.headline,
        visual_tokens(rows),
        [each.name for each in configurations if each.method == BASELINE],
        seed=seed,
        resamples=resamples,
    )
    spent = costs(rows)
    records = {}
    for each in configurations:
        own = [row for row in rows if row.configuration == each.name]
        known = {"baseline": each.baseline if each.baseline in baselines else None, **spent.get(each.name, NO_COSTS)}
        timed = _timed(each, timings or {}, seed, resamples)
        beside = {"line": _beside(line.beside.get(each.name))}
        figures = _figures(results[each.name])
        records[each.name] = {**_totals(each, own), **known, **timed, **figures, **beside, "groups": {}}
    for group, some in _groups(rows).items():
        for name, result in analyse(some).items():
            pages = sum(row.configuration == name for row in some)
            records[name]["groups"][group] = {"pages": pages, **_figures(result)}
    return {
        "schema_version": SCHEMA_VERSION,
        "dataset": {
            **dataset.identity,
            "title": dataset.title or f"{dataset.name} {dataset.version}".strip(),
            "samples": len(dataset.samples),
            "about": list(dataset.about),
            "rendered": dict(dataset.rendered()),
        },
        **facts,
        **_accuracy_words(dataset, results),
        "metrics": [{**asdict(metric), "headline": metric.name in dataset.headline} for metric in dataset.metrics],
        "bootstrap": {"resamples": resamples, "seed": seed, "level": LEVEL, "unit": "page"},
        "configurations": list(records.values()),
        "best": _best(line),
        "conclusions": conclusions(list(records.values()), _best(line)),
        "gates": [result for gate in gates for result in judge(gate, records)],
        "official": official,
    }


def _scores(configurations: Sequence[Configuration], rows: Sequence[Row]) -> dict[str, Any]:
    """Parts by configuration, metric and sample."""
    scores: dict[str, dict[str, dict[str, Any]]] = {each.name: {} for each in configurations}
    for row in rows:
        for metric, parts in row.marks.scores.items():
            scores[row.configuration].setdefault(metric, {})[row.sample] = parts
    return scores


def _beside(result: LineResult | None) -> dict[str, Any] | None:
    return None if result is None else {**asdict(result), "between": result.between and list(result.between)}


def _best(line: LineComparison) -> list[dict[str, Any]]:
    """The best at each budget; ``equal`` are those that are not told from it."""
    return [
        {
            "configuration": each.best,
            "visual_tokens": each.tokens,
            "until": each.end,
            "accuracy": asdict(each.accuracy),
            "equal": [{"configuration": name, "difference": asdict(difference)} for name, difference in each.equal],
        }
        for each in line.best
    ]


def _accuracy_words(dataset: Dataset, results: Mapping[str, ComparisonResult]) -> dict[str, str | None]:
    """What the accuracy of a configuration is called and is. A mean that lacks one of its metrics, since no page has
    such a thing, does not go by the name of the whole."""
    headline = [metric for metric in dataset.metrics if metric.name in dataset.headline]
    known = [m for m in headline if any(each.metrics[m.name].value.value is not None for each in results.values())]
    if not dataset.accuracy_name or known == headline or not known:
        return {"accuracy_name": dataset.accuracy_name, "accuracy_is": dataset.accuracy_is or _mean_of(headline)}
    lacking = ", ".join(metric.title for metric in headline if metric not in known)
    name = dataset.accuracy_name
    return {"accuracy_name": None, "accuracy_is": f"{_mean_of(known)}; not {name}, as no page here has {lacking}"}


def _mean_of(metrics: Sequence[Metric]) -> str:
    found = [f"1 - {each.title}" if each.lower else each.title for each in metrics]
    return f"{'the mean of ' * (len(found) > 1)}{' and '.join(filter(None, (', '.join(found[:-1]), found[-1])))}"


def _totals(configuration: Configuration, rows: Sequence[Row]) -> dict[str, Any]:
    """What the pages of a configuration add up to."""
    notes: dict[str, list[float]] = {}
    for row in rows:
        for note, number in row.marks.notes.items():
            notes.setdefault(note, []).append(number)
    total = summarise_pages(row.page for row in rows if row.status == "ok" and row.page)
    read = total["pages"]
    return {
        "name": configuration.name,
        "mode": configuration.mode,
        "method": configuration.method,
        "ratio": configuration.ratio,
        "settings": configuration.settings,
        "pages": len(rows),
        "failed": sum(row.status == "failed" for row in rows),
        "missing": sum(row.status == "missing" for row in rows),
        **{name: total[name] for name in ("retention", "flops_speedup")},
        "output_tokens": total["output_tokens"] if read else None,
        "finish_reasons": total["finish_reasons"] if read else {},
        "notes": {note: math.fsum(numbers) for note, numbers in sorted(notes.items())},
    }


def _timed(configuration: Configuration, timings: Timings, seed: int, resamples: int) -> dict[str, Any]:
    """What the pages that were read in turns say of a configuration."""
    name, baseline = configuration.name, configuration.baseline
    own, base = timings.get(name, {}), timings.get(baseline, {})

    def speedup(part: str) -> dict[str, Any] | None:
        sides = ({page: getattr(times, part) for page, times in each.items()} for each in (base, own))
        return _estimate(statistics.ratio_of_sums(*sides, seed=seed, resamples=resamples) if name != baseline else None)

    parts = [each.name for each in fields(PageTimes)] if own else []
    return {
        "timed_pages": len(own),
        "milliseconds": {part: round(fmean(getattr(each, part) for each in own.values()), 3) for part in parts},
        "seconds": round(fmean(each.page for each in own.values()) / 1000, 6) if own else None,
        "prefill_speedup": speedup("prefill"),
        "page_speedup": speedup("page"),
    }


def _figures(result: ComparisonResult) -> dict[str, Any]:
    return {
        "metrics": {name: _metric(each) for name, each in result.metrics.items()},
        ACCURACY: asdict(result.accuracy),
        RELATIVE: _estimate(result.relative),
    }


def _metric(result: MetricResult) -> dict[str, Any]:
    return {
        **asdict(result.value),
        "pages": result.pages,
        "difference": _estimate(result.difference),
        RELATIVE: _estimate(result.relative),
        "pairs": result.paired,
    }


def _estimate(estimate: Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else asdict(estimate)


def _groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by group, as "layout: double_column"; a page can be in several. In the order of the groups' names."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        for name, values in row.groups.items():
            for value in dict.fromkeys([values] if isinstance(values, str) else values):
                found.setdefault(f"{name}: {value}", []).append(row)
    return dict(sorted(found.items()))
