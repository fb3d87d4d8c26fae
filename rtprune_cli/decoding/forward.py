"""Passes through the scheduler: the prefill of several pages' prompts, and what one step runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rtprune_cli.device.graphs import send
from rtprune_cli.records import DecoderInput

if TYPE_CHECKING:
    from transformers import UnlimitedOcrForConditionalGeneration

# On a GPU prompts are padded to a multiple of so many tokens, so that lengths come again: what libraries choose or load
# for a shape is found in their caches. Half of it is added on the average, to the longest prompt of a batch.
PADDING = 32


@torch.inference_mode()
def prefill(
    network: UnlimitedOcrForConditionalGeneration, prompts: Sequence[DecoderInput], cache: Any = None
) -> Tensor:
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


def run_decoder(
    network: UnlimitedOcrForConditionalGeneration, embeds: Tensor, positions: Tensor, mask: Tensor | None, cache: Any
) -> Tensor:
    """The last hidden states (B, L, D) of embeddings (B, L, D) at positions (B, L).

    ``mask`` (B, 1, L, K) is added to the attention scores over K cached tokens; None is causal over the L alone.
    """
    output = network.model.language_model(
        inputs_embeds=embeds,
        attention_mask={"full_attention": mask},
        position_ids=positions,
        past_key_values=cache,
        use_cache=cache is not None,
    )
    hidden: Tensor = output.last_hidden_state
    return hidden
