"""Owns what a person sees while a run goes on: a progress display on a terminal, a line a document elsewhere.

All of it goes to standard error. Lines go through the log, so that ``--log-format json`` is the same events as objects.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from rtprune_cli.commands.wording import counted, warned
from rtprune_cli.logs import NOTICE, make_console
from rtprune_cli.options import LogOptions
from rtprune_cli.pipeline import DocumentPlan, Watcher
from rtprune_cli.records import PageResult
from rtprune_cli.report import Totals

if TYPE_CHECKING:
    from rich.console import ConsoleRenderable

log = logging.getLogger("rtprune")

FEW_READERS = 4  # of a cluster, whose speeds are shown one by one
RATE_PAGES = 64  # the speed shown is that of the latest pages
RATE_SECONDS = 600.0  # the time left is estimated from the documents of the last ten minutes


class Display(Watcher):
    """Counts, and says a line a document; the base of the progress display."""

    def __init__(self, documents: int, every: bool = False) -> None:
        """``every``: also those documents of which a person has heard already, or needs not hear."""
        self.totals = Totals()
        self._every = every
        self.documents = documents
        self.closed_documents = 0
        self.finished_before = 0

    def begin(self, totals: Totals) -> None:
        self.totals = totals

    def closed(self, plan: DocumentPlan, totals: Totals) -> None:
        self.closed_documents += 1
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
    """Rich's progress bar with a line of figures below it."""

    def __init__(self, console: Console) -> None:
        self.figures = Text("", no_wrap=True, overflow="ellipsis")
        super().__init__(
            BarColumn(bar_width=None),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            expand=True,
            speed_estimate_period=RATE_SECONDS,
        )

    def get_renderables(self) -> Iterable[RenderableType | ConsoleRenderable]:
        yield self.make_tasks_table(self.tasks)
        yield self.figures


class ProgressDisplay(Display):
    """Documents, pages, speed, time left and retention so far, in place, on a terminal."""

    def __init__(self, documents: int, bar: _Bar, first: str) -> None:
        super().__init__(documents)
        self._bar = bar
        self._bar.figures.plain = first
        self._task = bar.add_task("", total=documents, count=self._count())
        self._recent: deque[tuple[float, int]] = deque(maxlen=RATE_PAGES)
        self._at_hand: dict[PurePosixPath, tuple[int, int]] = {}  # documents: pages to read, and read
        self._rates: Sequence[float] = ()
        self._name = ""  # of the document that was last heard of

    def loading(self) -> None:
        self._bar.figures.plain = "loading the model"
        self._bar.refresh()

    def opened(self, plan: DocumentPlan) -> None:
        self._at_hand[plan.document.folder] = len(plan.pages) - len(plan.earlier.pages), 0

    def page(self, result: PageResult) -> None:
        pages, read = self._at_hand[result.document.folder]
        self._at_hand[result.document.folder] = pages, read + 1
        self._recent.append((time.monotonic(), result.record.output_tokens or 0))
        self._show(result.document.name)

    def rates(self, pages: Sequence[float]) -> None:
        self._rates = pages
        if self._name:
            self._show(self._name)

    def _tell(self, plan: DocumentPlan, totals: Totals) -> None:
        del self._at_hand[plan.document.folder]
        if plan.earlier.finished or plan.earlier.pages:
            before = "" if plan.earlier.finished else f"{counted(len(plan.earlier.pages), 'page')} "
            log.info("%s: %sdone before", plan.document.name, before)
        self._show(plan.document.name)

    def _show(self, name: str) -> None:
        done = self.closed_documents + sum(read / pages for pages, read in self._at_hand.values() if pages)
        # What was done before took no time, and says nothing about the time that is left.
        self._bar.update(
            self._task,
            total=self.documents - self.finished_before,
            completed=done - self.finished_before,
            count=self._count(),
        )
        self._name, totals = name, self.totals
        parts = [counted(totals.pages, "page"), *_troubles(totals)]
        if self._rates:
            parts += [f"{sum(self._rates):.2f} pages/s", readers(self._rates)]
        elif (seconds := self._recent[-1][0] - self._recent[0][0] if self._recent else 0) > 0:
            tokens = sum(count for _, count in list(self._recent)[1:])
            parts += [f"{(len(self._recent) - 1) / seconds:.2f} pages/s", f"{tokens / seconds:.0f} tokens/s"]
        if totals.retention is not None:
            parts.append(f"retention {100 * totals.retention:.1f} %")
        self._bar.figures.plain = " · ".join([*parts, name])

    def _count(self) -> str:
        return f"{self.closed_documents}/{counted(self.documents, 'document')}"


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


def readers(rates: Sequence[float]) -> str:
    """How many readers of a cluster there are, and their pages a second: of many the least and the most."""
    if len(rates) == 1:
        return "1 reader"
    each = ", ".join(f"{rate:.2f}" for rate in rates)
    return f"{len(rates)} readers " + (each if len(rates) <= FEW_READERS else f"{min(rates):.2f}–{max(rates):.2f}")


def _troubles(totals: Totals) -> list[str]:
    """How many pages failed, and how many have warnings, where any do."""
    failed = [f"{totals.failed} failed"] if totals.failed else []
    return [*failed, warned(totals.warned.count)] if totals.warned.count else failed
