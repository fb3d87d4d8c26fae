"""Owns what an analysis shows on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rtprune_cli.analysis.depth import MAIN_ROW, MAIN_SIZE
from rtprune_cli.analysis.findings import (
    NOTHING,
    WHO,
    figure,
    findings,
    interval,
    number,
    percent,
    points,
    span,
    summary,
)
from rtprune_cli.analysis.trajectory import BINS
from rtprune_cli.storage import Json

if TYPE_CHECKING:
    from rich.console import Console

    _Column = tuple[str, Callable[[Json], str]]


def print_summary(analysis: Json, console: Console) -> None:
    """The groups as tables, over depth and over time, and what that says of the claim."""
    depth: list[_Column] = [
        ("mean over layers", lambda group: figure(_main(group)["statistics"]["mean"])),
        ("moved", lambda group: span(_null(_main(group)["statistics"]["mean"]))),
        ("p", lambda group: _p(_main(group)["statistics"]["mean"])),
        ("cumulated", lambda group: percent(_main(group)["statistics"]["cumulated"]["value"])),
        ("moved", lambda group: span(_null(_main(group)["statistics"]["cumulated"]))),
        ("p", lambda group: _p(_main(group)["statistics"]["cumulated"])),
        ("falls after layer", lambda group: str(_main(group)["curve"]["change_layer"]["value"] or NOTHING)),
        ("p", lambda group: _p(_main(group)["curve"]["fall"])),
    ]
    time: list[_Column] = [
        ("pages", lambda group: str(group["pages"])),
        ("steps", lambda group: number(group["steps"]["value"], 0)),
        ("× per token", lambda group: number(group["preference"]["value"])),
        ("first half", lambda group: percent(_half(group, slice(BINS // 2)))),
        ("second half", lambda group: percent(_half(group, slice(BINS // 2, None)))),
        ("drop, points", lambda group: _drop(group["statistics"]["drop"])),
        ("p", lambda group: _p(group["statistics"]["drop"])),
        ("turned", lambda group: str(group["turned"]["pages"])),
    ]
    _print(f"overlap of high norm and attention: {MAIN_SIZE} of the tokens, {WHO[MAIN_ROW]}", depth, analysis, console)
    _print("attention on high-norm tokens over time", time, analysis, console)
    console.print(summary(findings(analysis["groups"][0])), markup=False, highlight=False)


def _print(title: str, columns: Sequence[_Column], analysis: Json, console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("group")
    for heading, _ in columns:
        table.add_column(heading, justify="right")
    for group in analysis["groups"]:
        table.add_row(escape(group["name"]), *(show(group) for _, show in columns))
    console.print(table)


def _main(group: Json) -> Json:
    found: Json = group["depth"][MAIN_ROW][MAIN_SIZE]
    return found


def _null(found: Json) -> Json:
    null: Json = found["null"]["shifted"]
    return null


def _p(found: Json) -> str:
    return number(_null(found)["p"], 3)


def _half(group: Json, part: slice) -> float:
    share = group["share"]["value"][part]
    return float(sum(share) / len(share))


def _drop(drop: Json) -> str:
    return points(drop["value"]) + interval(drop, sign=True)
