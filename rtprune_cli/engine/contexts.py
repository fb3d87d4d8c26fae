"""Several pages of a document read as one text: what happens to them, and when they are read one by one after all.

Each page is encoded and pruned by itself, with a ratio of its own; one prompt holds what stays of all of them, and the
text is parted at the page breaks that the model writes. Whatever goes wrong with that (a failure, a loop, a text that
is cut or has another number of pages) is no page's fault alone: its pages are then read by themselves.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

from rtprune_cli.engine.steps import (
    Alone,
    EncodedPage,
    PageSteps,
    Request,
    Speeds,
    normalised_edit_distance,
    page_speedup,
    prompt_speeds,
)
from rtprune_cli.failures import PageFailure
from rtprune_cli.model import OcrModel
from rtprune_cli.options import ResolvedOptions
from rtprune_cli.pruning import untouched
from rtprune_cli.records import Decoded, DecoderInput, PageResult, PreparedContext, PreparedPage, WarningRecord

log = logging.getLogger("rtprune")

# What a context does: it asks for its pages to be encoded and pruned, and for decoding, and ends with their results in
# order, or with why they are read by themselves
ContextSteps = Generator[Sequence[Request] | DecoderInput, Any, list[PageResult] | Alone]

_REASONS = {"loop": "their text ran into a loop", "length": "their text was cut at the token limit"}


class ContextReader:
    """What happens to a context, for all contexts of a run with one model."""

    def __init__(self, model: OcrModel, options: ResolvedOptions, steps: PageSteps) -> None:
        self._model, self._options, self._steps = model, options, steps

    def of(self, context: PreparedContext) -> ContextSteps:
        """The pages of a context, two or more, from their views to their results."""
        pages = context.pages
        encoded: list[EncodedPage] = []
        decoded: Decoded | None = None
        try:
            encoded = yield [Request(p.views, p.prune or self._options.prune, p.preprocess_ms) for p in pages]
            prompt = self._model.make_context([page.pruned for page in encoded])
            decoded = yield prompt
        except PageFailure as error:
            return alone(pages, error.failure.kind, encoded, decoded)
        if decoded.finish_reason != "eos":
            return alone(pages, _REASONS[decoded.finish_reason], encoded, decoded)
        parts = self._parts(decoded, len(pages))
        if len(parts) != len(pages):
            reason = f"their text has {len(parts)} pages instead of {len(pages)}"
            return alone(pages, reason, encoded, decoded)
        all_speeds = yield from self._speeds(encoded, prompt, parts)
        results = []
        for page, own, part, speeds in zip(pages, encoded, parts, all_speeds, strict=True):
            raw, markdown = self._steps.text(page.page, part)
            place = context.number, len(pages)
            results.append(self._steps.result(page.page, own, part, raw, markdown, speeds, context=place))
        return results

    def _parts(self, decoded: Decoded, count: int) -> list[Decoded]:
        """What was written of each page; ``count`` pages have equal parts of the time."""
        times = decoded.prefill_ms / count, decoded.decode_ms / count
        return [
            Decoded(decoded.token_ids[part], decoded.logprobs[part], decoded.finish_reason, *times)
            for part in self._model.page_texts(decoded.token_ids)
        ]

    def _speeds(
        self, encoded: Sequence[EncodedPage], prompt: DecoderInput, parts: Sequence[Decoded]
    ) -> Generator[DecoderInput, Decoded, list[Speeds]]:
        """Of each page; what they are compared with is read now."""
        asked = self._options.measure_baseline or self._options.compare
        unpruned = self._model.make_context([untouched(page.tokens) for page in encoded]) if asked else None
        shared = prompt_speeds(self._model, encoded, unpruned, prompt, self._options)
        found = [shared] * len(encoded)
        if shared.prefill is not None:
            found = [
                replace(shared, page=page_speedup(page, part, shared.prefill))
                for page, part in zip(encoded, parts, strict=True)
            ]
        if unpruned is not None and self._options.compare:
            distances = yield from self._distances(unpruned, parts)
            found = [replace(own, edit_distance=each) for own, each in zip(found, distances, strict=True)]
        return found

    def _distances(
        self, unpruned: DecoderInput, parts: Sequence[Decoded]
    ) -> Generator[DecoderInput, Decoded, Sequence[float | None]]:
        """Of each page's text to the one without pruning; None where that has another number of pages."""
        others: list[Decoded] = []
        try:
            others = self._parts((yield unpruned), len(parts))
        except PageFailure:  # the comparison must not cost the text that is there
            log.debug("a context could not be read unpruned to compare", exc_info=True)
        if len(others) != len(parts):
            log.warning(
                "pages that were read together could not be compared: unpruned, their text has another number of pages"
            )
            return [None] * len(parts)
        texts = [[self._model.decode_text(part.token_ids) for part in every] for every in (others, parts)]
        return [normalised_edit_distance(other, own) for other, own in zip(*texts, strict=True)]


def alone(
    pages: Sequence[PreparedPage],
    reason: str,
    encoded: Sequence[EncodedPage] = (),
    decoded: Decoded | None = None,
) -> Alone:
    """Why these pages are read by themselves, with each one's part of the time that it took to find that out."""
    spent = sum(sum(page.milliseconds.values()) for page in encoded)
    spent += 0.0 if decoded is None else decoded.prefill_ms + decoded.decode_ms
    first, last = pages[0].page.page, pages[-1].page.page
    message = f"pages {first} to {last} could not be read together ({reason}), and each was read by itself"
    return Alone(WarningRecord("context", message), spent / len(pages))
