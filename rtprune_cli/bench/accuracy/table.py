"""Owns how a summary looks as text: figures in a few letters, and the tables on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from rtprune_cli.bench.accuracy.costs import giga_flops
from rtprune_cli.bench.accuracy.plan import BASELINE
from rtprune_cli.report import SPEEDUPS
from rtprune_cli.report.speedups import explained
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


class SummaryCell(NamedTuple):
    """A figure: ``change`` stands beside or below it, and ``verdict`` says which of worse and better that is by more
    than chance. ``value`` is what it is sorted by."""

    text: str
    change: str = ""
    verdict: str = ""
    value: float | None = None


class SummaryColumn(NamedTuple):
    """``better`` says which way is better, where there is one."""

    heading: str
    cells: list[SummaryCell]
    better: str = ""


def columns(rows: Sequence[Json], summary: Json) -> list[SummaryColumn]:
    """Of a summary's configurations or of their groups; a column of which nothing is known is left out."""
    figures: dict[str, Callable[[Json], SummaryCell]] = {
        "pages": lambda row: SummaryCell(pages(row), value=row["pages"]),
        "visual tokens": lambda row: _number(row.get("visual_tokens"), _tokens),
        "kept": lambda row: _number(row.get("retention"), lambda number: share(number, 1)),
        str(summary["accuracy_name"] or "accuracy"): lambda row: _with_interval(row["accuracy"]),
        "rel. accuracy": lambda row: _with_interval(row["relative_accuracy"]),
        "to the line": lambda row: _beside(row.get("line")),
        "GFLOPs": lambda row: _number(giga_flops(row), lambda number: f"{number:.4g}"),
        **{each.heading: partial(_speedup, each.field) for each in SPEEDUPS},
        "s a page": lambda row: _number(row.get("seconds"), lambda number: f"{number:.3g}"),
    }
    found = [SummaryColumn(heading, [figure(row) for row in rows]) for heading, figure in figures.items()]
    known = [column for column in found if any(cell.text != NOTHING for cell in column.cells)]
    return known + metric_columns(rows, main_metrics(summary))


def metric_columns(rows: Sequence[Json], metrics: Sequence[Json]) -> list[SummaryColumn]:
    """Each metric with its difference to the baseline."""
    return [
        SummaryColumn(metric["title"], [_measured(metric, row) for row in rows], "less" if metric["lower"] else "more")
        for metric in metrics
    ]


def compared_with(rows: Sequence[Json]) -> str:
    """What differences are to: the baseline, or that of the same mode where there are several."""
    several = len({row["baseline"] for row in rows} - {None}) > 1
    return f"{BASELINE} of the same mode" if several else BASELINE


def print_summary(summary: Json, console: Console) -> None:
    """A row a configuration, below it the conclusions and gates. Where the console is too narrow, some columns stand in
    a table below.

    Per cent; behind a metric's value is its difference to unpruned pages in points, red where it is worse and green
    where it is better by more than chance.
    """
    from rich.markup import escape

    dataset, rows = summary["dataset"], summary["configurations"]
    names = SummaryColumn("configuration", [SummaryCell(row["name"].replace("\n", " ")) for row in rows])
    _print([names], columns(rows, summary), console, escape(dataset["title"]))
    if any(row["relative_accuracy"] for row in rows):
        resamples, level = summary["bootstrap"]["resamples"], summary["bootstrap"]["level"]
        note = f"[{100 * level:.0f} % intervals, paired by page, {resamples:,} resamples]; "
        note += f"differences to {compared_with(rows)}"
        console.print(note, style="dim", markup=False, highlight=False)
    if sum(metric["headline"] for metric in summary["metrics"]) > 1:
        note = f"accuracy: {summary['accuracy_is']}"
        console.print(note, style="dim", markup=False, highlight=False)
    if how := dataset["rendered"]:
        console.print(f"[{described(how)}]", style="dim", markup=False, highlight=False)
    for sentence in explained(each for each in SPEEDUPS if any(row.get(each.field) for row in rows)):
        console.print(sentence, style="dim", markup=False, highlight=False)
    for sentence in summary["conclusions"]:
        console.print(sentence, markup=False, highlight=False)
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
            SummaryColumn(kind, [SummaryCell(value.replace("\n", " ")) for value, _, _ in found]),
            SummaryColumn("configuration", [SummaryCell(name.replace("\n", " ")) for _, name, _ in found]),
        ]
        some = columns([group for _, _, group in found], summary)
        _print(firsts, some, console, escape(kind))


def described(facts: Json) -> str:
    """What a dataset says of its rendering: "formulas drawn, katex 0.16.21"."""
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def by_limit(gates: Sequence[Json]) -> dict[str, list[Json]]:
    """Results of gates by what they ask, as "cer not above 0.05"."""
    found: dict[str, list[Json]] = {}
    for gate in gates:
        found.setdefault(f"{gate['metric']} not {gate['direction']} {gate['limit']:g}", []).append(gate)
    return found


def gate_value(gate: Json) -> str:
    """What a gate found; four digits, as limits are given."""
    return "not measured" if gate["value"] is None else f"{gate['value']:.4f}"


def _measured(metric: Json, row: Json) -> SummaryCell:
    """A metric with its difference to the baseline, or else with its own interval."""
    found = row["metrics"][metric["name"]]
    some = f" ({found['pages']} page{'s' * (found['pages'] > 1)})" if 0 < found["pages"] < row["pages"] else ""
    if not found["difference"]:
        return _with_interval(found, some)
    change, better = interval(found["difference"], sign=True), verdict(found["difference"], lower=metric["lower"])
    return SummaryCell(percent(found) + some, change, better, found["value"])


def _with_interval(estimate: Json | None, more: str = "") -> SummaryCell:
    if not estimate or estimate["value"] is None:
        return SummaryCell(NOTHING)
    return SummaryCell(percent(estimate) + more, interval_alone(estimate), value=estimate["value"])


def _beside(line: Json | None) -> SummaryCell:
    """The difference to the line of unpruned modes at equal tokens."""
    if not line:
        return SummaryCell(NOTHING)
    if not line["between"]:
        return SummaryCell("outside")
    difference = line["difference"]
    if not difference or difference["value"] is None:
        return SummaryCell(NOTHING)
    value, better = difference["value"], verdict(difference, lower=False)
    return SummaryCell(hundredths(value, sign=True), interval_alone(difference, sign=True), better, value)


def _speedup(field: str, row: Json) -> SummaryCell:
    """One of :data:`SPEEDUPS`, with its interval where it was measured."""
    found = row.get(field)
    if not isinstance(found, dict):
        return _number(found, times)
    around = "" if found["low"] is None else f"[{times(found['low'])}, {times(found['high'])}]"
    return SummaryCell(times(found["value"]), around, value=found["value"])


def _number(number: float | None, show: Callable[[float], str]) -> SummaryCell:
    return SummaryCell(NOTHING) if number is None else SummaryCell(show(number), value=number)


def _tokens(number: float) -> str:
    return f"{number:.0f}" if number == round(number) else f"{number:.1f}"


def _print(firsts: Sequence[SummaryColumn], others: Sequence[SummaryColumn], console: Console, title: str) -> None:
    """As many tables as it takes for the console's width; each begins with ``firsts``."""
    from rich.table import Table

    start = sum(min(_width(column), NAME_WIDTH) + 3 for column in firsts) + 1
    blocks: list[list[SummaryColumn]] = []
    left = 0
    for column in others:
        need = _width(column) + 3
        if not blocks or need > left:
            blocks.append([])
            left = console.width - start
        blocks[-1].append(column)
        left -= need
    for number, block in enumerate(blocks):
        table = Table(title=title if number == 0 else None, title_justify="left", header_style="bold")
        for column in firsts:
            table.add_column(_heading(column), overflow="fold", max_width=NAME_WIDTH)
        for column in block:
            table.add_column(_heading(column), justify="right", overflow="fold")
        for cells in zip(*(column.cells for column in [*firsts, *block]), strict=True):
            table.add_row(*map(_markup, cells))
        console.print(table)


def _heading(column: SummaryColumn) -> str:
    from rich.markup import escape

    return escape(column.heading) + {"less": " ↓", "more": " ↑"}.get(column.better, "")


def _markup(cell: SummaryCell) -> str:
    from rich.markup import escape

    colour = {"worse": "red", "better": "green"}.get(cell.verdict)
    change = f"[{colour}]{escape(cell.change)}[/{colour}]" if colour else escape(cell.change)
    return f"{escape(cell.text)}  {change}".rstrip()


def _width(column: SummaryColumn) -> int:
    from rich.cells import cell_len
    from rich.text import Text

    texts = [_heading(column), *map(_markup, column.cells)]
    return max(cell_len(Text.from_markup(text).plain) for text in texts)
