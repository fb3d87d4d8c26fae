"""Entropic optimal transport between the kept and the pruned tokens of a page, with a dustbin on each side.

The problem (RTPrune, arXiv 2605.00392, merging step; its authors use SuperGlue's formulation): scores S (m, n),
a dustbin row and column of one constant score, regularisation 1 on cost -S, marginals 1 for every token and the
opposite count for each dustbin, all divided by m + n. Other regularisations are an ablation.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

TOLERANCE = 1e-6  # of the mass of 1 that each token has to give or take
MOST_ITERATIONS = 10_000
ITERATIONS_BETWEEN_LOOKS = 10  # a look at the device for convergence stops its queue


def sinkhorn(
    scores: Tensor, kept: Tensor, pruned: Tensor, dustbin_score: float, iterations: int, reg: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Scalings u, v (B, N) and kernel K (B, N, N): row i of page b takes ``u[i] * K[i, j] * v[j]`` of pruned token j.

    That is the plan times (m + n), dustbins dropped. The pages of a batch keep different numbers of tokens, so each
    problem is solved in place among all N tokens: a marginal of 0 takes a token out of its side, which leaves one
    shape, no gather, and no number that the host must know. A few plain-domain iterations are enough: with
    regularisation 1 and scores in [-1, 1] the kernel lies in [1/e, e], so nothing over- or underflows, and 5 reach
    float32 rounding of the fixed point.

    Below 1 that number grows with 1 / reg: the iterations go on until every marginal is met to ``TOLERANCE``, at most
    ``MOST_ITERATIONS``, in float64, whose range holds the kernel and the scalings. That does ask the device.

    Args:
        scores: (B, N, N), symmetric, in [-1, 1].
        kept, pruned: (B, N), 1 for the tokens of that side, 0 for others.
        dustbin_score: score of each dustbin with every token and with the other dustbin.
        iterations: at least 1; not used below regularisation 1.
        reg: regularisation, at least 0.05 (the options' bound).
    """
    to_convergence = reg < 1
    if to_convergence:
        scores, kept, pruned = scores.double(), kept.double(), pruned.double()
    kernel, dustbin = (scores if reg == 1 else scores / reg).exp(), math.exp(dustbin_score / reg)
    kept_count, pruned_count = kept.sum(-1, keepdim=True), pruned.sum(-1, keepdim=True)
    u, v, v_bin = kept, pruned, torch.ones_like(pruned_count)
    for done in range(MOST_ITERATIONS if to_convergence else iterations):
        sums = torch.baddbmm(dustbin * v_bin[..., None], kernel, v[..., None])[..., 0]
        # The step before met all columns; where it met the rows too, the dustbins' are met with them.
        look = to_convergence and done and done % ITERATIONS_BETWEEN_LOOKS == 0
        if look and (u * sums - kept).abs().max() <= TOLERANCE:
            break
        u = kept / sums
        u_bin = pruned_count / (dustbin * (v.sum(-1, keepdim=True) + v_bin))
        v = pruned / torch.baddbmm(dustbin * u_bin[..., None], kernel, u[..., None])[..., 0]
        v_bin = kept_count / (dustbin * (u.sum(-1, keepdim=True) + u_bin))
    return u, kernel, v


def transport_plan(
    scores: Tensor, kept: Tensor, pruned: Tensor, dustbin_score: float = 0.2, iterations: int = 5, reg: float = 1.0
) -> Tensor:
    """The plan times (m + n) with the dustbins dropped, by :func:`sinkhorn`; merging itself never writes it out.

    Args:
        scores, kept, pruned, dustbin_score, iterations, reg: as there; the defaults are the paper's.

    Returns:
        (B, N, N) of the scores' dtype: how much of pruned token j kept token i takes; 0 for all other pairs. What is
        missing to 1 in the column of a pruned token went to the dustbin.
    """
    u, kernel, v = sinkhorn(scores, kept.to(scores.dtype), pruned.to(scores.dtype), dustbin_score, iterations, reg)
    return (u[..., None] * kernel * v[:, None]).to(scores.dtype)


def pot_plan(scores: Tensor, dustbin_score: float, reg: float = 1.0) -> Tensor:
    """The plan times (m + n) with the dustbins dropped, by Python Optimal Transport: the reference.

    Args:
        scores: (m, n), of the kept tokens of one page with its pruned ones, in [-1, 1].
        dustbin_score, reg: as in :func:`sinkhorn`.

    Returns:
        (m, n): how much of each pruned token each kept one takes.
    """
    from ot.batch import solve_batch

    m, n = scores.shape
    padded = scores.new_full((m + 1, n + 1), dustbin_score)
    padded[:m, :n] = scores
    a, b = scores.new_ones(m + 1), scores.new_ones(n + 1)
    a[m], b[n] = n, m
    result = solve_batch(
        -padded[None], reg=reg, a=a[None] / (m + n), b=b[None] / (m + n),
        max_iter=200 if reg >= 1 else MOST_ITERATIONS, tol=1e-7, method="log_sinkhorn", grad="detach",
    )  # fmt: skip
    return result.plan[0][:m, :n] * (m + n)
