"""What contexts of many pages cost by formula, for docs/make_benchmarks.py: Unlimited-OCR's real sizes, no machine."""

from __future__ import annotations

from typing import Any

from rtprune_cli.bench.speed import floors
from rtprune_cli.bench.speed.arch import read_arch
from rtprune_cli.bench.speed.plan import ARCHITECTURES
from rtprune_cli.model.adapters import adapter_of, network_config
from rtprune_cli.options import CELL, view_side
from rtprune_cli.records import ViewSpec
from rtprune_cli.report import prefill_flops
from rtprune_cli.views.grid import page_tokens

NAME = "unlimited-ocr"
PAGES, RATIOS, TOGETHER = (1, 8, 40), (1.0, 0.84, 0.5), (1, 8)
ITEM = 2  # bytes of a number in bfloat16
WRITTEN = 1000  # tokens, far more than the window: from its length on, a text costs no more

HEAD = [
    "pages a context", "ratio", "prompt tokens", "cache, prompt and ring",
    *(f"bytes a step, {'1 context' if count == 1 else f'{count} contexts'}" for count in TOGETHER),
    "prefill, TFLOPs",
]  # fmt: skip


def prompt_tokens(pages: int, ratio: float) -> int:
    """Of a context of so many pages; no row of cells is lost whole, which would take its newline with it."""
    adapter = adapter_of(read_arch(NAME))
    assert adapter.contexts is not None
    mode = adapter.contexts.mode
    cells, page = (view_side(mode) // CELL) ** 2, page_tokens(ViewSpec(mode, adapter.layout))
    return 1 + ARCHITECTURES[NAME].context_text_after + pages * (page - cells + int(cells * ratio))


def lines() -> list[list[str]]:
    """The cells under :data:`HEAD`; in brackets the share of what the same takes unpruned."""
    text = network_config(read_arch(NAME)).text_config
    found = []
    for pages in PAGES:
        whole = _costs(text, prompt_tokens(pages, 1.0))
        for ratio in RATIOS:
            tokens = prompt_tokens(pages, ratio)
            cells = [
                unit.format(cost) + ("" if ratio == 1 else f" ({100 * cost / all_of_it:.1f} %)")
                for unit, cost, all_of_it in zip(UNITS, _costs(text, tokens), whole, strict=True)
            ]
            found.append([str(pages), f"{ratio:g}", f"{tokens:,}", *cells])
    return found


UNITS = ("{:,.1f} MB", *("{:,.3f} GB" for _ in TOGETHER), "{:,.3f}")


def _costs(text: Any, tokens: int) -> list[float]:
    context = floors.in_cache(text, tokens, WRITTEN)
    cache = floors.cache_bytes(text, context, ITEM) / 1e6
    steps = [floors.step_cost(text, count, context, ITEM).bytes / 1e9 for count in TOGETHER]
    return [cache, *steps, prefill_flops(text, tokens) / 1e12]
