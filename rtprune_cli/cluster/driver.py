"""Starts readers on a cluster, gives them pages and listens to them; to the pipeline it is what reads."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import torch

from rtprune_cli import stopping
from rtprune_cli.cluster.dispatch import Dispatcher
from rtprune_cli.cluster.link import LOCAL, connected
from rtprune_cli.cluster.listening import Heard, ReaderEnded, ReaderHandle, listen
from rtprune_cli.cluster.remote import ReaderFacts, RemoteReader
from rtprune_cli.cluster.shipping import Shipper
from rtprune_cli.errors import EnvironmentFault, RtpruneError
from rtprune_cli.model import Checkpoint
from rtprune_cli.options import OcrOptions
from rtprune_cli.pipeline import Closed, DocumentPlan, Event
from rtprune_cli.prepare import own_cores

log = logging.getLogger("rtprune")

THREADS = 8  # of a reader, for calls that wait: its results, documents that come
# Pages in flight with a reader: twice those that it decodes together, at most (engine/memory.py)
ROOM = {"cuda": 512, "cpu": 64}
STARTS = 3  # of each reader in a row that come to nothing
# The same of all readers where they say nothing: a page may have ended them, of which each is tried four times
SILENT_STARTS = 10
RATES_EVERY = 1.0  # seconds between two words about the speed of readers
FAREWELL = 3.0  # seconds to wait for the last answers of readers that were ended
NOBODY = 600.0  # seconds for which no reader may be there, as when a cluster has no machine for one


@contextmanager
def cluster_source(
    options: OcrOptions, pages_per_context: int, on_rates: Callable[[Sequence[float]], None] = lambda _: None
) -> Iterator[ClusterSource]:
    """Readers on the cluster that the options name, until the block is left. ``on_rates`` is told from time to time how
    many pages a second each reader reads.

    Raises:
        EnvironmentFault: there is no such cluster, or no reader can be started.
    """
    assert options.run.cluster is not None
    with connected(options.run.cluster) as ray:
        source = ClusterSource(ray, options, pages_per_context, on_rates)
        try:
            source.start()
            yield source
        finally:
            source.end()


def find_the_same(options: OcrOptions, checkpoint: Checkpoint) -> bool:
    """Whether readers find the checkpoint that this machine has found, as far as it can be known before they are
    there: the same name stands for the same model, but machines differ in the precision that is best for them."""
    named = options.model.dtype != "auto" or (options.model.device == "cpu" and checkpoint.is_small)
    return options.run.cluster == LOCAL or named


class ClusterSource:
    """A :class:`~rtprune_cli.pipeline.PageSource` of readers on a cluster. ``facts`` are what they all found."""

    def __init__(
        self,
        ray: Any,
        options: OcrOptions,
        pages_per_context: int,
        on_rates: Callable[[Sequence[float]], None] = lambda _: None,
    ) -> None:
        self._ray, self._options, self._context, self._on_rates = ray, options, pages_per_context, on_rates
        gpus = int(ray.cluster_resources().get("GPU", 0)) if options.model.device in ("auto", "cuda") else 0
        self._gpus = options.run.gpus_per_reader if gpus else 0.0
        fitting = int(gpus / self._gpus) if self._gpus else 1
        wanted = options.run.readers if isinstance(options.run.readers, int) else None
        self.count = wanted or max(1, fitting)
        self._readers: list[ReaderHandle] = []
        self._listeners: list[threading.Thread] = []
        self._heard: queue.SimpleQueue[Heard] = queue.SimpleQueue()
        self._made = self._empty_starts = 0
        self._nobody_since = time.monotonic()
        self._dispatcher: Dispatcher | None = None
        self._found: ReaderFacts | None = None
        self._shipper = Shipper(ray.put)
        self._pages: list[int] = []  # of readers that are lost
        self._rates_told = 0.0

    def start(self) -> None:
        """Start all readers, and wait for what they find.

        Raises:
            RtpruneError: the model is not there, or readers found different ones.
            EnvironmentFault: none can be started.
        """
        for _ in range(self.count):
            self._make_reader()
        while not all(reader.facts for reader in self._readers):
            heard = self._next()
            if heard is None:
                continue
            if isinstance(heard.error, RtpruneError):
                raise heard.error
            if heard.error is not None:
                self._replace(heard.reader, heard.error)
            elif heard.facts is not None:
                self._welcome(heard.reader, heard.facts)

    def _welcome(self, reader: ReaderHandle, facts: ReaderFacts) -> None:
        """A reader has found its model.

        Raises:
            EnvironmentFault: it is another than that of the readers before it.
        """
        found = self._found = self._found or facts
        if (facts.revision, facts.dtype) != (found.revision, found.dtype):
            raise EnvironmentFault(
                "the readers have different models or precisions", "Give --revision, or --dtype, so that all read alike"
            )
        reader.facts = facts

    @property
    def facts(self) -> ReaderFacts:
        """What the first reader found; the others found the same."""
        assert self._found is not None
        return self._found

    @property
    def cuda_graphs(self) -> bool | None:
        """As :class:`~rtprune_cli.pipeline.PageSource` says, of all readers that have read: whether each does."""
        said = [reader.cuda_graphs for reader in self._readers if reader.cuda_graphs is not None]
        return all(said) if said else None

    def summary(self) -> dict[str, Any]:
        """As :class:`~rtprune_cli.pipeline.PageSource` says."""
        dispatcher = self._dispatcher
        found = {
            "readers": self.count,
            "readers_lost": dispatcher.readers_lost if dispatcher else 0,
            "pages_read_again": dispatcher.pages_again if dispatcher else 0,
        }
        return {"cluster": found}

    def seen(self, checkpoint: Checkpoint) -> Checkpoint:
        """A checkpoint as the readers run it, which may be otherwise than this machine would."""
        return replace(checkpoint, revision=self.facts.revision, dtype=getattr(torch, self.facts.dtype))

    def end(self) -> None:
        """End all readers at once."""
        for reader in self._readers:
            reader.gone = True
            with suppress(Exception):
                self._ray.kill(reader.actor, no_restart=True)
        self._readers.clear()
        self._shipper.close()
        until = time.monotonic() + FAREWELL  # a thread that asks Ray for something when it is gone ends the process
        for thread in self._listeners:
            thread.join(max(0.0, until - time.monotonic()))

    def _make_reader(self) -> ReaderHandle:
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
        self._readers.append(reader)
        self._listeners = [thread for thread in self._listeners if thread.is_alive()]
        self._listeners.append(listen(self._ray, reader, self._heard))
        return reader

    def _next(self, wait: float = stopping.TICK) -> Heard | None:
        """What a reader said, where one said something within so many seconds.

        Raises:
            EnvironmentFault: none was there for long.
        """
        stopping.check()
        if any(reader.facts for reader in self._readers):
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

    def _replace(self, reader: ReaderHandle, error: Exception) -> ReaderHandle:
        """Another reader in the place of one that is lost."""
        log.debug("a reader was lost", exc_info=error)
        reader.gone = True
        self._readers.remove(reader)
        with suppress(Exception):
            self._ray.kill(reader.actor, no_restart=True)
        self._pages.append(reader.pages)
        self._empty_starts = 0 if reader.pages else self._empty_starts + 1
        limit = STARTS * self.count
        if self._empty_starts >= (limit if isinstance(error, ReaderEnded) else max(SILENT_STARTS, limit)):
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise EnvironmentFault(
                f"readers end before they read a page: {reason}", "Try without --cluster; -vv shows the traceback"
            )
        return self._make_reader()

    def read(self, plans: Iterable[DocumentPlan]) -> Generator[Event, None, None]:
        """As :class:`~rtprune_cli.pipeline.PageSource` says; pages come as they are done.

        Raises:
            EnvironmentFault: no reader stays alive, or the cluster is gone.
        """
        rows = self._options.decode.rows
        room = ROOM["cuda" if self.facts.device.startswith("cuda") else "cpu"]
        dispatcher = Dispatcher(plans, context=self._context, room=2 * rows * self._context if rows else room)
        self._dispatcher = dispatcher
        for reader in self._readers:
            dispatcher.join(reader.number)
        with closing(self._shipper):
            while not dispatcher.done:
                yield from self._events(dispatcher)
                given = False
                for reader in self._readers:
                    if reader.facts is not None and (chunks := dispatcher.assign(reader.number)):
                        reader.actor.add.remote(list(map(self._shipper.addressed, chunks)))
                        given = True
                yield from self._events(dispatcher)
                # All readers are looked at above: for what one of many said, that would take longer than what it said.
                wait = 0.0 if given else stopping.TICK
                for _ in range(len(self._readers)):
                    heard = self._next(wait)
                    if heard is None:
                        break
                    yield from self._take(dispatcher, heard)
                    wait = 0.0
                self._tell_rates()
        pages = [*self._pages, *(reader.pages for reader in self._readers)]
        log.info(
            "pages by reader: %s", ", ".join(map(str, pages)), extra={"data": {"event": "readers", "pages": pages}}
        )

    def _events(self, dispatcher: Dispatcher) -> Iterator[Event]:
        for event in dispatcher.events():
            if isinstance(event, Closed):
                self._let_go(event.plan.document.folder)
            yield event

    def _let_go(self, folder: PurePosixPath) -> None:
        """Of a document that was shipped."""
        having = self._shipper.closed(folder)
        for reader in self._readers:
            if reader.number in having:
                reader.actor.drop.remote(folder)

    def _tell_rates(self) -> None:
        now = time.monotonic()
        if now - self._rates_told >= RATES_EVERY:
            self._rates_told = now
            self._on_rates([reader.rate(now) for reader in self._readers if reader.pages])

    def _take(self, dispatcher: Dispatcher, heard: Heard) -> Iterator[Event]:
        error = heard.error
        if heard.facts is not None:
            self._welcome(heard.reader, heard.facts)
        reader = heard.reader
        for each in heard.said:
            if each.end:
                error = ReaderEnded(each.end)
            elif each.wants is not None:
                reader.actor.receive.remote(each.wants, self._shipper.pieces(each.wants, reader.number))
            elif each.result is not None:
                reader.cuda_graphs = each.cuda_graphs
                reader.has_read(time.monotonic())
                event = dispatcher.arrived(reader.number, each.result)
                if event is not None:
                    yield event
        if error is not None:
            if isinstance(error, RtpruneError):
                raise error
            kind = str(error).partition(":")[0] if isinstance(error, ReaderEnded) else type(error).__name__
            log.warning("a reader was lost (%s); its pages go elsewhere", kind)
            dispatcher.lost(heard.reader.number)
            dispatcher.join(self._replace(heard.reader, error).number)
