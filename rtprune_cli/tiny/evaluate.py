"""Measure the bundled model on held-out synthetic pages.

``python -m rtprune_cli.tiny.evaluate --pages 500 --ratio dynamic``: every page is set as a PDF page, rasterised at
the tool's dpi, worn, resized as the tool does, and read by plain greedy decoding (no beam, no repetition rule, no
spelling help). Held-out pages have seeds below the training seeds, which start at 1,000,000.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rapidfuzz.distance import Levenshtein

from rtprune_cli.decoding import decode
from rtprune_cli.engine.steps import encode_and_prune
from rtprune_cli.hub import BUNDLED_CHECKPOINT
from rtprune_cli.markdown import MarkdownStyle, to_markdown
from rtprune_cli.model import OcrModel, load
from rtprune_cli.model.adapters.deepseek_ocr import ADAPTER
from rtprune_cli.options import DecodeOptions, Mode, ModelOptions, PruneOptions, parse_ratio
from rtprune_cli.pruning import Pruner
from rtprune_cli.records import Box, PrunedTokens, Views, ViewSpec
from rtprune_cli.tiny.drawing import render
from rtprune_cli.tiny.pages import FONTS, RANGES, Mix, SyntheticPage
from rtprune_cli.tiny.script import glyphs, script
from rtprune_cli.tiny.synth import make_page
from rtprune_cli.views import make_views

LAYOUTS = {"lines": 2.0, "article": 1.0, "table": 1.0, "picture": 1.0, "columns": 1.0}
HELD_OUT_MIX = Mix(layouts=LAYOUTS)
# The longest page of mode tiny has 250 characters and the end of text; tags and boxes take some 50 tokens a block.
MAX_NEW_TOKENS = {"tiny": 700, "base": 4000}
SIZE_STEP = 4  # px, of the groups by size
BATCH = 20
CANVAS = (1000, 1000)  # to which boxes are scaled before they are compared
STYLE = MarkdownStyle(tables="markdown", math="latex")


def held_out(seed: int, count: int, mix: Mix = HELD_OUT_MIX, mode: Mode = "tiny") -> list[SyntheticPage]:
    """The pages of ``count`` seeds from ``seed`` on."""
    return [make_page(seed + i, mix, mode) for i in range(count)]


def views_of(pages: Iterable[SyntheticPage]) -> list[Views]:
    """The pages' views as the tool makes them."""
    return [make_views(render(page), ViewSpec(page.mode, ADAPTER.layout)) for page in pages]


@torch.inference_mode()
def read(
    model: OcrModel, views: Sequence[Views], options: PruneOptions, prompt: str = "free"
) -> tuple[list[str], list[PrunedTokens]]:
    """Text of each view, tags included, and what was left of its visual tokens."""
    pruned = encode_and_prune(model, views, Pruner(options)).pruning.result()
    inputs = [model.make_prompt(page, prompt) for page in pruned]
    settings = DecodeOptions(max_new_tokens=MAX_NEW_TOKENS[views[0].mode], no_repeat_ngram=0)
    decoded = decode(model.network, inputs, settings, eos_token_id=model.eos_token_id)
    return [model.decode_text(page.token_ids) for page in decoded], pruned


def measure(
    model: OcrModel, pages: Sequence[SyntheticPage], options: PruneOptions, prompt: str = "free"
) -> dict[str, Any]:
    """CER overall and by group; errors are summed before dividing.

    For the prompt ``markdown`` the text is the markdown that the tool writes, and the boxes are scored as well:
    ``labels`` is the share of the pages whose blocks have the right labels in the right order, ``iou`` the mean
    intersection over union of the boxes of those pages.
    """
    started = time.monotonic()
    texts: list[str] = []
    pruned: list[PrunedTokens] = []
    for i in range(0, len(pages), BATCH):
        part, left = read(model, views_of(pages[i : i + BATCH]), options, prompt)
        texts += part
        pruned += left
    truths = [model.decode_text([token.id for token in script(page, prompt, glyphs(page))[:-1]]) for page in pages]
    boxes: dict[str, Any] = {}
    if prompt == "markdown":
        both = [[to_markdown(raw, size=CANVAS, page=1, style=STYLE) for raw in raws] for raws in (truths, texts)]
        boxes = _box_scores([page.boxes for page in both[0]], [page.boxes for page in both[1]])
        truths, texts = ([page.text for page in pages_of] for pages_of in both)
    groups: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for page, truth, text in zip(pages, truths, texts, strict=True):
        score = (Levenshtein.distance(text, truth), len(truth))
        for group in _groups(page):
            groups[group].append(score)
    return {
        "cer": {name: sum(e for e, _ in g) / max(1, sum(n for _, n in g)) for name, g in sorted(groups.items())},
        "pages": {name: len(g) for name, g in sorted(groups.items())},
        "exact_pages": sum(e == 0 for e, _ in groups["all"]) / len(pages),
        **boxes,
        "ratio": sum(p.ratio for p in pruned) / len(pruned),
        "visual_tokens": sum(len(p.keep) for p in pruned) / len(pruned),
        "seconds": time.monotonic() - started,
        "samples": [{"truth": t, "read": r} for t, r in list(zip(truths, texts, strict=True))[:8]],
    }


def _groups(page: SyntheticPage) -> Iterator[str]:
    yield "all"
    yield f"font {FONTS[page.font]}"
    yield f"layout {page.layout}"
    yield f"lines {len(page.lines):02}"
    yield f"wear {'some' if any(vars(page.wear).values()) else 'none'}"
    spec = RANGES[page.mode]
    across = page.height if spec.stretched else max(page.height, page.width)
    yield f"size {page.size * spec.side / across // SIZE_STEP * SIZE_STEP:.0f} px"


def _box_scores(truths: Sequence[Sequence[Box]], reads: Sequence[Sequence[Box]]) -> dict[str, float]:
    alike = [
        (truth, read)
        for truth, read in zip(truths, reads, strict=True)
        if [box.label for box in truth] == [box.label for box in read]
    ]
    overlaps = [_iou(a.box, b.box) for truth, read in alike for a, b in zip(truth, read, strict=True)]
    return {"labels": len(alike) / len(truths), "iou": sum(overlaps) / max(1, len(overlaps))}


def _iou(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / max(1, sum(areas) - width * height)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=BUNDLED_CHECKPOINT)
    parser.add_argument("--pages", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mode", choices=list(RANGES), default="tiny")
    parser.add_argument(
        "--size", type=float, nargs=2, metavar=("LEAST", "MOST"), help="type, px (default: the range's)"
    )
    parser.add_argument("--lines", type=int, metavar="N", help="at most so many lines (default: the range's)")
    parser.add_argument("--tight", type=float, default=0, metavar="SHARE", help="pages with lines 1.2 sizes apart")
    parser.add_argument("--prompt", choices=["free", "markdown"], default="free")
    parser.add_argument("--ratio", default="1", help="'dynamic' or the share of visual tokens to keep (default 1)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    model = load(ModelOptions(model=str(options.checkpoint), device=options.device, dtype=options.dtype))
    prune_options = PruneOptions(ratio=parse_ratio(options.ratio))
    mix = replace(
        HELD_OUT_MIX,
        size=options.size and tuple(options.size),
        lines=(1.0,) * (options.lines or 0),
        tight=options.tight,
    )
    pages = held_out(options.seed, options.pages, mix, options.mode)
    result = measure(model, pages, prune_options, options.prompt)
    if options.json:
        json.dump(result, sys.stdout, indent=1)
        return
    for name, cer in result["cer"].items():
        print(f"{name:24} {result['pages'][name]:4} pages  CER {100 * cer:6.2f} %")
    print(f"exact pages {100 * result['exact_pages']:.1f} %")
    if "iou" in result:
        print(f"labels right on {100 * result['labels']:.1f} % of the pages, IoU of their boxes {result['iou']:.3f}")
    print(f"ratio {result['ratio']:.3f}, {result['visual_tokens']:.1f} visual tokens a page")
    print(f"{result['seconds']:.1f} s")
    for sample in result["samples"][:4]:
        print(f"- {sample['truth']!r}\n  {sample['read']!r}")


if __name__ == "__main__":
    main()
