"""Owns the model at work on many pages at a time: encode, prune and decode, and what to do when one of them fails.

Each page is a generator that asks for readings and makes its result of them (reading.py), so that what happens to one
page stands in one place, in order; the engine runs many of them. The stages overlap: a page that ends makes room for
the next one at once, and the encoder works ahead by one batch.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rtprune_cli import devices, experts
from rtprune_cli.decoding import Decoder, assemble
from rtprune_cli.errors import PageFailedError, RtpruneError
from rtprune_cli.failures import Failure, PageFailure, at_page, failure_of, free_memory, gpu_watched, page_name
from rtprune_cli.graphs import Graphs
from rtprune_cli.memory import ENCODE_GRAPHS, PRUNE_GRAPHS, plan
from rtprune_cli.model import OcrModel
from rtprune_cli.options import Mode, OcrOptions, PruneOptions
from rtprune_cli.pruning import PendingPrune, Pruner
from rtprune_cli.records import (
    Decoded,
    DecoderInput,
    Document,
    Markdown,
    PageImage,
    PageResult,
    PrunedTokens,
    Views,
    VisualTokens,
)
from rtprune_cli.report import failure_record
from rtprune_cli.timing import Span

log = logging.getLogger("rtprune")


@dataclass(frozen=True)
class Request:
    """A page wants to be read once: these views, pruned like this."""

    views: Views
    options: PruneOptions
    preprocess_ms: float


@dataclass(frozen=True)
class Prompted:
    """A page that was encoded and pruned, in one of a batch of ``pages``."""

    request: Request
    tokens: VisualTokens
    pruned: PrunedTokens
    prompt: DecoderInput
    pages: int
    encode: Span
    prune: Span


@dataclass(frozen=True)
class Reading:
    """One page read once, with what the report and the comparisons want to know of it."""

    views: Views
    tokens: VisualTokens
    pruned: PrunedTokens
    prompt: DecoderInput
    decoded: Decoded
    milliseconds: dict[str, float]

    @property
    def loops(self) -> bool:
        return self.decoded.finish_reason == "loop"

    @property
    def retention(self) -> float:
        return len(self.pruned.keep) / self.pruned.total

    @property
    def total_ms(self) -> float:
        return sum(self.milliseconds.values()) + self.decoded.prefill_ms + self.decoded.decode_ms


_Encoded = tuple[list[VisualTokens], PendingPrune, Span, Span]  # with the times of both
_Pending = tuple[Sequence[tuple["Job", Request]], _Encoded]

# Asks for readings, or with a prompt for decoding alone
Steps = Generator["Request | DecoderInput", Any, PageResult]


@dataclass(eq=False)
class Job:
    """A page under way: where it stands, what it waits for, and its result, with which the rest is let go."""

    page: PageImage | None
    steps: Steps
    prompted: Prompted | None = None
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
        self.result, self.page, self.prompted = result, None, None


class Engine:
    """The model at work on many pages: those to encode, those being pruned, those being decoded."""

    def __init__(self, model: OcrModel, options: OcrOptions, mode: Mode, prompt: str) -> None:
        self.model = model
        self._text = prompt
        self._to_encode: deque[tuple[Job, Request]] = deque()
        self._pruners: dict[PruneOptions, Pruner] = {}
        size = plan(model.network.config, mode, options.decode, model.device, model.dtype)
        log.info("%d pages together, a cache for %d tokens", size.rows, size.pool_tokens)
        log.info("attention: %s; experts: %s", model.attention, model.experts)
        if size.lacking:
            log.warning(
                "%s lacks %.1f GB for one page in mode %s: pages may fail; a smaller --mode takes less",
                model.device, size.lacking / 1e9, mode,
            )  # fmt: skip
        self._encoded_pages, self._encoded_pixels = size.encoded_pages, size.encoded_pixels
        self._recorded_pixels = size.recorded_pixels
        recorded = options.decode.cuda_graphs and _recordable(model, size.rows)
        self._encodings = Graphs(options.decode.cuda_graphs, most=ENCODE_GRAPHS)
        self._prunings = Graphs(options.decode.cuda_graphs, most=PRUNE_GRAPHS)
        self.decoder = Decoder(
            model.network,
            options.decode,
            eos_token_id=model.eos_token_id,
            ngram_exempt=model.ngram_exempt,
            rows=size.rows,
            pool_tokens=size.pool_tokens,
            capacity=size.capacity,
            prompt_tokens=size.prompt_tokens,
            graphs=Graphs(recorded, most=size.graphs),
        )

    @property
    def hungry(self) -> bool:
        """Whether the encoder should have more pages: a batch for the free rows, or to work ahead."""
        ahead = self._encoded_pages
        return len(self._to_encode) < ahead and self.decoder.waiting < self.decoder.free_rows + ahead

    def advance(self, job: Job, value: Any) -> None:
        """Give a page what it waits for, and take what it asks for next.

        Raises:
            RtpruneError: what the page found concerns all pages, or the GPU failed.
        """
        page = job.page
        assert page is not None
        try:
            with at_page(page.document, page.page, goes_on=True):
                wanted = job.resume(value)
        except PageFailedError as error:
            job.end(failed(page.document, page.page, error))
            return
        if isinstance(wanted, Request):
            # A page that is read again goes first: those behind it cannot come out before it.
            (self._to_encode.append if value is None else self._to_encode.appendleft)((job, wanted))
        elif wanted is not None:
            job.prompted = None
            self.decoder.add(job, wanted, first=True)

    def work(self, flush: bool) -> None:
        """Encode a batch where it is time to, and decode a block of steps. ``flush``: no more pages will come.

        Raises:
            EnvironmentFault: the GPU failed.
        """
        starved = self.decoder.waiting < self.decoder.free_rows
        batch = self._next_batch() if starved or flush or len(self._to_encode) >= self._encoded_pages else []

        def first_page() -> str:
            jobs = [*self.decoder.keys, *(job for job, _ in batch)]
            return next((page_name(job.page.document, job.page.page) for job in jobs), "")  # type: ignore[attr-defined]

        with gpu_watched(first_page, goes_on=True):
            # On a GPU both are only queued: the encoder's work first, so that it is through when the block is.
            pending = self._encode(batch)
            if not (self._to_encode and starved):
                for job, result in self.decoder.step(more=not flush):
                    self._decoded(job, result)  # type: ignore[arg-type]
            self._prompt(pending)

    def _next_batch(self) -> list[tuple[Job, Request]]:
        """Pages that can be encoded together: of one side, as many as the encoder should take."""
        batch: list[tuple[Job, Request]] = []
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

    def _encode(self, batch: Sequence[tuple[Job, Request]]) -> list[_Pending]:
        """Queue the vision encoder and the pruning of a batch. One that fails is halved until a page stands alone."""
        if not batch:
            return []
        try:
            return [(batch, self._encode_once([request for _, request in batch]))]
        except Exception as error:
            log.debug("encoding %d pages failed", len(batch), exc_info=True)
            failure = failure_of(error)
        # Only here, outside the handler, is the traceback gone that kept the batch's tensors alive.
        return self._halved(batch, failure)

    def _halved(self, batch: Sequence[tuple[Job, Request]], failure: Failure) -> list[_Pending]:
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

    def _encode_once(self, requests: Sequence[Request]) -> _Encoded:
        views, options = [request.views for request in requests], requests[0].options
        encode = Span(self.model.device)
        pixels = self.model.pixels(views)
        recorded = sum(view.pixels for view in views) <= self._recorded_pixels
        tokens = self.model.encode(
            views, pixels, attention=options.reads_attention, graphs=self._encodings if recorded else None
        )
        encode.end()
        if options not in self._pruners:
            instruction = self._instruction() if options.reads_instruction else None
            self._pruners[options] = Pruner(options, instruction, graphs=self._prunings)
        prune = Span(self.model.device)
        return tokens, self._pruners[options].start(tokens, pixels), encode, prune.end()

    def _instruction(self) -> Tensor:
        """Embeddings (M, D) of the prompt's text, without its bos."""
        before, after = self.model.prompt_embeds(self._text)
        return torch.cat([before[1:], after])

    def _prompt(self, pending: list[_Pending]) -> None:
        """Pages whose pruning is through wait for a row."""
        while pending:
            batch, encoded = pending.pop(0)
            try:
                made = self._prompted([request for _, request in batch], *encoded)
            except Exception as error:
                log.debug("pruning %d pages failed", len(batch), exc_info=True)
                failure = failure_of(error)
            else:
                for (job, _), prompted in zip(batch, made, strict=True):
                    job.prompted = prompted
                    self.decoder.add(job, prompted.prompt)
                continue
            del encoded
            pending[:0] = self._halved(batch, failure)

    def _prompted(
        self, requests: Sequence[Request], tokens: list[VisualTokens], pruning: PendingPrune, encode: Span, prune: Span
    ) -> list[Prompted]:
        made = []
        for request, visual, pruned in zip(requests, tokens, pruning.result(), strict=True):
            before, after = self.model.prompt_embeds(self._text)
            prompt = assemble(before, pruned, after)
            made.append(Prompted(request, visual, pruned, prompt, len(requests), encode, prune))
        return made

    def _decoded(self, job: Job, result: Decoded | Failure) -> None:
        if isinstance(result, Failure) or job.prompted is None:
            self.advance(job, result)
            return
        made = job.prompted
        milliseconds = {
            "preprocess": made.request.preprocess_ms,
            "encode": made.encode.milliseconds / made.pages,
            "prune": made.prune.milliseconds / made.pages,
        }
        self.advance(job, Reading(made.request.views, made.tokens, made.pruned, made.prompt, result, milliseconds))


def _recordable(model: OcrModel, rows: int) -> bool:
    """Whether steps of so many rows can be recorded on the model's device; says so where they cannot."""
    if model.device.type != "cuda" or not experts.waits(devices.capability(model.device), model.dtype, rows):
        return True
    log.warning(
        "steps of %d pages cannot be recorded on this GPU and take longer: give --batch-size %d or less",
        rows, experts.DENSE_TOKENS,
    )  # fmt: skip
    return False


def failed(document: Document, page: int | None, error: RtpruneError) -> PageResult:
    """The result of a page, or with ``page`` None of a document, that cannot be read."""
    return PageResult(document, failure_record(document, page, error), Markdown(""), error=error)
