"""A layer's experts for a few tokens: who goes where, and two grouped products.

Shared experts stand behind the others as experts that every token has, with weight 1. What each of a token's experts
says is kept apart; the sum belongs to the kernel that adds it to the residual (norm.py), in one order, so that a text
does not depend on which program was done first.

Letters: T tokens, E experts, k of each token among them, M experts of a token with the shared ones, D hidden size,
I an expert's inner size.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

ROWS, COLUMNS, DEPTH = 16, 64, 64  # of a tile of a product
MOST_TOKENS = 256  # of a step; more of them are another kernel


def route_twin(hidden: Tensor, gate: Tensor, top_k: int, scale: float, shared: int) -> tuple[Tensor, Tensor]:
    """What :func:`route` computes, step by step (``UnlimitedOcrTextTopkRouter``, "greedy", in transformers)."""
    scores = F.linear(hidden.float(), gate.float()).softmax(-1)
    weights, chosen = scores.topk(top_k, dim=-1)
    every = torch.arange(len(gate), len(gate) + shared, device=hidden.device).expand(len(hidden), shared)
    ones = torch.ones_like(weights[:, :1]).expand(len(hidden), shared)
    return torch.cat([chosen, every], dim=1).int(), torch.cat([weights * scale, ones], dim=1)


def route(hidden: Tensor, gate: Tensor, top_k: int, scale: float, shared: int) -> tuple[Tensor, Tensor]:
    """The experts of each token (T, M) int32, and their weights (T, M) float32.

    ``hidden`` (T, D), ``gate`` (E, D); ``top_k`` are chosen, of the ``shared`` ones all.
    """
    tokens, experts, most = len(hidden), len(gate), top_k + shared
    chosen = torch.empty(tokens, most, dtype=torch.int32, device=hidden.device)
    weights = torch.empty(tokens, most, dtype=torch.float32, device=hidden.device)
    _route[(tokens,)](
        hidden, gate, chosen, weights, hidden.stride(0), scale, SIZE=hidden.shape[1], EXPERTS=experts,
        WIDE=triton.next_power_of_2(experts), TOP=top_k, SHARED=shared, BLOCK=32,
    )  # fmt: skip
    return chosen, weights


@triton.jit
def _route(
    hidden, gate, chosen, weights, hidden_row, scale, SIZE: tl.constexpr, EXPERTS: tl.constexpr, WIDE: tl.constexpr,
    TOP: tl.constexpr, SHARED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    expert = tl.arange(0, WIDE)
    logits = tl.zeros((WIDE,), tl.float32)
    for begin in range(0, SIZE, BLOCK):
        at = begin + tl.arange(0, BLOCK)
        own = tl.load(hidden + token * hidden_row + at, mask=at < SIZE, other=0.0).to(tl.float32)
        there = (expert < EXPERTS)[:, None] & (at < SIZE)[None, :]
        lines = tl.load(gate + expert[:, None] * SIZE + at[None, :], mask=there, other=0.0).to(tl.float32)
        logits += tl.sum(lines * own[None, :], axis=1)
    logits = tl.where(expert < EXPERTS, logits, float("-inf"))
    scores = tl.exp(logits - tl.max(logits, axis=0))
    scores = scores / tl.sum(scores, axis=0)
    out = token * (TOP + SHARED)
    for place in tl.static_range(TOP):
        best = tl.argmax(logits, axis=0)
        tl.store(chosen + out + place, best.to(tl.int32))
        tl.store(weights + out + place, tl.sum(tl.where(expert == best, scores, 0.0), axis=0) * scale)
        logits = tl.where(expert == best, float("-inf"), logits)
    for place in tl.static_range(SHARED):
        tl.store(chosen + out + TOP + place, EXPERTS + place)
        tl.store(weights + out + TOP + place, 1.0)


def experts_twin(
    hidden: Tensor,
    chosen: Tensor,
    weights: Tensor,
    gate_up: Tensor,
    down: Tensor,
    shared_gate: Tensor,
    shared_up: Tensor,
    shared_down: Tensor,
) -> Tensor:
    """What :func:`experts` computes, step by step."""
    size = down.shape[2]
    for part in range(len(shared_gate) // size):
        rows = slice(part * size, (part + 1) * size)
        gate_up = torch.cat([gate_up, torch.cat([shared_gate[rows], shared_up[rows]])[None]])
        down = torch.cat([down, shared_down[None, :, rows]])
    own, kind = chosen.long(), hidden.dtype
    gate, up = torch.einsum("td,tmid->tmi", hidden.float(), gate_up[own].float()).to(kind).chunk(2, dim=-1)
    said = torch.einsum("tmi,tmdi->tmd", (F.silu(gate) * up).float(), down[own].float()).to(kind)
    return said.float() * weights[..., None]


def experts(
    hidden: Tensor,
    chosen: Tensor,
    weights: Tensor,
    gate_up: Tensor,
    down: Tensor,
    shared_gate: Tensor,
    shared_up: Tensor,
    shared_down: Tensor,
) -> Tensor:
    """What each expert of each token says, by its weight: (T, M, D) float32.

    All weights are contiguous; those of no shared experts are empty.

    Args:
        hidden: (T, D).
        chosen: (T, M) int32, no expert twice for one token; from E on the shared ones. ``weights`` (T, M) float32.
        gate_up: (E, 2I, D), the gates' rows first; ``down`` (E, D, I).
        shared_gate: (S * I, D) of S shared experts; ``shared_up`` likewise, ``shared_down`` (D, S * I).
    """
    tokens, most = chosen.shape
    count, _, size = gate_up.shape
    inner_size = down.shape[2]
    every = count + len(shared_gate) // inner_size
    where = torch.empty(every, tokens, dtype=torch.int32, device=hidden.device)
    counts = torch.empty(every, dtype=torch.int32, device=hidden.device)
    _lists[(every,)](
        chosen, where, counts, tokens, MOST=most, WIDE=triton.next_power_of_2(most),
        BLOCK=max(MOST_TOKENS, triton.next_power_of_2(tokens)),
    )  # fmt: skip
    inner = torch.empty(tokens * most, inner_size, dtype=hidden.dtype, device=hidden.device)
    said = torch.empty(tokens, most, size, dtype=torch.float32, device=hidden.device)
    blocks = triton.cdiv(tokens, ROWS)
    columns = COLUMNS if hidden.dtype.itemsize == 2 else COLUMNS // 2  # as many bytes
    tile = {"ROWS": ROWS, "COLUMNS": columns, "DEPTH": DEPTH, "MOST": most, "EXACT": interpreted()}
    sizes = {"SIZE": size, "INNER": inner_size, "COUNT": count}
    _gate_up[(every, triton.cdiv(inner_size, columns), blocks)](
        hidden, gate_up, shared_gate, shared_up, where, counts, inner, hidden.stride(0), tokens, **sizes, **tile
    )
    _down[(every, triton.cdiv(size, columns), blocks)](
        inner,
        down,
        shared_down,
        where,
        counts,
        weights,
        said,
        tokens,
        inner_size,
        shared_down.shape[1],
        **sizes,
        **tile,
    )
    return said


def interpreted() -> bool:
    """Whether kernels run in Triton's interpreter, which multiplies bfloat16 wrongly: operands are widened for it."""
    return bool(triton.knobs.runtime.interpret)


@triton.jit(do_not_specialize=["tokens"])
def _lists(chosen, where, counts, tokens, MOST: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr):
    """Which (token, place) go to this expert, in order, and how many."""
    expert = tl.program_id(0)
    token, place = tl.arange(0, BLOCK), tl.arange(0, WIDE)
    there = (token < tokens)[:, None] & (place < MOST)[None, :]
    entries = token[:, None] * MOST + place[None, :]
    own = (tl.load(chosen + entries, mask=there, other=-1) == expert).to(tl.int32)
    hit = tl.sum(own, axis=1)  # 1 at most
    entry = tl.sum(own * entries, axis=1)
    tl.store(where + expert * tokens + tl.cumsum(hit, axis=0) - 1, entry, mask=hit > 0)
    tl.store(counts + expert, tl.sum(hit, axis=0))


@triton.jit
def _entries(where, counts, expert, rows, tokens, ROWS: tl.constexpr):
    """The (token, place) of each row of a tile, and whether it has one."""
    own = rows * ROWS + tl.arange(0, ROWS)
    there = own < tl.load(counts + expert)
    return tl.load(where + expert * tokens + own, mask=there, other=0), there


@triton.jit
def _product(left, right, total, EXACT: tl.constexpr):
    if EXACT:
        left, right = left.to(tl.float32), right.to(tl.float32)
    return tl.dot(left, right, total, input_precision="ieee")


@triton.jit(do_not_specialize=["tokens"])
def _gate_up(
    hidden, weight, shared_gate, shared_up, where, counts, inner, hidden_row, tokens,
    SIZE: tl.constexpr, INNER: tl.constexpr, COUNT: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, MOST: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    expert, block, rows = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2)
    if rows * ROWS >= tl.load(counts + expert):
        return
    entry, there = _entries(where, counts, expert, rows, tokens, ROWS)
    column = block * COLUMNS + tl.arange(0, COLUMNS)
    if expert < COUNT:
        gate_rows = weight + expert * 2 * INNER * SIZE
        up_rows = gate_rows + INNER * SIZE
    else:
        gate_rows = shared_gate + (expert - COUNT) * INNER * SIZE
        up_rows = shared_up + (expert - COUNT) * INNER * SIZE
    gate, up = tl.zeros((ROWS, COLUMNS), tl.float32), tl.zeros((ROWS, COLUMNS), tl.float32)
    for begin in range(0, SIZE, DEPTH):
        at = begin + tl.arange(0, DEPTH)
        left = tl.load(
            hidden + (entry // MOST)[:, None].to(tl.int64) * hidden_row + at[None, :],
            mask=there[:, None] & (at < SIZE)[None, :], other=0.0,
        )  # fmt: skip
        lines, inside = column[None, :] * SIZE + at[:, None], (column < INNER)[None, :] & (at < SIZE)[:, None]
        gate = _product(left, tl.load(gate_rows + lines, mask=inside, other=0.0), gate, EXACT)
        up = _product(left, tl.load(up_rows + lines, mask=inside, other=0.0), up, EXACT)
    kind = inner.dtype.element_ty
    gate = gate.to(kind).to(tl.float32)
    gate = (gate / (1.0 + tl.exp(-gate))).to(kind).to(tl.float32)
    out = (gate * up.to(kind).to(tl.float32)).to(kind)
    place = inner + entry[:, None].to(tl.int64) * INNER + column[None, :]
    tl.store(place, out, mask=there[:, None] & (column < INNER)[None, :])


@triton.jit(do_not_specialize=["tokens"])
def _down(
    inner, weight, shared, where, counts, weights, said, tokens, own_row, shared_row,
    SIZE: tl.constexpr, INNER: tl.constexpr, COUNT: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, MOST: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    expert, block, rows = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2)
    if rows * ROWS >= tl.load(counts + expert):
        return
    entry, there = _entries(where, counts, expert, rows, tokens, ROWS)
    column = block * COLUMNS + tl.arange(0, COLUMNS)
    if expert < COUNT:
        rows_of = weight + expert * SIZE * INNER
        row = own_row
    else:
        rows_of = shared + (expert - COUNT) * INNER
        row = shared_row
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for begin in range(0, INNER, DEPTH):
        at = begin + tl.arange(0, DEPTH)
        left = tl.load(
            inner + entry[:, None].to(tl.int64) * INNER + at[None, :],
            mask=there[:, None] & (at < INNER)[None, :], other=0.0,
        )  # fmt: skip
        lines, inside = column[None, :] * row + at[:, None], (column < SIZE)[None, :] & (at < INNER)[:, None]
        total = _product(left, tl.load(rows_of + lines, mask=inside, other=0.0), total, EXACT)
    total = total.to(inner.dtype.element_ty).to(tl.float32) * tl.load(weights + entry, mask=there, other=0.0)[:, None]
    place = said + entry[:, None].to(tl.int64) * SIZE + column[None, :]
    tl.store(place, total, mask=there[:, None] & (column < SIZE)[None, :])
