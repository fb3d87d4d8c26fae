"""Pages in order: how far ahead, how many workers, and what becomes of a page that kills one."""

from __future__ import annotations

import itertools
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rtprune_cli.errors import InputError
from rtprune_cli.failures import page_name
from rtprune_cli.options import InputOptions, Mode
from rtprune_cli.prepare.loader import Outcome, PageLoader
from rtprune_cli.prepare.pool import Call, Job, Pool
from rtprune_cli.records import PageFault

log = logging.getLogger("rtprune")

FEW_PAGES = 16  # so many are prepared before workers have started
MAX_WORKERS = 8  # a GPU does not read more than they prepare
BATCH = 16  # pages that a reader may take at once when it has not said how many

T = TypeVar("T")


def worker_count(setting: int | None, cores: int, *, on_gpu: bool, small_model: bool = False) -> int:
    """How many worker processes prepare pages; 0 means that this process does it. ``setting`` None: what is best."""
    if setting is not None:
        return setting
    if on_gpu:
        return max(0, min(cores - 1, MAX_WORKERS))
    # A small model is done with a page in the time that it takes to make the next: each gets a core. A large one needs
    # all cores, and what a page takes to make is nothing beside it.
    return min(cores - 1, 1) if small_model else 0


def available_cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Preparer:
    """Prepares pages in order. A context manager: on the way out its workers end at once.

    With workers, at most ``ahead`` pages are in flight. A page that kills its worker, as a hostile file or a lack of
    memory may, becomes a :class:`PageFault`; those that were in flight with it are prepared again, one at a time.
    """

    def __init__(
        self,
        options: InputOptions,
        mode: Mode,
        *,
        workers: int = 0,
        batch_size: int | None = None,
        on_start: Callable[[], None] = lambda: None,
    ) -> None:
        """``batch_size`` is how many pages the reader takes at once; ``on_start`` is called before workers start."""
        self._workers = workers
        self._on_start = on_start
        self.ahead = 2 * self._workers + (batch_size or BATCH)
        self._loader = PageLoader(options, mode)
        self._pool = Pool(options, mode, places=self.ahead)
        self._lost: Job | None = None  # the last one whose document could not be opened
        self._told: Job | None = None  # the last one whose document's warning was said

    def __enter__(self) -> Preparer:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()
        self._loader.close()

    def prepare(self, items: Iterable[Job | T]) -> Iterator[Outcome | T]:
        """The pages of each job, in order; whatever else is among the items keeps its place.

        Items are taken as far ahead as it needs to have ``ahead`` pages in flight, across the ends of documents.
        """
        items = iter(items)
        pages = 0
        for item in items:
            pages += len(item.pages) if isinstance(item, Job) else 0
            if self._workers and pages > FEW_PAGES:
                yield from self._ahead(itertools.chain([item], items))
            elif isinstance(item, Job):
                yield from self._here(item)
            else:
                yield item

    def _here(self, job: Job) -> Iterator[Outcome]:
        """The pages of a job, prepared in this process as they are asked for."""
        for page in job.pages:
            if job is not self._lost:
                yield self._said(job, self._loader.load(job.document, page))
        self._loader.close()

    def _ahead(self, items: Iterable[Job | T]) -> Iterator[Outcome | T]:
        self._on_start()
        source = self._calls(items)
        waiting: deque[Call | Job | T] = deque()
        while True:
            self._fill(waiting, source)
            if not waiting:
                return
            item = waiting.popleft()
            if isinstance(item, Job):
                yield from self._here(item)
            elif not isinstance(item, Call):
                yield item
            elif item.job is self._lost:
                if item.future:
                    self._made(item, waiting)  # only then its place in memory is free
            else:
                yield self._said(item.job, self._made(item, waiting))

    def _calls(self, items: Iterable[Job | T]) -> Iterator[Call | Job | T]:
        for item in items:
            # Bytes from standard input would have to be sent to every worker: their pages are made here, in their turn.
            if not isinstance(item, Job) or item.document.data is not None or not self._workers:
                yield item
            else:
                yield from (Call(item, page) for page in item.pages if item is not self._lost)

    def _fill(self, waiting: deque[Call | Job | T], source: Iterator[Call | Job | T]) -> None:
        """Take items until enough pages are in flight. Documents that are done have no pages: they end it too."""
        calls = [item for item in waiting if isinstance(item, Call)]
        # After a worker's death nothing is sent until the calls without a future have been tried alone.
        while len(calls) < self.ahead and len(waiting) < 2 * self.ahead and all(call.future for call in calls):
            try:
                item = next(source)
            except StopIteration:
                return
            waiting.append(item)
            if isinstance(item, Call):
                calls.append(item)
                self._pool.submit(item, self._workers)

    def _made(self, call: Call, waiting: Iterable[object]) -> Outcome:
        if call.future:
            try:
                return self._pool.answer(call)
            except Exception:
                log.debug("a worker process died", exc_info=True)
                self._pool.stop()
                for other in waiting:
                    if isinstance(other, Call):
                        self._pool.take_back(other)
        return self._alone(call)

    def _alone(self, call: Call) -> Outcome:
        """A page that was in flight when a worker died, with no other: if a worker dies again, it is this page."""
        document, page = call.job.document, call.page
        if self._workers and not self._pool.works_alone():
            log.warning("no worker process can be started: pages are prepared one after the other")
            self._workers = 0
        if not self._workers:
            return self._loader.load(document, page)
        self._pool.submit(call, 1)
        try:
            return self._pool.answer(call)
        except Exception:
            log.debug("%s", page_name(document, page), exc_info=True)
            self._pool.stop()
        message = f"{page_name(document, page)} cannot be read: it crashed the process that prepared it"
        hint = "Repair the file, or see whether the machine ran out of memory"
        return PageFault(document, page, InputError(message, hint))

    def _said(self, job: Job, outcome: Outcome) -> Outcome:
        """Say what is wrong with the document, once; remember when it is lost."""
        if isinstance(outcome, PageFault) and outcome.page is None:
            self._lost = job
        if outcome.warning and job is not self._told:
            log.warning("%s", outcome.warning)
            self._told = job
        return outcome
