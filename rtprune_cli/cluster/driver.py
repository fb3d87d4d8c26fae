"""Starts readers on a cluster, gives them pages and listens to them; to the pipeline it is what reads."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch

from rtprune_cli import stopping
from rtprune_cli.cluster.dispatch import Dispatcher
from rtprune_cli.cluster.link import LOCAL, connected, is_passing
from rtprune_cli.cluster.remote import Numbered, ReaderFacts, RemoteReader
from rtprune_cli.errors import EnvironmentFault, RtpruneError
from rtprune_cli.model import Checkpoint
from rtprune_cli.options import OcrOptions
from rtprune_cli.pipeline import DocumentPlan, Event
from rtprune_cli.prepare import own_cores

log = logging.getLogger("rtprune")

# Pages in flight with a reader: twice those that it decodes together, at most (engine/memory.py)
ROOM = {"cuda": 512, "cpu": 64}
PASSING = 60.0  # seconds for which a reader may not answer
STARTS = 3  # of one reader in a row that comes to nothing
NOBODY = 600.0  # seconds for which no reader may be there, as when a cluster has no machine for one


@dataclass
class _Reader:
    number: int
    actor: Any
    facts: ReaderFacts | None = None
    confirmed: int = 0
    gone: bool = False
    has_read: bool = False


@dataclass(frozen=True)
class _Heard:
    """What a reader said: facts, results, or why it says no more."""

    reader: _Reader
    facts: ReaderFacts | None = None
    results: tuple[Numbered, ...] = ()
    error: Exception | None = None


@contextmanager
def cluster_source(options: OcrOptions, pages_per_context: int) -> Iterator[ClusterSource]:
    """Readers on the cluster that the options name, until the block is left.

    Raises:
        EnvironmentFault: there is no such cluster, or no reader can be started.
    """
    assert options.run.cluster is not None
    with connected(options.run.cluster) as ray:
        source = ClusterSource(ray, options, pages_per_context)
        try:
            source.start()
            yield source
        finally:
            source.end()


class ClusterSource:
    """A :class:`~rtprune_cli.pipeline.PageSource` of readers on a cluster. ``facts`` are what they all found."""

    def __init__(self, ray: Any, options: OcrOptions, pages_per_context: int) -> None:
        self._ray, self._options, self._context = ray, options, pages_per_context
        gpus = int(ray.cluster_resources().get("GPU", 0)) if options.model.device in ("auto", "cuda") else 0
        self._gpus = options.run.gpus_per_reader if gpus else 0.0
        fitting = int(gpus / self._gpus) if self._gpus else 1
        wanted = options.run.readers if isinstance(options.run.readers, int) else None
        self.count = wanted or max(1, fitting)
        self._readers: list[_Reader] = []
        self._heard: queue.SimpleQueue[_Heard] = queue.SimpleQueue()
        self._made = self._empty_starts = 0
        self._nobody_since = time.monotonic()
        self._dispatcher: Dispatcher | None = None
        self._found: ReaderFacts | None = None

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

    def _welcome(self, reader: _Reader, facts: ReaderFacts) -> None:
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
        """As :class:`~rtprune_cli.pipeline.PageSource` says; not asked of readers."""
        return None

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

    def _make_reader(self) -> _Reader:
        number, self._made = self._made, self._made + 1
        cores = None
        if self._options.run.cluster == LOCAL:
            cores = tuple(own_cores()[number % self.count :: self.count]) or None
        cpus = 0 if self._options.run.cluster == LOCAL else 1
        needs = {"num_gpus": self._gpus, "num_cpus": cpus, "scheduling_strategy": "SPREAD"}
        try:
            actor_class = self._ray.remote(RemoteReader)
            actor = actor_class.options(max_concurrency=4, max_restarts=0, **needs).remote(self._options, cores)
        except Exception as error:
            raise EnvironmentFault(
                f"the cluster takes no readers ({type(error).__name__})",
                "Run the same command again when it is there: it goes on where it stopped",
            ) from error
        reader = _Reader(number, actor)
        self._readers.append(reader)
        threading.Thread(target=self._listen, args=(reader,), daemon=True).start()
        return reader

    def _listen(self, reader: _Reader) -> None:
        """In a thread of its own: what the reader says, until it is gone."""
        try:
            self._heard.put(_Heard(reader, facts=self._ray.get(reader.actor.facts.remote())))
            silent_since: float | None = None
            while not reader.gone:
                try:
                    results = self._ray.get(reader.actor.take.remote(reader.confirmed))
                except Exception as error:
                    silent_since = silent_since or time.monotonic()
                    if not is_passing(self._ray, error) or time.monotonic() - silent_since > PASSING:
                        raise
                    time.sleep(1.0)
                    continue
                silent_since = None
                if results:
                    reader.confirmed = results[-1].number + 1
                    self._heard.put(_Heard(reader, results=tuple(results)))
        except Exception as error:
            if not reader.gone:
                cause = getattr(error, "cause", None)
                self._heard.put(_Heard(reader, error=cause if isinstance(cause, RtpruneError) else error))

    def _next(self, wait: float = stopping.TICK) -> _Heard | None:
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

    def _replace(self, reader: _Reader, error: Exception) -> _Reader:
        """Another reader in the place of one that is lost."""
        log.debug("a reader was lost", exc_info=error)
        reader.gone = True
        self._readers.remove(reader)
        with suppress(Exception):
            self._ray.kill(reader.actor, no_restart=True)
        self._empty_starts = 0 if reader.has_read else self._empty_starts + 1
        if self._empty_starts >= STARTS * self.count:
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
        while not dispatcher.done:
            yield from dispatcher.events()
            given = False
            for reader in self._readers:
                if reader.facts is not None and (chunks := dispatcher.assign(reader.number)):
                    reader.actor.add.remote(chunks)
                    given = True
            yield from dispatcher.events()
            # All readers are looked at above: for what one of many said, that would take longer than what it said.
            wait = 0.0 if given else stopping.TICK
            for _ in range(len(self._readers)):
                heard = self._next(wait)
                if heard is None:
                    break
                yield from self._take(dispatcher, heard)
                wait = 0.0

    def _take(self, dispatcher: Dispatcher, heard: _Heard) -> Iterator[Event]:
        error = heard.error
        if heard.facts is not None:
            self._welcome(heard.reader, heard.facts)
        for each in heard.results:
            if each.end:
                error = RuntimeError(each.end)
            elif each.result is not None:
                heard.reader.has_read = True
                event = dispatcher.arrived(heard.reader.number, each.result)
                if event is not None:
                    yield event
        if error is not None:
            if isinstance(error, RtpruneError):
                raise error
            log.warning("a reader was lost (%s); its pages go elsewhere", type(error).__name__)
            dispatcher.lost(heard.reader.number)
            dispatcher.join(self._replace(heard.reader, error).number)
