"""The end of a run, as a person reads it: the table, what failed, what has warnings, how it goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.text import Text

from rtprune_cli.commands.display import Display
from rtprune_cli.commands.wording import counted, warned
from rtprune_cli.logs import NOTICE, make_console
from rtprune_cli.options import LogOptions
from rtprune_cli.records import PageRecord
from rtprune_cli.report import print_table

log = logging.getLogger("rtprune")

MAX_LISTED = 20  # of those that failed, and that have warnings; all of them are in the report


def tell_end(display: Display, options: LogOptions, *, goes_on: str) -> None:
    """The end of a run: the table, what failed, what was done before, why it stopped early, how far it came, and in a
    sentence what ``goes_on`` from there."""
    totals = display.totals
    if options.log_format == "json":
        data = {
            "event": "summary",
            "documents": display.closed_documents,
            "documents_done_before": display.finished_before,
            "stopped": totals.stopped,
            **totals.summary(),
        }
        log.log(NOTICE, "%s, %d failed", counted(totals.pages, "page"), totals.failed, extra={"data": data})
    elif not options.quiet:
        _print_end(display, make_console())
    if totals.stopped:
        comma = "," if " " in totals.stopped else ""  # of more than a word
        far = f"{totals.stopped}{comma} {display.pace.how_far(totals.failed)}"
        log.error("%s", f"{far}. {goes_on}" if goes_on else far)


def _print_end(display: Display, console: Console) -> None:
    totals = display.totals
    if totals.pages:
        print_table(totals, console)
    if display.finished_before:
        what = counted(display.finished_before, "document")
        console.print(f"{what} done before; --force reads again", style="dim", highlight=False)
    if totals.warned and totals.failed + totals.pages > 1:
        console.print(f"{warned(len(totals.warned))}:", style="yellow", highlight=False)
        _list(totals.warned, lambda record: ", ".join(each.code for each in record.warnings), console)
    if totals.failed and totals.failed + totals.pages > 1:
        console.print(f"{totals.failed} failed:", style="red", highlight=False)
        _list(totals.failures, lambda record: record.error.code if record.error else "", console)


def _list(records: Sequence[PageRecord], why: Callable[[PageRecord], str], console: Console) -> None:
    """The first pages, a line each."""
    for record in records[:MAX_LISTED]:
        page = "" if record.page is None else f", page {record.page}"
        console.print(Text(f"  {record.document}{page}: {why(record)}".replace("\n", "\\n")), soft_wrap=True)
    if len(records) > MAX_LISTED:
        console.print(f"  … {len(records) - MAX_LISTED} more in the report", highlight=False)
