"""Owns how a layer's experts are computed: by which of several equal ways on this device, in this precision.

Letters: T tokens, k experts of each, E experts of a layer, D hidden size, I an expert's inner size.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from rtprune_cli.device.hardware import Capability, capability

# eager: transformers' loop over the experts that were chosen. grouped_mm: tokens sorted by expert, one grouped product.
# batched_mm: each token with copies of its experts' weights. dense: every expert for every token, of which each token
# takes its own. All give the same within rounding.
Way = Literal["eager", "grouped_mm", "batched_mm", "dense"]

# Beyond so many tokens at once the arithmetic of all experts costs more than what dense saves: on cards whose grouped
# product waits for the host, and on those where it does not. The second was measured on an H200 in bfloat16 (a layer of
# 64, 128, 256 tokens: dense 0.165, 0.209, 0.309 ms, grouped_mm 0.245, 0.248, 0.261 ms; docs/benchmarks/gpu/h200).
DENSE_TOKENS = 512
DENSE_TOKENS_WITHOUT_WAITING = 192
COPIES = 3  # times that batched_mm moves a weight: it reads it, writes the copy and reads that
CUDA_IMPLEMENTATION = "rtprune"  # its name for transformers


def grouped_without_waiting(found: Capability | None, dtype: torch.dtype) -> bool:
    """Whether torch's grouped product needs no number from the device.

    That is so on Hopper and Blackwell data-centre cards in bfloat16 alone; elsewhere it copies the groups' sizes to the
    host and loops over the experts (``_grouped_mm_cuda`` in ATen/native/cuda/GroupedBlas.cpp,
    ``_grouped_mm_fallback`` in ATen/native/GroupedMMUtils.h).
    """
    return found is not None and found[0] in (9, 10) and dtype == torch.bfloat16


def choose(found: Capability | None, dtype: torch.dtype, tokens: int, top_k: int, experts: int) -> Way:
    """The way that a CUDA device computes ``tokens`` tokens at once.

    Few tokens go by copies of the weights, since the bytes that are moved rule; more by all experts, of which 32 tokens
    need nearly all anyway; a prompt, whose arithmetic rules, by the grouped product.
    """
    if COPIES * tokens * top_k <= experts:
        return "batched_mm"
    return "dense" if tokens <= dense_tokens(found, dtype) else "grouped_mm"


def dense_tokens(found: Capability | None, dtype: torch.dtype) -> int:
    """Up to how many tokens at once every expert is computed for each of them."""
    return DENSE_TOKENS_WITHOUT_WAITING if grouped_without_waiting(found, dtype) else DENSE_TOKENS


def waits(found: Capability | None, dtype: torch.dtype, tokens: int) -> bool:
    """Whether a step of so many tokens asks the device for a number, so that it cannot be recorded as a graph."""
    return tokens > dense_tokens(found, dtype) and not grouped_without_waiting(found, dtype)


def describe(device: torch.device, dtype: torch.dtype) -> str:
    """The ways that a model's layers go on a device, in words."""
    if device.type != "cuda":
        return "eager"
    found = capability(device)
    words = f"batched_mm for few tokens, dense up to {dense_tokens(found, dtype)}, grouped_mm beyond"
    return words if grouped_without_waiting(found, dtype) else f"{words}, which waits for the host"


def implementation(device: torch.device) -> str:
    """What transformers is to be told (``experts_implementation``) for a model that runs on this device."""
    if device.type != "cuda":
        return "eager"
    from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

    for name, function in (("dense", dense), (CUDA_IMPLEMENTATION, forward)):
        ALL_EXPERTS_FUNCTIONS.register(name, function)
    return CUDA_IMPLEMENTATION


def forward(layer: Any, hidden: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
    """The experts of a layer by the way that :func:`choose` takes.

    Args:
        layer: transformers' module, with ``gate_up_proj`` (E, 2I, D) and ``down_proj`` (E, D, I).
        hidden: (T, D).
        chosen: the experts of each token, (T, k).
        weights: their weights, (T, k) float32.

    Returns:
        (T, D), of hidden's dtype.
    """
    from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

    way = choose(capability(hidden.device), hidden.dtype, len(hidden), chosen.shape[-1], layer.num_experts)
    return ALL_EXPERTS_FUNCTIONS[way](layer, hidden, chosen, weights)


def dense(layer: Any, hidden: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
    """Every expert for every token; each takes its own. As :func:`forward`; for any card and precision, and no waiting.

    What a token's own experts say is picked out before it is weighed, so that an overflow in another's cannot reach it.
    """
    every = hidden.expand(layer.num_experts, *hidden.shape)  # (E, T, D) without copies
    inner = layer._apply_gate(torch.bmm(every, layer.gate_up_proj.transpose(1, 2)))  # (E, T, I)
    outer = torch.bmm(inner, layer.down_proj.transpose(1, 2))  # (E, T, D)
    own = outer[chosen, torch.arange(len(hidden), device=hidden.device)[:, None]]  # (T, k, D)
    return (own * weights[..., None]).sum(1).to(hidden.dtype)
