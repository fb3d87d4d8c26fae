"""The table at the end of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rtprune_cli.records import PageRecord
from rtprune_cli.report.speedups import SPEEDUPS, Speedup
from rtprune_cli.report.totals import Totals

if TYPE_CHECKING:
    from rich.console import Console


def print_table(totals: Totals, console: Console) -> None:
    """The first pages of a run and its totals as a table."""
    from rich.markup import escape
    from rich.table import Table

    total = totals.summary()
    speedups = [each for each in SPEEDUPS if each.field == "flops_speedup" or total[each.field] is not None]
    compared = total["edit_distance_to_unpruned"] is not None
    table = Table(title="rtprune", title_justify="left", header_style="bold", show_footer=True)
    table.add_column(
        "document",
        f"{total['pages']} page{'s' * (total['pages'] != 1)}"
        + (f", {total['failed']} failed" if total["failed"] else ""),
    )
    table.add_column("page", justify="right")
    table.add_column("mode")
    table.add_column(
        "visual tokens", f"{total['visual_tokens_before']} → {total['visual_tokens_after']}", justify="right"
    )
    table.add_column("retention", _percent(total["retention"]), justify="right")
    table.add_column("text tokens", str(total["output_tokens"]), justify="right")
    table.add_column("finish")
    table.add_column("seconds", f"{sum(total['milliseconds'].values()) / 1000:.2f}", justify="right")
    for each in speedups:
        table.add_column(each.heading, _times(total[each.field]), justify="right")
    if compared:
        table.add_column("edit dist.", f"{total['edit_distance_to_unpruned']:.4f}", justify="right")
    for row in totals.rows:
        table.add_row(*_cells(row, escape, speedups, compared))
    if (more := totals.pages + totals.failed - len(totals.rows)) > 0:
        table.add_row(f"… {more} more in the report")
    console.print(table)
    if len(speedups) > 1:
        console.print(
            "; ".join(f"{each.heading.rstrip(' ×')}: {each.meaning}" for each in speedups), style="dim", highlight=False
        )


def _cells(row: PageRecord, escape: Any, speedups: Sequence[Speedup], compared: bool) -> list[str]:
    page = "–" if row.page is None else str(row.page)
    name = escape(row.document.replace("\n", " "))
    if row.error is not None:
        return [name, page, "", "", "", "", f"[red]failed: {row.error.code}[/red]"]
    seconds = sum(row.milliseconds.values()) / 1000
    cells = [
        name,
        page,
        row.mode or "",
        f"{row.visual_tokens_before} → {row.visual_tokens_after}",
        _percent(row.retention),
        str(row.output_tokens),
        "eos" if row.finish_reason == "eos" else f"[yellow]{row.finish_reason}[/yellow]",
        f"{seconds:.2f}",
        *(_times(getattr(row, each.field)) for each in speedups),
    ]
    if compared:
        distance = row.edit_distance_to_unpruned
        cells.append("–" if distance is None else f"{distance:.4f}")
    return cells


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _times(factor: float | None) -> str:
    return "–" if factor is None else f"{factor:.2f}"
