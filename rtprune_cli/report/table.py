"""The table at the end of a run: a line a document, or a line a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rtprune_cli.records import PageRecord
from rtprune_cli.report.fitting import (
    LEAST_NAME,
    NOTHING,
    Fitted,
    TableColumn,
    joined,
    print_line,
    shortened,
    told_once,
)
from rtprune_cli.report.speedups import SPEEDUPS, explained
from rtprune_cli.report.totals import Totals

if TYPE_CHECKING:
    from rich.console import Console

# In which order columns go where a screen is too narrow. What is not here stays: names, pages and visual tokens.
GOING = (
    "seconds", "text tokens", "finish", "retention", "merged", "kept", "edit dist.", "prefill ×", "page ×", "FLOPs ×",
    "warned", "failed", "mode",
)  # fmt: skip


def print_table(totals: Totals, console: Console, *, pages: bool = False, where: str = "") -> None:
    """The first documents of a run and its totals; of one document, or where ``pages`` are asked for, the first pages.
    ``where`` says where the others are.

    What is the same in all rows stands above them, and what the speed-ups are below. A row is one line, whose figures
    are whole, as long as the console has 40 columns or so; only names are shortened.
    """
    pages = pages or totals.document_count < 2
    columns = _page_columns(totals) if pages else _document_columns(totals)
    rows = len(columns[0].cells)
    failing = _failing(totals, pages)
    without = {number for number, failed in enumerate(failing) if failed}
    columns, same = told_once(columns, console.width - 2 * LEAST_NAME, without)
    count = totals.pages + totals.failed if pages else totals.document_count
    every = "each of these: " if count > rows else "every page: " if pages else "every document: "
    if pages and totals.document_count == 1:
        columns = [column for column in columns if column.heading != "document"]
        name = shortened(totals.documents[0][0], console.width - 2)
        same = [name, *same[1:]] if len(same) < 2 else [name, every + same[1], *same[2:]]
    elif same:
        same[0] = every + same[0]
    fitted = Fitted(columns, console.width)
    shown = [each for each in SPEEDUPS if any(each.heading == column.heading for column in fitted.columns)]
    shown += [each for each in SPEEDUPS if any(each.heading in words for words in same)]
    for line in joined(same, console.width):
        print_line(console, line, "bold")
    print_line(console, fitted.heading, "bold")
    for line, failed in zip(fitted.rows, failing, strict=False):  # no rows where all is alike
        print_line(console, line, "red" if failed else "")
    if rows > 1:
        print_line(console, fitted.total, "bold")
    if count > rows:
        print_line(console, f"… {count - rows} more {'pages' if pages else 'documents'}{where}")
    for sentence in explained(shown):
        console.print(sentence, style="dim", markup=False, highlight=False)


def _failing(totals: Totals, pages: bool) -> list[bool]:
    """Which rows are of what failed."""
    return [row.failed for row in totals.rows] if pages else [own.pages == 0 for _, own in totals.documents]


def _column(heading: str, cells: Sequence[str], total: str = "", *, is_name: bool = False) -> TableColumn:
    return TableColumn(heading, cells, total, GOING.index(heading) if heading in GOING else None, is_name)


def _document_columns(totals: Totals) -> list[TableColumn]:
    names = [name for name, _ in totals.documents]
    owns = [own for _, own in totals.documents]
    return [
        _column("document", names, "all", is_name=True),
        _column("pages", [str(own.pages) for own in owns], str(totals.pages)),
        _column("failed", [str(own.failed) for own in owns], str(totals.failed)),
        _column("warned", [str(own.warned.count) for own in owns], str(totals.warned.count)),
        _column("mode", [", ".join(own.modes) for own in owns]),
        *_sums(owns, totals),
    ]


def _sums(owns: Sequence[Totals], totals: Totals) -> list[TableColumn]:
    """What totals say of themselves, of documents and of all."""
    everyone = [*owns, totals]
    summaries = [own.summary() for own in everyone]
    found = {
        "visual tokens": [_tokens(own.visual_tokens_before, own.visual_tokens_after, own.pages) for own in everyone],
        "kept": [_read(own.kept, own.pages) for own in everyone],
        "merged": [_read(own.merged, own.pages) for own in everyone],
        "retention": [_percent(each["retention"]) for each in summaries],
        "text tokens": [_read(own.output_tokens, own.pages) for own in everyone],
        **{each.heading: [_times(own[each.field]) for own in summaries] for each in SPEEDUPS},
        "edit dist.": [_distance(each["edit_distance_to_unpruned"]) for each in summaries],
    }
    return [_column(heading, cells[:-1], cells[-1]) for heading, cells in found.items()]


def _page_columns(totals: Totals) -> list[TableColumn]:
    rows = totals.rows
    found = {
        "page": [NOTHING if row.page is None else str(row.page) for row in rows],
        "mode": [row.mode or "" for row in rows],
        "finish": ["failed" if row.failed else str(row.finish_reason) for row in rows],
        "seconds": ["" if row.failed else f"{sum(row.milliseconds.values()) / 1000:.2f}" for row in rows],
    }
    columns = {heading: _column(heading, cells) for heading, cells in found.items()}
    sums = _sums([_alone(row) for row in rows], totals)
    name = _column("document", [row.document for row in rows], "all", is_name=True)
    if totals.document_count == 1:
        columns["page"] = _column("page", found["page"], "all")
    return [name, columns["page"], columns["mode"], *sums, columns["finish"], columns["seconds"]]


def _alone(page: PageRecord) -> Totals:
    totals = Totals()
    totals.add(page)
    return totals


def _read(number: int, pages: int) -> str:
    """Nothing where no page was read."""
    return str(number) if pages else ""


def _tokens(before: int, after: int, pages: int) -> str:
    return f"{before} → {after}" if pages else ""


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _times(factor: float | None) -> str:
    return "" if factor is None else f"{factor:.2f}"


def _distance(share: float | None) -> str:
    return "" if share is None else f"{share:.4f}"
