"""Owns the reading of pages, in order: what happens to each, from its views to its result, and when a text loops."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from statistics import median
from typing import TypeVar

import torch

from rtprune_cli.decoding import assemble, prompt_pass
from rtprune_cli.engine import Engine, Job, Reading, Request, Steps, failed
from rtprune_cli.errors import LoopError
from rtprune_cli.failures import PageFailure, page_name
from rtprune_cli.htmlreport import page_view
from rtprune_cli.markdown import to_markdown
from rtprune_cli.model import Checkpoint, OcrModel
from rtprune_cli.options import Mode, OcrOptions
from rtprune_cli.pruning import untouched
from rtprune_cli.records import (
    Decoded,
    DecoderInput,
    PageImage,
    PageResult,
    PreparedPage,
)
from rtprune_cli.report import attempt, page_record, prefill_flops
from rtprune_cli.timing import Stopwatch
from rtprune_cli.views import make_views
from rtprune_cli.views.tokenmap import token_map

log = logging.getLogger("rtprune")

T = TypeVar("T")

BASELINE_REPEATS = 3  # interleaved prefills, with and without pruning, whose medians are compared
# A page that takes long keeps those after it from coming out in order; so many times the rows may be done and wait.
WAITING_RESULTS = 4
# Where a looping page is read again: the nearest mode that sees the page otherwise. Tiles break what belongs together,
# so gundam goes to the finest single view; a single view goes to the next finer one.
OTHER_MODE: dict[Mode, Mode] = {
    "tiny": "small",
    "small": "base",
    "base": "large",
    "large": "gundam",
    "gundam": "large",
}


class PageReader:
    """Reads pages with one model; loads it when the first page comes.

    ``batch_size`` starts as the options or the memory say and shrinks when that was too much.
    """

    def __init__(self, checkpoint: Checkpoint, options: OcrOptions, on_load: Callable[[], None] = lambda: None) -> None:
        self._checkpoint = checkpoint
        self._options = options
        self._on_load = on_load
        self._mode = options.mode or checkpoint.mode
        self._prompt = options.prompt or checkpoint.prompt
        self._engine: Engine | None = None

    @property
    def batch_size(self) -> int:
        """Pages that are decoded together, at most; 0 before the first one."""
        return 0 if self._engine is None else self._engine.decoder.rows

    @property
    def cuda_graphs(self) -> bool | None:
        """Whether decoding steps are recorded as CUDA graphs; None on a CPU, and before the first page."""
        if self._engine is None or self._checkpoint.device.type != "cuda":
            return None
        return self._engine.decoder.graphs.recording(self._checkpoint.device)

    def read(self, items: Iterable[PreparedPage | T]) -> Iterator[PageResult | T]:
        """One result a page, in order; what is no page passes through in its place.

        A page that fails has the error in its record.

        Raises:
            RtpruneError: nothing more can be read: the model cannot be loaded, or the GPU is gone.
        """
        source = iter(items)
        more = True
        line: deque[Job | T] = deque()  # in order, what has not come out yet
        while line or more:
            while line and (not isinstance(line[0], Job) or line[0].result is not None):
                first = line.popleft()
                yield first.result if isinstance(first, Job) else first  # type: ignore[misc]
                del first  # its pixels are not needed while the next page is made
            engine = self._engine
            if more and (engine is None or (engine.hungry and len(line) < WAITING_RESULTS * engine.decoder.rows)):
                try:
                    item = next(source)
                except StopIteration:
                    more = False
                    continue
                line.append(self._begin(item) if isinstance(item, PreparedPage) else item)
                del item
            elif engine is not None and line:
                engine.work(flush=not more)

    def _begin(self, prepared: PreparedPage) -> Job:
        if self._engine is None:
            self._on_load()
            model = self._checkpoint.load()
            log.info("loaded %s (%s) on %s", model.name, model.revision, model.device)
            self._engine = Engine(model, self._options, self._mode, self._prompt)
        job = Job(prepared.page, self._page(prepared, self._engine.model))
        self._engine.advance(job, None)
        return job

    def _page(self, prepared: PreparedPage, model: OcrModel) -> Steps:
        """A page from its views to its result."""
        page = prepared.page
        attempts = [(yield Request(prepared.views, self._options.prune, prepared.preprocess_ms))]
        if attempts[0].loops and self._options.on_loop == "retry":
            yield from self._retries(page, attempts)
        # Of readings that all loop, the one that got furthest before it did.
        best = max(attempts, key=lambda reading: (not reading.loops, len(reading.decoded.token_ids)))
        if best.loops and self._options.on_loop == "fail":
            hint = "Give --on-loop retry or mark to keep its text"
            name = page_name(page.document, page.page)
            return failed(page.document, page.page, LoopError(f"the text of {name} runs into a loop", hint))
        raw = model.decode_text(best.decoded.token_ids)
        speedup, distance = yield from self._comparison(page, best, raw, model)
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
        view = None
        if self._options.output.html:
            # Not only when it is written: results wait for their turn, and files take less room than pixels.
            tokens = token_map(best.views, page.image.size, best.tokens, best.pruned)
            view = page_view(page.image, tokens, markdown.boxes)
        return PageResult(page.document, record, markdown, raw, page.image if markdown.crops else None, view=view)

    def _retries(self, page: PageImage, attempts: list[Reading]) -> Generator[Request, Reading, None]:
        """The page read again, unpruned and then in another mode, as long as its text runs into a loop."""
        unpruned = replace(self._options.prune, ratio=1.0)
        ladder = [] if attempts[0].pruned.merged == 0 else [self._mode]
        for mode in [*ladder, OTHER_MODE[self._mode]]:
            log.info("%s runs into a loop: again unpruned in mode %s", page_name(page.document, page.page), mode)
            try:
                watch = Stopwatch(torch.device("cpu"))
                views = make_views(page.image, mode)
                attempts.append((yield Request(views, unpruned, watch.stop())))
            except Exception:  # a retry must not cost the text that is there
                log.debug("the retry failed", exc_info=True)
                return
            if not attempts[-1].loops:
                return

    def _comparison(
        self, page: PageImage, reading: Reading, raw: str, model: OcrModel
    ) -> Generator[DecoderInput, Decoded, tuple[float | None, float | None]]:
        """Prefill speed-up over, and edit distance to, the same page unpruned, where they were asked for."""
        speedup, distance = None, None
        if self._options.measure_baseline or self._options.compare:
            before, after = model.prompt_embeds(self._prompt)
            unpruned = assemble(before, untouched(reading.tokens), after)
            if self._options.measure_baseline:
                speedup = measure_prefill_speedup(model, unpruned, reading.prompt)
            if self._options.compare:
                try:
                    text = model.decode_text((yield unpruned).token_ids)
                    distance = normalised_edit_distance(text, raw)
                except PageFailure:  # the comparison must not cost the text that is there
                    log.warning("%s could not be read unpruned to compare", page_name(page.document, page.page))
        return speedup, distance


@torch.inference_mode()
def measure_prefill_speedup(model: OcrModel, unpruned: DecoderInput, pruned: DecoderInput) -> float:
    """Median prefill time without pruning over the median with it, taken in turns on this page alone."""
    times = [(_prefill_ms(model, unpruned), _prefill_ms(model, pruned)) for _ in range(BASELINE_REPEATS)]
    return median(without for without, _ in times) / median(with_ for _, with_ in times)


def _prefill_ms(model: OcrModel, prompt: DecoderInput) -> float:
    watch = Stopwatch(model.device)
    prompt_pass(model.network, [prompt])
    return watch.stop()


def normalised_edit_distance(reference: str, text: str) -> float:
    """Levenshtein distance over the longer length, 0 (equal) to 1."""
    from rapidfuzz.distance import Levenshtein

    return float(Levenshtein.normalized_distance(reference, text))
