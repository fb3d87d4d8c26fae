"""A page's six steps, in order: the file to read first.

1. views     its image, resized as the encoder wants it (views/; done ahead of the model by prepare/)
2. encode    views -> visual tokens (model/network.py)
3. prune     some tokens stay, the others are merged into them (pruning/)
4. prompt    what stays, between the texts of the prompt (model/network.py)
5. decode    prompt -> token ids and their log-probabilities, with many pages at a time (decoding/)
6. markdown  token ids -> text, blocks, boxes and crops, and the report's record (markdown.py, report.py)

Steps 2 to 5 are done for many pages together: :class:`PageSteps` says what happens to one page and asks for them,
engine.py does them.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import torch
from torch import Tensor

from rtprune_cli.decoding import prefill
from rtprune_cli.device.graphs import Graphs
from rtprune_cli.device.timing import Span, Stopwatch
from rtprune_cli.errors import LoopError
from rtprune_cli.failures import PageFailure, page_name
from rtprune_cli.markdown import MarkdownStyle, to_markdown
from rtprune_cli.model import OcrModel
from rtprune_cli.model.adapters import gives_words
from rtprune_cli.options import SIDES, Mode, PruneOptions, ResolvedOptions, view_side
from rtprune_cli.outputs.htmlreport import page_view
from rtprune_cli.pruning import PendingPrune, Pruner, untouched
from rtprune_cli.records import (
    Decoded,
    DecoderInput,
    Markdown,
    PageImage,
    PageResult,
    PreparedPage,
    PrunedTokens,
    ViewLayout,
    Views,
    VisualTokens,
    WarningRecord,
    failed,
)
from rtprune_cli.report import attempt, page_record, prefill_flops
from rtprune_cli.views import make_views
from rtprune_cli.views.tokenmap import token_map

log = logging.getLogger("rtprune")

BASELINE_REPEATS = 3  # of prefills in turns, without and with the prune step, whose medians are compared


def other_mode(mode: Mode, layout: ViewLayout) -> Mode:
    """Where a looping page is read again: the nearest mode by name that sees the page otherwise, and that the encoder
    can see.

    Tiles break what belongs together, so gundam goes to the finest single view; a single view goes to the next finer
    one, and the finest to tiles.
    """
    single = [name for name, side in SIDES.items() if name != "gundam" and (not layout.sides or side in layout.sides)]
    if mode == "gundam":
        return max(single, key=view_side)
    return min((name for name in single if view_side(name) > view_side(mode)), key=view_side, default="gundam")


# --- Steps 2 and 3


@dataclass(frozen=True)
class EncodedBatch:
    """Pages of one mode that were encoded, and are being pruned on the device.

    ``pixels`` (B, 3, S, S) are their normalised global views. The spans are those of the whole batch.
    """

    pixels: Tensor
    tokens: list[VisualTokens]
    pruning: PendingPrune
    encode: Span
    prune: Span


def encode_and_prune(
    model: OcrModel, views: Sequence[Views], pruner: Pruner, graphs: Graphs | None = None
) -> EncodedBatch:
    """Queue encoder and pruning for B pages of one mode; ``graphs``: where the encoder's work is recorded."""
    encode = Span(model.device)
    pixels = model.pixels(views)
    options = pruner.options
    tokens = model.encode(
        views, pixels, attention=options.reads_attention, features=options.reads_features, graphs=graphs
    )
    encode.end()
    prune = Span(model.device)
    return EncodedBatch(pixels, tokens, pruner.start(tokens, pixels), encode, prune.end())


# --- All steps of a page


@dataclass(frozen=True)
class Request:
    """A page wants to be read once: these views, pruned like this."""

    views: Views
    options: PruneOptions
    preprocess_ms: float


@dataclass
class PageReading:
    """One page read once. ``encode`` and ``prune`` are spans of the batch of ``pages`` in which ``pruner`` pruned it.
    ``decoded`` is there when it is through."""

    request: Request
    pruner: Pruner
    tokens: VisualTokens
    pruned: PrunedTokens
    prompt: DecoderInput
    pages: int
    encode: Span
    prune: Span
    decoded: Decoded = field(init=False)

    @property
    def views(self) -> Views:
        return self.request.views

    @property
    def loops(self) -> bool:
        return self.decoded.finish_reason == "loop"

    @property
    def retention(self) -> float:
        return len(self.pruned.keep) / self.pruned.total

    @property
    def milliseconds(self) -> dict[str, float]:
        """Of the steps before the prefill; pages of a batch share its times in equal parts."""
        return {
            "preprocess": self.request.preprocess_ms,
            "encode": self.encode.milliseconds / self.pages,
            "prune": self.prune.milliseconds / self.pages,
        }

    @property
    def total_ms(self) -> float:
        return sum(self.milliseconds.values()) + self.decoded.prefill_ms + self.decoded.decode_ms


# What a page does: it asks for readings, or with a prompt for decoding alone, and ends with its result
Steps = Generator[Request | DecoderInput, Any, PageResult]


class PageSteps:
    """What happens to a page, for all pages of a run with one model."""

    def __init__(self, model: OcrModel, options: ResolvedOptions) -> None:
        self._model, self._options = model, options

    def of(self, prepared: PreparedPage) -> Steps:
        """A page from its views, step 1, to its result."""
        model, page = self._model, prepared.page
        options = prepared.prune or self._options.prune
        attempts = [(yield Request(prepared.views, options, prepared.preprocess_ms))]  # steps 2 to 5
        if attempts[0].loops and self._options.on_loop == "retry":
            yield from self._retries(page, attempts)
        # Of readings that all loop, the one that got furthest before it did.
        best = max(attempts, key=lambda reading: (not reading.loops, len(reading.decoded.token_ids)))
        if best.loops and self._options.on_loop == "fail":
            hint = "Give --on-loop retry or mark to keep its text"
            name = page_name(page.document, page.page)
            error = LoopError(f"the text of {name} runs into a loop", hint)
            return failed(page.document, page.page, error, page.warnings)
        # Step 6
        raw = model.decode_text(best.decoded.token_ids)
        markdown = to_markdown(
            raw,
            size=page.size,
            page=page.page,
            style=MarkdownStyle.of(self._options.output),
            labels=not gives_words(self._options.prompt),
            confidences=model.confidences(best.decoded.token_ids, best.decoded.logprobs),
        )
        speedup, distance = yield from self._comparison(page, best, raw)
        unpruned_flops = prefill_flops(model.text_config, best.prompt.next_position)
        flops = prefill_flops(model.text_config, len(best.prompt.embeds))
        record = page_record(
            page,
            best.views,
            best.pruned,
            best.decoded,
            prompt=self._options.prompt,
            milliseconds=best.milliseconds,
            flops=flops,
            flops_speedup=unpruned_flops / flops,
            attempts=tuple(attempt(a.views.mode, a.retention, a.decoded) for a in attempts)
            if len(attempts) > 1
            else None,
            retry_ms=sum(a.total_ms for a in attempts if a is not best),
            prefill_speedup=speedup,
            page_speedup=None if speedup is None else page_speedup(best, speedup),
            edit_distance=distance,
            warnings=page.warnings + self._warnings(best, markdown),
        )
        view = None
        if self._options.output.html:
            # Not only when it is written: results wait for their turn, and files take less room than pixels.
            tokens = token_map(best.views, page.size, best.tokens, best.pruned)
            view = page_view(page.image, tokens, markdown.boxes)
        return PageResult(page.document, record, markdown, raw, page if markdown.crops else None, view=view)

    def _warnings(self, reading: PageReading, markdown: Markdown) -> tuple[WarningRecord, ...]:
        """What a reader of the text should know of how it was read."""
        found = []
        if self._options.mode not in self._model.trained_modes:
            known = ", ".join(self._model.trained_modes)
            message = f"{self._model.name} was not trained for mode {self._options.mode}, only for {known}"
            found.append(WarningRecord("untrained_mode", message))
        prompts = self._model.trained_prompts
        if prompts is not None and self._options.prompt not in prompts:
            message = f"{self._model.name} was not trained for this prompt, only for {', '.join(prompts)}"
            found.append(WarningRecord("untrained_prompt", message))
        if reading.decoded.finish_reason == "length":
            limit = self._options.decode.max_new_tokens
            found.append(
                WarningRecord("token_limit", f"the text is cut at the limit of {limit} tokens (max-new-tokens)")
            )
        if reading.loops:
            cut = reading.decoded.loop_tokens_cut
            found.append(WarningRecord("loop", f"the text ran into a loop: {cut} tokens of repetition are cut off"))
        if markdown.left_out:
            kept, count = len(markdown.crops), len(markdown.crops) + markdown.left_out
            message = f"{count} pictures were named, most likely by counting in a loop: {kept} are kept"
            found.append(WarningRecord("crops", message))
        return tuple(found)

    def _retries(self, page: PageImage, attempts: list[PageReading]) -> Generator[Request, PageReading, None]:
        """The page read again, unpruned and then in another mode, as long as its text runs into a loop."""
        unpruned = replace(self._options.prune, ratio=1.0)
        ladder = [] if attempts[0].pruned.merged == 0 else [self._options.mode]
        for mode in [*ladder, other_mode(self._options.mode, self._model.adapter.layout)]:
            log.info("%s runs into a loop: again unpruned in mode %s", page_name(page.document, page.page), mode)
            try:
                watch = Stopwatch(torch.device("cpu"))
                views = make_views(page.image, self._model.view_spec(mode))
                attempts.append((yield Request(views, unpruned, watch.stop())))
            except Exception:  # a retry must not cost the text that is there
                log.debug("the retry failed", exc_info=True)
                return
            if not attempts[-1].loops:
                return

    def _comparison(
        self, page: PageImage, reading: PageReading, raw: str
    ) -> Generator[DecoderInput, Decoded, tuple[float | None, float | None]]:
        """Prefill speed-up over, and edit distance to, the same page unpruned, where they were asked for."""
        speedup, distance = None, None
        if self._options.measure_baseline or self._options.compare:
            unpruned = self._model.make_prompt(untouched(reading.tokens), self._options.prompt)
            if self._options.measure_baseline:
                speedup = measure_prefill_speedup(self._model, unpruned, reading)
            if self._options.compare:
                try:
                    text = self._model.decode_text((yield unpruned).token_ids)
                    distance = normalised_edit_distance(text, raw)
                except PageFailure:  # the comparison must not cost the text that is there
                    log.warning("%s could not be read unpruned to compare", page_name(page.document, page.page))
        return speedup, distance


@torch.inference_mode()
def measure_prefill_speedup(model: OcrModel, unpruned: DecoderInput, reading: PageReading) -> float:
    """Median time of the prefill without pruning, over that of the prune step and the prefill with it.

    Taken in turns on this page alone, after a first prune step that may record. 1 where pruning is off.
    """
    if reading.request.options.fixed_ratio == 1:
        return 1.0
    pixels = model.pixels([reading.views])

    def prune() -> None:
        reading.pruner.start([reading.tokens], pixels).result()

    def pruned_ms() -> float:
        watch = Stopwatch(model.device)
        prune()
        prefill(model.network, [reading.prompt])
        return watch.stop()

    prune()
    times = [(_prefill_ms(model, unpruned), pruned_ms()) for _ in range(BASELINE_REPEATS)]
    return median(without for without, _ in times) / median(with_ for _, with_ in times)


def page_speedup(reading: PageReading, prefill_speedup: float) -> float:
    """Time from views to text without pruning over the time with it: of this page's own times, prune step and prefill
    ``prefill_speedup`` times as long, the encoder and the text as they are."""
    times = reading.milliseconds
    pruned = times["prune"] + reading.decoded.prefill_ms
    rest = times["encode"] + reading.decoded.decode_ms
    return (rest + prefill_speedup * pruned) / (rest + pruned)


def _prefill_ms(model: OcrModel, prompt: DecoderInput) -> float:
    watch = Stopwatch(model.device)
    prefill(model.network, [prompt])
    return watch.stop()


def normalised_edit_distance(reference: str, text: str) -> float:
    """Levenshtein distance over the longer length, 0 (equal) to 1."""
    from rapidfuzz.distance import Levenshtein

    return float(Levenshtein.normalized_distance(reference, text))
