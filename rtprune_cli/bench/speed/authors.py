"""Owns the authors' formulation of the prune step, to measure ours against. Nothing else may import it.

Written from the description of their published code (docs/how-it-works.md), operation by operation: page by page, one
convolution and one number fetched from the device a cell, 100 log-domain Sinkhorn iterations.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from rtprune_cli.options import PruneOptions
from rtprune_cli.records import VisualTokens
from rtprune_cli.views.grid import CELL

ITERATIONS = 100


@torch.inference_mode()
def prune(page: VisualTokens, pixels: Tensor, options: PruneOptions) -> tuple[Tensor, Tensor]:
    """The tokens (K, D) of a page that are left, and their indices (K,) among all, both on the tokens' device.

    Args:
        page: visual tokens (N, D).
        pixels: its normalised global view (3, S, S), on the same device.
        options: ratio and the method's constants; their solver and iterations are not used.
    """
    device = page.tokens.device
    newline, prunable = page.newline.to(device), page.prunable.to(device)
    places = prunable.nonzero().flatten()
    tokens = page.tokens[places].float()
    ratio = options.fixed_ratio
    if ratio is None:
        alike, dense = similarity_ratio(tokens), text_density(pixels, options.sobel_threshold)
        ratio = alike + dense - alike * dense
    count = max(1, int(len(tokens) * ratio))
    kept = tokens.norm(dim=-1).topk(count).indices.sort().values
    left = torch.ones(len(tokens), dtype=torch.bool, device=device)
    left[kept] = False
    merged = page.tokens.clone()
    if bool(left.any()):
        merged[places[kept]] = merge(tokens[kept], tokens[left], options).to(merged.dtype)
    stay = ~prunable
    stay[places[kept]] = True
    keep: list[int] = []
    for index in stay.nonzero().flatten().tolist():
        if not (keep and newline[index] and newline[keep[-1]]):
            keep.append(index)
    indices = torch.tensor(keep, device=device)
    return merged[indices], indices


def similarity_ratio(tokens: Tensor) -> float:
    """r_sim of (P, D) tokens: 1 less the mean over tokens of the mean squared cosine with the others."""
    unit = F.normalize(tokens, dim=-1)
    squares = (unit @ unit.T).square()
    others = (squares.sum(dim=1) - squares.diagonal()) / (len(tokens) - 1)
    return 1 - others.mean().item()


def text_density(pixels: Tensor, threshold: float) -> float:
    """r_den of a view (3, S, S): the mean over cells of the share of pixels whose Sobel magnitude is above."""
    gray = 0.299 * pixels[0] + 0.587 * pixels[1] + 0.114 * pixels[2]
    across = gray.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    kernels = torch.stack([across, across.T])[:, None]
    shares = []
    for top in range(0, gray.shape[0], CELL):
        for start in range(0, gray.shape[1], CELL):
            cell = gray[top : top + CELL, start : start + CELL]
            gradients = F.conv2d(cell[None, None], kernels, padding=1)[0]
            magnitude = gradients.square().sum(dim=0).sqrt()
            shares.append((magnitude > threshold).float().mean().item())
    return sum(shares) / len(shares)


def merge(kept: Tensor, pruned: Tensor, options: PruneOptions) -> Tensor:
    """The kept tokens (m, D) with a share of the transported mass of the pruned ones (n, D)."""
    m, n = len(kept), len(pruned)
    scores = kept.new_full((m + 1, n + 1), options.dustbin_score)
    scores[:m, :n] = F.normalize(kept, dim=-1) @ F.normalize(pruned, dim=-1).T
    norm = -torch.log(kept.new_tensor(m + n))
    log_a, log_b = norm.repeat(m + 1), norm.repeat(n + 1)
    log_a[m] += torch.log(kept.new_tensor(n))
    log_b[n] += torch.log(kept.new_tensor(m))
    u, v = torch.zeros_like(log_a), torch.zeros_like(log_b)
    for _ in range(ITERATIONS):
        u = log_a - torch.logsumexp(scores + v[None, :], dim=1)
        v = log_b - torch.logsumexp(scores + u[:, None], dim=0)
    plan = (scores + u[:, None] + v[None, :] - norm).exp()[:m, :n]
    return kept + options.alpha * (plan @ pruned)
