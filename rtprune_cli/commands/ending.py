"""The end of a run, as a person reads it: the table, what failed, what has warnings, what came of it in one line, how
it goes on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from rtprune_cli.commands.display import Display
from rtprune_cli.commands.wording import counted, duration, rate_of, warned
from rtprune_cli.logs import NOTICE, make_console
from rtprune_cli.options import LogOptions
from rtprune_cli.outputs import STDOUT
from rtprune_cli.records import PageRecord
from rtprune_cli.remote import shown
from rtprune_cli.report import print_table
from rtprune_cli.report.fitting import joined

log = logging.getLogger("rtprune")


@dataclass(frozen=True)
class RunEnd:
    """What the display does not know of a run that is over: ``seconds`` by the clock, where its ``output`` is, as the
    person named it, and in a sentence what ``goes_on`` from there, if anything."""

    seconds: float
    output: str
    goes_on: str = ""


def tell_end(display: Display, options: LogOptions, end: RunEnd) -> None:
    """The end of a run: the table, what failed, what it came to, why it stopped early, how far it came, and what goes
    on from there."""
    totals = display.totals
    if options.log_format == "json":
        data = {
            "event": "summary",
            "documents": display.closed_documents,
            "documents_done_before": display.finished_before,
            "stopped": totals.stopped,
            "seconds": round(end.seconds, 3),
            **totals.summary(),
        }
        log.log(NOTICE, "%s, %d failed", counted(totals.pages, "page"), totals.failed, extra={"data": data})
    elif log.isEnabledFor(NOTICE):
        _print_end(display, make_console(), end, pages=options.verbose > 0)
    if totals.stopped:
        comma = "," if " " in totals.stopped else ""  # of more than a word
        far = f"{totals.stopped}{comma} {display.pace.how_far(totals.failed)}"
        log.error("%s", f"{far}. {end.goes_on}" if end.goes_on else far)


def _print_end(display: Display, console: Console, end: RunEnd, *, pages: bool) -> None:
    totals, where = display.totals, "" if end.output == STDOUT else " in the report"
    if totals.pages:
        print_table(totals, console, pages=pages, where=where)
    if totals.failed + totals.pages > 1:
        if totals.warned.count:
            console.print(f"{warned(totals.warned.count)}:", style="yellow", highlight=False)
            codes = [(page, ", ".join(each.code for each in page.warnings)) for page in totals.warned.first]
            _list(codes, totals.warned.count, console, where)
        if totals.failed:
            console.print(f"{totals.failed} failed:", style="red", highlight=False)
            codes = [(page, page.error.code if page.error else "") for page in totals.failures.first]
            _list(codes, totals.failures.count, console, where)
    if not totals.pages and display.documents == 1 and not display.finished_before:
        return  # its error has been said, and is all there is to say
    style = "red" if totals.failed else "yellow" if totals.warned.count else "green"
    for line in joined(closing_words(display, end), console.width, " "):
        console.print(Text(line, style=style), soft_wrap=True)


def _list(pages: Sequence[tuple[PageRecord, str]], count: int, console: Console, where: str) -> None:
    """The first of so many pages, each with its codes in a line; the others are ``where`` is said."""
    for record, codes in pages:
        page = "" if record.page is None else f", page {record.page}"
        console.print(Text(f"  {record.document}{page}: {codes}".replace("\n", "\\n")), soft_wrap=True)
    if count > len(pages):
        console.print(f"  … {count - len(pages)} more{where}", highlight=False)


def closing_words(display: Display, end: RunEnd) -> list[str]:
    """What a run came to, in parts that stay whole where a screen is narrow: 98 pages of 14 documents in 11 s
    (8.9 pages/s), 0 failed, 2 with warnings -> text/"""
    totals = display.totals
    before = [f"{counted(display.finished_before, 'document')} done before"] if display.finished_before else []
    if not totals.pages and not totals.failed:
        parts = ["nothing was read", *before, *["--force reads again"] * len(before)]
    else:
        what = f"{counted(totals.pages, 'page')} of {counted(totals.document_count, 'document')}"
        rate = f" ({rate_of(totals.pages, end.seconds)})" if totals.pages else ""
        failed = f"{totals.failed} failed"
        parts = [f"{what} in {duration(end.seconds)}{rate}", failed, warned(totals.warned.count), *before]
    place = "standard output" if end.output == STDOUT else shown(end.output)
    return [*(f"{part}," for part in parts[:-1]), parts[-1], f"-> {place}"]
