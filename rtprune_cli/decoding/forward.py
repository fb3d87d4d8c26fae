"""Passes through the scheduler: the prefill of several pages' prompts, and what one step runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rtprune_cli.device.graphs import send
from rtprune_cli.records import DecoderInput

# On a GPU prompts are padded to a multiple of so many tokens, so that lengths come again: what libraries choose or load
# for a shape is found in their caches. Half of it is added on the average, to the longest prompt of a batch.
PADDING = 32


@torch.inference_mode()
def prefill(network: Any, prompts: Sequence[DecoderInput], cache: Any = None) -> Tensor:
    """Run the prompts of B pages; logits of the first new token of each, (B, V) in float32.

    Prompts are padded on the right: a causal decoder never looks there, so no mask is needed and the fastest attention
    serves. ``cache`` takes keys and values, padding included; None keeps nothing.
    """
    device = prompts[0].embeds.device
    lengths = [len(prompt.embeds) for prompt in prompts]
    length = padded_length(max(lengths), device)
    embeds = _padded([prompt.embeds for prompt in prompts], length)
    positions = _padded([prompt.positions for prompt in prompts], length)
    hidden = run_decoder(network, embeds, send(positions, device), None, cache)
    rows = torch.arange(len(prompts), device=device)
    return network.lm_head(hidden[rows, send(torch.tensor(lengths) - 1, device)]).float()


def padded_length(length: int, device: torch.device) -> int:
    """Tokens that the longest prompt of a batch has with its padding."""
    return length if device.type == "cpu" else -(-length // PADDING) * PADDING


def _padded(rows: Sequence[Tensor], length: int) -> Tensor:
    """One tensor (B, length, ...) of rows (L, ...) of L tokens at most, zeros behind them."""
    if len(rows) == 1 and len(rows[0]) == length:
        return rows[0][None]
    whole = rows[0].new_zeros(len(rows), length, *rows[0].shape[1:])
    for row, own in zip(whole, rows, strict=True):
        row[: len(own)] = own
    return whole


def run_decoder(network: Any, embeds: Tensor, positions: Tensor, mask: Tensor | None, cache: Any) -> Tensor:
    """The last hidden states (B, L, D) of embeddings (B, L, D) at positions (B, L).

    ``mask`` (B, 1, L, K) is added to the attention scores over K cached tokens; None is causal over the L alone.
    """
    # Layer by layer, as transformers' own forward goes: that of DeepSeek-OCR-2 would make a mask where none is wanted,
    # and take the gaps that pruned tokens leave in the positions for ends of texts.
    decoder = network.model.language_model
    rotary = decoder.rotary_emb(embeds, position_ids=positions)
    hidden: Tensor = embeds
    for layer in decoder.layers:
        hidden = layer(
            hidden,
            attention_mask=mask,
            position_embeddings=rotary,
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
        )
    last: Tensor = decoder.norm(hidden)
    return last
