"""Owns what a person sees while a run goes on: a progress display on a terminal, a line a document elsewhere.

All of it goes to standard error. Lines go through the log, so that ``--log-format json`` is the same events as objects.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from rtprune_cli import stopping
from rtprune_cli.commands.pace import Pace
from rtprune_cli.commands.wording import counted, fitted, warned
from rtprune_cli.inputs.formats import printable
from rtprune_cli.logs import NOTICE, make_console
from rtprune_cli.options import LogOptions
from rtprune_cli.records import DocumentPlan, PageResult
from rtprune_cli.report import Totals
from rtprune_cli.report.fitting import shortened
from rtprune_cli.watching import Watcher

if TYPE_CHECKING:
    from rich.console import ConsoleRenderable

log = logging.getLogger("rtprune")

FEW_READERS = 4  # of a cluster, whose speeds are shown one by one


class Display(Watcher):
    """Counts, and says a line a document; the base of the progress display."""

    def __init__(self, documents: int, every: bool = False) -> None:
        """``every``: also those documents of which a person has heard already, or needs not hear."""
        self.totals = Totals()
        self._every = every
        self.documents = documents
        self.finished_before = 0
        self.pace = Pace(documents)

    @property
    def closed_documents(self) -> int:
        """Those that are through."""
        return self.pace.closed

    def begin(self, totals: Totals) -> None:
        self.totals = totals

    def planned(self, plan: DocumentPlan) -> None:
        self.pace.planned(plan)

    def opened(self, plan: DocumentPlan) -> None:
        self.pace.planned(plan)

    def page(self, result: PageResult) -> None:
        if result.record.page is not None:
            self.pace.page(result.document.folder, result.record.output_tokens or 0)

    def closed(self, plan: DocumentPlan, totals: Totals) -> None:
        self.pace.close(plan.document.folder)
        self.finished_before += plan.earlier.finished
        self._tell(plan, totals)

    def _tell(self, plan: DocumentPlan, totals: Totals) -> None:
        summary = totals.summary()
        status = "ok" if not totals.failed else "partial" if totals.pages else "failed"
        data = {
            "event": "document",
            "document": plan.document.name,
            "folder": str(plan.document.folder),
            "status": "done before" if plan.earlier.finished else status,
            "pages_done_before": len(plan.earlier.pages),
            **{name: summary[name] for name in ("pages", "failed", "warned", "retention", "output_tokens")},
        }
        if plan.earlier.finished:
            log.log(
                NOTICE if self._every else logging.INFO, "%s: done before", plan.document.name, extra={"data": data}
            )
            return
        if not totals.pages and not plan.pages and not self._every:
            return  # it could not be opened: that error has been said, and is all there is to say
        parts = [counted(totals.pages, "page")]
        if plan.earlier.pages:
            parts.append(f"{len(plan.earlier.pages)} done before")
        parts += _troubles(totals)
        if totals.retention is not None:
            parts.append(f"retention {100 * totals.retention:.1f} %")
        parts.append(f"{sum(summary['milliseconds'].values()) / 1000:.1f} s")
        place = f"[{self.closed_documents}/{self.documents}] " if self.documents > 1 else ""
        log.log(NOTICE, "%s%s: %s", place, plan.document.name, ", ".join(parts), extra={"data": data})


class _Bar(Progress):
    """Rich's progress bar with lines below it, which the display makes as wide as the terminal is."""

    def __init__(self, console: Console) -> None:
        self.display: ProgressDisplay | None = None
        super().__init__(
            BarColumn(bar_width=None),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
            expand=True,
        )

    def get_renderables(self) -> Iterable[RenderableType | ConsoleRenderable]:
        if self.display is None:
            return
        self.display.move(self)
        yield self.make_tasks_table(self.tasks)
        for line in self.display.lines(self.console.width):
            yield Text(line, no_wrap=True, overflow="crop")


class ProgressDisplay(Display):
    """Documents, pages, speed, time left and retention so far, in place, on a terminal.

    What happens is only noted; rich asks ten times a second what to draw.
    """

    def __init__(self, documents: int, bar: _Bar, first: str) -> None:
        super().__init__(documents)
        self._doing = first
        self._plan: DocumentPlan | None = None  # of the document that was last heard of
        self._plans: dict[PurePosixPath, DocumentPlan] = {}  # of those at hand
        self._rates: Sequence[float] = ()
        self._who = ""  # reads, or prepares
        self._task = bar.add_task("", total=1.0, count="", left="")
        bar.display = self

    def loading(self) -> None:
        self._doing = "loading the model"

    def opened(self, plan: DocumentPlan) -> None:
        super().opened(plan)
        self._plans[plan.document.folder] = self._plan = plan

    def page(self, result: PageResult) -> None:
        super().page(result)
        self._plan = self._plans[result.document.folder]

    def workers(self, alive: int) -> None:
        self._who = counted(alive, "worker") if alive else ""

    def rates(self, pages: Sequence[float], alive: int, wanted: int) -> None:
        self._rates, self._who = pages, readers(pages, alive, wanted)

    def _tell(self, plan: DocumentPlan, totals: Totals) -> None:
        del self._plans[plan.document.folder]
        if plan.earlier.finished or plan.earlier.pages:
            before = "" if plan.earlier.finished else f"{counted(len(plan.earlier.pages), 'page')} "
            log.info("%s: %sdone before", plan.document.name, before)

    def move(self, bar: Progress) -> None:
        """Bring the bar up to date."""
        left = self.pace.seconds_left()
        bar.update(
            self._task,
            completed=self.pace.share,
            count=self._count(),
            left="" if left is None else f"{timedelta(seconds=round(left))} left",
        )
        if stopping.asked():
            bar.console.show_cursor(True)  # a second Ctrl-C leaves no time for it

    def lines(self, width: int) -> list[str]:
        """What stands below the bar, so many columns wide: figures, and the document that is read."""
        plan = self._plan  # which the run changes meanwhile
        if plan is None:
            return [shortened(self._doing, width)]
        name, (page, pages) = printable(plan.document.name), self.pace.of_document(plan)
        place = f"page {page} of {pages} · " if pages > 1 and page else ""
        return [self._figures(width) or self._doing, place + shortened(name, width - len(place))]

    def _figures(self, width: int) -> str:
        totals, speed = self.totals, self.pace.speed()
        pages = sum(self._rates) if self._rates else speed and speed.pages
        return fitted(
            [
                (3, counted(totals.pages, "page") if totals.pages else ""),
                (0, f"{totals.failed} failed" if totals.failed else ""),
                (4, warned(totals.warned.count) if totals.warned.count else ""),
                (1, f"{pages:.2f} pages/s" if pages else ""),
                (6, f"{speed.tokens:.0f} tokens/s" if speed and not self._rates else ""),
                (2, "" if totals.retention is None else f"retention {100 * totals.retention:.1f} %"),
                (5, self._who),
            ],
            width,
        )

    def _count(self) -> str:
        """Of one document the pages, of many the documents."""
        pace = self.pace
        if self.documents == 1 and pace.all_known and pace.expected:
            return f"{pace.read}/{counted(int(pace.expected), 'page')}"
        return f"{pace.closed}/{counted(self.documents, 'document')}"


@contextmanager
def showing(documents: int, options: LogOptions, first: str, *, drawn: bool = True) -> Iterator[Display]:
    """The display of a run over so many documents; ``first`` is shown until it has something to say. ``drawn``: in
    place, where standard error is a terminal."""
    console = make_console()
    if not drawn or options.quiet or options.log_format == "json" or not console.is_terminal:
        yield Display(documents, every=options.log_format == "json")
        return
    with _Bar(console) as bar:
        yield ProgressDisplay(documents, bar, first)


def readers(rates: Sequence[float], alive: int, wanted: int) -> str:
    """How many readers of a cluster there are, and their pages a second: of many the least and the most."""
    who = counted(alive, "reader") if alive == wanted else f"{alive} of {counted(wanted, 'reader')}"
    if len(rates) < 2:
        return who
    each = ", ".join(f"{rate:.2f}" for rate in rates)
    return f"{who} " + (each if len(rates) <= FEW_READERS else f"{min(rates):.2f}–{max(rates):.2f}")


def _troubles(totals: Totals) -> list[str]:
    """How many pages failed, and how many have warnings, where any do."""
    failed = [f"{totals.failed} failed"] if totals.failed else []
    return [*failed, warned(totals.warned.count)] if totals.warned.count else failed
