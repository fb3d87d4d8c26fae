"""Entropic optimal transport between kept and pruned tokens, with a dustbin on each side.

The problem (RTPrune, arXiv 2605.00392, merging step; its authors use SuperGlue's formulation): scores S (m, n),
a dustbin row and column of one constant score, regularisation 1 on cost -S, marginals 1 for every token and the
opposite count for each dustbin, all divided by m + n.
"""

from __future__ import annotations

import torch
from torch import Tensor


def transport_plan(scores: Tensor, dustbin_score: float, *, iterations: int, solver: str) -> Tensor:
    """Plan times (m + n) with the dustbins dropped, (m, n): row i says how much of each pruned token goes to kept i.

    ``sinkhorn`` runs a few plain-domain iterations: with regularisation 1 and scores in [-1, 1] the kernel lies in
    [1/e, e], so nothing over- or underflows and 5 iterations reach float32 rounding of the fixed point. ``pot``
    solves the same problem with Python Optimal Transport and serves as the reference.
    """
    m, n = scores.shape
    padded = scores.new_full((m + 1, n + 1), dustbin_score)
    padded[:m, :n] = scores
    a, b = scores.new_ones(m + 1), scores.new_ones(n + 1)
    a[m], b[n] = n, m
    if solver == "pot":
        return _pot(padded, a / (m + n), b / (m + n))[:m, :n] * (m + n)
    # Marginals that sum to m + n instead of 1 give the plan times (m + n) directly.
    return _sinkhorn(padded.exp(), a, b, iterations)[:m, :n]


def _sinkhorn(kernel: Tensor, a: Tensor, b: Tensor, iterations: int) -> Tensor:
    v = torch.ones_like(b)
    for _ in range(iterations):
        u = a / (kernel @ v)
        v = b / (u @ kernel)
    return u[:, None] * kernel * v


def _pot(scores: Tensor, a: Tensor, b: Tensor) -> Tensor:
    from ot.batch import solve_batch

    result = solve_batch(
        -scores[None], reg=1.0, a=a[None], b=b[None], max_iter=200, tol=1e-7, method="log_sinkhorn", grad="detach"
    )
    return result.plan[0]
