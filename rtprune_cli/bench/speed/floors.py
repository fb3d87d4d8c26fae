"""Owns the least that a stage can cost: the bytes that must cross the memory bus and the operations, from the config.

A floor counts every weight that is needed once, a stage's input and output once, and no intermediate result: a perfect
program would keep those on the chip. Letters: B pages, L tokens of a prompt, S side of a view in pixels, D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rtprune_cli.decoding.cache import window_of
from rtprune_cli.report import prefill_flops
from rtprune_cli.views.grid import CELL

FLOAT32 = 4  # bytes: pixels are normalised in it


@dataclass(frozen=True)
class Rates:
    """What the machine reaches: ``bandwidth`` in bytes/s, read and written, and ``matmul`` in operations/s."""

    bandwidth: float
    matmul: float


@dataclass(frozen=True)
class Cost:
    """``bytes`` that must be moved and ``flops`` that must be done, two a multiply-add."""

    bytes: float = 0.0
    flops: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.bytes + other.bytes, self.flops + other.flops)

    def seconds(self, rates: Rates) -> float:
        """The least time: whichever of the two takes longer."""
        return max(self.bytes / rates.bandwidth, self.flops / rates.matmul)


def encode_cost(config: Any, sides: Sequence[int], item: int) -> Cost:
    """Vision encoder and projector over square views.

    Args:
        config: the model's, with vision_config and text_config.
        sides: pixels of each view, tiles included.
        item: bytes of a number.
    """
    weights = _vision_matrices(config.vision_config, config.text_config.hidden_size)
    read = sum(size for size, _ in weights) * item
    return Cost(read) + sum((_view_cost(config, side, item) for side in sides), Cost())


def _vision_matrices(vision: Any, hidden: int) -> list[tuple[int, float]]:
    """(weights, rows) of each matrix of the encoder; rows are how many a cell of 64 x 64 pixels sends through it."""
    sam = vision.sam_config
    width, neck, (half, quarter) = sam.hidden_size, sam.output_channels, sam.downsample_channels
    sam_layer = 4 * width * width + 2 * width * sam.mlp_dim
    return [
        (3 * sam.patch_size**2 * width, 16),
        (sam.num_hidden_layers * sam_layer, 16),
        (width * neck, 16),
        (9 * neck * neck, 16),
        (9 * neck * half, 4),
        (9 * half * quarter, 1),
        *_tower_matrices(vision, hidden),
    ]


def _has_queries(vision: Any) -> bool:
    """Whether a language model with learned queries follows SAM (DeepSeek-OCR-2), in the place of CLIP."""
    return hasattr(vision.encoder_config, "num_key_value_heads")


def _tower_matrices(vision: Any, hidden: int) -> list[tuple[int, float]]:
    """What follows SAM: CLIP over the cells, whose features and SAM's are projected; or a language model over as many
    queries as cells behind these, of which the queries are projected."""
    tower, quarter = vision.encoder_config, vision.sam_config.downsample_channels[1]
    width, inner = tower.hidden_size, tower.intermediate_size
    if not _has_queries(vision):
        return [
            (tower.num_hidden_layers * (4 * width**2 + 2 * width * inner), 1),
            ((width + quarter) * hidden, 1),
        ]
    key_value = width // tower.num_attention_heads * tower.num_key_value_heads
    layer = 2 * width**2 + 2 * width * key_value + 3 * width * inner
    return [(tower.num_hidden_layers * layer, 2), (width * hidden, 1)]


def _tower_pairs(vision: Any, cells: int) -> float:
    """Queries and keys that meet in a layer of what follows SAM. CLIP's class token and cells see one another; in the
    language model all see the cells, and a learned query those up to itself."""
    return 2 * cells**2 + cells * (cells + 1) / 2 if _has_queries(vision) else (cells + 1) ** 2


def _view_cost(config: Any, side: int, item: int) -> Cost:
    vision, hidden = config.vision_config, config.text_config.hidden_size
    sam, tower = vision.sam_config, vision.encoder_config
    cells = (side // CELL) ** 2
    patches, across = 16 * cells, side // sam.patch_size
    flops = 2.0 * cells * sum(size * rows for size, rows in _vision_matrices(vision, hidden))
    wide = len(set(sam.global_attn_indexes) & set(range(sam.num_hidden_layers)))
    for layers, reach in ((wide, across), (sam.num_hidden_layers - wide, sam.window_size)):
        # Scores and their weighted sum over a square of keys, and the two terms of the relative position. Windows at
        # the edge are padded with keys that count.
        flops += layers * patches * sam.hidden_size * (4 * reach * reach + 4 * reach)
    flops += tower.num_hidden_layers * 4 * _tower_pairs(vision, cells) * tower.hidden_size
    return Cost((3 * side * side + cells * hidden) * item, flops)


def prune_cost(hidden: int, side: int, tokens: int, ratio: float, iterations: int, item: int) -> Cost:
    """The prune step of a page: Sobel over its view, cosines, Sinkhorn iterations, merging.

    ``tokens`` are its prunable ones, ``ratio`` is the share of them that is kept.
    """
    kept = ratio * tokens
    pruned = tokens - kept
    sobel = 2 * 2 * 9 * side * side
    flops = sobel + 2 * tokens * tokens * hidden + 4 * iterations * kept * pruned + 2 * kept * pruned * hidden
    return Cost(3 * side * side * FLOAT32 + (tokens + kept) * hidden * item, flops)


def experts_hit(tokens: float, top_k: int, experts: int) -> float:
    """How many of a layer's experts so many tokens need, on the average, when each takes ``top_k`` of them evenly."""
    return float(experts * (1 - (1 - top_k / experts) ** tokens))


def decoder_weights(text: Any, tokens: float) -> float:
    """Weights that the decoder reads for so many tokens at once: those of the experts that they need, and the output
    layer; the embeddings of the tokens do not count."""
    hidden, kinds = text.hidden_size, text.mlp_layer_types
    head = hidden // text.num_attention_heads
    attention = 2 * hidden * hidden + 2 * hidden * text.num_key_value_heads * head
    expert = 3 * hidden * text.moe_intermediate_size
    hit = experts_hit(tokens, text.num_experts_per_tok, text.n_routed_experts)
    sparse = expert * (hit + text.n_shared_experts) + hidden * text.n_routed_experts
    return float(
        len(kinds) * attention
        + kinds.count("dense") * 3 * hidden * text.intermediate_size
        + kinds.count("sparse") * sparse
        + hidden * text.vocab_size
    )


def cache_bytes(text: Any, tokens: float, item: int) -> float:
    """Keys and values of so many tokens in all layers."""
    head = text.hidden_size // text.num_attention_heads
    return float(2 * text.num_hidden_layers * text.num_key_value_heads * head * tokens * item)


def prefill_cost(text: Any, lengths: Sequence[int], item: int) -> Cost:
    """The decoder over the prompts of a batch, of so many tokens each; keys and values are written."""
    total = sum(lengths)
    moved = (decoder_weights(text, total) + total * text.hidden_size) * item + cache_bytes(text, total, item)
    return Cost(moved, sum(prefill_flops(text, length) for length in lengths))


def in_cache(text: Any, prompt: float, written: int) -> float:
    """Tokens that a new one sees, itself included, when a page with a prompt of so many has ``written`` so many: all,
    or of a decoder with a window the prompt and the last of its text, however long that is."""
    window = window_of(text)
    return prompt + (written if window is None else min(window, written))


def step_cost(text: Any, batch: int, context: float, item: int) -> Cost:
    """One token more for each of a batch of pages that have ``context`` tokens in the cache, the new one included: what
    :func:`in_cache` says."""
    moved = decoder_weights(text, batch) * item + cache_bytes(text, batch * context, item)
    # Of a prompt of one token, plus the attention to the others.
    others = text.num_hidden_layers * 4 * (context - 1) * text.hidden_size
    return Cost(moved, batch * (prefill_flops(text, 1) + others))
