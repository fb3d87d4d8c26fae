"""A reader on a cluster: one engine for its life, in a process of its own. It reads, and writes nothing."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from rtprune_cli.cluster.link import import_ray
from rtprune_cli.cluster.shipping import Copies
from rtprune_cli.engine import StepFacts
from rtprune_cli.errors import InputError
from rtprune_cli.inputs import fetcher
from rtprune_cli.inputs.formats import reason
from rtprune_cli.options import OcrOptions
from rtprune_cli.records import Idle, PageResult, failed

if TYPE_CHECKING:
    from rtprune_cli.cluster.dispatch import Chunk
    from rtprune_cli.model import Checkpoint
    from rtprune_cli.records import DocumentPlan

WAIT = 0.5  # seconds after which an answer without results is given
GATHER = 0.2  # seconds for which results are gathered for one answer


@dataclass(frozen=True)
class ReaderFacts:
    """What a reader found: ``revision`` of the model, ``dtype`` and ``device`` in words."""

    revision: str
    dtype: str
    device: str


@dataclass(frozen=True)
class Numbered:
    """What a reader says, and how much it said before: a result, with how decoding ``steps``
    run; the folder of a document that it ``wants``; or why there will be no more (``end``)."""

    number: int
    result: PageResult | None = None
    steps: StepFacts = field(default_factory=StepFacts)
    wants: PurePosixPath | None = None
    end: str = ""


class RemoteReader:
    """What runs in a reader's process. Its methods are called from outside, some of them at the same time, and perhaps
    twice where an answer got lost: the second time does no harm."""

    def __init__(self, options: OcrOptions, cores: tuple[int, ...] | None) -> None:
        """``cores`` are those that it may use, of a machine that it shares with other readers; None: all."""
        if cores and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores)  # before torch counts them
        logging.getLogger("rtprune").setLevel(logging.CRITICAL)  # what there is to say is in the results
        self._options = options
        self._chunks: queue.SimpleQueue[Chunk] = queue.SimpleQueue()
        self._results: list[Numbered] = []  # that nobody has confirmed yet
        self._count = 0
        self._works = False
        self._there = threading.Condition()
        self._copies = Copies(lambda folder: self._put(wants=folder))

    def facts(self) -> ReaderFacts:
        """Find the checkpoint, and begin to wait for pages.

        Raises:
            RtpruneError: it is not there.
        """
        from rtprune_cli.model import locate
        from rtprune_cli.report.facts import dtype_name

        checkpoint = locate(self._options.model)
        with self._there:
            if not self._works:
                self._works = True
                threading.Thread(target=self._work, args=(checkpoint,), daemon=True).start()
        return ReaderFacts(checkpoint.revision, dtype_name(checkpoint.dtype), str(checkpoint.device))

    def add(self, chunks: Sequence[Chunk]) -> None:
        """Pages to read."""
        for chunk in chunks:
            if chunk.plan.document.remote is not None:
                fetcher().want(chunk.plan.document.remote)
            self._chunks.put(chunk)

    def receive(self, folder: PurePosixPath, pieces: list[Any] | None) -> None:
        """A document that this reader asked for, as references to its bytes; None: it cannot be had."""
        try:
            get = import_ray().get
            chunks = self._copies.receive(folder, None if pieces is None else (get(piece) for piece in pieces))
        except Exception as error:
            self._lack(folder, error)
        else:
            for chunk in chunks:
                self._chunks.put(chunk)

    def _lack(self, folder: PurePosixPath, error: Exception) -> None:
        """Say of a document that it cannot be kept here."""
        why = reason(error) if isinstance(error, OSError) else type(error).__name__
        for chunk in self._copies.drop(folder)[:1]:
            document = chunk.plan.document
            message = f"{document.name} cannot be brought to a reader: {why}"
            hint = "Make room in the temporary folder of its machine, or put inputs where all machines see them"
            self._put(failed(document, None, InputError(message, hint)))

    def drop(self, folder: PurePosixPath) -> None:
        """A document that nobody needs any more."""
        self._copies.drop(folder)

    def take(self, confirmed: int) -> list[Numbered]:
        """What was said and not ``confirmed`` yet; waits a little for the first."""
        with self._there:
            self._results = [each for each in self._results if each.number >= confirmed]
            if not self._results:
                self._there.wait(WAIT)
        if self._results:
            time.sleep(GATHER)
        with self._there:
            return list(self._results)

    def _work(self, checkpoint: Checkpoint) -> None:
        """Read until the process is ended from outside."""
        try:
            from rtprune_cli.pipeline import ReadingSession

            with closing(ReadingSession(checkpoint, self._options)) as session:
                for result in session.read(self._plans()):
                    self._put(result.packed(), steps=session.steps)
        except BaseException as error:
            self._put(end=f"{type(error).__name__}: {error}")

    def _plans(self) -> Iterator[DocumentPlan | Idle]:
        while True:
            try:
                chunk = self._chunks.get_nowait()
            except queue.Empty:
                yield Idle()
                continue
            if (plan := self._copies.placed(chunk)) is not None:
                yield plan

    def _put(self, result: PageResult | None = None, **others: Any) -> None:
        """Have something to say; ``others`` as :class:`Numbered` has them."""
        with self._there:
            self._results.append(Numbered(self._count, result, **others))
            self._count += 1
            self._there.notify_all()
