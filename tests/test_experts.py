"""How experts are computed: which way where, and that all ways give the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from conftest import GOLDEN, SHARED_GOLDEN, Case, Encoded, golden_cases
from torch import Tensor

from rtprune_cli.decoding import decode
from rtprune_cli.device.hardware import Capability
from rtprune_cli.engine.memory import MOST_ROWS
from rtprune_cli.model import OcrModel, experts
from rtprune_cli.model.experts import DENSE_TOKENS, choose, describe, waits
from rtprune_cli.model.network import assemble
from rtprune_cli.options import DecodeOptions, PruneOptions
from rtprune_cli.pruning import prune_pages

BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32
V100, T4, A100, L4, H100, B200, B300, RTX50 = (7, 0), (7, 5), (8, 0), (8, 9), (9, 0), (10, 0), (10, 3), (12, 0)
TOP_K, EXPERTS = 6, 64  # of DeepSeek-OCR
CASES = golden_cases(SHARED_GOLDEN) or golden_cases(GOLDEN)
QUICK = [name for name in CASES if name.endswith(("tiny", "small"))]


@pytest.mark.parametrize("card", [H100, B200, B300])
@pytest.mark.parametrize(
    ("tokens", "way"), [(1, "batched_mm"), (8, "dense"), (128, "dense"), (256, "grouped_mm"), (16384, "grouped_mm")]
)
def test_where_the_grouped_product_does_not_wait_it_begins_earlier(card: Capability, tokens: int, way: str) -> None:
    assert choose(card, BF16, tokens, TOP_K, EXPERTS) == way
    assert not waits(card, BF16, tokens)


@pytest.mark.parametrize(
    ("card", "dtype"),
    [(A100, BF16), (L4, BF16), (RTX50, BF16), (T4, FP16), (V100, FP16), (H100, FP16), (H100, FP32), (None, BF16)],
)
@pytest.mark.parametrize(
    ("tokens", "way"), [(1, "batched_mm"), (3, "batched_mm"), (4, "dense"), (256, "dense"), (16384, "grouped_mm")]
)
def test_elsewhere_it_follows_the_number_of_tokens(
    card: Capability | None, dtype: torch.dtype, tokens: int, way: str
) -> None:
    assert choose(card, dtype, tokens, TOP_K, EXPERTS) == way


def test_as_many_rows_as_are_ever_chosen_can_be_recorded_on_every_card() -> None:
    assert MOST_ROWS["cuda"] <= DENSE_TOKENS
    assert not waits(A100, BF16, MOST_ROWS["cuda"])
    assert waits(A100, BF16, DENSE_TOKENS + 1)


def test_the_ways_are_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experts, "capability", lambda _: A100)
    words = describe(torch.device("cuda"), BF16)
    assert words == "batched_mm for few tokens, dense up to 512, grouped_mm beyond, which waits for the host"
    monkeypatch.setattr(experts, "capability", lambda _: H100)
    assert describe(torch.device("cuda"), BF16) == "batched_mm for few tokens, dense up to 192, grouped_mm beyond"
    assert describe(torch.device("cpu"), BF16) == "eager"


# --- All ways give the same ----------------------------------------------------------------------------------------


@pytest.fixture
def by(golden_model: OcrModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], OcrModel]]:
    """A function that gives the golden model with its experts computed in one way, as on a GPU."""
    name = experts.implementation(torch.device("cuda"))

    def computed(way: str) -> OcrModel:
        monkeypatch.setattr(experts, "capability", lambda _: A100)
        monkeypatch.setattr(experts, "choose", lambda *_: way)
        golden_model.network.set_experts_implementation(name)
        return golden_model

    yield computed
    golden_model.network.set_experts_implementation("eager")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["grouped_mm", "batched_mm", "dense"])
@pytest.mark.parametrize("name", QUICK)
def test_golden_tokens_are_written_in_every_way(
    name: str, way: str, by: Callable[[str], OcrModel], encode_case: Callable[[Case], Encoded]
) -> None:
    case, model = CASES[name], by(way)
    seen = encode_case(case)
    (page,) = prune_pages(seen.tokens, seen.pixels, PruneOptions())
    prompt = assemble(model.embed([0]), [page], model.embed([5, 17, 33, 210, 9]))
    options = DecodeOptions(max_new_tokens=16, no_repeat_ngram=0)
    (found,) = decode(model.network, [prompt], options, eos_token_id=-1)
    assert found.token_ids == case.values["results"]["dynamic"]["tokens"]


@pytest.mark.parametrize("dtype", [BF16, FP16])
def test_in_low_precision_dense_differs_by_rounding_alone(golden_model: OcrModel, dtype: torch.dtype) -> None:
    layer = _layer(golden_model.network)
    hidden, chosen, weights = _routed(layer, 40)
    exact = experts.dense(layer, hidden, chosen, weights)
    found = experts.dense(_Cast(layer, dtype), hidden.to(dtype), chosen, weights)
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), exact, rtol=0.05, atol=0.02 * exact.abs().max().item())


def test_an_overflow_in_an_expert_that_was_not_chosen_stays_there(golden_model: OcrModel) -> None:
    layer = _layer(golden_model.network)
    hidden, chosen, weights = _routed(layer, 4)
    chosen = torch.zeros_like(chosen) + torch.arange(chosen.shape[1])
    before = experts.dense(layer, hidden, chosen, weights)
    spoilt = _Cast(layer, FP32)
    spoilt.down_proj = spoilt.down_proj.clone()
    spoilt.down_proj[-1] = float("inf")
    assert torch.equal(experts.dense(spoilt, hidden, chosen, weights), before)


class _Cast:
    """A layer's experts in another precision."""

    def __init__(self, layer: Any, dtype: torch.dtype) -> None:
        self.num_experts, self._apply_gate = layer.num_experts, layer._apply_gate
        self.gate_up_proj, self.down_proj = layer.gate_up_proj.detach().to(dtype), layer.down_proj.detach().to(dtype)


def _layer(network: Any) -> Any:
    return next(module for module in network.modules() if hasattr(module, "gate_up_proj"))


def _routed(layer: Any, tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    chance = torch.Generator().manual_seed(tokens)
    scores = torch.rand(tokens, layer.num_experts, generator=chance)
    weights, chosen = scores.softmax(-1).topk(2)
    return torch.randn(tokens, layer.hidden_dim, generator=chance), chosen, weights
