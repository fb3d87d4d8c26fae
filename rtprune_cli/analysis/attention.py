"""Owns the recording of where the decoder looks while it reads one page.

A step is the pass that chooses one token: step 1 is the prompt's last token, each later one the token written last.
Of every step and layer one row of attention is kept, that of the token that chooses, as its sums over groups of
tokens; nothing grows with steps times context.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rtprune_cli.decoding import Scheduler
from rtprune_cli.decoding.loops import TokenKinds
from rtprune_cli.failures import Failure, PageFailure
from rtprune_cli.options import DecodeOptions
from rtprune_cli.records import DecoderInput, FinishReason, VisualTokens

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import UnlimitedOcrForConditionalGeneration

# Every token of the context is in one of these: visual tokens of high and of low norm, newlines and the separator, the
# prompt's text with its bos, and what the page's text is so far.
GROUPS = ("high", "low", "layout", "prompt", "written")
WATCHED = "rtprune_watched"  # what transformers knows the recording attention by
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
    """One page's attention, all means over heads.

    ``masses`` (T, L, 5): of :data:`GROUPS`, which sum to 1. ``drawn`` (T, R): mass on each draw's tokens, mean over
    layers. ``read`` (T, k): places among the P prunable tokens of those with the most attention, mean over layers.
    """

    token_ids: list[int]
    finish_reason: FinishReason
    masses: NDArray[np.float32]
    drawn: NDArray[np.float32]
    read: NDArray[np.int64]


def watch(
    network: UnlimitedOcrForConditionalGeneration,
    prompt: DecoderInput,
    before: int,
    groups: TokenGroups,
    options: DecodeOptions,
    *,
    eos_token_id: int,
    ngram_exempt: frozenset[int] = frozenset(),
    token_kinds: TokenKinds | None = None,
) -> Watched:
    """Decode one unpruned page, as `rtprune ocr` does, and record where it looks.

    The eos is a step too, as is each token of a loop's first copy; what was cut of a loop is not.

    Args:
        prompt: with all N visual tokens.
        before: tokens of the prompt before them.

    Raises:
        PageFailure: the decoder failed.
    """
    recorder = _Recorder(prompt, before, groups, int(network.config.text_config.num_hidden_layers))
    scheduler = Scheduler(
        network,
        options,
        eos_token_id=eos_token_id,
        ngram_exempt=ngram_exempt,
        token_kinds=token_kinds,
        rows=1,
        longest=len(prompt.embeds) + options.max_new_tokens,
        steps=1,  # no more steps than tokens, but for one after the end
        buckets=False,
    )
    scheduler.add(0, prompt)
    done: list[Any] = []
    with _attention_through(network, recorder):
        while scheduler.busy:
            done += scheduler.step()
    (_, result) = done[0]
    if isinstance(result, Failure):
        raise PageFailure(result)
    steps = len(result.token_ids) + (result.finish_reason == "eos")
    masses, drawn, read = recorder.result(steps)
    return Watched(result.token_ids, result.finish_reason, masses, drawn, read)


class _Recorder:
    """Takes in the last row of attention of every layer and step, on the device; nothing waits for it."""

    def __init__(self, prompt: DecoderInput, before: int, groups: TokenGroups, layers: int) -> None:
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
        self._length, self._layers, self._count = length, layers, groups.read_count
        self._rows: list[Tensor] = []  # of the step at hand, a layer each
        self._masses: list[Tensor] = []
        self._drawn: list[Tensor] = []
        self._read: list[Tensor] = []

    @torch.inference_mode()
    def add(self, weights: Tensor) -> None:
        """``weights`` (K,) float32 of the next layer, mean over its heads."""
        self._rows.append(weights)
        if len(self._rows) < self._layers:
            return
        rows, self._rows = torch.stack(self._rows), []
        prompt = rows[:, : self._length]
        sums = (prompt.double() @ self._member).float()
        groups = len(GROUPS) - 1
        written = rows[:, self._length :].sum(1, keepdim=True)
        self._masses.append(torch.cat([sums[:, :groups], written], dim=1))
        self._drawn.append(sums[:, groups:].mean(0))
        self._read.append(prompt[:, self._prunable].mean(0).topk(self._count).indices)

    def result(self, steps: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        """The first steps, on the host."""
        masses, drawn, read = (torch.stack(each[:steps]).cpu() for each in (self._masses, self._drawn, self._read))
        return masses.numpy(), drawn.numpy(), read.numpy()


@contextmanager
def _attention_through(network: UnlimitedOcrForConditionalGeneration, recorder: _Recorder) -> Iterator[None]:
    """Inside, the decoder computes attention as before, and ``recorder`` is given the last row of each layer.

    transformers hands its attention functions the very queries and keys that are used, rotary embedding and cache
    included, so that nothing of a layer is made again here but the softmax of one row.
    """
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    decoder = network.model.language_model
    usual = decoder.config._attn_implementation
    compute: Callable[..., Any] = ALL_ATTENTION_FUNCTIONS[usual]

    def attend(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **more: Any) -> Any:
        recorder.add(last_row(query, key, mask, more["scaling"]))
        return compute(module, query, key, value, mask, **more)

    ALL_ATTENTION_FUNCTIONS[WATCHED] = attend
    try:
        decoder.set_attn_implementation(WATCHED)
        yield
    finally:
        decoder.set_attn_implementation(usual)
        del ALL_ATTENTION_FUNCTIONS[WATCHED]


def last_row(query: Tensor, key: Tensor, mask: Tensor | None, scaling: float) -> Tensor:
    """Attention (K,) float32 of the last token, mean over heads; the softmax is in float32 whatever the dtype.

    Args:
        query: (1, H, L, D).
        key: (1, H or fewer, K, D); of fewer heads each serves as many neighbours among the query's.
        mask: (1, 1, L, K), added to the scores, or None where the last token sees all.
    """
    heads, keys = query[0, :, -1].float(), key[0].float()
    heads = heads.unflatten(0, (len(keys), -1))  # (key heads, query heads of each, D)
    scores = (heads @ keys.transpose(1, 2)).mul_(scaling)
    if mask is not None:
        scores = scores + mask[0, 0, -1].float()
    return scores.softmax(-1).flatten(0, 1).mean(0)


def token_groups(
    tokens: VisualTokens, keep: Tensor, draw: Callable[[NDArray[np.bool_]], NDArray[np.bool_]]
) -> TokenGroups:
    """``keep`` are the places of the tokens that pruning would keep: the prunable ones among them are the high ones.

    Raises:
        ValueError: there are none of low norm.
    """
    prunable = tokens.prunable.numpy()
    kept = np.zeros(len(prunable), bool)
    kept[keep.numpy()] = True
    high = kept[prunable]
    if high.all():
        raise ValueError("every token is of high norm")
    return TokenGroups(prunable, high, draw(high))
