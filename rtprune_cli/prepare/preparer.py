"""Pages in order: how far ahead, how many workers, and what becomes of a page that kills one."""

from __future__ import annotations

import itertools
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TypeVar

from rtprune_cli import stopping
from rtprune_cli.errors import InputError
from rtprune_cli.options import InputOptions
from rtprune_cli.prepare.guarded import guard, sendable, timed_out
from rtprune_cli.prepare.loader import Outcome
from rtprune_cli.prepare.pool import Call, Job, Overdue, Pool
from rtprune_cli.records import Document, Idle, PageFault, PreparedPage, ViewSpec

log = logging.getLogger("rtprune")

FEW_PAGES = 16  # so many are prepared before workers have started
MAX_WORKERS = 8  # a GPU does not read more than they prepare
BATCH = 16  # pages that a reader may take at once when it has not said how many

T = TypeVar("T")


@dataclass(frozen=True)
class _Sent:
    """Stands behind the last page of a job whose document was made a file, which is needed no more."""

    job: Job


def worker_count(setting: int | None, cores: int, *, on_gpu: bool, small_model: bool = False) -> int:
    """How many worker processes prepare pages; 0 means that this process does it. ``setting`` None: what is best."""
    if setting is not None:
        return setting
    if on_gpu:
        return max(0, min(cores - 1, MAX_WORKERS))
    # A small model is done with a page in the time that it takes to make the next: each gets a core. A large one needs
    # all cores, and what a page takes to make is nothing beside it.
    return min(cores - 1, 1) if small_model else 0


def own_cores() -> list[int]:
    """The numbers of the cores that this process may run on."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def available_cores() -> int:
    """How many cores this process may run on."""
    return len(own_cores())


class Preparer:
    """Prepares pages in order, in processes that can be killed. A context manager: on the way out those that work ahead
    end at once.

    With workers, at most ``ahead`` pages are in flight; without, and for the first few pages, the guard prepares one at
    a time (guarded.py). A page that kills its process, as a hostile file or a lack of memory may, or that takes too
    long, becomes a :class:`PageFault`; those that were in flight with it are prepared again, one at a time.
    """

    def __init__(
        self,
        options: InputOptions,
        spec: ViewSpec,
        *,
        workers: int = 0,
        batch_size: int | None = None,
        on_start: Callable[[], None] = lambda: None,
    ) -> None:
        """``batch_size`` is how many pages the reader takes at once; ``on_start`` is called before workers start."""
        self._options, self._spec = options, spec
        self._workers = workers
        self._on_start = on_start
        self.ahead = 2 * self._workers + (batch_size or BATCH)
        self._pool = Pool(places=self.ahead)
        self._files: dict[Job, ExitStack] = {}  # what was made a file for workers and is still read
        self._lost: Job | None = None  # the last one whose document could not be opened
        self._told: Job | None = None  # the last one whose document's warnings were said

    @property
    def alive(self) -> int:
        """How many processes work ahead now; 0 where pages are prepared one at a time."""
        return self._pool.alive

    def __enter__(self) -> Preparer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes, and remove the files that were made for them."""
        self._pool.close()
        guard().close()
        while self._files:
            self._files.popitem()[1].close()

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
                yield from self._one_by_one(item)
            else:
                yield item

    def _one_by_one(self, job: Job) -> Iterator[Outcome]:
        """The pages of a job, prepared as they are asked for."""
        with ExitStack() as file:
            try:
                source = file.enter_context(sendable(job.document))
            except InputError as error:
                yield PageFault(job.document, None, error)
                return
            for page in job.pages:
                if job is not self._lost:
                    made = guard().load(source, page, self._options, self._spec)
                    yield self._said(job, _of(job.document, made))

    def _ahead(self, items: Iterable[Job | T]) -> Iterator[Outcome | T]:
        self._on_start()
        source = self._calls(items)
        waiting: deque[Call | Job | _Sent | PageFault | T] = deque()
        while True:
            self._fill(waiting, source)
            if not waiting:
                return
            item = waiting.popleft()
            if isinstance(item, Job):
                yield from self._one_by_one(item)
            elif isinstance(item, _Sent):
                self._files.pop(item.job).close()
            elif not isinstance(item, Call):
                yield item
            elif item.job is self._lost:
                if item.future:
                    self._made(item, waiting)  # only then its place in memory is free
            else:
                yield self._said(item.job, self._made(item, waiting))

    def _calls(self, items: Iterable[Job | T]) -> Iterator[Call | Job | _Sent | PageFault | T]:
        for item in items:
            if not isinstance(item, Job) or not self._workers:
                yield item
                continue
            file = ExitStack()
            try:
                found: Document = file.enter_context(sendable(item.document))
            except InputError as error:
                yield PageFault(item.document, None, error)
                continue
            if found is not item.document:
                self._files[item] = file
            for page in item.pages:
                if item is not self._lost:
                    yield Call(item, page, found, self._options, self._spec)
            if found is not item.document:
                yield _Sent(item)

    def _fill(
        self, waiting: deque[Call | Job | _Sent | PageFault | T], source: Iterator[Call | Job | _Sent | PageFault | T]
    ) -> None:
        """Take items until enough pages are in flight. Documents that are done have no pages: they end it too."""
        calls = [item for item in waiting if isinstance(item, Call)]
        # After a worker's death nothing is sent until the calls without a future have been tried alone.
        while len(calls) < self.ahead and len(waiting) < 2 * self.ahead and all(call.future for call in calls):
            stopping.check()
            if waiting and isinstance(waiting[-1], Idle):
                return  # what comes after it is not there yet
            try:
                item = next(source)
            except StopIteration:
                return
            waiting.append(item)
            if isinstance(item, Call):
                calls.append(item)
                self._pool.submit(item, self._workers)

    def _made(self, call: Call, waiting: Iterable[object]) -> Outcome:
        others = [other for other in waiting if isinstance(other, Call)]
        if call.future:
            try:
                return self._pool.answer(call)
            except Overdue:
                log.debug("a worker process took too long", exc_info=True)
            except Exception:
                log.debug("a worker process died", exc_info=True)
            self._pool.look(others)
            self._pool.stop()
            for each in [call, *others]:
                self._pool.take_back(each)
        return self._alone(call)

    def _alone(self, call: Call) -> Outcome:
        """A page that was in flight when a worker was lost, with no other: if one is lost again, it is this page's."""
        if call.overdue:
            return timed_out(call)
        return _of(call.job.document, guard().load(call.source, call.page, self._options, self._spec))

    def _said(self, job: Job, outcome: Outcome) -> Outcome:
        """Say what is wrong with the document, once, and note it with that page; remember when it is lost."""
        if isinstance(outcome, PageFault) and outcome.page is None:
            self._lost = job
        if job is self._told or job.goes_on:
            return outcome
        self._told = job
        if isinstance(outcome, PreparedPage):
            page = outcome.page
            return replace(outcome, page=replace(page, warnings=page.about + page.warnings))
        return replace(outcome, warnings=outcome.about + outcome.warnings)


def _of(document: Document, made: Outcome) -> Outcome:
    """What a worker made of its own copy of the document."""
    if isinstance(made, PreparedPage):
        return replace(made, page=replace(made.page, document=document))
    return replace(made, document=document)
