"""What becomes of pruned tokens: the kept ones take a share of them, by one transport plan or another.

A plan T (N, N) says how much of pruned token j kept token i takes; merging adds ``alpha * T @ values``. RTPrune's own
is entropic optimal transport (section 4 of arXiv 2605.00392); the others are ablations, with the same alpha. Four of
them are named after the methods that RTPrune's Table 6 (per notes on its v2) takes them from, and follow what its
authors made of those: ``aggregate``, ``aggregate_sparsevlm``, ``aggregate_nuwa`` and ``aggregate_visionzip`` in
``utils.py`` of BurnWan/RTPrune at b5620d7. With nothing pruned the tokens come back as they are, to the bit. Letters: B
pages, N tokens of a page, D hidden size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from rtprune_cli.options import Merge, PruneOptions
from rtprune_cli.pruning.transport import pot_plan, sinkhorn

NUWA_REACH_SQUARED = 280  # of the distance in cells, beyond which tokens are no neighbours
NUWA_QUANTILE = 0.55  # of the kept tokens' norms, from which on a token takes nothing in


class Sides(NamedTuple):
    """Tokens on the two sides of merging: ``values`` (B, N, D) float32, cosines ``scores`` (B, N, N), ``kept`` and
    ``pruned`` (B, N) bool; tokens that are neither take no part. ``newline`` (N,) bool ends the rows of the page."""

    values: Tensor
    scores: Tensor
    kept: Tensor
    pruned: Tensor
    newline: Tensor


def merge(
    values: Tensor,
    scores: Tensor,
    kept: Tensor,
    pruned: Tensor,
    options: PruneOptions,
    *,
    newline: Tensor | None = None,
) -> Tensor:
    """The tokens (B, N, D) float32 after ``options.merge``.

    Args:
        values: (B, N, D) float32.
        scores: cosines between them, (B, N, N).
        kept, pruned: (B, N) bool; tokens that are neither take no part.
        options: ``merge``, ``alpha``, and of the transport its constants and solver.
        newline: (N,) bool, the tokens that end a row, by which nuwa finds neighbours; None: all are in one row.
    """
    sides = Sides(values, scores, kept, pruned, torch.zeros_like(kept[0]) if newline is None else newline)
    if options.merge == "ot" and options.solver == "pot":
        return merge_by_pot(sides, options)
    return MERGES[options.merge](sides, options)


def merge_by_sinkhorn(sides: Sides, options: PruneOptions) -> Tensor:
    """A share ``alpha`` of the transported mass of pruned tokens is added to the kept ones."""
    u, kernel, v = sinkhorn(
        sides.scores, sides.kept.float(), sides.pruned.float(), options.dustbin_score, options.iterations,
        options.ot_reg,
    )  # fmt: skip
    # A transport that was solved in float64 (see there) is applied in it too: its scalings need the range.
    exact = sides.values.to(u.dtype)
    merged = torch.addcmul(exact, u[..., None], kernel @ (v[..., None] * exact), value=options.alpha)
    return merged.to(sides.values.dtype)


def merge_by_pot(sides: Sides, options: PruneOptions) -> Tensor:
    """:func:`merge_by_sinkhorn` with the plan of the reference solver, page by page."""
    merged = sides.values.clone()
    for page in range(len(merged)):
        rows, columns = sides.kept[page].nonzero()[:, 0], sides.pruned[page].nonzero()[:, 0]
        if len(columns):
            plan = pot_plan(sides.scores[page][rows][:, columns], options.dustbin_score, options.ot_reg)
            merged[page, rows] += options.alpha * (plan @ sides.values[page, columns])
    return merged


def merge_by_mean(sides: Sides, options: PruneOptions) -> Tensor:
    """Every kept token takes the mean of the pruned ones: a plan that does not look at similarity."""
    values, kept, pruned = sides.values, sides.kept, sides.pruned
    mean = (pruned[..., None] * values).sum(1) / pruned.sum(1, keepdim=True).clamp_min(1)
    return torch.addcmul(values, kept[..., None].to(values.dtype), mean[:, None], value=options.alpha)


def merge_by_nearest(sides: Sides, options: PruneOptions) -> Tensor:
    """Each pruned token goes whole to the kept one that is most like it: a plan without entropy and dustbins."""
    return _taken_in(sides, nearest_plan(sides.scores, sides.kept, sides.pruned), options)


def merge_by_gtp(sides: Sides, options: PruneOptions) -> Tensor:
    """GTP-ViT's propagation (Xu et al., WACV 2024; ``propagate`` in ``models_v3.py`` of Ackesnal/GTP-ViT): kept tokens
    take pruned ones by the weights of a graph, each over the root of both tokens' degrees.

    The graph's weights are those of RTPrune's authors, cosines above 0, where GTP-ViT's are 1 for neighbours on the
    grid and for the few most alike. Ours: a token without any neighbour has degree 0 and takes nothing (their code
    divides by 0).
    """
    part = (sides.kept | sides.pruned).to(sides.scores.dtype)
    itself = torch.eye(part.shape[1], dtype=torch.bool, device=part.device)
    graph = sides.scores.clamp_min(0).masked_fill(itself, 0) * part[..., None] * part[:, None]
    degree = graph.sum(-1)
    root = torch.where(degree > 0, degree.clamp_min(1e-12).rsqrt(), 0)
    return _taken_in(sides, _between(sides, root[..., None] * graph * root[:, None]), options)


def merge_by_sparsevlm(sides: Sides, options: PruneOptions) -> Tensor:
    """Each kept token takes the mean of the pruned ones that are nearest to it, in Euclidean distance.

    Of SparseVLM (Zhang et al., ICML 2025, arXiv 2410.04417; ``cluster_and_merge`` in
    ``llava/model/language_model/utils.py`` of Gumpest/SparseVLMs) RTPrune's authors keep that clusters are averaged by
    distance; SparseVLM itself finds centres among the pruned tokens and adds the averages as new tokens.
    """
    exact = sides.values.double()
    products = exact @ exact.transpose(1, 2)
    squares = products.diagonal(dim1=1, dim2=2)
    nearness = 2 * products - squares[..., None] - squares[:, None]  # the square of the distance, below 0
    plan = _means(nearest_plan(nearness, sides.kept, sides.pruned))
    return _taken_in(sides, plan.to(sides.values.dtype), options)


def merge_by_visionzip(sides: Sides, options: PruneOptions) -> Tensor:
    """Each kept token takes the mean of the pruned ones that are most like it, by cosine.

    Of VisionZip (see :func:`~rtprune_cli.pruning.baselines.visionzip`) this is what becomes of contextual tokens, here
    with the share alpha, for all kept tokens, and by projected tokens instead of keys.
    """
    return _taken_in(sides, _means(nearest_plan(sides.scores, sides.kept, sides.pruned)), options)


def merge_by_nuwa(sides: Sides, options: PruneOptions) -> Tensor:
    """Kept tokens of lower norm take the weighted mean of pruned tokens near them, by cosines above 0; those of the
    upper 45 % of norms take nothing in, and grow by the share alpha of themselves.

    Of Nuwa (Huang et al., ICLR 2026, arXiv 2602.02951; ``nuwa/clip_encoder.py`` of Man-PaperRejected/Nuwa) RTPrune's
    authors keep reach and quantile. Nuwa looks at attention where they look at norms, compares mean hidden states of
    CLIP's layers 16 to 24 (their code can take these, but as it stands only of the projected tokens' width, so that it
    compares those), and replaces kept tokens instead of adding to them: that they grow is of the authors' form alone.

    Ours: what is near is found by rows and columns of the page's tokens, which tiles and global view have each of
    their own (the authors' square grid is right without tiles only); a page of which nothing is pruned stays as it is.
    """
    weights = _between(sides, sides.scores.clamp_min(0) * _near(sides.newline))
    taken = weights / (weights.sum(-1, keepdim=True) + 1e-8) @ sides.values
    norms = sides.values.norm(dim=-1).masked_fill(~sides.kept, torch.nan)
    high = norms >= norms.nanquantile(NUWA_QUANTILE, dim=-1, keepdim=True)
    changes = (sides.kept & sides.pruned.any(-1, keepdim=True))[..., None]
    share = torch.where(high[..., None], sides.values, taken)
    return sides.values + options.alpha * share.where(changes, 0)


def no_merge(sides: Sides, options: PruneOptions) -> Tensor:
    """Pruned tokens are lost."""
    return sides.values


def nearest_plan(scores: Tensor, kept: Tensor, pruned: Tensor) -> Tensor:
    """T (B, N, N): 1 where kept token i is, of all kept ones, the one of highest score with pruned token j, else 0.

    Of equal scores the first counts. A page that keeps nothing has a plan of zeros.
    """
    into = scores.masked_fill(~kept[..., None], -torch.inf).argmax(dim=1, keepdim=True)
    mass = (pruned & kept.any(-1, keepdim=True))[:, None].to(scores.dtype)
    return torch.zeros_like(scores).scatter_(1, into, mass)


def _taken_in(sides: Sides, plan: Tensor, options: PruneOptions) -> Tensor:
    return sides.values + options.alpha * (plan @ sides.values)


def _means(plan: Tensor) -> Tensor:
    """The plan (B, N, N) with each row's mass, where it has any, shared out to 1."""
    return plan / plan.sum(-1, keepdim=True).clamp_min(1)


def _between(sides: Sides, weights: Tensor) -> Tensor:
    """The weights (B, N, N) of kept with pruned tokens, 0 for all other pairs."""
    return weights.where(sides.kept[..., None] & sides.pruned[:, None], 0)


def _near(newline: Tensor) -> Tensor:
    """Which tokens of a page are neighbours to nuwa, (N, N) bool: by their places in rows of equal width, as the tiles
    and the global view have their own."""
    place, row = torch.arange(len(newline), device=newline.device), newline.cumsum(0) - newline.long()
    same = row[:, None] == row
    column, width = (same & (place < place[:, None])).sum(-1), same.sum(-1)
    distance = (row[:, None] - row).square() + (column[:, None] - column).square()
    return (distance <= NUWA_REACH_SQUARED) & (width[:, None] == width)


MERGES: dict[Merge, Callable[[Sides, PruneOptions], Tensor]] = {
    "ot": merge_by_sinkhorn,
    "mean": merge_by_mean,
    "nearest": merge_by_nearest,
    "gtp": merge_by_gtp,
    "sparsevlm": merge_by_sparsevlm,
    "nuwa": merge_by_nuwa,
    "visionzip": merge_by_visionzip,
    "none": no_merge,
}
