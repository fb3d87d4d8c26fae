"""A sum and its RMS norm in one kernel: what stands between two products of a decoder layer.

Letters: T tokens, P parts that are summed, D hidden size.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


def add_norm_twin(hidden: Tensor, parts: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """What :func:`add_norm` computes, step by step (``UnlimitedOcrTextRMSNorm`` in transformers)."""
    whole = hidden + parts.float().sum(1).to(hidden.dtype)
    wide = whole.float()
    normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return whole, weight * normed.to(hidden.dtype)


def add_norm(hidden: Tensor, parts: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """``hidden`` (T, D) with the sum of ``parts`` (T, P, D) added, and its RMS norm by ``weight`` (D,)."""
    tokens, size = hidden.shape
    whole, normed = torch.empty_like(hidden), torch.empty_like(hidden)
    _add_norm[(tokens,)](
        hidden, parts, weight, whole, normed, hidden.stride(0), parts.stride(0), parts.stride(1), eps,
        SIZE=size, PARTS=parts.shape[1], BLOCK=triton.next_power_of_2(size),
    )  # fmt: skip
    return whole, normed


@triton.jit
def _add_norm(
    hidden, parts, weight, whole, normed, hidden_row, parts_row, part_row, eps,
    SIZE: tl.constexpr, PARTS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    there = at < SIZE
    added = tl.zeros((BLOCK,), tl.float32)
    for part in tl.static_range(PARTS):
        added += tl.load(parts + token * parts_row + part * part_row + at, mask=there, other=0.0).to(tl.float32)
    own = tl.load(hidden + token * hidden_row + at, mask=there, other=0.0)
    kind = own.dtype
    # Rounded where the twin rounds: sums of layers would drift apart otherwise.
    own = (own.to(tl.float32) + added.to(kind).to(tl.float32)).to(kind)
    tl.store(whole + token * SIZE + at, own, mask=there)
    wide = own.to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(wide * wide) / SIZE + eps)
    scaled = (wide * scale).to(kind).to(tl.float32) * tl.load(weight + at, mask=there, other=0.0).to(tl.float32)
    tl.store(normed + token * SIZE + at, scaled.to(kind), mask=there)
