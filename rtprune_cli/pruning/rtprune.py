"""RTPrune (ICML 2026, arXiv 2605.00392): what it measures on a page, how many tokens it keeps, and which.

Everything is over a batch of pages of one shape; "prune nothing" is an ordinary value (ratio 1). Nothing here asks the
device for a number. Letters: B pages, N visual tokens of a page, P of them prunable, D hidden size, S view side in
pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from rtprune_cli.options import Importance, RatioTerms
from rtprune_cli.views.grid import CELL


def importance(values: Tensor, by: Importance = "norm") -> Tensor:
    """How much text each token carries: its L2 norm (section 4).

    The other two are ablations (the paper's Table 6, per notes on its v2): ``variance``, of the token's components;
    ``entropy``, in nats, of the softmax over them, so that tokens of large components have little. How the paper
    computes them could not be verified: the authors' code has neither, beyond an entropy of a cell's pixels that
    nothing calls.

    Args:
        values: (B, N, D) float32.
        by: norm, variance or entropy; the highest stay.

    Returns:
        (B, N), not negative.
    """
    if by == "variance":
        return values.var(dim=-1, correction=0)
    if by == "entropy":
        logs = values.log_softmax(dim=-1)
        return -(logs.exp() * logs).sum(-1)
    return values.norm(dim=-1)


def cosines(values: Tensor, norms: Tensor, prunable: Tensor) -> Tensor:
    """Cosines between the tokens of each page.

    Args:
        values: (B, N, D) float32.
        norms: (B, N), as :func:`importance` has them.
        prunable: (N,) bool.

    Returns:
        (B, N, N), from -1 to 1; 0 where a token is not prunable.
    """
    unit = values / norms.clamp_min(1e-12)[..., None] * prunable[:, None]
    return unit @ unit.transpose(1, 2)


def similarity_ratio(scores: Tensor, prunable: Tensor) -> Tensor:
    """r_sim, the first measure of the dynamic ratio: 1 less the mean squared cosine between different tokens
    (section 4).

    Args:
        scores: cosines (B, N, N), 0 where a token is not prunable.
        prunable: (N,) bool.

    Returns:
        (B,), from 0 (all tokens point one way) to 1 (all are orthogonal).
    """
    count = prunable.sum()
    squares = scores.square()
    others = squares.sum((1, 2)) - squares.diagonal(dim1=1, dim2=2).sum(1)
    return 1 - others / (count * (count - 1)).clamp_min(1)


def text_density(pixels: Tensor, threshold: float) -> Tensor:
    """r_den, the second measure of the dynamic ratio: the share of pixels whose Sobel magnitude exceeds a threshold
    (section 4).

    Each 64-pixel cell is zero-padded on its own, as in the authors' code. Zero is mid-gray in [-1, 1], so cell borders
    count as edges and blank white paper scores about 0.06; the published numbers have it, so it stays.

    Args:
        pixels: normalised global views (B, 3, S, S), RGB from -1 to 1; S is a multiple of 64.
        threshold: of the magnitude, on gray in [-1, 1]; the paper's is 0.2.

    Returns:
        (B,), from 0 to 1.
    """
    gray = pixels[:, 0] * 0.299
    gray.add_(pixels[:, 1], alpha=0.587).add_(pixels[:, 2], alpha=0.114)
    cells = gray.shape[-1] // CELL
    blocks = F.pad(gray.reshape(-1, cells, CELL, cells, CELL).transpose(2, 3), (1, 1, 1, 1))
    # Sobel's kernels are a smoothing one way and a difference the other. (A convolution would run in TF32 on a GPU.)
    # Memory bounds all of this: the fewer passes over the pixels, the better.
    down = (blocks[..., :-2, :] + blocks[..., 2:, :]).add_(blocks[..., 1:-1, :], alpha=2)
    across = (blocks[..., :-2] + blocks[..., 2:]).add_(blocks[..., 1:-1], alpha=2)
    gx, gy = down[..., 2:] - down[..., :-2], across[..., 2:, :] - across[..., :-2, :]
    edges = gx.square_().addcmul_(gy, gy) > threshold**2
    return edges.flatten(1).sum(1) / gray[0].numel()


def dynamic_ratio(r_similarity: Tensor, r_density: Tensor, terms: RatioTerms = "both") -> Tensor:
    """The share of tokens to keep: the probabilistic sum ``r_sim + r_den - r_sim * r_den`` (section 4), at most 1.

    Args:
        r_similarity: (B,), as :func:`similarity_ratio` has it.
        r_density: (B,), as :func:`text_density` has it.
        terms: ``similarity`` or ``density`` for one of them alone, an ablation.

    Returns:
        (B,), from 0 to 1.
    """
    if terms != "both":
        return (r_similarity if terms == "similarity" else r_density).clamp(max=1)
    return (r_similarity + r_density - r_similarity * r_density).clamp(max=1)


def budget(prunable: Tensor, ratio: Tensor, *, rounded: bool = False) -> Tensor:
    """How many tokens each page keeps: floor(P * ratio), at least one.

    Args:
        prunable: (N,) bool.
        ratio: (B,) float64, share to keep, in (0, 1].
        rounded: to the nearest instead, of a half to the even number, as Python rounds.

    Returns:
        (B,) float64 whole numbers.
    """
    share = prunable.sum() * ratio
    return (share.round() if rounded else share.floor()).clamp_min(1)


def choose(importance: Tensor, prunable: Tensor, count: Tensor) -> Tensor:
    """The ``count`` most important prunable tokens of each page; with norms, RTPrune's choice (section 4).

    Of equally important tokens, as blank paper has them, the later stay, whatever the device: ``topk`` makes no
    promise.

    Args:
        importance: (B, N), not negative.
        prunable: (N,) bool.
        count: (B,), of at most P.

    Returns:
        (B, N) bool.
    """
    order = importance.masked_fill(~prunable, -1).argsort(dim=-1, stable=True)
    places = torch.arange(importance.shape[1], device=importance.device).expand_as(order)
    rank = torch.empty_like(order).scatter_(1, order, places)
    return rank >= importance.shape[1] - count[:, None]


def drop_repeated_newlines(stay: Tensor, newline: Tensor) -> Tensor:
    """What stays, less each newline token that follows another among those that stay: its text row is gone.

    Args:
        stay: (B, N) bool.
        newline: (N,) bool.

    Returns:
        (B, N) bool.
    """
    place = torch.arange(len(newline), device=stay.device)
    latest = torch.where(stay, place, -1).cummax(dim=1).values
    before = F.pad(latest[:, :-1], (1, 0), value=-1)
    return stay & ~(newline & newline[before.clamp_min(0)] & (before >= 0))
