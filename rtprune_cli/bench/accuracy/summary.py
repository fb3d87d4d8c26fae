"""Owns summary.json: the rows of a run as figures a configuration, with intervals, groups and gates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rtprune_cli.bench.accuracy import statistics
from rtprune_cli.bench.accuracy.datasets.base import Dataset
from rtprune_cli.bench.accuracy.plan import BASELINE, Configuration
from rtprune_cli.bench.accuracy.rows import Row
from rtprune_cli.bench.accuracy.statistics import ComparisonResult, Estimate, MetricResult
from rtprune_cli.bench.scoring.records import Metric
from rtprune_cli.errors import UsageError
from rtprune_cli.report import summarise as summarise_pages

SCHEMA_VERSION = 1
ACCURACY, RELATIVE = "accuracy", "relative_accuracy"  # can be gated as metrics can


@dataclass(frozen=True)
class Gate:
    """A limit that every configuration has to keep: its figure must not be ``above`` it, or else not below."""

    metric: str
    limit: float
    above: bool

    @property
    def direction(self) -> str:
        return "above" if self.above else "below"

    def passes(self, value: float | None) -> bool:
        """What was not measured does not pass."""
        if value is None:
            return False
        return value <= self.limit if self.above else value >= self.limit


def parse_gate(text: str, *, above: bool, metrics: Sequence[Metric]) -> Gate:
    """The gate of ``--fail-above`` or ``--fail-below``, as ``cer=0.05``.

    Raises:
        UsageError: it is not METRIC=LIMIT, or the dataset has no such metric.
    """
    gate = Gate(text, 0.0, above)
    metric, _, limit = (word.strip() for word in text.partition("="))
    known = [*(each.name for each in metrics), ACCURACY, RELATIVE]
    try:
        number = float(limit)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"--fail-{gate.direction} is {text!r}", f"Write METRIC=LIMIT, as in {known[0]}=0.05")
    if metric not in known:
        raise UsageError(f"--fail-{gate.direction}: unknown metric {metric!r}", f"Use one of {', '.join(known)}")
    return Gate(metric, number, above)


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
) -> dict[str, Any]:
    """The whole of summary.json; what each figure means: :mod:`rtprune_cli.bench.accuracy.statistics`.

    A configuration's ``pages`` are all that were asked of it, of which some ``failed`` or are ``missing``; whether a
    page without text counts is the dataset's to say, and ``pages`` of a metric says how many did. Retention is
    the sum of visual tokens after over the sum before; speed-ups and ``milliseconds`` are means over the pages that
    were read; ``output_tokens`` is a sum. What no page says is None.

    Args:
        dataset: its metrics and headline are used.
        configurations: in the order of the tables.
        rows: one for each configuration and page.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        gates: applied to every configuration; those of relative accuracy to every one but the baseline.
        facts: of the run: command, versions, machine and the like.
        official: the benchmark's own totals by configuration.
    """

    def analyse(some: Sequence[Row]) -> dict[str, ComparisonResult]:
        scores: dict[str, dict[str, dict[str, Any]]] = {each.name: {} for each in configurations}
        for row in some:
            for metric, parts in row.marks.scores.items():
                scores[row.configuration].setdefault(metric, {})[row.sample] = parts
        return statistics.compare(scores, dataset.metrics, dataset.headline, BASELINE, seed=seed, resamples=resamples)

    results = analyse(rows)
    records = {}
    for each in configurations:
        own = [row for row in rows if row.configuration == each.name]
        records[each.name] = {**_totals(each, own), **_figures(results[each.name]), "groups": {}}
    for group, some in _groups(rows).items():
        for name, result in analyse(some).items():
            pages = sum(row.configuration == name for row in some)
            records[name]["groups"][group] = {"pages": pages, **_figures(result)}
    return {
        "schema_version": SCHEMA_VERSION,
        "dataset": {
            "name": dataset.name,
            "version": dataset.version,
            "samples": len(dataset.samples),
            "about": list(dataset.about),
        },
        **facts,
        "accuracy_name": dataset.accuracy_name,
        "accuracy_is": dataset.accuracy_is or _mean_of(dataset),
        "metrics": [{**asdict(metric), "headline": metric.name in dataset.headline} for metric in dataset.metrics],
        "bootstrap": {"resamples": resamples, "seed": seed, "level": statistics.LEVEL, "unit": "page"},
        "configurations": list(records.values()),
        "gates": [result for gate in gates for result in _judge(gate, records)],
        "official": official,
    }


def _mean_of(dataset: Dataset) -> str:
    """What the accuracy of a configuration is, in words."""
    found = [
        f"1 - {each.title}" if each.lower else each.title for each in dataset.metrics if each.name in dataset.headline
    ]
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
        "method": configuration.method,
        "ratio": configuration.ratio,
        "settings": configuration.settings,
        "pages": len(rows),
        "failed": sum(row.status == "failed" for row in rows),
        "missing": sum(row.status == "missing" for row in rows),
        **{name: total[name] for name in ("retention", "flops_speedup", "prefill_speedup")},
        "milliseconds": {stage: round(sum_ / read, 3) for stage, sum_ in total["milliseconds"].items()} if read else {},
        "output_tokens": total["output_tokens"] if read else None,
        "finish_reasons": total["finish_reasons"] if read else {},
        "notes": {note: math.fsum(numbers) for note, numbers in sorted(notes.items())},
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


def _judge(gate: Gate, records: Mapping[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A result a configuration. Relative to itself the baseline would always pass, and so is asked only when alone."""
    compared = [name for name in records if name != BASELINE]
    for name in compared if gate.metric == RELATIVE and compared else records:
        figures = records[name]
        found = figures[gate.metric] if gate.metric in (ACCURACY, RELATIVE) else figures["metrics"][gate.metric]
        value = found["value"] if found else None
        yield {
            "metric": gate.metric,
            "limit": gate.limit,
            "direction": gate.direction,
            "configuration": name,
            "value": value,
            "passed": gate.passes(value),
        }
