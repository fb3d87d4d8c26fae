"""What a run would do: --dry-run."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from rich.console import Console

from rtprune_cli.commands.last_run import LastRun
from rtprune_cli.commands.wording import counted, duration, page_ranges, rate_of
from rtprune_cli.logs import NOTICE, make_console
from rtprune_cli.outputs import Output
from rtprune_cli.records import DocumentPlan, failed
from rtprune_cli.report import Totals
from rtprune_cli.report.fitting import Fitted, TableColumn, joined, print_line

log = logging.getLogger("rtprune")

LAID_OUT = 50  # documents by which the columns are laid out; others may be many, and are not waited for
WIDE_PAGES, WIDE_STATE = "99999 pages", "99999 done"  # the widest cells of others
NOTHING = "-"
ONE_LINE = 10_000


def print_plan(plans: Iterable[DocumentPlan], output: Output, last: LastRun | None = None) -> Totals:
    """What a run would do, a line a document on standard output: name, pages to read, what is done, where it goes; then
    how much that is, and how long it takes if it goes as the ``last`` run went.

    Columns on a terminal, tabs elsewhere. The totals hold the documents that cannot be read.
    """
    totals, documents, pages, done = Totals(), 0, 0, 0

    def counting() -> Iterator[tuple[DocumentPlan, Sequence[int]]]:
        nonlocal documents, pages, done
        for plan in plans:
            todo = [page for page in plan.pages if page not in plan.earlier.pages]
            if plan.error is not None:
                totals.add(failed(plan.document, None, plan.error).record)
            documents, pages, done = documents + 1, pages + len(todo), done + plan.earlier.finished
            yield plan, todo

    if sys.stdout.isatty():
        _print_columns(counting(), output, Console(highlight=False))
    else:
        for plan, todo in counting():
            state = _state(plan) if plan.error is None else f"{_state(plan)}: {plan.error.code}: {plan.error.message}"
            print(plan.document.name, page_ranges(todo) or NOTHING, state, output.place(plan.document), sep="\t")
    parts = [counted(documents, "document"), f"{counted(pages, 'page')} to read"]
    parts += [f"{done} done before"] * bool(done) + [f"{totals.failed} failed"] * bool(totals.failed)
    log.log(NOTICE, "%s", ", ".join(parts))
    if last is not None and pages:
        console = make_console()
        room = console.width - len("rtprune: ") if console.is_terminal else ONE_LINE
        for line in joined(estimate(pages, last), room, " "):
            log.log(NOTICE, "%s", line)
    return totals


def estimate(pages: int, last: LastRun) -> list[str]:
    """What so many pages take if they are as those of the last run, and where that is known from: parts of a line."""
    visual, kept, text = (
        round(pages * each / last.pages)
        for each in (last.visual_tokens_before, last.visual_tokens_after, last.output_tokens)
    )
    took = last.starting + pages * last.reading / last.pages
    start = f"{duration(last.starting)} to begin, then " if last.starting >= 0.1 else ""
    return [
        f"about {duration(took)}:",
        f"{start}{rate_of(last.pages, last.reading)},",
        "as the last run with this model and mode;",
        f"about {visual} → {kept} visual tokens and {text} text tokens",
    ]


def _state(plan: DocumentPlan) -> str:
    if plan.error is not None:
        return "failed"
    return f"{len(plan.earlier.pages)} done" if plan.earlier.pages else "new"


def _print_columns(plans: Iterator[tuple[DocumentPlan, Sequence[int]]], output: Output, console: Console) -> None:
    """A heading, and a line a document, below which stands what is wrong with it."""
    lines = ((_cells(plan, todo, output), plan) for plan, todo in plans)
    first = list(islice(lines, LAID_OUT))
    names, pages, states, places = zip(*(cells for cells, _ in first), strict=True) if first else ((), (), (), ())
    more = len(first) == LAID_OUT
    fitted = Fitted(
        [
            TableColumn("document", names, is_name=True),
            TableColumn("pages", pages, WIDE_PAGES * more),
            TableColumn("state", states, WIDE_STATE * more, is_left=True),
            TableColumn("goes to", places, goes=0, is_name=True),
        ],
        console.width,
    )

    print_line(console, fitted.heading, "bold")
    kept = len(fitted.columns)
    for cells, plan in chain(first, lines):
        print_line(console, fitted.line(cells[:kept]), "red" if plan.error is not None else "")
        if plan.error is not None:
            console.print(f"  {plan.error}".replace("\n", " "), style="dim", markup=False)


def _cells(plan: DocumentPlan, todo: Sequence[int], output: Output) -> tuple[str, str, str, str]:
    """Of a line. Pages that are many ranges are counted, as no figure may be cut."""
    ranges = page_ranges(todo) or NOTHING
    pages = ranges if len(ranges) <= len(WIDE_PAGES) else counted(len(todo), "page")
    return plan.document.name, pages, _state(plan), output.place(plan.document)
