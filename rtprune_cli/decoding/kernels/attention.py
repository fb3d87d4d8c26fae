"""Attention of one new token of each row over that row's own tokens in the cache.

Rotary positions, the write to the cache and the attention are one kernel, split over the keys; a second one joins the
splits. Lengths and places are read from the device's memory, so that one recording serves rows of all lengths.

Letters: B rows, H heads, G key-value heads, K size of a head, C tokens that a slot of the cache holds, S splits.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

# What differs from step to step, as numbers of rows and splits, is no constant of a kernel: each value of a constant is
# compiled by itself, which takes a second.
BLOCK = 32  # keys that are looked at together
PROGRAMS = 4  # of each processor of the device, where the rows are few
MOST_SPLITS = 64


def attend_twin(
    qkv: Tensor, cos: Tensor, sin: Tensor, keys: Tensor, values: Tensor, places: Tensor, last: Tensor, heads: int
) -> Tensor:
    """What :func:`attend` computes, step by step (``UnlimitedOcrTextAttention`` in transformers)."""
    rows, groups, size = len(qkv), keys.shape[1], keys.shape[3]
    query, key, value = qkv.view(rows, -1, size).split([heads, groups, groups], dim=1)
    query, key = _turned(query, cos, sin), _turned(key, cos, sin)
    at = torch.arange(rows, device=qkv.device)
    keys[at, :, places], values[at, :, places] = key, value
    own_keys, own_values = (
        each[:rows].float().repeat_interleave(heads // groups, dim=1) for each in (keys, values)
    )  # (B, H, C, K)
    scores = torch.einsum("bhk,bhck->bhc", query.float(), own_keys) * size**-0.5
    seen = torch.arange(keys.shape[2], device=qkv.device) <= last[:, None]
    weights = scores.masked_fill(~seen[:, None], float("-inf")).softmax(-1)
    return torch.einsum("bhc,bhck->bhk", weights, own_values).to(qkv.dtype).reshape(rows, -1)


def _turned(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = states.shape[-1] // 2
    turned = torch.cat([-states[..., half:], states[..., :half]], dim=-1)
    return states * cos[:, None] + turned * sin[:, None]


def attend(
    qkv: Tensor, cos: Tensor, sin: Tensor, keys: Tensor, values: Tensor, places: Tensor, last: Tensor, heads: int
) -> Tensor:
    """Put the new token of each row into the cache, and attend.

    Args:
        qkv: what the new tokens ask, are found by, and say: (B, (H + 2G) * K), heads after one another.
        cos, sin: of their positions, (B, K).
        keys, values: the layer's cache, (at least B, G, C, K); changed at ``places``.
        places: where each new token goes, (B,) int64.
        last: the last place that each row sees, (B,) int64; no place before it is left out, none behind it seen.
        heads: H.

    Returns:
        (B, H * K), of qkv's dtype.
    """
    rows, size, groups = len(qkv), keys.shape[3], keys.shape[1]
    splits = splits_for(rows * heads, qkv.device)
    partial = torch.empty(rows, heads, splits, size + 2, dtype=torch.float32, device=qkv.device)
    out = torch.empty(rows, heads * size, dtype=qkv.dtype, device=qkv.device)
    half = triton.next_power_of_2(size // 2)
    _attend[(rows, heads, splits)](
        qkv, cos, sin, keys, values, places, last, partial,
        qkv.stride(0), keys.stride(0), keys.stride(1), keys.stride(2), size**-0.5, splits,
        HEADS=heads, GROUPS=groups, SIZE=size, HALF=half, BLOCK=BLOCK,
    )  # fmt: skip
    _join[(rows, heads)](
        partial, out, splits, HEADS=heads, SIZE=size, WIDE=triton.next_power_of_2(size), MOST=MOST_SPLITS,
    )  # fmt: skip
    return out


def splits_for(programs: int, device: torch.device) -> int:
    """How many parts the keys of a row are split into, so that so many programs fill the device."""
    processors = torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1
    return max(1, min(MOST_SPLITS, PROGRAMS * processors // programs))


@triton.jit
def _half(pointer, at, there, cos_pointer, sin_pointer, SIZE: tl.constexpr):
    """Both halves of a head, turned to its position."""
    first = tl.load(pointer + at, mask=there, other=0.0)
    second = tl.load(pointer + SIZE // 2 + at, mask=there, other=0.0)
    kind = first.dtype
    cos1, sin1 = tl.load(cos_pointer + at, mask=there, other=0.0), tl.load(sin_pointer + at, mask=there, other=0.0)
    cos2 = tl.load(cos_pointer + SIZE // 2 + at, mask=there, other=0.0)
    sin2 = tl.load(sin_pointer + SIZE // 2 + at, mask=there, other=0.0)
    first, second = first.to(tl.float32), second.to(tl.float32)
    # Each product is rounded, as the twin's are.
    own1 = (first * cos1.to(tl.float32)).to(kind).to(tl.float32)
    own2 = (second * cos2.to(tl.float32)).to(kind).to(tl.float32)
    other1 = (second * sin1.to(tl.float32)).to(kind).to(tl.float32)
    other2 = (first * sin2.to(tl.float32)).to(kind).to(tl.float32)
    return (own1 - other1).to(kind), (own2 + other2).to(kind)


@triton.jit(do_not_specialize=["splits"])
def _attend(
    qkv, cos, sin, keys, values, places, last, partial, qkv_row, cache_row, cache_head, cache_token, scale, splits,
    HEADS: tl.constexpr, GROUPS: tl.constexpr, SIZE: tl.constexpr, HALF: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, head, split = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2)
    group = head // (HEADS // GROUPS)
    at = tl.arange(0, HALF)
    there = at < SIZE // 2
    place, count = tl.load(places + row), tl.load(last + row) + 1
    cos += row * SIZE
    sin += row * SIZE
    new = qkv + row * qkv_row
    query1, query2 = _half(new + head * SIZE, at, there, cos, sin, SIZE)
    key1, key2 = _half(new + (HEADS + group) * SIZE, at, there, cos, sin, SIZE)
    value1 = tl.load(new + (HEADS + GROUPS + group) * SIZE + at, mask=there, other=0.0)
    value2 = tl.load(new + (HEADS + GROUPS + group) * SIZE + SIZE // 2 + at, mask=there, other=0.0)
    keys += row * cache_row + group * cache_head
    values += row * cache_row + group * cache_head
    # One program writes; no other reads what it writes, since all have it at hand.
    if (split == 0) & (head % (HEADS // GROUPS) == 0):
        tl.store(keys + place * cache_token + at, key1, mask=there)
        tl.store(keys + place * cache_token + SIZE // 2 + at, key2, mask=there)
        tl.store(values + place * cache_token + at, value1, mask=there)
        tl.store(values + place * cache_token + SIZE // 2 + at, value2, mask=there)
    query1, query2 = query1.to(tl.float32) * scale, query2.to(tl.float32) * scale
    most = tl.full((), float("-inf"), tl.float32)
    total = tl.zeros((), tl.float32)
    sum1, sum2 = tl.zeros((HALF,), tl.float32), tl.zeros((HALF,), tl.float32)
    for begin in range(split * BLOCK, count, splits * BLOCK):
        tokens = begin + tl.arange(0, BLOCK)
        seen = tokens < count
        old = (seen & (tokens != place))[:, None] & there[None, :]
        is_new = (tokens == place)[:, None]
        lines = tokens[:, None] * cache_token + at[None, :]
        own1 = tl.load(keys + lines, mask=old, other=0.0)
        own2 = tl.load(keys + lines + SIZE // 2, mask=old, other=0.0)
        own1, own2 = tl.where(is_new, key1[None, :], own1), tl.where(is_new, key2[None, :], own2)
        scores = tl.sum(own1.to(tl.float32) * query1[None, :] + own2.to(tl.float32) * query2[None, :], axis=1)
        scores = tl.where(seen, scores, float("-inf"))
        higher = tl.maximum(most, tl.max(scores, axis=0))
        shrink = tl.exp(most - higher)
        weights = tl.exp(scores - higher)
        said1 = tl.load(values + lines, mask=old, other=0.0)
        said2 = tl.load(values + lines + SIZE // 2, mask=old, other=0.0)
        said1, said2 = tl.where(is_new, value1[None, :], said1), tl.where(is_new, value2[None, :], said2)
        sum1 = sum1 * shrink + tl.sum(weights[:, None] * said1.to(tl.float32), axis=0)
        sum2 = sum2 * shrink + tl.sum(weights[:, None] * said2.to(tl.float32), axis=0)
        total = total * shrink + tl.sum(weights, axis=0)
        most = higher
    partial += ((row * HEADS + head) * splits + split) * (SIZE + 2)
    tl.store(partial + at, sum1, mask=there)
    tl.store(partial + SIZE // 2 + at, sum2, mask=there)
    tl.store(partial + SIZE, most)
    tl.store(partial + SIZE + 1, total)


@triton.jit(do_not_specialize=["splits"])
def _join(partial, out, splits, HEADS: tl.constexpr, SIZE: tl.constexpr, WIDE: tl.constexpr, MOST: tl.constexpr):
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    split, at = tl.arange(0, MOST), tl.arange(0, WIDE)
    partial += (row * HEADS + head) * splits * (SIZE + 2)
    lines = partial + split * (SIZE + 2)
    most = tl.load(lines + SIZE, mask=split < splits, other=float("-inf"))
    weights = tl.exp(most - tl.max(most, axis=0))  # 0 of a split without keys
    total = tl.sum(weights * tl.load(lines + SIZE + 1, mask=split < splits, other=0.0), axis=0)
    there = (split < splits)[:, None] & (at < SIZE)[None, :]
    sums = tl.load(lines[:, None] + at[None, :], mask=there, other=0.0)
    said = tl.sum(sums * weights[:, None], axis=0) / total
    tl.store(out + (row * HEADS + head) * SIZE + at, said.to(out.dtype.element_ty), mask=at < SIZE)
