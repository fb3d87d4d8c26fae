"""Owns the model at work on many pages at a time: encode, prune and decode, and what to do when one of them fails.

Each page is a generator that asks for readings and makes its result of them (reading.py), so that what happens to one
page stands in one place, in order; the engine runs many of them. The stages overlap: a page that ends makes room for
the next one at once, and the encoder works ahead by one batch.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rtprune_cli.decoding import Decoder, Failure, assemble
from rtprune_cli.decoding.faults import failure_of, free_memory
from rtprune_cli.errors import EnvironmentFault, OutOfMemoryError, PageFailedError, RtpruneError
from rtprune_cli.memory import plan
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
from rtprune_cli.views import SIDES

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


class ReadingFailed(Exception):
    """What a page that asked for a reading gets instead."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.kind)
        self.failure = failure


# Asks for readings, or with a prompt for decoding alone
Steps = Generator["Request | DecoderInput", Any, PageResult]


@dataclass(eq=False)
class Job:
    """A page under way: where it stands, what it waits for, and its result, with which the rest is let go."""

    page: PageImage | None
    steps: Steps
    prompted: Prompted | None = None
    result: PageResult | None = None

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
        size = plan(model.network.config, SIDES[mode], options.decode, model.device, model.dtype)
        log.info("%d pages together, a cache for %d tokens", size.rows, size.pool_tokens)
        self._encoded_pixels = size.encoded_pixels
        self._ahead = max(1, size.encoded_pixels // SIDES[mode] ** 2)
        self.decoder = Decoder(
            model.network,
            options.decode,
            eos_token_id=model.eos_token_id,
            ngram_exempt=model.ngram_exempt,
            rows=size.rows,
            pool_tokens=size.pool_tokens,
        )

    @property
    def hungry(self) -> bool:
        """Whether the encoder should have more pages: a batch for the free rows, or to work ahead."""
        return len(self._to_encode) < self._ahead and self.decoder.waiting < self.decoder.free_rows + self._ahead

    def advance(self, job: Job, value: Any) -> None:
        """Give a page what it waits for, and take what it asks for next.

        Raises:
            RtpruneError: what the page found concerns all pages.
        """
        failure = value if isinstance(value, Failure) else None
        try:
            wanted = job.steps.send(value) if failure is None else job.steps.throw(ReadingFailed(failure))
        except StopIteration as end:
            job.end(end.value)
        except RtpruneError:
            raise
        except Exception as error:
            assert job.page is not None
            reason = error.failure if isinstance(error, ReadingFailed) else Failure(type(error).__name__)
            log.debug("page %d of %s failed", job.page.page, job.page.document.name, exc_info=True)
            job.end(failed_page(job.page, page_error(job.page, reason)))
        else:
            if isinstance(wanted, Request):
                # A page that is read again goes first: those behind it cannot come out before it.
                (self._to_encode.append if value is None else self._to_encode.appendleft)((job, wanted))
            else:
                job.prompted = None
                self.decoder.add(job, wanted, first=True)

    def work(self, flush: bool) -> None:
        """Encode a batch where it is time to, and decode a block of steps. ``flush``: no more pages will come.

        Raises:
            EnvironmentFault: the GPU failed.
        """
        starved = self.decoder.waiting < self.decoder.free_rows
        batch = self._next_batch() if starved or flush or len(self._to_encode) >= self._ahead else []
        try:
            # On a GPU both are only queued: the encoder's work first, so that it is through when the block is.
            pending = self._encode(batch)
            if not (self._to_encode and starved):
                for job, result in self.decoder.step(more=not flush):
                    self._decoded(job, result)  # type: ignore[arg-type]
            self._prompt(pending)
        except torch.AcceleratorError as error:
            # The CUDA context is broken: every page after this one would fail with the same error.
            jobs = [*self.decoder.keys, *(job for job, _ in batch)]
            where = f" at {name_of(jobs[0].page)}" if jobs else ""  # type: ignore[attr-defined]
            raise EnvironmentFault(
                f"the GPU failed{where}",
                "Run the same command again: it goes on where it stopped; -vv shows the traceback",
            ) from error

    def _next_batch(self) -> list[tuple[Job, Request]]:
        """Pages that can be encoded together: of one side, as many as the encoder should take."""
        batch: list[tuple[Job, Request]] = []
        pixels = 0
        for item in list(self._to_encode):
            kinds = {(request.views.side, request.options) for _, request in [*batch, item]}
            if len(kinds) > 1:
                continue
            pixels += item[1].views.pixels
            if batch and pixels > self._encoded_pixels:
                break
            batch.append(item)
        for item in batch:
            self._to_encode.remove(item)
        return batch

    def _encode(self, batch: Sequence[tuple[Job, Request]]) -> list[tuple[Sequence[tuple[Job, Request]], Any]]:
        """Queue the vision encoder and the pruning of a batch. One that fails is halved until a page stands alone."""
        if not batch:
            return []
        try:
            return [(batch, self._encode_once([request for _, request in batch]))]
        except Exception as error:
            log.debug("encoding %d pages failed", len(batch), exc_info=True)
            failure = failure_of(error)
        # Only here, outside the handler, is the traceback gone that kept the batch's tensors alive.
        if failure.out_of_memory:
            free_memory()
        if len(batch) == 1:
            self.advance(batch[0][0], failure)
            return []
        half = len(batch) // 2
        if failure.out_of_memory:
            self._encoded_pixels = max(1, self._encoded_pixels // 2)
        return self._encode(batch[:half]) + self._encode(batch[half:])

    def _encode_once(self, requests: Sequence[Request]) -> tuple[list[VisualTokens], PendingPrune, Span, Span]:
        views, options = [request.views for request in requests], requests[0].options
        encode = Span(self.model.device)
        pixels = self.model.pixels(views)
        tokens = self.model.encode(views, pixels, attention=options.reads_attention)
        encode.end()
        if options not in self._pruners:
            self._pruners[options] = Pruner(options, self._instruction() if options.reads_instruction else None)
        prune = Span(self.model.device)
        return tokens, self._pruners[options].start(tokens, pixels), encode, prune.end()

    def _instruction(self) -> Tensor:
        """Embeddings (M, D) of the prompt's text, without its bos."""
        before, after = self.model.prompt_ids(self._text)
        return self.model.embed([*before[1:], *after])

    def _prompt(self, pending: Iterable[tuple[Sequence[tuple[Job, Request]], Any]]) -> None:
        """Pages whose pruning is through wait for a row."""
        for batch, (tokens, pruning, encode, prune) in pending:
            for (job, request), visual, pruned in zip(batch, tokens, pruning.result(), strict=True):
                before, after = (self.model.embed(ids) for ids in self.model.prompt_ids(self._text))
                prompt = assemble(before, pruned, after)
                job.prompted = Prompted(request, visual, pruned, prompt, len(batch), encode, prune)
                self.decoder.add(job, prompt)

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


def failed(document: Document, page: int | None, error: RtpruneError) -> PageResult:
    """The result of a page, or with ``page`` None of a document, that cannot be read."""
    return PageResult(document, failure_record(document, page, error), Markdown(""), error=error)


def failed_page(page: PageImage, error: RtpruneError) -> PageResult:
    return failed(page.document, page.page, error)


def name_of(page: PageImage) -> str:
    return f"page {page.page} of {page.document.name}"


def page_error(page: PageImage, failure: Failure) -> PageFailedError:
    """What a page's failure is to the user."""
    name = name_of(page)
    if failure.out_of_memory:
        hint = "Use a smaller --mode, --dtype bfloat16, or --device cpu"
        return OutOfMemoryError(f"{name} does not fit into memory on its own", hint)
    return PageFailedError(f"{name} could not be read ({failure.kind})", "Run again with -vv for the traceback")
