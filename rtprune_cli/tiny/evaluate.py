"""Measure the bundled model: character error rate on held-out synthetic pages.

``python -m rtprune_cli.tiny.evaluate --pages 200 --ratio dynamic``: every page is set as a PDF page, rasterised at
the tool's dpi, resized as the tool does, and read by plain greedy decoding (no beam, no repetition rule, no
spelling help). Held-out pages have seeds below the training seeds, which start at 1,000,000.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from rapidfuzz.distance import Levenshtein

from rtprune_cli.decoding import assemble, decode
from rtprune_cli.model import OcrModel, load
from rtprune_cli.options import DecodeOptions, ModelOptions, PruneOptions, parse_ratio
from rtprune_cli.pruning import prune
from rtprune_cli.records import PrunedTokens, Views
from rtprune_cli.tiny import CHECKPOINT
from rtprune_cli.tiny.synth import FONTS, Mix, Page, make_page, render
from rtprune_cli.views import make_views

HELD_OUT_MIX = Mix(random=0.1, number=0.1)
# The longest page has 149 characters and the end of text.
DECODE = DecodeOptions(max_new_tokens=190, no_repeat_ngram=0)
BATCH = 20


def held_out(seed: int, count: int, mix: Mix = HELD_OUT_MIX) -> list[Page]:
    """The first ``count`` different pages from ``seed`` on."""
    return [make_page(seed + i, mix) for i in range(count)]


def views_of(pages: Iterable[Page]) -> list[Views]:
    """The pages' views as the tool makes them."""
    return [make_views(render(page), "tiny") for page in pages]


@torch.inference_mode()
def read(model: OcrModel, views: Sequence[Views], options: PruneOptions) -> tuple[list[str], list[PrunedTokens]]:
    """Text of each view, and what was left of its visual tokens."""
    before, after = (model.embed(ids) for ids in model.prompt_ids(model.prompt))
    pixels = model.pixels(views)
    pruned = prune(model.encode(views, pixels), pixels, options)
    inputs = [assemble(before, page, after) for page in pruned]
    decoded = decode(model.network, inputs, DECODE, eos_token_id=model.eos_token_id)
    return [model.decode_text(page.token_ids) for page in decoded], pruned


def measure(model: OcrModel, pages: Sequence[Page], options: PruneOptions) -> dict[str, Any]:
    """CER overall, by font and by number of lines; exact pages; errors are summed before dividing."""
    started = time.monotonic()
    texts: list[str] = []
    pruned: list[PrunedTokens] = []
    for i in range(0, len(pages), BATCH):
        part, left = read(model, views_of(pages[i : i + BATCH]), options)
        texts += part
        pruned += left
    groups: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for page, text in zip(pages, texts, strict=True):
        score = (Levenshtein.distance(text, page.text), len(page.text))
        for group in ("all", f"font {FONTS[page.style.font]}", f"lines {len(page.lines)}"):
            groups[group].append(score)
    return {
        "cer": {name: sum(e for e, _ in g) / sum(n for _, n in g) for name, g in sorted(groups.items())},
        "pages": {name: len(g) for name, g in sorted(groups.items())},
        "exact_pages": sum(e == 0 for e, _ in groups["all"]) / len(pages),
        "ratio": sum(p.ratio for p in pruned) / len(pruned),
        "visual_tokens": sum(len(p.keep) for p in pruned) / len(pruned),
        "seconds": time.monotonic() - started,
        "samples": [{"truth": p.text, "read": t} for p, t in list(zip(pages, texts, strict=True))[:8]],
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ratio", default="1", help="'dynamic' or the share of visual tokens to keep (default 1)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    model = load(ModelOptions(model=str(options.checkpoint), device=options.device, dtype=options.dtype))
    prune_options = PruneOptions(ratio=parse_ratio(options.ratio))
    result = measure(model, held_out(options.seed, options.pages), prune_options)
    if options.json:
        json.dump(result, sys.stdout, indent=1)
        return
    for name, cer in result["cer"].items():
        print(f"{name:16} {result['pages'][name]:4} pages  CER {100 * cer:6.2f} %")
    print(f"exact pages {100 * result['exact_pages']:.1f} %")
    print(f"ratio {result['ratio']:.3f}, {result['visual_tokens']:.1f} visual tokens a page")
    print(f"{result['seconds']:.1f} s")
    for sample in result["samples"][:4]:
        print(f"- {sample['truth']!r}\n  {sample['read']!r}")


if __name__ == "__main__":
    main()
