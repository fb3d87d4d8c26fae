"""Owns the model at work on many pages at a time: steps 2 to 5 of steps.py, and what to do when one of them fails.

The stages overlap: a page that ends makes room for the next one at once, and the encoder works ahead by one batch.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rtprune_cli import stopping
from rtprune_cli.device.graphs import Graphs
from rtprune_cli.engine.memory import ENCODE_GRAPHS, PRUNE_GRAPHS, plan
from rtprune_cli.engine.prompts import make_scheduler, workload
from rtprune_cli.engine.steps import EncodedBatch, PageReading, PageSteps, Request, Steps, encode_and_prune
from rtprune_cli.errors import PageFailedError
from rtprune_cli.failures import Failure, PageFailure, at_page, failure_of, free_memory, gpu_watched, page_name
from rtprune_cli.model import OcrModel
from rtprune_cli.options import PruneOptions, ResolvedOptions
from rtprune_cli.pruning import Pruner
from rtprune_cli.records import Decoded, DecoderInput, PageImage, PageResult, PreparedPage, failed

log = logging.getLogger("rtprune")


@dataclass(eq=False)
class ActivePage:
    """A page under way: where it stands, what it waits for, and its result, with which the rest is let go."""

    page: PageImage | None
    steps: Steps
    reading: PageReading | None = None
    result: PageResult | None = None

    def resume(self, value: Any) -> Request | DecoderInput | None:
        """Give the page what it waits for; what it asks for next, None when it is done."""
        try:
            return self.steps.throw(PageFailure(value)) if isinstance(value, Failure) else self.steps.send(value)
        except StopIteration as end:
            self.end(end.value)
            return None

    def end(self, result: PageResult) -> None:
        """It may wait long for its turn, and needs neither pixels nor tokens any more."""
        self.result, self.page, self.reading = result, None, None


_Asked = Sequence[tuple[ActivePage, Request]]  # pages and what they asked for


class Engine:
    """The model at work on many pages: those to encode, those being pruned, those being decoded."""

    def __init__(self, model: OcrModel, options: ResolvedOptions) -> None:
        self.model = model
        self._text = options.prompt
        self._steps = PageSteps(model, options)
        self._to_encode: deque[tuple[ActivePage, Request]] = deque()
        self._pruners: dict[PruneOptions, Pruner] = {}
        size = plan(workload(model, options), options.decode, model.device, model.dtype)
        log.info("%d pages together, a cache for %d tokens", size.rows, size.pool_tokens)
        log.info("attention: %s; experts: %s", model.attention, model.experts)
        if size.lacking:
            log.warning(
                "%s lacks %.1f GB for one page in mode %s: pages may fail; a smaller --mode takes less",
                model.device, size.lacking / 1e9, options.mode,
            )  # fmt: skip
        self._encoded_pages, self._encoded_pixels = size.encoded_pages, size.encoded_pixels
        self._recorded_pixels = size.recorded_pixels
        self._encodings = Graphs(options.decode.cuda_graphs, most=ENCODE_GRAPHS)
        self._prunings = Graphs(options.decode.cuda_graphs, most=PRUNE_GRAPHS)
        self.scheduler = make_scheduler(model, options, size)

    @property
    def wants_pages(self) -> bool:
        """Whether the encoder should have more pages: a batch for the free rows, or to work ahead."""
        ahead = self._encoded_pages
        return len(self._to_encode) < ahead and self.scheduler.waiting < self.scheduler.free_rows + ahead

    def begin(self, prepared: PreparedPage) -> ActivePage:
        """Take a page in."""
        page = ActivePage(prepared.page, self._steps.of(prepared))
        self.advance(page, None)
        return page

    def advance(self, active: ActivePage, value: Any) -> None:
        """Give a page what it waits for, and take what it asks for next.

        Raises:
            RtpruneError: what the page found concerns all pages, or the GPU failed.
        """
        page = active.page
        assert page is not None
        try:
            with at_page(page.document, page.page, goes_on=True):
                wanted = active.resume(value)
        except PageFailedError as error:
            active.end(failed(page.document, page.page, error, page.warnings))
            return
        if isinstance(wanted, Request):
            # A page that is read again goes first: those behind it cannot come out before it.
            (self._to_encode.append if value is None else self._to_encode.appendleft)((active, wanted))
        elif wanted is not None:
            self.scheduler.add(active, wanted, first=True)

    def work(self, flush: bool) -> None:
        """Encode a batch where it is time to, and decode a block of steps. ``flush``: no more pages will come.

        Raises:
            EnvironmentFault: the GPU failed.
        """
        stopping.check()
        starved = self.scheduler.waiting < self.scheduler.free_rows
        batch = self._next_batch() if starved or flush or len(self._to_encode) >= self._encoded_pages else []

        def first_page() -> str:
            active: Any = [*self.scheduler.keys, *(page for page, _ in batch)]
            images = (each.page for each in active if each.page is not None)  # one of the batch may have failed
            return next((page_name(image.document, image.page) for image in images), "")

        with gpu_watched(first_page, goes_on=True):
            # On a GPU both are only queued: the encoder's work first, so that it is through when the block is.
            pending = self._encode(batch)
            if not (self._to_encode and starved):
                for page, result in self.scheduler.step(more=not flush):
                    self._decoded(page, result)  # type: ignore[arg-type]
            self._prompt(pending)

    def _next_batch(self) -> list[tuple[ActivePage, Request]]:
        """Pages that can be encoded together: of one side, as many as the encoder should take."""
        batch: list[tuple[ActivePage, Request]] = []
        pixels = 0
        for item in list(self._to_encode):
            kinds = {(request.views.side, request.options) for _, request in [*batch, item]}
            if len(kinds) > 1:
                continue
            pixels += item[1].views.pixels
            if len(batch) == self._encoded_pages or (batch and pixels > self._encoded_pixels):
                break
            batch.append(item)
        for item in batch:
            self._to_encode.remove(item)
        return batch

    def _encode(self, batch: _Asked) -> list[tuple[_Asked, EncodedBatch]]:
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

    def _halved(self, batch: _Asked, failure: Failure) -> list[tuple[_Asked, EncodedBatch]]:
        """A batch that failed, encoded again in halves; a page that failed alone is done."""
        if failure.out_of_memory:
            free_memory()
        if len(batch) == 1:
            self.advance(batch[0][0], failure)
            return []
        half = len(batch) // 2
        if failure.out_of_memory:
            self._encoded_pages = half
            self._encoded_pixels = max(1, self._encoded_pixels // 2)
        return self._encode(batch[:half]) + self._encode(batch[half:])

    def _encode_once(self, batch: _Asked) -> EncodedBatch:
        views, options = [request.views for _, request in batch], batch[0][1].options
        if options not in self._pruners:
            instruction = self.model.instruction(self._text) if options.reads_instruction else None
            self._pruners[options] = Pruner(options, instruction, graphs=self._prunings)
        recorded = sum(view.pixels for view in views) <= self._recorded_pixels
        return encode_and_prune(self.model, views, self._pruners[options], self._encodings if recorded else None)

    def _prompt(self, pending: list[tuple[_Asked, EncodedBatch]]) -> None:
        """Pages whose pruning is through wait for a row."""
        while pending:
            batch, encoded = pending.pop(0)
            try:
                made = self._readings([request for _, request in batch], encoded)
            except Exception as error:
                log.debug("pruning %d pages failed", len(batch), exc_info=True)
                failure = failure_of(error)
            else:
                for (page, _), reading in zip(batch, made, strict=True):
                    page.reading = reading
                    self.scheduler.add(page, reading.prompt)
                continue
            del encoded
            pending[:0] = self._halved(batch, failure)

    def _readings(self, requests: Sequence[Request], batch: EncodedBatch) -> list[PageReading]:
        times = len(requests), batch.encode, batch.prune
        pruner = self._pruners[requests[0].options]
        return [
            PageReading(request, pruner, tokens, pruned, self.model.make_prompt(pruned, self._text), *times)
            for request, tokens, pruned in zip(requests, batch.tokens, batch.pruning.result(), strict=True)
        ]

    def _decoded(self, page: ActivePage, result: Decoded | Failure) -> None:
        if isinstance(result, Failure) or page.reading is None:  # None: the page asked for decoding alone
            self.advance(page, result)
            return
        reading, page.reading = page.reading, None
        reading.decoded = result
        self.advance(page, reading)
