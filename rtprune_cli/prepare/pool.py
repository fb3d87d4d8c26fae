"""The worker processes as their parent sees them: started late, asked for pages, watched, ended at once."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rtprune_cli import stopping
from rtprune_cli.options import InputOptions
from rtprune_cli.prepare import worker
from rtprune_cli.prepare.loader import Outcome
from rtprune_cli.records import Document, ViewSpec

if TYPE_CHECKING:
    from concurrent.futures import Future
    from multiprocessing.connection import Connection

    from loky import ProcessPoolExecutor

log = logging.getLogger("rtprune")

ENVIRONMENT = {
    # The cores are the model's.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # Memory of a page is kept for the next one: given back each time, 1.5 times as long is spent on a page (glibc).
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TRIM_THRESHOLD_": str(2**27),
}
# Of a crash the parent says one line, unless with -vv.
NO_TRACEBACK = {"PYTHONFAULTHANDLER": ""}


@dataclass(frozen=True, eq=False)
class Job:
    """A document and those of its pages, 1-based, that are to be prepared, in this order. ``goes_on``: what concerns
    the whole document is said elsewhere."""

    document: Document
    pages: Sequence[int]
    goes_on: bool = False


class Overdue(Exception):
    """A call took longer than it may."""


@dataclass(eq=False)
class Call:
    """One page for a worker. ``future`` is None before it is sent, and after its answer or its worker's death.

    ``source`` is the document as workers find it; ``overdue``: its worker was stopped because it took too long.
    """

    job: Job
    page: int
    source: Document
    options: InputOptions
    spec: ViewSpec | None
    future: Future[Any] | None = None
    place: int = -1
    overdue: bool = False


class Pool:
    """Worker processes, from the first page on, and the ``places`` in shared memory in which pages come back.

    Through a pipe, as loky sends results, an A4 page at 200 dpi in mode base, 14.7 MB, costs this process 29 ms of its
    time; through memory it costs 4 ms.
    """

    def __init__(self, places: int) -> None:
        self._free = list(range(places))
        self._places = places
        self._starts: Connection | None = None
        self._memory: list[Connection] = []
        self._executor: ProcessPoolExecutor | None = None
        self._is_ready = False
        self._workers = 0
        self._ends: tuple[Connection, ...] = ()  # of the pipe by which workers know that this process lives

    def submit(self, call: Call, workers: int) -> None:
        """Send a page to one of so many workers. Its ``future`` stays None when that cannot be done."""
        try:
            self._send_page(call, workers)
        except Exception:
            log.debug("a page cannot be sent to a worker process", exc_info=True)

    def _send_page(self, call: Call, workers: int) -> None:
        self._send(call, workers, worker.work, call.source, call.page, self._free[-1], call.options, call.spec)

    def _send(self, call: Call, workers: int, work: Callable[..., Any], *arguments: Any) -> None:
        executor = self._start(workers)
        if self._starts is not None:
            os.pwrite(self._starts.fileno(), worker.START.pack(0.0), self._free[-1] * worker.START.size)
        call.future = executor.submit(work, *arguments)
        call.place = self._free.pop()

    def ask(self, call: Call, work: Callable[..., Any], *arguments: Any) -> Any:
        """What ``work``, a function of worker.py, returns for the call's document in a single worker. Raises what it
        raises, :class:`Overdue`, or whatever went wrong with the worker."""
        self._send(call, 1, work, call.source, self._free[-1], *arguments)
        return self._result(call)

    def load(self, call: Call) -> Outcome:
        """A page by a single worker: :meth:`submit` and :meth:`answer`."""
        self._send_page(call, 1)
        return self.answer(call)

    def began(self, call: Call) -> bool:
        """Whether a worker began with the call, as far as it can be known."""
        return call.place >= 0 and (self._starts is None or self._start_of(call) > 0)

    def answer(self, call: Call) -> Outcome:
        """Wait for a page, and say what its worker has for the log. Raises whatever went wrong with the worker, and
        :class:`Overdue` for a page that took too long: then the workers are to be stopped."""
        answer = self._result(call)
        made = worker.unpack(answer, call.job.document, self._memory[call.place] if self._memory else None)
        handle(answer.records)
        return made

    def _result(self, call: Call) -> Any:
        from concurrent.futures import wait

        assert call.future is not None
        future, since = call.future, time.monotonic()
        while not wait([future], stopping.TICK).done:
            stopping.check()
            if self._is_overdue(call, since):
                call.overdue = True
                raise Overdue
        call.future = None
        self._free.append(call.place)
        return future.result()

    def _is_overdue(self, call: Call, since: float) -> bool:
        """Whether a call that is in flight is at work for longer than it may; ``since`` counts where its worker cannot
        say when it began."""
        if not call.options.page_timeout:
            return False
        began = since if self._starts is None else self._start_of(call)
        return began > 0 and time.monotonic() - began > call.options.page_timeout

    def _start_of(self, call: Call) -> float:
        assert self._starts is not None
        blob = os.pread(self._starts.fileno(), worker.START.size, call.place * worker.START.size)
        return float(worker.START.unpack(blob)[0])

    def look(self, calls: Iterable[Call]) -> None:
        """Before a stop: which other calls are overdue too."""
        for call in calls:
            if call.future and not call.future.done():
                call.overdue = self._is_overdue(call, time.monotonic())

    def take_back(self, call: Call) -> None:
        """Forget that a page was sent, unless its answer is there. Only after :meth:`stop`."""
        future = call.future
        if future and (not future.done() or future.cancelled() or future.exception()):
            self._free.append(call.place)
            call.future = None

    @property
    def alive(self) -> int:
        """How many workers there are; those that died are counted until it is seen that they did."""
        return self._workers if self._executor else 0

    def warm_up(self) -> None:
        """Start a single worker, and do not wait for it."""
        try:
            self._start(1)
        except Exception:
            log.debug("a worker process does not start", exc_info=True)

    def works_alone(self) -> bool:
        """Whether a single worker, started if need be, does anything at all; asked once."""
        if self._executor and self._is_ready:
            return True
        try:
            self._start(1).submit(worker.ready).result()
            self._is_ready = True
        except Exception:
            log.debug("a worker process does not start", exc_info=True)
            self.stop()
            return False
        return True

    def stop(self) -> None:
        """End the workers at once. What they have answered can still be taken."""
        if self._executor:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # loky's, where there is no pgrep to look for workers of workers
                self._executor.shutdown(wait=True, kill_workers=True)
        for end in self._ends:
            end.close()
        self._executor, self._ends, self._is_ready = None, (), False

    def close(self) -> None:
        """End the workers and let go of the memory."""
        self.stop()
        for memory in [*self._memory, *([self._starts] if self._starts else [])]:
            memory.close()
        self._memory, self._starts = [], None

    def _start(self, workers: int) -> ProcessPoolExecutor:
        if self._executor and workers == self._workers:
            return self._executor
        self.stop()
        from multiprocessing import Pipe

        from loky import ProcessPoolExecutor

        if not self._memory and hasattr(os, "pwritev"):
            self._memory = [_shared_memory() for _ in range(self._places)]
            self._starts = _shared_memory()
            os.pwrite(self._starts.fileno(), bytes(self._places * worker.START.size), 0)
        self._workers = workers
        self._ends = reader, _ = Pipe(duplex=False)
        self._executor = ProcessPoolExecutor(
            workers,
            initializer=worker.begin,
            initargs=(log.getEffectiveLevel(), reader, self._memory, self._starts),
            env=ENVIRONMENT | ({} if log.isEnabledFor(logging.DEBUG) else NO_TRACEBACK),
        )
        with _deaf_children():
            self._executor.submit(worker.ready)  # starts them all
        return self._executor


def handle(records: Sequence[logging.LogRecord]) -> None:
    """Say what a worker had for the log."""
    for record in records:
        logging.getLogger(record.name).handle(record)


def _shared_memory() -> Connection:
    """Memory without a name, of which nothing is left after a crash; as a connection, which can be sent to workers."""
    from multiprocessing.connection import Connection

    if hasattr(os, "memfd_create"):
        return Connection(os.memfd_create("rtprune"))
    with tempfile.TemporaryFile() as file:
        return Connection(os.dup(file.fileno()))


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Processes that are started inside do not hear Ctrl-C and SIGTERM: ending them is this process's part."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # its start, which the first worker's would bring about, unblocks the signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
