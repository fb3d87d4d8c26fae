"""RTPrune (ICML 2026, arXiv 2605.00392): keep the high-norm visual tokens, merge the others into them.

Measuring, choosing and applying are separate functions; "prune nothing" is an ordinary value (ratio 1). Letters:
N visual tokens of a page, P of them prunable, m kept and n pruned (m + n = P), D hidden size, S view side in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rtprune_cli.options import PruneOptions
from rtprune_cli.pruning.transport import transport_plan
from rtprune_cli.records import PrunedTokens, VisualTokens

CELL = 64  # pixels of the global view behind one visual token, each way


@dataclass(frozen=True)
class Choice:
    """Which tokens of a page stay: ``keep`` (K,) ascending indices of all N, and the same split of the prunable."""

    keep: Tensor
    kept: Tensor
    pruned: Tensor
    newlines_dropped: int


@torch.inference_mode()
def prune(pages: Sequence[VisualTokens], views: Sequence[Tensor], options: PruneOptions) -> list[PrunedTokens]:
    """Prune each page of a batch.

    Args:
        pages: visual tokens (N, D) of each page.
        views: the normalised global view (3, S, S) of each page, on any device.
        options: ratio and the method's constants.
    """
    device = pages[0].tokens.device
    masks = [page.prunable for page in pages]
    prunable = [page.tokens[index.to(device)].float() for page, index in zip(pages, map(_indices, masks), strict=True)]
    norms = [tokens.norm(dim=-1) for tokens in prunable]
    similarity = torch.stack([similarity_ratio(tokens) for tokens in prunable])
    density = torch.stack([text_density(v.to(device), options.sobel_threshold).to(similarity) for v in views])
    # The one device sync of the batch: the choice is made on the CPU, where its sizes are needed anyway.
    measured = torch.cat([similarity, density, *norms]).cpu()
    r_sim, r_den = measured[: len(pages)], measured[len(pages) : 2 * len(pages)]
    page_norms = measured[2 * len(pages) :].split([len(n) for n in norms])
    results = []
    for i, page in enumerate(pages):
        ratio = options.ratio if options.ratio is not None else dynamic_ratio(float(r_sim[i]), float(r_den[i]))
        choice = choose(page_norms[i], masks[i], page.newline, ratio)
        results.append(
            PrunedTokens(
                tokens=apply(page.tokens, choice, options),
                keep=choice.keep,
                total=len(page.tokens),
                prunable=len(page_norms[i]),
                kept=len(choice.kept),
                newlines_dropped=choice.newlines_dropped,
                ratio=ratio,
                r_similarity=float(r_sim[i]),
                r_density=float(r_den[i]),
            )
        )
    return results


def similarity_ratio(tokens: Tensor) -> Tensor:
    """r_sim of (P, D) tokens, a scalar: 1 less the mean squared cosine between different tokens (section 4)."""
    count = len(tokens)
    if count < 2:
        return tokens.new_ones(())
    unit = F.normalize(tokens, dim=-1)
    squares = (unit @ unit.T).square()
    return 1 - (squares.sum() - squares.diagonal().sum()) / (count * (count - 1))


def text_density(view: Tensor, threshold: float) -> Tensor:
    """r_den of a normalised view (3, S, S), a scalar: the share of pixels whose Sobel magnitude exceeds ``threshold``.

    Each 64-pixel cell is zero-padded on its own, as in the authors' code. Zero is mid-gray in [-1, 1], so cell borders
    count as edges and blank white paper scores about 0.06; the published numbers have it, so it stays.
    """
    weights = view.new_tensor([0.299, 0.587, 0.114])
    gray = torch.einsum("c,chw->hw", weights, view)
    cells = len(gray) // CELL
    blocks = gray.reshape(cells, CELL, cells, CELL).transpose(1, 2).reshape(-1, 1, CELL, CELL)
    sobel = view.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    gradients = F.conv2d(blocks, torch.stack([sobel, sobel.T])[:, None], padding=1)
    return (gradients.square().sum(1).sqrt() > threshold).float().mean()


def dynamic_ratio(r_similarity: float, r_density: float) -> float:
    """The share of tokens to keep: the probabilistic sum of both measures, at most 1."""
    return min(1.0, r_similarity + r_density - r_similarity * r_density)


def choose(norms: Tensor, prunable: Tensor, newline: Tensor, ratio: float) -> Choice:
    """Keep the floor(P * ratio) prunable tokens of highest norm, at least one, in page order (CPU tensors).

    Of several newline tokens in a row, whose text rows are wholly gone, only the first stays; the separator stays.

    Args:
        norms: (P,) importance of the prunable tokens.
        prunable: (N,) bool.
        newline: (N,) bool.
        ratio: share to keep, in (0, 1].
    """
    positions = _indices(prunable)
    count = max(1, int(len(norms) * ratio))
    kept, _ = norms.topk(count).indices.sort()
    left = torch.ones(len(norms), dtype=torch.bool)
    left[kept] = False
    stay = ~prunable
    stay[positions[kept]] = True
    order = _indices(stay)
    is_newline = newline[order]
    repeated = torch.zeros_like(is_newline)
    repeated[1:] = is_newline[1:] & is_newline[:-1]
    return Choice(order[~repeated], positions[kept], positions[left], int(repeated.sum()))


def apply(tokens: Tensor, choice: Choice, options: PruneOptions) -> Tensor:
    """The kept tokens (K, D) after the pruned ones were merged into them, in ``choice.keep`` order.

    A share ``alpha`` of the transported mass of pruned tokens is added to each kept token. With nothing pruned the
    tokens come back as they are, to the bit.
    """
    device = tokens.device
    if len(choice.pruned) == 0:
        return tokens if len(choice.keep) == len(tokens) else tokens[choice.keep.to(device)]
    kept_index = choice.kept.to(device)
    kept, pruned = tokens[kept_index].float(), tokens[choice.pruned.to(device)].float()
    scores = F.normalize(kept, dim=-1) @ F.normalize(pruned, dim=-1).T
    plan = transport_plan(scores, options.dustbin_score, iterations=options.iterations, solver=options.solver)
    merged = tokens.clone()
    merged[kept_index] = (kept + options.alpha * (plan @ pruned)).to(tokens.dtype)
    return merged[choice.keep.to(device)]


def _indices(mask: Tensor) -> Tensor:
    return mask.nonzero().flatten()
