"""The only place where stages meet: documents in, page results out, in order, none missing."""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import groupby
from operator import attrgetter
from statistics import median
from typing import Any

import torch

from rtprune_cli import __version__
from rtprune_cli.decode import assemble, decode, prefill
from rtprune_cli.errors import RtpruneError
from rtprune_cli.inputs import read_pages
from rtprune_cli.markdown import to_markdown
from rtprune_cli.model import OcrModel
from rtprune_cli.options import OcrOptions
from rtprune_cli.outputs import FolderOutput, StreamOutput
from rtprune_cli.pruning import prune
from rtprune_cli.records import (
    Decoded,
    DecoderInput,
    Document,
    Markdown,
    PageFault,
    PageImage,
    PageResult,
    PrunedTokens,
    VisualTokens,
)
from rtprune_cli.report import Record, failure_record, page_record, prefill_flops, summarise
from rtprune_cli.timing import Stopwatch
from rtprune_cli.views import make_views

log = logging.getLogger("rtprune")

BASELINE_REPEATS = 3  # interleaved prefills, with and without pruning, whose medians are compared


class PageFailedError(RtpruneError):
    """A stage failed on one page; the others go on."""

    code = "page_failed"


def ocr(
    documents: Iterable[Document],
    model: OcrModel,
    options: OcrOptions,
    output: FolderOutput | StreamOutput,
    on_page: Callable[[PageResult], None] = lambda _: None,
) -> list[Record]:
    """Read documents and write each as soon as its last page is done; the records of all pages.

    Raises:
        OutputError: the output cannot be written; what was finished before stays.
    """
    settings = run_settings(model, options)
    records: list[Record] = []
    for document, results in groupby(run(documents, model, options), key=attrgetter("document")):
        own = []
        for result in results:
            output.add(result)
            own.append(result.record)
            on_page(result)
        output.finish(document, {"summary": summarise(own), "settings": settings})
        records += own
    return records


def run(documents: Iterable[Document], model: OcrModel, options: OcrOptions) -> Iterator[PageResult]:
    """Read documents page by page, in order. Every page yields one result; one that fails has its error in the record.

    A document that cannot be opened yields one result whose record has no page number.
    """
    options = replace(options, mode=options.mode or model.mode, prompt=options.prompt or model.prompt)
    waiting: list[PageImage] = []
    for item in _pages(documents, options):
        if isinstance(item, PageImage):
            waiting.append(item)
            if len(waiting) < options.decode.batch_size:
                continue
        yield from _read_batch(waiting, model, options)
        waiting = []
        if isinstance(item, PageResult):
            yield item
    yield from _read_batch(waiting, model, options)


def _pages(documents: Iterable[Document], options: OcrOptions) -> Iterator[PageImage | PageResult]:
    for document in documents:
        try:
            for item in read_pages(document, options.input):
                yield _failed(document, item.page, item.error) if isinstance(item, PageFault) else item
        except RtpruneError as error:
            yield _failed(document, None, error)


def _read_batch(pages: Sequence[PageImage], model: OcrModel, options: OcrOptions) -> list[PageResult]:
    if not pages:
        return []
    try:
        return _read(pages, model, options)
    except RtpruneError:
        raise
    except Exception as error:
        if len(pages) > 1:  # one bad page must not take its neighbours with it
            return [result for page in pages for result in _read_batch([page], model, options)]
        log.debug("page %d of %s failed", pages[0].page, pages[0].document.name, exc_info=True)
        reason = PageFailedError(
            f"page {pages[0].page} of {pages[0].document.name} could not be read ({type(error).__name__})",
            "Run again with -vv for the traceback",
        )
        return [_failed(pages[0].document, pages[0].page, reason)]


def _read(pages: Sequence[PageImage], model: OcrModel, options: OcrOptions) -> list[PageResult]:
    """The stages, one after the other, over a batch. Pages share a stage's time in equal parts."""
    spent: dict[str, float] = {}
    assert options.mode
    assert options.prompt
    with _timed(spent, "preprocess", model.device, len(pages)):
        views = [make_views(page.image, options.mode) for page in pages]
    with _timed(spent, "encode", model.device, len(pages)):
        tokens = model.encode(views)
    with _timed(spent, "prune", model.device, len(pages)):
        pruned = prune(tokens, [v.global_view for v in views], options.prune)
    before, after = (model.embed(ids) for ids in model.prompt_ids(options.prompt))
    inputs = [assemble(before, p, after) for p in pruned]
    decoded = _decode(model, inputs, options)
    results = []
    for i, page in enumerate(pages):
        raw = model.decode_text(decoded[i].token_ids)
        speedup, distance = None, None
        if options.measure_baseline or options.compare:
            unpruned = assemble(before, _untouched(tokens[i], pruned[i]), after)
            if options.measure_baseline:
                speedup = measure_prefill_speedup(model, unpruned, inputs[i])
            if options.compare:
                text = model.decode_text(_decode(model, [unpruned], options)[0].token_ids)
                distance = normalised_edit_distance(text, raw)
        flops = [prefill_flops(model.text_config, n) for n in (inputs[i].next_position, len(inputs[i].embeds))]
        record = page_record(
            page,
            views[i],
            pruned[i],
            decoded[i],
            prompt=options.prompt,
            milliseconds=spent,
            flops_speedup=flops[0] / flops[1],
            prefill_speedup=speedup,
            edit_distance=distance,
        )
        markdown = to_markdown(raw, size=page.image.size, page=page.page, tables=options.output.tables)
        results.append(PageResult(page.document, record, markdown, raw, page.image))
    return results


def _decode(model: OcrModel, inputs: Sequence[DecoderInput], options: OcrOptions) -> list[Decoded]:
    return decode(
        model.network, inputs, options.decode, eos_token_id=model.eos_token_id, ngram_exempt=model.ngram_exempt
    )


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


def run_settings(model: OcrModel, options: OcrOptions) -> dict[str, Any]:
    """What a reader of the report needs to run this again: settings, model, device and versions."""
    import transformers

    device = torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else platform.machine()
    settings = asdict(options)
    settings["input"].pop("password")  # a report is shared; a password is not
    return {
        **settings,
        "mode": options.mode or model.mode,
        "prompt": options.prompt or model.prompt,
        "model": {
            "name": model.name,
            "revision": model.revision,
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": str(model.device),
            "device_name": device,
            "attention": model.attention,
        },
        "versions": {
            "rtprune": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def _failed(document: Document, page: int | None, error: RtpruneError) -> PageResult:
    log.error("%s", error)
    return PageResult(document, failure_record(document, page, error), Markdown(""))


@contextmanager
def _timed(spent: dict[str, float], stage: str, device: torch.device, pages: int) -> Iterator[None]:
    watch = Stopwatch(device)
    yield
    spent[stage] = watch.stop() / pages
