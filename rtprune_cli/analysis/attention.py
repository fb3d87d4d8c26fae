"""Owns the recording of where the decoder looks while it reads one page.

A step is the pass that chooses one token: step 1 is the prompt's last token, each later one the token written last.
What is kept of each step and layer is in recorder.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from rtprune_cli.analysis.recorder import Recorder, TokenGroups, Watched
from rtprune_cli.decoding import Scheduler
from rtprune_cli.decoding.loops import TokenKinds
from rtprune_cli.failures import Failure, PageFailure
from rtprune_cli.options import DecodeOptions
from rtprune_cli.records import Decoded, DecoderInput, VisualTokens

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import UnlimitedOcrForConditionalGeneration

WATCHED = "rtprune_watched"  # what transformers knows the recording attention by


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

    def decode(recorder: Recorder, options: DecodeOptions) -> Decoded:
        scheduler = Scheduler(
            network,
            options,
            eos_token_id=eos_token_id,
            ngram_exempt=ngram_exempt,
            token_kinds=token_kinds,
            rows=1,
            longest=longest,
            steps=1,  # no more steps than tokens, but for one after an end at the first
            buckets=False,
        )
        scheduler.add(0, prompt)
        done: list[Any] = []
        with _watching(network, recorder):
            while scheduler.busy:
                done += scheduler.step()
        (_, result) = done[0]
        if isinstance(result, Failure):
            raise PageFailure(result)
        decoded: Decoded = result
        return decoded

    longest = len(prompt.embeds) + options.resolved().max_new_tokens
    layers = int(network.config.text_config.num_hidden_layers)
    recorder = Recorder(prompt, before, groups, layers)
    result = decode(recorder, options)
    steps = len(result.token_ids) + (result.finish_reason == "eos")
    if recorder.steps > steps:  # sums over steps hold what was cut of a loop: again, as far as the text goes
        recorder = Recorder(prompt, before, groups, layers, most=steps)
        decode(recorder, replace(options, max_new_tokens=max(1, len(result.token_ids))))
    return recorder.result(result)


@contextmanager
def _watching(network: UnlimitedOcrForConditionalGeneration, recorder: Recorder) -> Iterator[None]:
    """Inside, the decoder computes as before, and ``recorder`` is given the last row of attention of each layer, and
    what the layer makes of its tokens.

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

    def made(_layer: Any, _inputs: Any, hidden: Tensor) -> None:
        recorder.add_hidden(hidden)

    hooks = [layer.register_forward_hook(made) for layer in decoder.layers]
    ALL_ATTENTION_FUNCTIONS[WATCHED] = attend
    try:
        decoder.set_attn_implementation(WATCHED)
        yield
    finally:
        decoder.set_attn_implementation(usual)
        del ALL_ATTENTION_FUNCTIONS[WATCHED]
        for hook in hooks:
            hook.remove()


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
