"""The operations of the prune step, counted from sizes, against those that torch does."""

from __future__ import annotations

import json
import re
from typing import Any, get_args

import pytest
import torch
from conftest import GOLDEN, for_every
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from rtprune_cli.model.adapters import network_config
from rtprune_cli.options import Importance, Merge, Method, PruneOptions
from rtprune_cli.pruning.costs import prune_flops
from rtprune_cli.pruning.methods import Batch, prune_batch
from rtprune_cli.pruning.pruner import unpack
from rtprune_cli.records import PrunedTokens, VisualTokens
from rtprune_cli.report import prefill_flops

# What computes element by element; others move numbers, compare them or put them in order.
COMPUTES = re.compile(
    "abs|add|addcmul|amax|amin|clamp_min|div|exp|floor|linalg_vector_norm|log|log_softmax|maximum|minimum|mul|neg|pow|"
    "reciprocal|round|rsqrt|rsub|sqrt|sub|sum|var"
)
TWICE = frozenset(("addcmul", "linalg_vector_norm"))


class Counter(TorchDispatchMode):
    """Operations of what runs in it: of matrix products by torch's own formulas, of others one for each element."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found, given = call(*args, **(kwargs or {})), kwargs or {}
        name = call._schema.name.removeprefix("aten::").removesuffix("_")
        if call._overloadpacket in flop_registry:
            self.flops += flop_registry[call._overloadpacket](*args, **given, out_val=found)
        elif COMPUTES.fullmatch(name.lstrip("_")):
            size = max(each.numel() for each in (*args, found) if isinstance(each, Tensor))
            self.flops += size * (2 if name in TWICE or given.get("alpha", 1) != 1 else 1)
        return found


def page(count: int, hidden: int, side: int) -> tuple[Batch, VisualTokens]:
    """Random tokens in rows of 10."""
    torch.manual_seed(0)
    newline = torch.arange(count) % 11 == 10
    tokens = VisualTokens(
        torch.randn(count, hidden) + 0.5, newline, torch.rand(count), torch.randn(count, 64), torch.randn(count, 128)
    )
    pixels = torch.rand(1, 3, side, side) * 2 - 1
    extra = (tokens.cls_attention[None], tokens.keys[None], torch.randn(6, hidden), tokens.features[None])
    return Batch(tokens.tokens[None], pixels, torch.stack([newline, tokens.prunable]), *extra), tokens


ABLATIONS = [
    *(PruneOptions(ratio=0.7, method=method) for method in get_args(Method)),
    *(PruneOptions(ratio=0.7, merge=merge) for merge in get_args(Merge)),
    *(PruneOptions(ratio=0.7, importance=by) for by in get_args(Importance)),
    *(PruneOptions(ratio=0.7, method=name, variant="authors") for name in ("visionzip", "divprune", "cdpruner")),
]


@for_every("options", ABLATIONS)
def test_the_count_is_what_torch_does(options: PruneOptions) -> None:
    batch, tokens = page(111, 256, 192)
    with Counter() as counter:
        merged = prune_batch(batch, options)
    pruned = unpack(merged.tokens[0], merged.facts[0], int(tokens.prunable.sum()))
    assert prune_flops(options, tokens, pruned, 192) == pytest.approx(counter.flops, rel=0.02)


def test_pages_that_are_not_pruned_are_not_charged() -> None:
    _, tokens = page(111, 16, 64)
    assert prune_flops(PruneOptions(ratio=1.0), tokens, some(tokens, 100), 64) == 0


def some(tokens: VisualTokens, kept: int) -> PrunedTokens:
    prunable = int(tokens.prunable.sum())
    return PrunedTokens(tokens.tokens[:kept], torch.arange(kept), len(tokens.tokens), prunable, kept, 0, 0.8, 0.5, 0.5)


# Share of the prefill of the real model at 84 % of the tokens, in %: docs/accuracy.md has these figures.
SHARES = {"base": (273, 1024, 0.20), "large": (421, 1280, 0.31), "gundam of 9 tiles": (1203, 1024, 0.86)}


@for_every("case", SHARES.values())
def test_the_share_of_the_real_model_is_as_the_docs_say(case: tuple[int, int, float]) -> None:
    count, side, share = case
    config = network_config(json.loads((GOLDEN / "deepseek_ocr_config.json").read_text())).text_config
    tokens = VisualTokens(torch.empty(count, config.hidden_size, device="meta"), torch.zeros(count, dtype=torch.bool))
    kept = int(0.84 * count)
    found = prune_flops(PruneOptions(), tokens, some(tokens, kept), side) / prefill_flops(config, kept + 10)
    assert 100 * found == pytest.approx(share, abs=0.01)
