"""Owns the reading of pages in order: what comes in when, and that results come out as pages came."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from rtprune_cli import stopping
from rtprune_cli.engine.active import Active
from rtprune_cli.engine.engine import Engine
from rtprune_cli.model import Checkpoint, OcrModel
from rtprune_cli.options import OcrOptions
from rtprune_cli.records import Idle, PageResult, PreparedContext, PreparedPage

log = logging.getLogger("rtprune")

T = TypeVar("T")

# A page that takes long keeps those after it from coming out in order; so many times the rows may be done and wait.
WAITING_RESULTS = 4


@dataclass(frozen=True)
class StepFacts:
    """How decoding steps run on a GPU: recorded as CUDA graphs or not, and with which kernels of rtprune's own. None on
    a CPU, and before the first page."""

    cuda_graphs: bool | None = None
    kernels: tuple[str, ...] | None = None


class PageReader:
    """Reads pages with one model; loads it when the first page comes.

    ``batch_size`` starts as the options or the memory say and shrinks when that was too much.
    """

    def __init__(self, checkpoint: Checkpoint, options: OcrOptions, on_load: Callable[[], None] = lambda: None) -> None:
        self._checkpoint = checkpoint
        self._options = checkpoint.resolve(options)
        self._on_load = on_load
        self._engine: Engine | None = None

    @property
    def model(self) -> OcrModel | None:
        """What was loaded; None before the first page."""
        return None if self._engine is None else self._engine.model

    @property
    def batch_size(self) -> int:
        """Pages that are decoded together, at most; 0 before the first one."""
        return 0 if self._engine is None else self._engine.scheduler.rows

    @property
    def steps(self) -> StepFacts:
        """How decoding steps run."""
        if self._engine is None or self._checkpoint.device.type != "cuda":
            return StepFacts()
        scheduler = self._engine.scheduler
        return StepFacts(scheduler.graphs.recording(self._checkpoint.device), scheduler.kernels)

    def read(self, items: Iterable[PreparedPage | PreparedContext | Idle | T]) -> Iterator[PageResult | T]:
        """One result a page, in order; what is no page passes through in its place, also inside a context. Where the
        source is :class:`Idle`, the pages that are there go on without waiting for others.

        A page that fails has the error in its record.

        Raises:
            RtpruneError: nothing more can be read: the model cannot be loaded, or the GPU is gone.
        """
        source = iter(items)
        more = True
        line: deque[Active | T] = deque()  # in order, what has not come out yet
        while line or more:
            while line and (not isinstance(line[0], Active) or line[0].results is not None):
                first = line.popleft()
                if isinstance(first, Active):
                    yield from first.results or ()
                else:
                    yield first
                del first  # its pixels are not needed while the next page is made
            engine = self._engine
            if more and (
                engine is None or (engine.wants_pages and len(line) < WAITING_RESULTS * engine.scheduler.rows)
            ):
                try:
                    item = next(source)
                except StopIteration:
                    more = False
                    continue
                if isinstance(item, Idle):
                    if engine is not None and line:
                        engine.work(flush=True)
                    else:
                        time.sleep(stopping.TICK)
                    continue
                line.append(self._begin(item) if isinstance(item, PreparedPage | PreparedContext) else item)
                del item
            elif engine is not None and line:
                engine.work(flush=not more)

    def _begin(self, prepared: PreparedPage | PreparedContext) -> Active:
        if self._engine is None:
            self._on_load()
            with stopping.at_once():  # imports and weights take seconds
                model = self._checkpoint.load()
            log.info("the model %s (%s) is loaded on %s", model.name, model.revision, model.device)
            self._engine = Engine(model, self._options)
        return self._engine.begin(prepared)
