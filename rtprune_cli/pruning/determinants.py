"""CDPruner and OTPrune: methods that keep the tokens whose kernel has, greedily, the largest determinant.

What differs from the papers and their code is said at each. Their loops are as long as the number of tokens kept, for
which they ask the device. Letters: B pages, N visual tokens of a page, P of them prunable, D hidden size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

RELEVANCE_FLOOR = 1e-6  # CDPruner's, of the least relevant token
SPENT = 1e-6  # share of a token's own weight below which, in float32, the tokens chosen before it span it
GAMMA = 0.01  # OTPrune's


def cdpruner(scores: Tensor, relevance: Tensor, prunable: Tensor, count: Tensor) -> Tensor:
    """CDPruner (Zhang et al., NeurIPS 2025, arXiv 2506.10967): tokens kept (B, N) bool, diverse and relevant.

    The kept set has, greedily, the largest determinant of the kernel relevance * cosine * relevance: the MAP of a
    determinantal point process. RTPrune's authors run it (``CDPruner`` in ``utils.py`` of BurnWan/RTPrune, called in
    lines that are comments in ``modeling_deepseekocr.py``) with the cosines of CLIP's last features, before the
    projector and without SAM's, and with the relevance of the opposite sign.

    Args:
        scores: cosines (B, N, N).
        relevance: (B, N), above 0, as :func:`instruction_relevance` has it.
        prunable: (N,) bool.
        count: (B,), tokens to keep, of at most P.
    """
    return largest_determinant(relevance[..., None] * scores * relevance[:, None], prunable, count)


def instruction_relevance(
    values: Tensor, norms: Tensor, instruction: Tensor, prunable: Tensor, *, of_the_authors: bool = False
) -> Tensor:
    """CDPruner's relevance (B, N) of tokens to the instruction: mean cosine with its tokens, from 0 to 1 on each page.

    Ours: DeepSeek-OCR has no CLIP text encoder, so that the decoder's embeddings of the prompt's text stand for the
    instruction, without the sign that the official code turns for CLIP. An OCR prompt asks for the whole page and says
    little about one token, yet the spread of 0 to 1 gives that little its full weight. Where all tokens are equally
    near, all are relevant and only diversity counts.

    Args:
        values, norms: (B, N, D) float32 and their norms (B, N).
        instruction: (M, D).
        prunable: (N,) bool.
        of_the_authors: with the sign turned, as RTPrune's authors kept it: the tokens least like the prompt's are the
            relevant ones.
    """
    text = F.normalize(instruction.float(), dim=-1).mean(0)
    alike = values @ text / norms.clamp_min(1e-12)
    if of_the_authors:
        alike = -alike
    low = alike.masked_fill(~prunable, torch.inf).amin(-1, keepdim=True)
    high = alike.masked_fill(~prunable, -torch.inf).amax(-1, keepdim=True)
    found = (alike - low + RELEVANCE_FLOOR) / (high - low).clamp_min(RELEVANCE_FLOOR)
    return found.where(prunable, RELEVANCE_FLOOR)


def otprune(values: Tensor, prunable: Tensor, count: Tensor) -> Tensor:
    """OTPrune (Chen et al., CVPR 2026, arXiv 2602.20205): tokens kept (B, N) bool, distributed as all of them are.

    Both sets taken for zero-mean Gaussians, the Wasserstein distance between them falls, by a bound, as
    log det(I + gamma S_C S_C^T) grows, where S = V V^T of all tokens V with every dimension scaled to length 1, and
    S_C has the rows of those kept. Greedily the one that adds most comes next. gamma is 0.01. Official code:
    ``OTPrune`` in ``LLaVA/llava/model/llava_arch.py`` of xiwenc1/OTPrune at 3414730, which was read; of the paper only
    notes. (It is no kin of RTPrune's merging, which transports tokens; here none are merged.)

    Ours: only prunable tokens take part; all in float64, where the official code has the model's precision, since the
    kernel's interesting part lies within some per cent of 1. The official code rounds the number of tokens.

    Args:
        values: (B, N, D) float32, projected tokens, as in the official code.
        prunable: (N,) bool.
        count: (B,), tokens to keep, of at most P.
    """
    own = values.double() * prunable[:, None]
    scaled = own / own.norm(dim=1, keepdim=True).clamp_min(1e-12)
    alike = scaled @ scaled.transpose(1, 2)
    itself = torch.eye(alike.shape[1], dtype=alike.dtype, device=alike.device)
    return largest_determinant(itself + GAMMA * alike @ alike.transpose(1, 2), prunable, count)


def largest_determinant(kernel: Tensor, prunable: Tensor, count: Tensor) -> Tensor:
    """Tokens kept (B, N) bool: greedily those whose rows and columns of the kernel have the largest determinant.

    By the incremental Cholesky decomposition of Chen et al. (NeurIPS 2018), in float64. Where the tokens chosen so far
    span all others (there are more than D, or they repeat), every further determinant is 0 and those of highest weight
    come next; the official codes would divide by 0 there.

    Args:
        kernel: (B, N, N), symmetric, positive semidefinite.
        prunable: (N,) bool.
        count: (B,), tokens to keep, of at most P.
    """
    kernel = kernel.double()
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
