"""Owns the limits of --fail-above and --fail-below: what can be limited, and who keeps to it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rtprune_cli.bench.scoring.records import Metric
from rtprune_cli.errors import UsageError
from rtprune_cli.storage import Json

ACCURACY, RELATIVE = "accuracy", "relative_accuracy"
RISE, FALL = "_rise", "_fall"  # behind a metric: by how much it is worse than unpruned
COUNTED = ("retention", "flops_speedup")
TIMED = ("prefill_speedup", "page_speedup")


@dataclass(frozen=True)
class Gate:
    """A limit that every configuration has to keep: its figure must not be ``above`` it, or else not below."""

    metric: str
    limit: float
    above: bool

    @property
    def direction(self) -> str:
        return "above" if self.above else "below"

    @property
    def compares(self) -> bool:
        """Whether it is about what pruning changes: unpruned pages have nothing to say to it."""
        return self.metric in (RELATIVE, *COUNTED, *TIMED) or self.metric.endswith((RISE, FALL))

    def passes(self, value: float | None) -> bool:
        """What was not measured does not pass."""
        if value is None:
            return False
        return value <= self.limit if self.above else value >= self.limit


def parse_gate(text: str, *, above: bool, metrics: Sequence[Metric], timed: bool | None) -> Gate:
    """The gate of ``--fail-above`` or ``--fail-below``, as ``cer=0.05``; ``timed``: whether times are taken, None where
    no page is read.

    Raises:
        UsageError: it is not METRIC=LIMIT, there is no such figure, or it is not measured.
    """
    metric, _, limit = (word.strip() for word in text.partition("="))
    flag = f"--fail-{'above' if above else 'below'}"
    changes = [each.name + (RISE if each.lower else FALL) for each in metrics]
    known = [*(each.name for each in metrics), *changes, ACCURACY, RELATIVE]
    known += [] if timed is None else [*COUNTED, *TIMED]
    try:
        number = float(limit)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"{flag} is {text!r}", f"Write METRIC=LIMIT, as in {known[0]}=0.05")
    if metric not in known:
        raise UsageError(f"{flag}: unknown metric {metric!r}", f"Use one of {', '.join(known)}")
    if metric in TIMED and not timed:
        raise UsageError(f"{flag}: {metric} is not measured", "Add --measure-baseline")
    return Gate(metric, number, above)


def judge(gate: Gate, records: Mapping[str, Json]) -> Iterator[Json]:
    """A result a configuration; of a gate that compares, none for unpruned pages, unless they are all that there is."""
    compared = [name for name, each in records.items() if each["baseline"] != name]
    for name in compared if gate.compares and compared else records:
        value = _figure(gate.metric, records[name])
        yield {
            "metric": gate.metric,
            "limit": gate.limit,
            "direction": gate.direction,
            "configuration": name,
            "value": value,
            "passed": gate.passes(value),
        }


def _figure(name: str, record: Json) -> float | None:
    if name in COUNTED:
        return record[name]  # type: ignore[no-any-return]
    sign = 1
    if name in (ACCURACY, RELATIVE, *TIMED):
        found = record[name]
    elif name in record["metrics"]:
        found = record["metrics"][name]
    else:
        found = record["metrics"][name.removesuffix(RISE).removesuffix(FALL)]["difference"]
        sign = -1 if name.endswith(FALL) else 1
    value = found["value"] if found else None
    return None if value is None else sign * value
