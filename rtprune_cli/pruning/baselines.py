"""Other pruning methods, as pure functions: which tokens they keep, and what VisionZip makes of the others.

Here: random, VisionZip, DivPrune, SCOPE. determinants.py has CDPruner and OTPrune, duplicates.py VisPruner and DART.

Published for other models and tasks, they are adapted here to DeepSeek-OCR's projected visual tokens and to a number
of tokens that is given; what differs from the papers and their code is said at each. Some ask the device for a number,
as their loops are as long as the number of tokens kept. Of equal tokens the first counts. Letters: B pages, N visual
tokens of a page, P of them prunable, D hidden size, K size of a CLIP head.
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
CONTEXTUAL = 30  # its contextual tokens in the form of RTPrune's authors, whatever the number of the others


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
    Official code: ``visionzip/clip_encoder.py`` of dvlab-research/VisionZip.

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
    dominant, contextual, plan = _zipped(cls_attention, keys, prunable, count, (count * DOMINANT).ceil())
    return dominant | contextual, (values + plan @ values) / (1 + plan.sum(-1, keepdim=True))


def visionzip_of_the_authors(
    values: Tensor, cls_attention: Tensor, prunable: Tensor, count: Tensor
) -> tuple[Tensor, Tensor]:
    """VisionZip in the form that RTPrune's authors compare with; arguments and results as of :func:`visionzip`.

    ``Visionzip`` and ``merge_visionzip`` in ``utils.py`` of BurnWan/RTPrune, which ``modeling_deepseekocr.py`` calls in
    lines that are comments there: 30 contextual tokens whatever is kept, likeness of the projected tokens where
    VisionZip takes keys, and the mean of the others added to the contextual token, as VisionZip's own code does.

    Ours: where fewer than 30 tokens are to stay, all of them are contextual (the authors' number of dominant ones
    would be negative); and tiles, for which their lines pass the attention of one view only.
    """
    dominant, contextual, plan = _zipped(cls_attention, values, prunable, count, (count - CONTEXTUAL).clamp_min(0))
    return dominant | contextual, values + plan @ values / plan.sum(-1, keepdim=True).clamp_min(1)


def _zipped(
    cls_attention: Tensor, metric: Tensor, prunable: Tensor, count: Tensor, dominant_count: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Dominant and contextual tokens, (B, N) bool each, and which of the others goes to which of the latter, (B, N, N):
    the one whose ``metric`` (B, N, any) points most nearly the same way."""
    dominant = choose(cls_attention, prunable, dominant_count)
    others = prunable & ~dominant
    contextual_count = (count - dominant_count).long()[:, None]
    step = (others.sum(-1, keepdim=True) // contextual_count.clamp_min(1)).clamp_min(1)
    rank = others.cumsum(-1) - 1
    contextual = others & (rank % step == 0) & (rank // step < contextual_count)
    unit = F.normalize(metric.float(), dim=-1)
    return dominant, contextual, nearest_plan(unit @ unit.transpose(1, 2), contextual, others & ~contextual)


def divprune(scores: Tensor, prunable: Tensor, count: Tensor) -> Tensor:
    """DivPrune (Alvar et al., CVPR 2025, arXiv 2503.02175): tokens kept (B, N) bool, as far apart as can be.

    Greedy max-min diversity in cosine distance. The first token is the one farthest from its nearest neighbour, as in
    the official code (``LLaVA/llava/model/llava_arch.py`` of vbdi/divprune); each next one is farthest from those
    chosen so far. RTPrune's authors run the same function. Both round the number of tokens, which we cut off.

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


def scope(scores: Tensor, cls_attention: Tensor, prunable: Tensor, count: Tensor) -> Tensor:
    """SCOPE (Deng et al., NeurIPS 2025, arXiv 2510.24214): tokens kept (B, N) bool, salient and covering the others.

    A set covers a token as well as the highest cosine that one of its members has with it, 0 at least. Greedily comes
    next the token whose gain in coverage, summed over all tokens, times its saliency is highest. The saliency is the
    class token's attention in CLIP's last layer but one, to the power of 1 (the paper's alpha). Official code:
    ``SCOPE`` in ``scope/clip_encoder.py`` of kinredon/SCOPE at 6bf7306, which was read; the paper itself was not.

    Ours: cosines are of the projected tokens, where SCOPE takes CLIP's last layer but one: in LLaVA that is all that
    the projector sees, in DeepSeek-OCR it sees CLIP's last layer and SAM's features. A page of many views has one
    budget, where SCOPE gives each view an equal part.

    Args:
        scores: cosines (B, N, N), 0 where a token is not prunable.
        cls_attention: (B, N), mean over the heads (the official code has the sum: the choice is the same).
        prunable: (N,) bool.
        count: (B,), tokens to keep, of at most P.
    """
    rows, covered = torch.arange(len(scores), device=scores.device), torch.zeros_like(cls_attention)
    kept = torch.zeros_like(covered, dtype=torch.bool)
    for step in range(int(count.max())):
        gain = (scores - covered[..., None]).clamp_min(0).sum(1)
        pick = (gain * cls_attention).masked_fill(kept | ~prunable, -torch.inf).argmax(-1)
        kept[rows, pick] |= step < count
        covered = torch.maximum(covered, scores[rows, pick])
    return kept
