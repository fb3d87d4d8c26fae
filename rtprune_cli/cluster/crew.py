"""The readers of a run: started, heard, and started anew where one is lost."""

from __future__ import annotations

import logging
import queue
import threading
import time
from contextlib import suppress
from typing import Any

from rtprune_cli import stopping
from rtprune_cli.cluster.link import LOCAL
from rtprune_cli.cluster.listening import Heard, ReaderEnded, ReaderHandle, listen
from rtprune_cli.cluster.remote import ReaderFacts, RemoteReader
from rtprune_cli.errors import EnvironmentFault, RtpruneError
from rtprune_cli.options import OcrOptions
from rtprune_cli.prepare import own_cores

log = logging.getLogger("rtprune")

THREADS = 8  # of a reader, for calls that wait: its results, documents that come
STARTS = 3  # of each reader in a row that come to nothing
# The same of all readers where they say nothing: a page may have ended them, of which each is tried four times
SILENT_STARTS = 10
FAREWELL = 3.0  # seconds to wait for the last answers of readers that were ended
NOBODY = 600.0  # seconds for which no reader may be there, as when a cluster has no machine for one


class Crew:
    """All readers. ``found`` is what the first of them found; the others found the same. ``pages`` were read by readers
    that are lost."""

    def __init__(self, ray: Any, options: OcrOptions) -> None:
        self._ray, self._options = ray, options
        gpus = int(ray.cluster_resources().get("GPU", 0)) if options.model.device in ("auto", "cuda") else 0
        self._gpus = options.run.gpus_per_reader if gpus else 0.0
        fitting = int(gpus / self._gpus) if self._gpus else 1
        wanted = options.run.readers if isinstance(options.run.readers, int) else None
        self.count = wanted or max(1, fitting)
        self.readers: list[ReaderHandle] = []
        self.pages: list[int] = []
        self.found: ReaderFacts | None = None
        self._listeners: list[threading.Thread] = []
        self._heard: queue.SimpleQueue[Heard] = queue.SimpleQueue()
        self._made = self._empty_starts = 0
        self._nobody_since = time.monotonic()

    def start(self) -> None:
        """Start all readers, and wait for what they find.

        Raises:
            RtpruneError: the model is not there, or readers found different ones.
            EnvironmentFault: none can be started.
        """
        for _ in range(self.count):
            self.make()
        while not all(reader.facts for reader in self.readers):
            heard = self.hear()
            if heard is None:
                continue
            if isinstance(heard.error, RtpruneError):
                raise heard.error
            if heard.error is not None:
                self.replace(heard.reader, heard.error)
            elif heard.facts is not None:
                self.welcome(heard.reader, heard.facts)

    def welcome(self, reader: ReaderHandle, facts: ReaderFacts) -> None:
        """A reader has found its model.

        Raises:
            EnvironmentFault: it is another than that of the readers before it.
        """
        found = self.found = self.found or facts
        if (facts.revision, facts.dtype) != (found.revision, found.dtype):
            raise EnvironmentFault(
                "the readers have different models or precisions", "Give --revision, or --dtype, so that all read alike"
            )
        reader.facts = facts

    def end(self) -> None:
        """End all readers at once."""
        for reader in self.readers:
            reader.gone = True
            with suppress(Exception):
                self._ray.kill(reader.actor, no_restart=True)
        self.readers.clear()
        until = time.monotonic() + FAREWELL  # a thread that asks Ray for something when it is gone ends the process
        for thread in self._listeners:
            thread.join(max(0.0, until - time.monotonic()))

    def make(self) -> ReaderHandle:
        """Another reader, which is starting.

        Raises:
            EnvironmentFault: the cluster takes none.
        """
        number, self._made = self._made, self._made + 1
        cores = None
        if self._options.run.cluster == LOCAL:
            cores = tuple(own_cores()[number % self.count :: self.count]) or None
        cpus = 0 if self._options.run.cluster == LOCAL else 1
        needs = {"num_gpus": self._gpus, "num_cpus": cpus, "scheduling_strategy": "SPREAD"}
        # A call that is lost on its way is made again, as long as the reader lives: with it would go pages.
        calls = {"max_concurrency": THREADS, "max_restarts": 0, "max_task_retries": -1}
        try:
            actor = self._ray.remote(RemoteReader).options(**calls, **needs).remote(self._options, cores)
        except Exception as error:
            raise EnvironmentFault(
                f"the cluster takes no readers ({type(error).__name__})",
                "Run the same command again when it is there: it goes on where it stopped",
            ) from error
        reader = ReaderHandle(number, actor)
        self.readers.append(reader)
        self._listeners = [thread for thread in self._listeners if thread.is_alive()]
        self._listeners.append(listen(self._ray, reader, self._heard))
        return reader

    def hear(self, wait: float = stopping.TICK) -> Heard | None:
        """What a reader said, where one said something within so many seconds.

        Raises:
            EnvironmentFault: none was there for long.
        """
        stopping.check()
        if any(reader.facts for reader in self.readers):
            self._nobody_since = time.monotonic()
        elif time.monotonic() - self._nobody_since > NOBODY:
            raise EnvironmentFault(
                f"no reader was there for {NOBODY / 60:.0f} minutes",
                "See with `ray status` what the cluster lacks; the same command goes on where it stopped",
            )
        with suppress(queue.Empty):
            heard = self._heard.get(timeout=wait) if wait else self._heard.get_nowait()
            return None if heard.reader.gone else heard
        return None

    def replace(self, reader: ReaderHandle, error: Exception) -> ReaderHandle:
        """Another reader in the place of one that is lost.

        Raises:
            EnvironmentFault: none stays alive until it has read a page.
        """
        log.debug("a reader was lost", exc_info=error)
        reader.gone = True
        self.readers.remove(reader)
        with suppress(Exception):
            self._ray.kill(reader.actor, no_restart=True)
        self.pages.append(reader.pages)
        self._empty_starts = 0 if reader.pages else self._empty_starts + 1
        limit = STARTS * self.count
        if self._empty_starts >= (limit if isinstance(error, ReaderEnded) else max(SILENT_STARTS, limit)):
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise EnvironmentFault(
                f"readers end before they read a page: {reason}", "Try without --cluster; -vv shows the traceback"
            )
        return self.make()
