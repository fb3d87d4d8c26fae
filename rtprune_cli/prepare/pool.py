"""The worker processes as their parent sees them: started late, asked for pages, ended at once."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rtprune_cli.options import InputOptions, Mode
from rtprune_cli.prepare import worker
from rtprune_cli.prepare.loader import Outcome
from rtprune_cli.records import Document

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
    """A document and those of its pages, 1-based, that are to be prepared, in this order."""

    document: Document
    pages: Sequence[int]


@dataclass(eq=False)
class Call:
    """One page for a worker. ``future`` is None before it is sent, and after its answer or its worker's death."""

    job: Job
    page: int
    future: Future[worker.Answer] | None = None
    place: int = -1


class Pool:
    """Worker processes, from the first page on, and the ``places`` in shared memory in which pages come back.

    Through a pipe, as loky sends results, an A4 page at 200 dpi in mode base, 14.7 MB, costs this process 29 ms of its
    time; through memory it costs 4 ms.
    """

    def __init__(self, options: InputOptions, mode: Mode, places: int) -> None:
        self._options = options
        self._mode = mode
        self._free = list(range(places))
        self._memory: list[Connection] = []
        self._executor: ProcessPoolExecutor | None = None
        self._workers = 0
        self._ends: tuple[Connection, ...] = ()  # of the pipe by which workers know that this process lives

    def submit(self, call: Call, workers: int) -> None:
        """Send a page to one of so many workers. Its ``future`` stays None when that cannot be done."""
        try:
            executor = self._start(workers)
            call.future = executor.submit(worker.work, call.job.document, call.page, self._free[-1])
            call.place = self._free.pop()
        except Exception:
            log.debug("a page cannot be sent to a worker process", exc_info=True)

    def answer(self, call: Call) -> Outcome:
        """Wait for a page, and say what its worker has for the log. Raises whatever went wrong with the worker."""
        assert call.future is not None
        future, call.future = call.future, None
        self._free.append(call.place)
        answer = future.result()
        made = worker.unpack(answer, call.job.document, self._memory[call.place] if self._memory else None)
        for record in answer.records:
            logging.getLogger(record.name).handle(record)
        return made

    def take_back(self, call: Call) -> None:
        """Forget that a page was sent, unless its answer is there. Only after :meth:`stop`."""
        if call.future and call.future.exception():
            self._free.append(call.place)
            call.future = None

    def works_alone(self) -> bool:
        """Whether a single worker, started if need be, does anything at all."""
        try:
            self._start(1).submit(worker.ready).result()
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
        self._executor, self._ends = None, ()

    def close(self) -> None:
        """End the workers and let go of the memory."""
        self.stop()
        for memory in self._memory:
            memory.close()
        self._memory = []

    def _start(self, workers: int) -> ProcessPoolExecutor:
        if self._executor and workers == self._workers:
            return self._executor
        self.stop()
        from multiprocessing import Pipe

        from loky import ProcessPoolExecutor

        if not self._memory and hasattr(os, "pwritev"):
            self._memory = [_shared_memory() for _ in self._free]
        self._workers = workers
        self._ends = reader, _ = Pipe(duplex=False)
        self._executor = ProcessPoolExecutor(
            workers,
            initializer=worker.begin,
            initargs=(self._options, self._mode, log.getEffectiveLevel(), reader, self._memory),
            env=ENVIRONMENT | ({} if log.isEnabledFor(logging.DEBUG) else NO_TRACEBACK),
        )
        with _deaf_children():
            self._executor.submit(worker.ready)  # starts them all
        return self._executor


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
