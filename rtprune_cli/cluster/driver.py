"""Gives readers on a cluster pages and listens to them; to the pipeline it is what reads."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import torch

from rtprune_cli import stopping
from rtprune_cli.cluster.crew import Crew
from rtprune_cli.cluster.dispatch import Dispatcher
from rtprune_cli.cluster.link import LOCAL, connected
from rtprune_cli.cluster.listening import Heard, ReaderEnded
from rtprune_cli.cluster.remote import ReaderFacts
from rtprune_cli.cluster.shipping import Shipper
from rtprune_cli.engine import StepFacts
from rtprune_cli.errors import RtpruneError
from rtprune_cli.model import Checkpoint
from rtprune_cli.options import OcrOptions
from rtprune_cli.pipeline import Closed, Event
from rtprune_cli.records import DocumentPlan

log = logging.getLogger("rtprune")

# Pages in flight with a reader: twice those that it decodes together, at most (engine/memory.py)
ROOM = {"cuda": 512, "cpu": 64}
RATES_EVERY = 1.0  # seconds between two words about the speed of readers

OnRates = Callable[[Sequence[float], int, int], None]  # of the readers that have read; how many live, of how many


@contextmanager
def cluster_source(
    options: OcrOptions, pages_per_context: int, on_rates: OnRates = lambda *_: None
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
        on_rates: OnRates = lambda *_: None,
    ) -> None:
        self._options, self._context, self._on_rates = options, pages_per_context, on_rates
        self.crew = Crew(ray, options)
        self._dispatcher: Dispatcher | None = None
        self._shipper = Shipper(ray.put)
        self._rates_told = 0.0

    @property
    def facts(self) -> ReaderFacts:
        """What the first reader found; the others found the same."""
        assert self.crew.found is not None
        return self.crew.found

    @property
    def steps(self) -> StepFacts:
        """As :class:`~rtprune_cli.pipeline.PageSource` says: what holds for each reader that has read."""
        said = [reader.steps for reader in self.crew.readers if reader.steps.cuda_graphs is not None]
        if not said:
            return StepFacts()
        common = set.intersection(*(set(each.kernels or ()) for each in said))
        kernels = tuple(name for name in said[0].kernels or () if name in common)
        return StepFacts(all(each.cuda_graphs for each in said), kernels)

    def summary(self) -> dict[str, Any]:
        """As :class:`~rtprune_cli.pipeline.PageSource` says."""
        dispatcher = self._dispatcher
        found = {
            "readers": self.crew.count,
            "readers_lost": dispatcher.readers_lost if dispatcher else 0,
            "pages_read_again": dispatcher.pages_again if dispatcher else 0,
        }
        return {"cluster": found}

    def seen(self, checkpoint: Checkpoint) -> Checkpoint:
        """A checkpoint as the readers run it, which may be otherwise than this machine would."""
        return replace(checkpoint, revision=self.facts.revision, dtype=getattr(torch, self.facts.dtype))

    def start(self) -> None:
        """Start all readers, and wait for what they find; with the errors of :meth:`Crew.start`."""
        self.crew.start()

    def end(self) -> None:
        """End all readers at once."""
        self.crew.end()
        self._shipper.close()

    def read(self, plans: Iterable[DocumentPlan]) -> Generator[Event, None, None]:
        """As :class:`~rtprune_cli.pipeline.PageSource` says; pages come as they are done.

        Raises:
            EnvironmentFault: no reader stays alive, or the cluster is gone.
        """
        rows = self._options.decode.rows
        room = ROOM["cuda" if self.facts.device.startswith("cuda") else "cpu"]
        dispatcher = Dispatcher(plans, context=self._context, room=2 * rows * self._context if rows else room)
        self._dispatcher = dispatcher
        for reader in self.crew.readers:
            dispatcher.join(reader.number)
        with closing(self._shipper):
            while not dispatcher.done:
                yield from self._events(dispatcher)
                given = False
                for reader in self.crew.readers:
                    if reader.facts is not None and (chunks := dispatcher.assign(reader.number)):
                        reader.actor.add.remote(list(map(self._shipper.addressed, chunks)))
                        given = True
                yield from self._events(dispatcher)
                # All readers are looked at above: for what one of many said, that would take longer than what it said.
                wait = 0.0 if given else stopping.TICK
                for _ in range(len(self.crew.readers)):
                    heard = self.crew.hear(wait)
                    if heard is None:
                        break
                    yield from self._take(dispatcher, heard)
                    wait = 0.0
                self._tell_rates()
        pages = [*self.crew.pages, *(reader.pages for reader in self.crew.readers)]
        log.info(
            "pages that each reader has read: %s",
            ", ".join(map(str, pages)),
            extra={"data": {"event": "readers", "pages": pages}},
        )

    def _events(self, dispatcher: Dispatcher) -> Iterator[Event]:
        for event in dispatcher.events():
            if isinstance(event, Closed):
                self._let_go(event.plan.document.folder)
            yield event

    def _let_go(self, folder: PurePosixPath) -> None:
        """Of a document that was shipped."""
        having = self._shipper.closed(folder)
        for reader in self.crew.readers:
            if reader.number in having:
                reader.actor.drop.remote(folder)

    def _tell_rates(self) -> None:
        now = time.monotonic()
        if now - self._rates_told >= RATES_EVERY:
            self._rates_told = now
            readers = self.crew.readers
            alive = sum(reader.facts is not None for reader in readers)
            self._on_rates([reader.rate(now) for reader in readers if reader.pages], alive, self.crew.count)

    def _take(self, dispatcher: Dispatcher, heard: Heard) -> Iterator[Event]:
        error = heard.error
        if heard.facts is not None:
            self.crew.welcome(heard.reader, heard.facts)
        reader = heard.reader
        for each in heard.said:
            if each.end:
                error = ReaderEnded(each.end)
            elif each.wants is not None:
                reader.actor.receive.remote(each.wants, self._shipper.pieces(each.wants, reader.number))
            elif each.result is not None:
                reader.steps = each.steps
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
            dispatcher.join(self.crew.replace(heard.reader, error).number)
