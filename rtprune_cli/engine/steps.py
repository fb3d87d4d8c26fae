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
from dataclasses import dataclass, replace
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
from rtprune_cli.options import SIDES, Mode, PruneOptions, ResolvedOptions, check_mode, view_side
from rtprune_cli.outputs.htmlreport import page_view
from rtprune_cli.pruning import PendingPrune, Pruner, untouched
from rtprune_cli.pruning.costs import prune_flops
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


def other_mode(mode: Mode, layout: ViewLayout, size: tuple[int, int]) -> Mode:
    """Where a looping page of ``size`` (width, height) pixels is read again: the nearest mode that sees it otherwise,
    and that the encoder can see.

    Tiles break what belongs together, so gundam goes to the finest single view; a single view goes to the next finer
    one, and the finest to tiles. A page that is too small for tiles is seen in gundam as in a single view.
    """
    names = [check_mode(f"side-{side}") for side in layout.sides or ()] or [name for name in SIDES if name != "gundam"]
    has_tiles = max(size) > layout.tile
    if mode == "gundam" and has_tiles:
        return max(names, key=view_side)
    finer = [name for name in names if view_side(name) > view_side(mode)]
    if finer:
        return min(finer, key=view_side)
    return "gundam" if has_tiles else max((name for name in names if view_side(name) < view_side(mode)), key=view_side)


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


@dataclass(frozen=True)
class EncodedPage:
    """One page before it is decoded. ``encode`` and ``prune`` are spans of the batch of ``pages`` in which ``pruner``
    pruned it."""

    request: Request
    pruner: Pruner
    tokens: VisualTokens
    pruned: PrunedTokens
    pages: int
    encode: Span
    prune: Span

    @property
    def views(self) -> Views:
        return self.request.views

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


@dataclass(frozen=True)
class PageReading:
    """One page read once, by itself."""

    encoded: EncodedPage
    prompt: DecoderInput
    decoded: Decoded

    @property
    def loops(self) -> bool:
        return self.decoded.finish_reason == "loop"

    @property
    def total_ms(self) -> float:
        return sum(self.encoded.milliseconds.values()) + self.decoded.prefill_ms + self.decoded.decode_ms


@dataclass(frozen=True)
class Speeds:
    """What is said of how much faster a page was: ``flops`` of its part of the prefill, ``prune_flops`` of the prune
    step, and how many times as many as both there are without pruning; and, where they were asked for, how many times
    as long prefill and page take without it, and the edit distance to the text without it."""

    flops: int
    prune_flops: int
    flops_speedup: float
    prefill: float | None = None
    page: float | None = None
    edit_distance: float | None = None


@dataclass(frozen=True)
class Alone:
    """Why a page is read by itself after all, and the milliseconds that it took part in before."""

    warning: WarningRecord
    spent_ms: float


# What a page does: it asks for readings, or with a prompt for decoding alone, and ends with its result
Steps = Generator[Request | DecoderInput, Any, PageResult]


class PageSteps:
    """What happens to a page, for all pages of a run with one model."""

    def __init__(self, model: OcrModel, options: ResolvedOptions) -> None:
        self._model, self._options = model, options

    def of(self, prepared: PreparedPage, alone: Alone | None = None) -> Steps:
        """A page from its views, step 1, to its result."""
        page = prepared.page
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
        raw, markdown = self.text(page, best.decoded)
        speeds = yield from self._speeds(page, best, raw)
        return self.result(
            page, best.encoded, best.decoded, raw, markdown, speeds,
            attempts=tuple(attempt(a.encoded.views.mode, a.encoded.retention, a.decoded) for a in attempts)
            if len(attempts) > 1
            else None,
            retry_ms=sum(a.total_ms for a in attempts if a is not best) + (alone.spent_ms if alone else 0.0),
            warnings=() if alone is None else (alone.warning,),
        )  # fmt: skip

    def text(self, page: PageImage, decoded: Decoded) -> tuple[str, Markdown]:
        """What the model wrote of a page, as it is and as markdown."""
        raw = self._model.decode_text(decoded.token_ids)
        return raw, to_markdown(
            raw,
            size=page.size,
            page=page.page,
            style=MarkdownStyle.of(self._options.output),
            labels=not gives_words(self._options.prompt),
            confidences=self._model.confidences(decoded.token_ids, decoded.logprobs),
        )

    def result(
        self,
        page: PageImage,
        encoded: EncodedPage,
        decoded: Decoded,
        raw: str,
        markdown: Markdown,
        speeds: Speeds,
        *,
        warnings: tuple[WarningRecord, ...] = (),
        **more: Any,
    ) -> PageResult:
        """The result of a page that was read; ``more`` as :func:`~rtprune_cli.report.page_record` takes it."""
        record = page_record(
            page,
            encoded.views,
            encoded.pruned,
            decoded,
            prompt=self._options.prompt,
            milliseconds=encoded.milliseconds,
            flops=speeds.flops,
            prune_flops=speeds.prune_flops,
            flops_speedup=speeds.flops_speedup,
            prefill_speedup=speeds.prefill,
            page_speedup=speeds.page,
            edit_distance=speeds.edit_distance,
            warnings=page.warnings + warnings + self._warnings(decoded, markdown),
            **more,
        )
        view = None
        if self._options.output.html:
            # Not only when it is written: results wait for their turn, and files take less room than pixels.
            tokens = token_map(encoded.views, page.size, encoded.tokens, encoded.pruned)
            view = page_view(page.image, tokens, markdown.boxes)
        return PageResult(page.document, record, markdown, raw, page if markdown.crops else None, view=view)

    def _warnings(self, decoded: Decoded, markdown: Markdown) -> tuple[WarningRecord, ...]:
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
        if decoded.finish_reason == "length":
            limit = self._options.decode.max_new_tokens
            found.append(
                WarningRecord("token_limit", f"the text is cut at the limit of {limit} tokens (max-new-tokens)")
            )
        if decoded.finish_reason == "loop":
            cut = decoded.loop_tokens_cut
            found.append(WarningRecord("loop", f"the text ran into a loop: {cut} tokens of repetition are cut off"))
        if markdown.left_out:
            kept, count = len(markdown.crops), len(markdown.crops) + markdown.left_out
            message = f"{count} pictures were named, most likely by counting in a loop: {kept} are kept"
            found.append(WarningRecord("crops", message))
        return tuple(found)

    def _retries(self, page: PageImage, attempts: list[PageReading]) -> Generator[Request, PageReading, None]:
        """The page read again, unpruned and then in another mode, as long as its text runs into a loop."""
        unpruned = replace(self._options.prune, ratio=1.0)
        layout = self._model.adapter.layout
        ladder = [] if attempts[0].encoded.pruned.merged == 0 else [self._options.mode]
        for mode in [*ladder, other_mode(self._options.mode, layout, page.size)]:
            log.info(
                "%s repeats itself: it is read again, unpruned, in mode %s", page_name(page.document, page.page), mode
            )
            try:
                watch = Stopwatch(torch.device("cpu"))
                views = make_views(page.image, self._model.view_spec(mode))
                attempts.append((yield Request(views, unpruned, watch.stop())))
            except Exception:  # a retry must not cost the text that is there
                log.debug("the retry failed", exc_info=True)
                return
            if not attempts[-1].loops:
                return

    def _speeds(self, page: PageImage, reading: PageReading, raw: str) -> Generator[DecoderInput, Decoded, Speeds]:
        """Of a page that was read by itself; what it is compared with is read now."""
        asked = self._options.measure_baseline or self._options.compare
        unpruned = self._model.make_prompt(untouched(reading.encoded.tokens), self._options.prompt) if asked else None
        speeds = prompt_speeds(self._model, [reading.encoded], unpruned, reading.prompt, self._options)
        if speeds.prefill is not None:
            speeds = replace(speeds, page=page_speedup(reading.encoded, reading.decoded, speeds.prefill))
        if unpruned is not None and self._options.compare:
            try:
                text = self._model.decode_text((yield unpruned).token_ids)
                speeds = replace(speeds, edit_distance=normalised_edit_distance(text, raw))
            except PageFailure:  # the comparison must not cost the text that is there
                log.warning("%s could not be read unpruned to compare", page_name(page.document, page.page))
        return speeds


def prompt_speeds(
    model: OcrModel,
    pages: Sequence[EncodedPage],
    unpruned: DecoderInput | None,
    pruned: DecoderInput,
    options: ResolvedOptions,
) -> Speeds:
    """Of one page of a prompt of several: equal parts of its operations, and where ``--measure-baseline`` asks for it
    how many times as long the prefill takes ``unpruned``."""
    flops = prefill_flops(model.text_config, len(pruned.embeds))
    whole = prefill_flops(model.text_config, pruned.next_position)
    steps = sum(prune_flops(page.request.options, page.tokens, page.pruned, page.views.side) for page in pages)
    speedup = None
    if unpruned is not None and options.measure_baseline:
        speedup = measure_prefill_speedup(model, unpruned, pruned, pages)
    return Speeds(flops // len(pages), steps // len(pages), whole / (flops + steps), speedup)


@torch.inference_mode()
def measure_prefill_speedup(
    model: OcrModel, unpruned: DecoderInput, pruned: DecoderInput, pages: Sequence[EncodedPage]
) -> float:
    """Median time of the prefill without pruning, over that of the prune step of its pages and the prefill with it.

    Taken in turns on this prompt alone, after a first prune step that may record. 1 where pruning is off.
    """
    if all(page.request.options.fixed_ratio == 1 for page in pages):
        return 1.0
    pixels = model.pixels([page.views for page in pages])

    def prune() -> None:
        pages[0].pruner.start([page.tokens for page in pages], pixels).result()

    def pruned_ms() -> float:
        watch = Stopwatch(model.device)
        prune()
        prefill(model.network, [pruned])
        return watch.stop()

    prune()
    times = [(_prefill_ms(model, unpruned), pruned_ms()) for _ in range(BASELINE_REPEATS)]
    return median(without for without, _ in times) / median(with_ for _, with_ in times)


def page_speedup(encoded: EncodedPage, decoded: Decoded, prefill_speedup: float) -> float:
    """Time from views to text without pruning over the time with it: of this page's own times, prune step and prefill
    ``prefill_speedup`` times as long, the encoder and the text as they are."""
    times = encoded.milliseconds
    pruned = times["prune"] + decoded.prefill_ms
    rest = times["encode"] + decoded.decode_ms
    return (rest + prefill_speedup * pruned) / (rest + pruned)


def _prefill_ms(model: OcrModel, prompt: DecoderInput) -> float:
    watch = Stopwatch(model.device)
    prefill(model.network, [prompt])
    return watch.stop()


def normalised_edit_distance(reference: str, text: str) -> float:
    """Levenshtein distance over the longer length, 0 (equal) to 1."""
    from rapidfuzz.distance import Levenshtein

    return float(Levenshtein.normalized_distance(reference, text))
