"""Owns how a summary looks as text: figures in a few letters, and the tables on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rtprune_cli.bench.accuracy.plan import BASELINE
from rtprune_cli.storage import Json

if TYPE_CHECKING:
    from rich.console import Console

NOTHING = "–"
MAIN_METRICS = 6
NAME_WIDTH = 36


def percent(estimate: Json | None) -> str:
    """The value alone: 97.69 %."""
    return share(estimate["value"] if estimate else None)


def share(number: float | None, digits: int = 2) -> str:
    return NOTHING if number is None else f"{100 * number:.{digits}f} %"


def times(factor: float | None) -> str:
    return NOTHING if factor is None else f"{factor:.2f}"


def interval(estimate: Json | None, *, sign: bool = False) -> str:
    """In hundredths, with the interval where there is one: 97.69 [96.80, 98.41]."""
    if not estimate or estimate["value"] is None:
        return NOTHING
    return f"{hundredths(estimate['value'], sign=sign)} {interval_alone(estimate, sign=sign)}".rstrip()


def interval_alone(estimate: Json, *, sign: bool = False) -> str:
    """[96.80, 98.41], or nothing."""
    if estimate["low"] is None:
        return ""
    return f"[{hundredths(estimate['low'], sign=sign)}, {hundredths(estimate['high'], sign=sign)}]"


def hundredths(number: float, *, sign: bool = False) -> str:
    text = f"{100 * number:{'+' if sign else ''}.2f}"
    return text.lstrip("+-") if float(text) == 0 else text


def verdict(difference: Json | None, *, lower: bool) -> str:
    """ "worse" or "better" where the interval of a difference to the baseline does not hold 0, else nothing."""
    if not difference or difference["low"] is None or difference["low"] <= 0 <= difference["high"]:
        return ""
    return "worse" if (difference["value"] > 0) == lower else "better"


def main_metrics(summary: Json) -> list[Json]:
    """Those of the headline, then others, as many as a table has room for."""
    headline = [metric for metric in summary["metrics"] if metric["headline"]]
    others = [metric for metric in summary["metrics"] if not metric["headline"]]
    return [*headline, *others][: max(MAIN_METRICS, len(headline))]


def pages(configuration: Json) -> str:
    """How many, and what is wrong with some: 100 (2 failed)."""
    wrong = [f"{configuration[what]} {what}" for what in ("failed", "missing") if configuration.get(what)]
    return f"{configuration['pages']}" + (f" ({', '.join(wrong)})" if wrong else "")


class _Column(NamedTuple):
    heading: str
    cells: list[str]  # with markup


def print_summary(summary: Json, console: Console) -> None:
    """A row a configuration, below it the gates. Where the console is too narrow, some columns stand in a table below.

    Per cent; behind a metric's value is its difference to unpruned pages in points, red where it is worse and green
    where it is better by more than chance.
    """
    from rich.markup import escape

    dataset, rows = summary["dataset"], summary["configurations"]
    names = _Column("configuration", [escape(row["name"].replace("\n", " ")) for row in rows])
    title = f"{dataset['name']} {dataset['version']}".strip()
    _print([names], _columns(summary, rows), console, escape(title))
    if any(row["relative_accuracy"] for row in rows):
        resamples, level = summary["bootstrap"]["resamples"], summary["bootstrap"]["level"]
        note = f"[{100 * level:.0f} % intervals, paired by page, {resamples:,} resamples]; differences to {BASELINE}"
        console.print(note, style="dim", markup=False, highlight=False)
    if summary.get("accuracy_name"):
        note = str(summary["accuracy_is"])
        console.print(note, style="dim", markup=False, highlight=False)
    for limit, gates in by_limit(summary["gates"]).items():
        failed = [f"{gate['configuration']} {gate_value(gate)}" for gate in gates if not gate["passed"]]
        mark = f"[red]failed by {escape(', '.join(failed))}[/red]" if failed else "[green]passed[/green]"
        console.print(f"{escape(limit)}: {mark}", highlight=False)


def print_groups(summary: Json, console: Console) -> None:
    """A table for each kind of group: a row a group and configuration."""
    from rich.markup import escape

    kinds: dict[str, list[tuple[str, str, Json]]] = {}
    for configuration in summary["configurations"]:
        for name, group in configuration["groups"].items():
            kind, _, value = name.partition(": ")
            kinds.setdefault(kind, []).append((value, configuration["name"], group))
    for kind, found in kinds.items():
        found.sort(key=lambda row: row[0])  # stable: configurations stay in their order
        firsts = [
            _Column(escape(kind), [escape(value.replace("\n", " ")) for value, _, _ in found]),
            _Column("configuration", [escape(name.replace("\n", " ")) for _, name, _ in found]),
        ]
        _print(firsts, _columns(summary, [group for _, _, group in found]), console, escape(kind))


def by_limit(gates: Sequence[Json]) -> dict[str, list[Json]]:
    """Results of gates by what they ask, as "cer not above 0.05"."""
    found: dict[str, list[Json]] = {}
    for gate in gates:
        found.setdefault(f"{gate['metric']} not {gate['direction']} {gate['limit']:g}", []).append(gate)
    return found


def gate_value(gate: Json) -> str:
    """What a gate found; four digits, as limits are given."""
    return "not measured" if gate["value"] is None else f"{gate['value']:.4f}"


def _columns(summary: Json, rows: Sequence[Json]) -> list[_Column]:
    """Of configurations or of their groups; a column of which nothing is known is left out."""
    figures: dict[str, Callable[[Json], str]] = {
        "pages": lambda row: pages(row),
        "retention": lambda row: share(row.get("retention"), 1),
        "rel. accuracy %": lambda row: interval(row["relative_accuracy"]),
        "FLOPs ×": lambda row: times(row.get("flops_speedup")),
        "prefill ×": lambda row: times(row.get("prefill_speedup")),
    }
    if not any(row.get("prefill_speedup") for row in rows):
        figures["prefill ms"] = lambda row: _milliseconds(row.get("milliseconds", {}).get("prefill"))
    if summary.get("accuracy_name"):  # elsewhere it is a metric's own, or has no name that says more than the metrics
        figures = {f"{summary['accuracy_name']} %": lambda row: interval(row["accuracy"]), **figures}
    columns = [_Column(heading, [figure(row) for row in rows]) for heading, figure in figures.items()]
    known = [column for column in columns if set(column.cells) != {NOTHING}]
    return known + [_metric_column(metric, rows) for metric in main_metrics(summary)]


def _metric_column(metric: Json, rows: Sequence[Json]) -> _Column:
    from rich.markup import escape

    cells = []
    for row in rows:
        found = row["metrics"][metric["name"]]
        cell, style = percent(found), verdict(found["difference"], lower=metric["lower"])
        if found["difference"]:
            colour = {"worse": "red", "better": "green"}.get(style)
            difference = escape(interval(found["difference"], sign=True))
            cell += f"  [{colour}]{difference}[/{colour}]" if colour else f"  {difference}"
        cells.append(cell)
    return _Column(f"{escape(metric['title'])} {'↓' if metric['lower'] else '↑'}", cells)


def _milliseconds(number: float | None) -> str:
    return NOTHING if number is None else f"{number:.1f}"


def _print(firsts: Sequence[_Column], columns: Sequence[_Column], console: Console, title: str) -> None:
    """As many tables as it takes for the console's width; each begins with ``firsts``."""
    from rich.table import Table

    start = sum(min(_width(column), NAME_WIDTH) + 3 for column in firsts) + 1
    blocks: list[list[_Column]] = []
    left = 0
    for column in columns:
        need = _width(column) + 3
        if not blocks or need > left:
            blocks.append([])
            left = console.width - start
        blocks[-1].append(column)
        left -= need
    for number, block in enumerate(blocks):
        table = Table(title=title if number == 0 else None, title_justify="left", header_style="bold")
        for column in firsts:
            table.add_column(column.heading, overflow="fold", max_width=NAME_WIDTH)
        for column in block:
            table.add_column(column.heading, justify="right", overflow="fold")
        for cells in zip(*(column.cells for column in [*firsts, *block]), strict=True):
            table.add_row(*cells)
        console.print(table)


def _width(column: _Column) -> int:
    from rich.cells import cell_len
    from rich.text import Text

    return max(cell_len(Text.from_markup(text).plain) for text in (column.heading, *column.cells))
