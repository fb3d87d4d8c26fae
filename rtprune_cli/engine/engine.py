"""Owns the model at work on many pages at a time: steps 2 to 5 of steps.py, and what to do when one of them fails.

The stages overlap: a page that ends makes room for the next one at once, and the encoder works ahead by one batch.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from typing import Any

from rtprune_cli import stopping
from rtprune_cli.device.graphs import Graphs
from rtprune_cli.engine.active import Active, ActiveContext, ActivePage
from rtprune_cli.engine.contexts import ContextReader
from rtprune_cli.engine.memory import ENCODE_GRAPHS, PRUNE_GRAPHS, plan
from rtprune_cli.engine.prompts import make_scheduler, workload
from rtprune_cli.engine.steps import (
    Alone,
    EncodedBatch,
    EncodedPage,
    PageReading,
    PageSteps,
    Request,
    encode_and_prune,
)
from rtprune_cli.errors import PageFailedError
from rtprune_cli.failures import Failure, at_page, failure_of, free_memory, gpu_watched, page_name
from rtprune_cli.model import OcrModel
from rtprune_cli.options import PruneOptions, ResolvedOptions
from rtprune_cli.pruning import Pruner
from rtprune_cli.records import Decoded, DecoderInput, PreparedContext, PreparedPage

log = logging.getLogger("rtprune")


# Who asked, which of its pages it is, and what for
_Asked = tuple[Active, int, Request]


class Engine:
    """The model at work on many pages: those to encode, those being pruned, those being decoded."""

    def __init__(self, model: OcrModel, options: ResolvedOptions) -> None:
        self.model = model
        self._text = options.prompt
        self._steps = PageSteps(model, options)
        self._contexts = ContextReader(model, options, self._steps)
        self._to_encode: deque[_Asked] = deque()
        self._pruners: dict[PruneOptions, Pruner] = {}
        size = plan(workload(model, options), options.decode, model.device, model.dtype)
        log.debug("%d pages together, a cache for %d tokens", size.rows, size.pool_tokens)
        log.debug("attention: %s; experts: %s", model.attention, model.experts)
        if size.lacking:
            log.warning(
                "%s lacks %.1f GB for one page in mode %s: pages may fail; a smaller --mode takes less",
                model.device, size.lacking / 1e9, options.mode,
            )  # fmt: skip
        self._encoded_pages, self._encoded_pixels = size.encoded_pages, size.encoded_pixels
        self._prompts_ahead = max(1, size.encoded_pages // options.pages_per_context)
        self._recorded_pixels = size.recorded_pixels
        self._encodings = Graphs(options.decode.cuda_graphs, most=ENCODE_GRAPHS)
        self._prunings = Graphs(options.decode.cuda_graphs, most=PRUNE_GRAPHS)
        self.scheduler = make_scheduler(model, options, size)

    @property
    def wants_pages(self) -> bool:
        """Whether the encoder should have more pages: a batch for the free rows, or to work ahead."""
        room = self.scheduler.free_rows + self._prompts_ahead
        return len(self._to_encode) < self._encoded_pages and self.scheduler.waiting < room

    def begin(self, prepared: PreparedPage | PreparedContext) -> Active:
        """Take a page in, or pages that are to be read as one text: two or more."""
        if isinstance(prepared, PreparedPage):
            return self._begin(prepared)
        active = ActiveContext(prepared, self._contexts.of(prepared), prepared.pages[0].page)
        self.advance(active, None, first=False)
        return active

    def _begin(self, prepared: PreparedPage, alone: Alone | None = None) -> ActivePage:
        page = ActivePage(prepared.page, self._steps.of(prepared, alone))
        if alone is not None:
            page.warnings = (alone.warning,)
        self.advance(page, None, first=alone is not None)
        return page

    def advance(self, active: Active, value: Any, *, first: bool = True) -> None:
        """Give a page or context what it waits for, and take what it asks for next.

        What is read again goes ``first``: those behind it cannot come out before it.

        Raises:
            RtpruneError: what the page found concerns all pages, or the GPU failed.
        """
        page = active.page
        assert page is not None
        try:
            with at_page(page.document, page.page, goes_on=True):
                wanted = active.resume(value)
        except PageFailedError as error:
            active.fail(error)
            wanted = None
        if isinstance(wanted, DecoderInput):
            self.scheduler.add(active, wanted, first=isinstance(active, ActivePage))
        elif wanted is not None:
            asked = [(active, place, each) for place, each in enumerate(_requests(wanted))]
            self._to_encode = deque([*asked, *self._to_encode] if first else [*self._to_encode, *asked])
        elif isinstance(active, ActiveContext) and active.alone is not None:
            self._part(active, active.alone)

    def _part(self, active: ActiveContext, alone: Alone) -> None:
        """Read the pages of a context by themselves."""
        assert active.context is not None
        context, active.context = active.context, None
        self._to_encode = deque(each for each in self._to_encode if each[0] is not active)
        for item in reversed(context.items):  # each is put before the others
            active.begun.insert(0, self._begin(item, alone) if isinstance(item, PreparedPage) else item)

    def work(self, flush: bool) -> None:
        """Encode a batch where it is time to, and decode a block of steps. ``flush``: no more pages will come.

        Raises:
            EnvironmentFault: the GPU failed.
        """
        stopping.check()
        starved = self.scheduler.waiting < self.scheduler.free_rows
        batch = self._next_batch() if starved or flush or len(self._to_encode) >= self._encoded_pages else []

        def first_page() -> str:
            active: Any = [*self.scheduler.keys, *(page for page, *_ in batch)]
            images = (each.page for each in active if each.page is not None)  # one of the batch may have failed
            return next((page_name(image.document, image.page) for image in images), "")

        with gpu_watched(first_page, goes_on=True):
            # On a GPU both are only queued: the encoder's work first, so that it is through when the block is.
            pending = self._encode(batch)
            if not (self._to_encode and starved):
                for page, result in self.scheduler.step(more=not flush):
                    self._decoded(page, result)  # type: ignore[arg-type]
            self._prompt(pending)

    def _next_batch(self) -> list[_Asked]:
        """Pages that can be encoded together: of one side, as many as the encoder should take."""
        batch: list[_Asked] = []
        pixels = 0
        for item in list(self._to_encode):
            kinds = {(request.views.side, request.options) for *_, request in [*batch, item]}
            if len(kinds) > 1:
                continue
            pixels += item[2].views.pixels
            if len(batch) == self._encoded_pages or (batch and pixels > self._encoded_pixels):
                break
            batch.append(item)
        taken = {id(item) for item in batch}
        self._to_encode = deque(item for item in self._to_encode if id(item) not in taken)
        return batch

    def _encode(self, batch: Sequence[_Asked]) -> list[tuple[Sequence[_Asked], EncodedBatch]]:
        """Queue the vision encoder and the pruning of a batch. One that fails is halved until a page stands alone."""
        if not batch:
            return []
        try:
            return [(batch, self._encode_once(batch))]
        except Exception as error:
            log.debug("encoding %d pages failed", len(batch), exc_info=True)
            failure = failure_of(error)
        # Only here, outside the handler, is the traceback gone that kept the batch's tensors alive.
        return self._halved(batch, failure)

    def _halved(self, batch: Sequence[_Asked], failure: Failure) -> list[tuple[Sequence[_Asked], EncodedBatch]]:
        """A batch that failed, encoded again in halves; a page that failed alone is done."""
        if failure.out_of_memory:
            free_memory()
        if len(batch) == 1:
            if batch[0][0].page is not None:  # it may have come to its end by another page of its context
                self.advance(batch[0][0], failure)
            return []
        half = len(batch) // 2
        if failure.out_of_memory:
            self._encoded_pages = half
            self._encoded_pixels = max(1, self._encoded_pixels // 2)
        return self._encode(batch[:half]) + self._encode(batch[half:])

    def _encode_once(self, batch: Sequence[_Asked]) -> EncodedBatch:
        views, options = [request.views for *_, request in batch], batch[0][2].options
        if options not in self._pruners:
            instruction = self.model.instruction(self._text) if options.reads_instruction else None
            self._pruners[options] = Pruner(options, instruction, graphs=self._prunings)
        recorded = sum(view.pixels for view in views) <= self._recorded_pixels
        return encode_and_prune(self.model, views, self._pruners[options], self._encodings if recorded else None)

    def _prompt(self, pending: list[tuple[Sequence[_Asked], EncodedBatch]]) -> None:
        """Pages whose pruning is through wait for a row."""
        while pending:
            batch, encoded = pending.pop(0)
            try:
                made = self._encoded([request for *_, request in batch], encoded)
            except Exception as error:
                log.debug("pruning %d pages failed", len(batch), exc_info=True)
                failure = failure_of(error)
            else:
                for (active, place, _), page in zip(batch, made, strict=True):
                    self._take(active, place, page)
                continue
            del encoded
            pending[:0] = self._halved(batch, failure)

    def _encoded(self, requests: Sequence[Request], batch: EncodedBatch) -> list[EncodedPage]:
        times = len(requests), batch.encode, batch.prune
        pruner = self._pruners[requests[0].options]
        return [
            EncodedPage(request, pruner, tokens, pruned, *times)
            for request, tokens, pruned in zip(requests, batch.tokens, batch.pruning.result(), strict=True)
        ]

    def _take(self, active: Active, place: int, page: EncodedPage) -> None:
        """A page waits for a row, or for the others of its context."""
        if isinstance(active, ActivePage):
            prompt = self.model.make_prompt(page.pruned, self._text)
            active.waiting = page, prompt
            self.scheduler.add(active, prompt)
        elif active.page is not None and (pages := active.take(place, page)):
            self.advance(active, pages)

    def _decoded(self, active: Active, result: Decoded | Failure) -> None:
        if isinstance(result, Decoded) and isinstance(active, ActivePage) and active.waiting is not None:
            page, prompt = active.waiting
            active.waiting = None
            self.advance(active, PageReading(page, prompt, result))
        else:  # it failed, or the text alone was asked for
            self.advance(active, result)


def _requests(wanted: Request | Sequence[Request]) -> Sequence[Request]:
    return [wanted] if isinstance(wanted, Request) else wanted
