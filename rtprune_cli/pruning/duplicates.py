"""VisPruner and DART: methods that leave out what is like another token.

What differs from the papers and their code is said at each. Letters: B pages, N visual tokens of a page, P of them
prunable, D hidden size, M tokens of the prompt's text.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

IMPORTANT = 0.5  # share of VisPruner's tokens that attention chooses
AT_A_TIME = 8  # duplicates, at most, that one of its rounds takes out
PIVOTS = 4  # DART's, of the page and of the prompt's text each


def vispruner(values: Tensor, cls_attention: Tensor, prunable: Tensor, count: Tensor) -> Tensor:
    """VisPruner (Zhang et al., ICCV 2025, arXiv 2412.01818): tokens kept (B, N) bool, important and then diverse.

    Half of them, rounded down, have the highest attention from the class token in CLIP's last layer but one. From the
    others, in the order of their attention, duplicates are taken out round by round until the right number is left:
    every second token is compared with those between, and the 8 that have the nearest of them there go; the rest of
    the compared ones come first in the next round, the most alike at their head. Official code: ``encode_images`` in
    ``llava/model/llava_arch.py`` of Theia-4869/VisPruner at a089bff, which was read; the paper was not. Its share of
    important tokens is an argument there, a half in most of its examples and fixed at that in the code before review.

    Ours: cosines are of the projected tokens, where VisPruner takes CLIP's last layer but one (see
    :func:`~rtprune_cli.pruning.baselines.scope`), and in float64: what is compared with what depends on the round
    before, so that one cosine rounded otherwise changes all that follows. (In float32 the official lines chose other
    tokens than these in 1 of 120 random cases, in float64 in none.) A page of many views has one budget.

    Args:
        values: (B, N, D) float32.
        cls_attention: (B, N), mean over the heads.
        prunable: (N,) bool.
        count: (B,), tokens to keep, of at most P.
    """
    places = torch.arange(values.shape[1], device=values.device)
    rows = torch.arange(len(values), device=values.device)[:, None]
    unit = F.normalize(values.double(), dim=-1)
    scores = unit @ unit.transpose(1, 2)
    important = (count * IMPORTANT).floor().long()[:, None]
    wanted = count.long()[:, None] - important
    order = cls_attention.masked_fill(~prunable, -1).argsort(dim=-1, descending=True, stable=True)
    rest = order.gather(1, (places + important).clamp_max(len(places) - 1))  # the first ``left`` of each row count
    left = prunable.sum() - important
    while bool((left > wanted).any()):
        compared, others = rest[:, ::2], rest[:, 1::2]
        is_compared, is_other = places[::2] < left, places[1::2] < left
        cosine = scores[rows[..., None], compared[..., None], others[:, None]]
        alike = cosine.masked_fill(~is_other[:, None], -torch.inf).amax(-1).masked_fill(~is_compared, -torch.inf)
        turn = alike.argsort(dim=-1, descending=True, stable=True)
        going = (left - wanted).clamp(0, AT_A_TIME).minimum(is_compared.sum(-1, keepdim=True))
        staying = is_compared.sum(-1, keepdim=True) - going
        first = compared.gather(1, turn).gather(1, (places + going).clamp_max(compared.shape[1] - 1))
        second = others.gather(1, (places - staying).clamp(0, others.shape[1] - 1))
        rest = torch.where(going > 0, torch.where(places < staying, first, second), rest)
        left = left - going
    kept = torch.zeros_like(prunable).repeat(len(scores), 1)
    kept.scatter_(1, order, places < important)
    # A place behind the last one of a page stands for no token: it writes what the page's first one has.
    return kept.scatter_(1, rest.where(places < left, rest[:, :1]), True)


def dart(values: Tensor, norms: Tensor, instruction: Tensor, prunable: Tensor, count: Tensor) -> Tensor:
    """DART (Wen et al., EMNLP 2025, arXiv 2502.11494): tokens kept (B, N) bool, pivots and what is least like them.

    4 tokens of the page and 4 of the prompt's text are pivots, those of largest L1 norm. Each in turn takes its share
    of the tokens left, those of lowest cosine with it. The page's pivots stay too.

    Ours: DART prunes after a layer of the decoder, by the L1 norm of its keys and the cosines of its hidden states;
    before the decoder there are neither, so that the projected tokens and the embeddings of the prompt's text stand
    for both. (RTPrune's table has DART in the decoder; ours is no witness of that.) The number of tokens is exact: of
    what does not divide evenly the first pivots take one more each, where DART rounds the shares. The page's pivots
    come first, then the text's, each by falling norm (DART goes through a Python set, in no order of its own). The
    official repository, ZichenWen1/DART, was not at hand beyond its README: this follows ``get_retained_image_token``
    in ``llmc/compression/token_reduction/dart.py`` of ModelTC/LightCompress at 9701d03, with its 4 and 4 pivots. The
    paper was not read.

    Args:
        values, norms: (B, N, D) float32 and their L2 norms (B, N).
        instruction: (M, D).
        prunable: (N,) bool.
        count: (B,), tokens to keep, of at most P.
    """
    text = instruction.float()
    text = text[text.abs().sum(-1).argsort(descending=True, stable=True)[:PIVOTS]]
    size = values.abs().sum(-1).masked_fill(~prunable, -1)
    own = size.argsort(dim=-1, descending=True, stable=True)[:, :PIVOTS]
    unit, rows = values / norms.clamp_min(1e-12)[..., None], torch.arange(len(values), device=values.device)[:, None]
    pivots = torch.cat([unit[rows, own], F.normalize(text, dim=-1).expand(len(values), -1, -1)], dim=1)
    alike = pivots @ unit.transpose(1, 2)  # (B, pivots, N)
    kept = torch.zeros_like(size, dtype=torch.bool)
    kept.scatter_(1, own, torch.arange(own.shape[1], device=own.device) < count[:, None])
    remaining, pivot_count = count - kept.sum(-1), pivots.shape[1]
    for number in range(pivot_count):
        share = (remaining / pivot_count).floor() + (number < remaining % pivot_count)
        kept |= _lowest(alike[:, number], prunable & ~kept, share)
    return kept


def _lowest(numbers: Tensor, among: Tensor, count: Tensor) -> Tensor:
    """The ``count`` (B,) lowest of the ``numbers`` (B, N) ``among`` (B, N) bool; of equal ones the first."""
    order = numbers.masked_fill(~among, torch.inf).argsort(dim=-1, stable=True)
    places = torch.arange(numbers.shape[1], device=numbers.device)
    return torch.zeros_like(among).scatter_(1, order, places < count[:, None])
