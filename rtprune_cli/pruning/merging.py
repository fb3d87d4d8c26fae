"""What becomes of pruned tokens: the kept ones take a share of them, by one transport plan or another.

A plan T (N, N) says how much of pruned token j kept token i takes; merging adds ``alpha * T @ values``. RTPrune's own
is entropic optimal transport (section 4 of arXiv 2605.00392); the others are its ablations, with the same alpha. With
nothing pruned the tokens come back as they are, to the bit. Letters: B pages, N tokens of a page, D hidden size.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rtprune_cli.options import Merge, PruneOptions
from rtprune_cli.pruning.transport import pot_plan, sinkhorn

# values (B, N, D) float32, cosines (B, N, N), kept and pruned (B, N) bool, options -> (B, N, D) float32
Merging = Callable[[Tensor, Tensor, Tensor, Tensor, PruneOptions], Tensor]


def merge(values: Tensor, scores: Tensor, kept: Tensor, pruned: Tensor, options: PruneOptions) -> Tensor:
    """The tokens (B, N, D) float32 after ``options.merge``.

    Args:
        values: (B, N, D) float32.
        scores: cosines between them, (B, N, N).
        kept, pruned: (B, N) bool; tokens that are neither take no part.
        options: ``merge``, ``alpha``, and of the transport its constants and solver.
    """
    if options.merge == "ot" and options.solver == "pot":
        return merge_by_pot(values, scores, kept, pruned, options)
    return MERGES[options.merge](values, scores, kept, pruned, options)


def merge_by_sinkhorn(values: Tensor, scores: Tensor, kept: Tensor, pruned: Tensor, options: PruneOptions) -> Tensor:
    """A share ``alpha`` of the transported mass of pruned tokens is added to the kept ones."""
    u, kernel, v = sinkhorn(
        scores, kept.float(), pruned.float(), options.dustbin_score, options.iterations, options.ot_reg
    )
    # A transport that was solved in float64 (see there) is applied in it too: its scalings need the range.
    exact = values.to(u.dtype)
    return torch.addcmul(exact, u[..., None], kernel @ (v[..., None] * exact), value=options.alpha).to(values.dtype)


def merge_by_pot(values: Tensor, scores: Tensor, kept: Tensor, pruned: Tensor, options: PruneOptions) -> Tensor:
    """:func:`merge_by_sinkhorn` with the plan of the reference solver, page by page."""
    merged = values.clone()
    for page in range(len(values)):
        rows, columns = kept[page].nonzero()[:, 0], pruned[page].nonzero()[:, 0]
        if len(columns):
            plan = pot_plan(scores[page][rows][:, columns], options.dustbin_score, options.ot_reg)
            merged[page, rows] += options.alpha * (plan @ values[page, columns])
    return merged


def merge_by_mean(values: Tensor, scores: Tensor, kept: Tensor, pruned: Tensor, options: PruneOptions) -> Tensor:
    """Every kept token takes the mean of the pruned ones: a plan that does not look at similarity."""
    mean = (pruned[..., None] * values).sum(1) / pruned.sum(1, keepdim=True).clamp_min(1)
    return torch.addcmul(values, kept[..., None].to(values.dtype), mean[:, None], value=options.alpha)


def merge_by_nearest(values: Tensor, scores: Tensor, kept: Tensor, pruned: Tensor, options: PruneOptions) -> Tensor:
    """Each pruned token goes whole to the kept one that is most like it: a plan without entropy and dustbins."""
    return values + options.alpha * (nearest_plan(scores, kept, pruned) @ values)


def no_merge(values: Tensor, scores: Tensor, kept: Tensor, pruned: Tensor, options: PruneOptions) -> Tensor:
    """Pruned tokens are lost."""
    return values


def nearest_plan(scores: Tensor, kept: Tensor, pruned: Tensor) -> Tensor:
    """T (B, N, N): 1 where kept token i is, of all kept ones, the one of highest score with pruned token j, else 0.

    Of equal scores the first counts. A page that keeps nothing has a plan of zeros.
    """
    into = scores.masked_fill(~kept[..., None], -torch.inf).argmax(dim=1, keepdim=True)
    mass = (pruned & kept.any(-1, keepdim=True))[:, None].to(scores.dtype)
    return torch.zeros_like(scores).scatter_(1, into, mass)


MERGES: dict[Merge, Merging] = {
    "ot": merge_by_sinkhorn, "mean": merge_by_mean, "nearest": merge_by_nearest, "none": no_merge
}  # fmt: skip
