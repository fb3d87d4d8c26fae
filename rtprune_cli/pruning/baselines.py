"""Other pruning methods, as pure functions: which tokens they keep, and what VisionZip makes of the others.

Published for other models and tasks, they are adapted here to DeepSeek-OCR's projected visual tokens and to a number
of tokens that is given; what differs from the papers is said at each. Some ask the device for a number, as their loops
are as long as the number of tokens kept. Letters: B pages, N visual tokens of a page, P of them prunable, D hidden
size, K size of a CLIP head.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rtprune_cli.pruning.merging import nearest_plan
from rtprune_cli.pruning.rtprune import choose

DOMINANT = 54 / 64  # VisionZip's dominant tokens among those that it keeps; the others are contextual
RELEVANCE_FLOOR = 1e-6  # CDPruner's, of the least relevant token
SPENT = 1e-6  # share of a token's own weight below which, in float32, the tokens chosen before it span it


def random_importance(pixels: Tensor, count: int, seed: int) -> Tensor:
    """Random numbers (B, N) float64 in [0, 1): the highest are a uniform choice without replacement.

    A page has its own, and the same in every batch, in every order and on every device: they come from ``seed`` and a
    checksum of its pixels, taken as the bytes that they were.

    Args:
        pixels: normalised global views (B, 3, S, S).
        count: N.
        seed: not negative.
    """
    pages = (pixels + 1).mul_(127.5).round_().to(torch.uint8).cpu().numpy()
    rows = [np.random.default_rng((seed, zlib.crc32(page))).random(count) for page in pages]
    return torch.from_numpy(np.stack(rows)).to(pixels.device)


def visionzip(
    values: Tensor, cls_attention: Tensor, keys: Tensor, prunable: Tensor, count: Tensor
) -> tuple[Tensor, Tensor]:
    """VisionZip (Yang et al., CVPR 2025, arXiv 2412.04467): tokens kept (B, N) bool, and the tokens (B, N, D) merged.

    Dominant tokens, 54 of 64, are those of highest attention from the class token. Of the others, in page order, every
    n-th is a contextual token, which takes those whose keys are most like its own: it becomes the mean of its group.

    Ours: tokens are merged after the projector, which is linear in DeepSeek-OCR, so that the mean is the same. (The
    official code adds the mean of the others to the contextual token instead, which about doubles its length: the
    decoder never saw such tokens.) Contextual tokens keep their places on the page. A page of many views shares one
    budget among them by the attention as it comes, though each view's attention sums to 1 on its own.

    Args:
        values: (B, N, D) float32.
        cls_attention: (B, N), mean over the heads of the penultimate CLIP layer.
        keys: (B, N, K), likewise.
        prunable: (N,) bool.
        count: (B,), tokens to keep, of at most P.
    """
    dominant_count = (count * DOMINANT).ceil()
    dominant = choose(cls_attention, prunable, dominant_count)
    others = prunable & ~dominant
    contextual_count = (count - dominant_count).long()[:, None]
    step = (others.sum(-1, keepdim=True) // contextual_count.clamp_min(1)).clamp_min(1)
    rank = others.cumsum(-1) - 1
    contextual = others & (rank % step == 0) & (rank // step < contextual_count)
    unit = F.normalize(keys.float(), dim=-1)
    plan = nearest_plan(unit @ unit.transpose(1, 2), contextual, others & ~contextual)
    return dominant | contextual, (values + plan @ values) / (1 + plan.sum(-1, keepdim=True))


def divprune(scores: Tensor, prunable: Tensor, count: Tensor) -> Tensor:
    """DivPrune (Alvar et al., CVPR 2025, arXiv 2503.02175): tokens kept (B, N) bool, as far apart as can be.

    Greedy max-min diversity in cosine distance. The first token is the one farthest from its nearest neighbour, as in
    the official code; each next one is farthest from those chosen so far. Of equal distances the first token counts.

    Args:
        scores: cosines (B, N, N).
        prunable: (N,) bool.
        count: (B,), tokens to keep, of at most P.
    """
    distance = 1 - scores
    itself = torch.eye(scores.shape[1], dtype=torch.bool, device=scores.device)
    nearest = distance.masked_fill(itself | ~prunable, torch.inf).amin(-1)
    rows, kept = torch.arange(len(scores), device=scores.device), torch.zeros_like(nearest, dtype=torch.bool)
    for step in range(int(count.max())):
        pick = nearest.masked_fill(kept | ~prunable, -torch.inf).argmax(-1)
        kept[rows, pick] |= step < count
        nearest = torch.minimum(nearest, distance[rows, pick]) if step else distance[rows, pick]
    return kept


def cdpruner(scores: Tensor, relevance: Tensor, prunable: Tensor, count: Tensor) -> Tensor:
    """CDPruner (Zhang et al., NeurIPS 2025, arXiv 2506.10967): tokens kept (B, N) bool, diverse and relevant.

    The kept set has, greedily, the largest determinant of the kernel relevance * cosine * relevance: the MAP of a
    determinantal point process, by the incremental Cholesky decomposition of Chen et al. (NeurIPS 2018). Where the
    tokens chosen so far span all others (there are more than D, or they repeat), every further determinant is 0 and
    the most relevant come next; the official code would divide by 0 there.

    Args:
        scores: cosines (B, N, N).
        relevance: (B, N), above 0, as :func:`instruction_relevance` has it.
        prunable: (N,) bool.
        count: (B,), tokens to keep, of at most P.
    """
    kernel = (relevance[..., None] * scores * relevance[:, None]).double()
    weight = kernel.diagonal(dim1=1, dim2=2).clone()  # (B, N)
    gain = weight.clone()  # by which factor the determinant grows with a token
    steps, rows = int(count.max()), torch.arange(len(kernel), device=kernel.device)
    factors, kept = kernel.new_empty(len(kernel), steps, kernel.shape[1]), torch.zeros_like(gain, dtype=torch.bool)
    for step in range(steps):
        rank = torch.where(gain > SPENT * weight, gain, weight - weight.amax(-1, keepdim=True) - 1)
        pick = rank.masked_fill(kept | ~prunable, -torch.inf).argmax(-1)
        known = factors[:, :step]
        shared = known[rows, :, pick][:, None] @ known
        spread = torch.maximum(gain[rows, pick], SPENT * weight[rows, pick]).sqrt()
        factors[:, step] = (kernel[rows, pick] - shared[:, 0]) / spread[:, None]
        gain -= factors[:, step].square()
        kept[rows, pick] |= step < count
    return kept


def instruction_relevance(values: Tensor, norms: Tensor, instruction: Tensor, prunable: Tensor) -> Tensor:
    """CDPruner's relevance (B, N) of tokens to the instruction: mean cosine with its tokens, from 0 to 1 on each page.

    Ours: DeepSeek-OCR has no CLIP text encoder, so that the decoder's embeddings of the prompt's text stand for the
    instruction, without the sign that the official code turns for CLIP. An OCR prompt asks for the whole page and says
    little about one token, yet the spread of 0 to 1 gives that little its full weight. Where all tokens are equally
    near, all are relevant and only diversity counts.

    Args:
        values, norms: (B, N, D) float32 and their norms (B, N).
        instruction: (M, D).
        prunable: (N,) bool.
    """
    text = F.normalize(instruction.float(), dim=-1).mean(0)
    alike = values @ text / norms.clamp_min(1e-12)
    low = alike.masked_fill(~prunable, torch.inf).amin(-1, keepdim=True)
    high = alike.masked_fill(~prunable, -torch.inf).amax(-1, keepdim=True)
    found = (alike - low + RELEVANCE_FLOOR) / (high - low).clamp_min(RELEVANCE_FLOOR)
    return found.where(prunable, RELEVANCE_FLOOR)
