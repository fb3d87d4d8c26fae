"""The next token of each row: what may not be repeated is banned, the best of the rest taken, its probability told.

The logits are read once, as the product wrote them.

Letters: B rows, V vocabulary, W window of tokens that each row looks back at, S splits.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from rtprune_cli.decoding.kernels.attention import MOST_SPLITS, splits_for

BLOCK = 1024  # logits that are looked at together


def pick_twin(
    logits: Tensor, seen: Tensor, runs: Tensor, follows: Tensor, bannable: Tensor, repeated: int
) -> tuple[Tensor, Tensor, Tensor]:
    """What :func:`pick` computes, step by step (decoding/repeats.py)."""
    token = seen.clamp_min(0)
    banned = (runs >= repeated) & follows & (seen >= 0) & bannable[token]
    limit = torch.where(banned, float("-inf"), float("inf")).to(logits.dtype)
    best, chosen = logits.scatter_reduce(1, token, limit, "amin").max(dim=-1)
    wide = logits.double() if logits.dtype == torch.float64 else logits.float()
    return best, chosen, wide.log_softmax(dim=-1).gather(1, chosen[:, None])[:, 0]


def pick(
    logits: Tensor, seen: Tensor, runs: Tensor, follows: Tensor, bannable: Tensor, repeated: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The best logit that is not banned, its token, and the token's log-probability, (B,) each.

    Args:
        logits: (B, V). A row with a NaN has NaN for its best.
        seen: the latest tokens of each row, (B, W) int64; -1 where a row has fewer.
        runs: how many tokens before each of them equal the row's end, (B, W) int32.
        follows: whether a place of the window may ban, (W,) bool.
        bannable: whether a token may be banned, (V,) bool.
        repeated: a token that follows a run of so many is banned.
    """
    rows, size = logits.shape
    window = seen.shape[1]
    splits = splits_for(rows, logits.device)
    bans = torch.empty(rows, window, dtype=torch.int64, device=logits.device)
    counts = torch.empty(rows, dtype=torch.int32, device=logits.device)
    partial = torch.empty(rows, splits, 4, dtype=torch.float32, device=logits.device)
    places = torch.empty(rows, splits, dtype=torch.int64, device=logits.device)
    best, logprob = torch.empty(2, rows, dtype=torch.float32, device=logits.device)
    chosen = torch.empty(rows, dtype=torch.int64, device=logits.device)
    _bans[(rows,)](
        seen, runs, follows, bannable, bans, counts, seen.stride(0), runs.stride(0), repeated, WINDOW=window,
        WIDE=triton.next_power_of_2(window),
    )  # fmt: skip
    _best[(rows, splits)](
        logits, bans, counts, partial, places, logits.stride(0), splits, SIZE=size, WINDOW=window, BLOCK=BLOCK
    )
    _pick[(rows,)](partial, places, best, chosen, logprob, splits, SIZE=size, MOST=MOST_SPLITS)
    return best, chosen, logprob


@triton.jit
def _bans(
    seen, runs, follows, bannable, bans, counts, seen_row, runs_row, repeated, WINDOW: tl.constexpr, WIDE: tl.constexpr
):
    """The tokens that are banned in a row, one after the other, and how many."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, WIDE)
    there = at < WINDOW
    token = tl.load(seen + row * seen_row + at, mask=there, other=-1)
    long = tl.load(runs + row * runs_row + at, mask=there, other=-1) >= repeated
    may = tl.load(follows + at, mask=there, other=0) & tl.load(bannable + token, mask=token >= 0, other=0)
    banned = (long & (may != 0)).to(tl.int32)
    tl.store(bans + row * WINDOW + tl.cumsum(banned, axis=0) - 1, token, mask=banned > 0)
    tl.store(counts + row, tl.sum(banned, axis=0))


@triton.jit(do_not_specialize=["splits"])
def _best(
    logits, bans, counts, partial, places, logits_row, splits, SIZE: tl.constexpr, WINDOW: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    row, split = tl.program_id(0).to(tl.int64), tl.program_id(1)
    count = tl.load(counts + row)
    best, place = tl.full((), float("-inf"), tl.float32), (split * BLOCK).to(tl.int64)
    most, total = tl.full((), float("-inf"), tl.float32), tl.zeros((), tl.float32)
    broken = tl.zeros((), tl.float32)
    for begin in range(split * BLOCK, SIZE, splits * BLOCK):
        at = begin + tl.arange(0, BLOCK)
        own = tl.load(logits + row * logits_row + at, mask=at < SIZE, other=float("-inf")).to(tl.float32)
        broken = tl.maximum(broken, tl.max((own != own).to(tl.float32), axis=0))
        higher = tl.maximum(most, tl.max(own, axis=0))
        shift = tl.where(higher == float("-inf"), 0.0, higher)
        total = total * tl.exp(most - shift) + tl.sum(tl.exp(own - shift), axis=0)
        most = higher
        for number in range(0, count):
            own = tl.where(at == tl.load(bans + row * WINDOW + number), float("-inf"), own)
        here = tl.max(own, axis=0)
        better = here > best
        place = tl.where(better, begin + tl.argmax(own, axis=0), place)
        best = tl.maximum(best, here)
    partial += (row * splits + split) * 4
    tl.store(partial, best)
    tl.store(partial + 1, most)
    tl.store(partial + 2, total)
    tl.store(partial + 3, broken)
    tl.store(places + row * splits + split, place)


@triton.jit(do_not_specialize=["splits"])
def _pick(partial, places, best, chosen, logprob, splits, SIZE: tl.constexpr, MOST: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    split = tl.arange(0, MOST)
    there = split < splits
    lines = partial + (row * splits + split) * 4
    tops = tl.load(lines, mask=there, other=float("-inf"))
    most = tl.load(lines + 1, mask=there, other=float("-inf"))
    totals = tl.load(lines + 2, mask=there, other=0.0)
    broken = tl.max(tl.load(lines + 3, mask=there, other=0.0), axis=0) > 0
    top, highest = tl.max(tops, axis=0), tl.max(most, axis=0)
    # Of equal ones the first, however many splits there are: a text must not depend on how many rows go with it.
    token = tl.min(tl.where(tops == top, tl.load(places + row * splits + split, mask=there, other=SIZE), SIZE), axis=0)
    total = tl.sum(tl.where(totals > 0, totals * tl.exp(most - highest), 0.0), axis=0)
    tl.store(best + row, tl.where(broken, float("nan"), top))
    tl.store(chosen + row, token)
    tl.store(logprob + row, tl.where(broken, float("nan"), top - highest - tl.log(total)))
