"""Owns the reading of a batch of pages: the stages one after the other, and what to do when one of them fails.

A batch that fails is halved until the page at fault stands alone; a page whose text runs into a loop is read again.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import median

import torch

from rtprune_cli.decode import assemble, decode, prefill
from rtprune_cli.errors import EnvironmentFault, LoopError, OutOfMemoryError, PageFailedError, RtpruneError
from rtprune_cli.markdown import to_markdown
from rtprune_cli.model import Checkpoint, OcrModel
from rtprune_cli.options import Mode, OcrOptions, PruneOptions
from rtprune_cli.pruning import prune
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
from rtprune_cli.report import attempt, failure_record, page_record, prefill_flops
from rtprune_cli.timing import Stopwatch
from rtprune_cli.views import make_views

log = logging.getLogger("rtprune")

BASELINE_REPEATS = 3  # interleaved prefills, with and without pruning, whose medians are compared
# Where a looping page is read again: the nearest mode that sees the page otherwise. Tiles break what belongs together,
# so gundam goes to the finest single view; a single view goes to the next finer one.
OTHER_MODE: dict[Mode, Mode] = {
    "tiny": "small",
    "small": "base",
    "base": "large",
    "large": "gundam",
    "gundam": "large",
}


@dataclass(frozen=True)
class _Reading:
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


class PageReader:
    """Reads pages with one model; loads it when the first page comes.

    ``batch_size`` starts as the options say and shrinks when the device's memory does not hold that many pages.
    """

    def __init__(self, checkpoint: Checkpoint, options: OcrOptions, on_load: Callable[[], None] = lambda: None) -> None:
        self._checkpoint = checkpoint
        self._options = options
        self._on_load = on_load
        self._model: OcrModel | None = None
        self._mode = options.mode or checkpoint.mode
        self._prompt = options.prompt or checkpoint.prompt
        self.batch_size = options.decode.batch_size

    @property
    def model(self) -> OcrModel:
        """The loaded model.

        Raises:
            ModelError: its weights cannot be loaded.
        """
        if self._model is None:
            self._on_load()
            self._model = self._checkpoint.load()
            log.info("loaded %s (%s) on %s", self._model.name, self._model.revision, self._model.device)
        return self._model

    def read(self, pages: Sequence[PageImage]) -> list[PageResult]:
        """One result a page, in order; a page that fails has the error in its record.

        Raises:
            RtpruneError: nothing more can be read: the model cannot be loaded, or the GPU is gone.
        """
        if not pages:
            return []
        model = self.model
        try:
            return self._read_batch(pages, model)
        except RtpruneError:
            raise
        except Exception as error:
            out_of_memory = _is_out_of_memory(error)
            if not out_of_memory and isinstance(error, torch.AcceleratorError):
                # The CUDA context is broken: every page after this one would fail with the same error.
                raise EnvironmentFault(
                    f"the GPU failed at page {pages[0].page} of {pages[0].document.name}",
                    "Run the same command again: it goes on where it stopped; -vv shows the traceback",
                ) from error
            kind = type(error).__name__
            log.debug("a batch of %d pages failed", len(pages), exc_info=True)
        # Only here, outside the handler, is the traceback gone that kept the batch's tensors alive.
        if out_of_memory:
            _free_memory()
        if len(pages) == 1:
            return [_failed(pages[0], _page_error(pages[0], kind, out_of_memory))]
        half = len(pages) // 2
        results = self.read(pages[:half]) + self.read(pages[half:])
        blamed = any((row.record["error"] or {}).get("code") == OutOfMemoryError.code for row in results)
        if out_of_memory and not blamed and half < self.batch_size:  # else one page was too large, not the batch
            log.warning("out of memory with %d pages together: going on with %d", len(pages), half)
            self.batch_size = half
        return results

    def _read_batch(self, pages: Sequence[PageImage], model: OcrModel) -> list[PageResult]:
        readings = self._read_once(pages, model, self._mode, self._options.prune)
        return [self._result(page, self._attempts(page, model, reading), model)
                for page, reading in zip(pages, readings, strict=True)]  # fmt: skip

    def _read_once(
        self, pages: Sequence[PageImage], model: OcrModel, mode: Mode, options: PruneOptions
    ) -> list[_Reading]:
        """The stages, one after the other, over a batch. Pages share a stage's time in equal parts."""
        spent: dict[str, float] = {}
        with _timed(spent, "preprocess", model.device, len(pages)):
            views = [make_views(page.image, mode) for page in pages]
        with _timed(spent, "encode", model.device, len(pages)):
            tokens = model.encode(views)
        with _timed(spent, "prune", model.device, len(pages)):
            pruned = prune(tokens, [v.global_view for v in views], options)
        before, after = self._prompt_embeddings(model)
        prompts = [assemble(before, p, after) for p in pruned]
        decoded = self._decode(model, prompts)
        return [_Reading(*page, spent) for page in zip(views, tokens, pruned, prompts, decoded, strict=True)]

    def _attempts(self, page: PageImage, model: OcrModel, first: _Reading) -> list[_Reading]:
        """The page read again, unpruned and then in another mode, as long as its text runs into a loop."""
        attempts = [first]
        if first.loops and self._options.on_loop == "retry":
            unpruned = replace(self._options.prune, ratio=1.0)
            ladder = [] if first.pruned.merged == 0 else [self._mode]
            for mode in [*ladder, OTHER_MODE[self._mode]]:
                log.info(
                    "page %d of %s runs into a loop: again unpruned in mode %s", page.page, page.document.name, mode
                )
                try:
                    attempts += self._read_once([page], model, mode, unpruned)
                except Exception:  # a retry must not cost the text that is there
                    log.debug("the retry failed", exc_info=True)
                    break
                if not attempts[-1].loops:
                    break
        return attempts

    def _result(self, page: PageImage, attempts: list[_Reading], model: OcrModel) -> PageResult:
        # Of readings that all loop, the one that got furthest before it did.
        best = max(attempts, key=lambda reading: (not reading.loops, len(reading.decoded.token_ids)))
        if best.loops and self._options.on_loop == "fail":
            hint = "Give --on-loop retry or mark to keep its text"
            return _failed(page, LoopError(f"the text of {_name(page)} runs into a loop", hint))
        raw = model.decode_text(best.decoded.token_ids)
        speedup, distance = self._compare(best, raw, model)
        unpruned_length, length = best.prompt.next_position, len(best.prompt.embeds)
        record = page_record(
            page,
            best.views,
            best.pruned,
            best.decoded,
            prompt=self._prompt,
            milliseconds=best.milliseconds,
            flops_speedup=prefill_flops(model.text_config, unpruned_length) / prefill_flops(model.text_config, length),
            attempts=[attempt(a.views.mode, a.retention, a.decoded) for a in attempts] if len(attempts) > 1 else None,
            retry_ms=sum(a.total_ms for a in attempts if a is not best),
            prefill_speedup=speedup,
            edit_distance=distance,
        )
        markdown = to_markdown(raw, size=page.image.size, page=page.page, tables=self._options.output.tables)
        return PageResult(page.document, record, markdown, raw, page.image)

    def _compare(self, reading: _Reading, raw: str, model: OcrModel) -> tuple[float | None, float | None]:
        """Prefill speed-up over, and edit distance to, the same page unpruned, where they were asked for."""
        speedup, distance = None, None
        if self._options.measure_baseline or self._options.compare:
            before, after = self._prompt_embeddings(model)
            unpruned = assemble(before, _untouched(reading.tokens, reading.pruned), after)
            if self._options.measure_baseline:
                speedup = measure_prefill_speedup(model, unpruned, reading.prompt)
            if self._options.compare:
                text = model.decode_text(self._decode(model, [unpruned])[0].token_ids)
                distance = normalised_edit_distance(text, raw)
        return speedup, distance

    def _prompt_embeddings(self, model: OcrModel) -> tuple[torch.Tensor, torch.Tensor]:
        before, after = (model.embed(ids) for ids in model.prompt_ids(self._prompt))
        return before, after

    def _decode(self, model: OcrModel, prompts: Sequence[DecoderInput]) -> list[Decoded]:
        return decode(
            model.network,
            prompts,
            self._options.decode,
            eos_token_id=model.eos_token_id,
            ngram_exempt=model.ngram_exempt,
        )


def failed(document: Document, page: int | None, error: RtpruneError) -> PageResult:
    """The result of a page, or with ``page`` None of a document, that cannot be read; says so on the log."""
    data = {"event": "failure", "document": document.name, "page": page, "code": error.code}
    log.error("%s", error, extra={"data": data})
    return PageResult(document, failure_record(document, page, error), Markdown(""))


def _failed(page: PageImage, error: RtpruneError) -> PageResult:
    return failed(page.document, page.page, error)


def _name(page: PageImage) -> str:
    return f"page {page.page} of {page.document.name}"


def _page_error(page: PageImage, kind: str, out_of_memory: bool) -> RtpruneError:
    if out_of_memory:
        return OutOfMemoryError(
            f"{_name(page)} does not fit into memory on its own",
            "Use a smaller --mode, --dtype bfloat16, or --device cpu",
        )
    return PageFailedError(f"{_name(page)} could not be read ({kind})", "Run again with -vv for the traceback")


def _is_out_of_memory(error: Exception) -> bool:
    # On a CPU torch raises a plain RuntimeError with the allocator's name.
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "DefaultCPUAllocator" in str(error)


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _untouched(tokens: VisualTokens, pruned: PrunedTokens) -> PrunedTokens:
    return replace(pruned, tokens=tokens.tokens, keep=torch.arange(pruned.total), kept=pruned.prunable)


@torch.inference_mode()
def measure_prefill_speedup(model: OcrModel, unpruned: DecoderInput, pruned: DecoderInput) -> float:
    """Median prefill time without pruning over the median with it, taken in turns on this page alone."""
    times = [
        (prefill(model.network, [unpruned])[-1], prefill(model.network, [pruned])[-1]) for _ in range(BASELINE_REPEATS)
    ]
    return median(without for without, _ in times) / median(with_ for _, with_ in times)


def normalised_edit_distance(reference: str, text: str) -> float:
    """Levenshtein distance over the longer length, 0 (equal) to 1."""
    from rapidfuzz.distance import Levenshtein

    return float(Levenshtein.normalized_distance(reference, text))


@contextmanager
def _timed(spent: dict[str, float], stage: str, device: torch.device, pages: int) -> Iterator[None]:
    watch = Stopwatch(device)
    yield
    spent[stage] = watch.stop() / pages
