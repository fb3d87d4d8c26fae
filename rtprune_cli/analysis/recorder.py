"""Owns what is taken in of one page's passes through the decoder, on the device; nothing waits for it.

Of every step and layer one row of attention is looked at, that of the token that chooses. Kept of it are its sums over
groups of tokens; of the prunable tokens one by one, the first row and the sum of all rows. So nothing grows with steps
times context.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from rtprune_cli.records import Decoded, DecoderInput, FinishReason

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Every token of the context is in one of these: visual tokens of high and of low norm, newlines and the separator, the
# prompt's text with its bos, and what the page's text is so far.
GROUPS = ("high", "low", "layout", "prompt", "written")
READ_SHARE = 0.02  # of the prunable tokens: so many with the most attention are read at a step


@dataclass(frozen=True)
class TokenGroups:
    """Which visual tokens of a page are which: ``prunable`` (N,), and among the prunable ones ``high`` (P,), both bool.

    ``draws`` (R, P): other tokens, as many, that are taken for the high ones to see what chance gives.
    """

    prunable: NDArray[np.bool_]
    high: NDArray[np.bool_]
    draws: NDArray[np.bool_]

    @property
    def read_count(self) -> int:
        """How many tokens count as read at each step."""
        return max(1, round(READ_SHARE * len(self.high)))


@dataclass(frozen=True)
class Watched:
    """One page's attention, all means over heads, and norms.

    ``masses`` (T, L, 5): of :data:`GROUPS`, which sum to 1. ``drawn`` (T, R): mass on each draw's tokens, mean over
    layers. ``read`` (T, k): places among the P prunable tokens of those with the most attention, mean over layers.
    ``prefill`` (L, P): attention on each prunable token of the prompt's last one, which is step 1; ``decoding`` (L, P):
    mean over all T steps. ``layer_norms`` (L, P): L2 norms of the prunable tokens' hidden states after each layer.
    """

    token_ids: list[int]
    finish_reason: FinishReason
    masses: NDArray[np.float32]
    drawn: NDArray[np.float32]
    read: NDArray[np.int64]
    prefill: NDArray[np.float32]
    decoding: NDArray[np.float32]
    layer_norms: NDArray[np.float32]


class Recorder:
    """Takes in the last row of attention of every layer and step, and what each layer makes of the visual tokens.

    ``most`` steps are taken in at most, None: all.
    """

    def __init__(
        self, prompt: DecoderInput, before: int, groups: TokenGroups, layers: int, most: int | None = None
    ) -> None:
        length, device = len(prompt.embeds), prompt.embeds.device
        visual = before + np.arange(len(groups.prunable))
        prunable = visual[groups.prunable]
        member = np.zeros((length, len(GROUPS) - 1 + len(groups.draws)), np.float32)  # 1 where a token is of a group
        member[:, GROUPS.index("prompt")] = 1
        member[visual] = 0
        member[visual[~groups.prunable], GROUPS.index("layout")] = 1
        member[prunable, GROUPS.index("high")] = groups.high
        member[prunable, GROUPS.index("low")] = ~groups.high
        member[prunable, len(GROUPS) - 1 :] = groups.draws.T
        # In float64, as a device may multiply float32 in TF32: sums of weights should be no worse than the weights.
        self._member = torch.from_numpy(member).to(device).double()
        self._prunable = torch.from_numpy(prunable).to(device)
        self._length, self._layers, self._count, self._most = length, layers, groups.read_count, most
        self._rows: list[Tensor] = []  # of the step at hand, a layer each
        self._masses: list[Tensor] = []
        self._drawn: list[Tensor] = []
        self._read: list[Tensor] = []
        self._prefill = self._sum = torch.zeros(layers, len(prunable), device=device)
        self._norms: list[Tensor] = []  # of the prefill, a layer each

    @property
    def steps(self) -> int:
        """How many have been taken in."""
        return len(self._masses)

    @torch.inference_mode()
    def add(self, weights: Tensor) -> None:
        """``weights`` (K,) float32 of the next layer, mean over its heads."""
        self._rows.append(weights)
        if len(self._rows) < self._layers:
            return
        rows, self._rows = torch.stack(self._rows), []
        if self.steps == self._most:
            return
        prompt = rows[:, : self._length]
        sums = (prompt.double() @ self._member).float()
        groups = len(GROUPS) - 1
        written = rows[:, self._length :].sum(1, keepdim=True)
        tokens = prompt[:, self._prunable]
        if not self._masses:
            self._prefill = tokens
        self._sum = self._sum + tokens.double()
        self._masses.append(torch.cat([sums[:, :groups], written], dim=1))
        self._drawn.append(sums[:, groups:].mean(0))
        self._read.append(tokens.mean(0).topk(self._count).indices)

    @torch.inference_mode()
    def add_hidden(self, hidden: Tensor) -> None:
        """``hidden`` (1, L, D) is what the next layer made of a pass's L tokens; the first pass has the visual ones."""
        if len(self._norms) < self._layers:
            self._norms.append(hidden[0, self._prunable].float().norm(dim=-1))

    def result(self, decoded: Decoded) -> Watched:
        """All that was taken in while this was decoded, on the host."""
        steps = (torch.stack(each).cpu().numpy() for each in (self._masses, self._drawn, self._read))
        mean = (self._sum / self.steps).float()
        tokens = (each.cpu().numpy() for each in (self._prefill, mean, torch.stack(self._norms)))
        return Watched(decoded.token_ids, decoded.finish_reason, *steps, *tokens)
