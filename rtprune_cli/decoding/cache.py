"""Keys and values of all rows, in one pool that is allocated once and laid out anew when a row outgrows its slot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


class KvCache:
    """A pool for ``tokens`` tokens, laid out as ``rows`` slots of ``capacity`` tokens each.

    transformers calls ``update(keys, values, layer)`` on what :meth:`prompts` and :meth:`steps` return. Everything in
    the pool is finite: attention weighs what is masked with 0, and 0 times NaN is NaN.
    """

    def __init__(self, text_config: Any, tokens: int, device: torch.device, dtype: torch.dtype) -> None:
        self._layers, self._heads, self._head_dim = cache_shape(text_config)
        self.tokens = tokens
        self.rows = self.capacity = 0
        self._pool = _zeros((self._layers, 2, tokens * self._heads * self._head_dim), device, dtype)
        self._slots = self._pool[..., :0]  # (layers, 2, rows, heads, capacity, head_dim)

    def lay_out(self, rows: int, capacity: int, used_rows: int, used: int) -> None:
        """Make ``rows`` slots of ``capacity`` tokens; the first ``used_rows`` keep their first ``used`` tokens.

        Raises:
            ValueError: the pool does not hold that many.
        """
        if rows * capacity > self.tokens:
            raise ValueError(f"{rows} rows of {capacity} tokens do not fit into a pool of {self.tokens}")
        shape = rows, self._heads, capacity, self._head_dim
        old, self._slots = self._slots, self._pool[..., : rows * self._heads * capacity * self._head_dim]
        self._slots = self._slots.view(self._layers, 2, *shape)
        self.rows, self.capacity = rows, capacity
        if used_rows:
            for before, after in zip(old.flatten(0, 1), self._slots.flatten(0, 1), strict=True):
                after[:used_rows, :, :used] = before[:used_rows, :, :used].clone()  # the two overlap

    def prompts(self, rows: Tensor) -> _Prompts:
        """Where a prompt's keys and values go; ``rows`` (B,) are the prompts' slots."""
        return _Prompts(self._slots, rows)

    def steps(self, count: int, reach: int, places: Tensor) -> _Steps:
        """Where those of one new token of each of the first ``count`` rows go, at ``places`` (count,).

        Attention sees the first ``reach`` tokens of each row.
        """
        return _Steps(self._slots, count, reach, places)

    def layer(self, number: int) -> tuple[Tensor, Tensor]:
        """The keys and values of all slots of a layer, (rows, heads, capacity, head_dim) each."""
        keys, values = self._slots[number]
        return keys, values

    def move(self, source: int, target: int, used: int) -> None:
        """Copy the first ``used`` tokens of a row to another slot."""
        self._slots[:, :, target, :, :used] = self._slots[:, :, source, :, :used]

    def clear(self, rows: Sequence[int]) -> None:
        """Take what is not finite out of free slots."""
        for row in rows:
            self._slots[:, :, row] = 0


class _Prompts:
    def __init__(self, slots: Tensor, rows: Tensor) -> None:
        self._slots, self._rows = slots, rows

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        self._slots[layer, 0, self._rows, :, : keys.shape[2]] = keys
        self._slots[layer, 1, self._rows, :, : keys.shape[2]] = values
        return keys, values


class _Steps:
    def __init__(self, slots: Tensor, count: int, reach: int, places: Tensor) -> None:
        self._slots = slots[:, :, :count, :, :reach]
        self._at = places[:, None, None, None].expand(-1, slots.shape[3], 1, slots.shape[5])

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        own_keys, own_values = self._slots[layer]
        own_keys.scatter_(2, self._at, keys)
        own_values.scatter_(2, self._at, values)
        return own_keys, own_values


def _zeros(shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    if device.type != "cpu":
        return torch.zeros(shape, device=device, dtype=dtype)
    # Zeroed by the system when it is first touched: torch would write to all of it now, and most is never used.
    return torch.from_numpy(np.zeros(math.prod(shape) * dtype.itemsize, np.uint8)).view(dtype).view(shape)


def cache_shape(text_config: Any) -> tuple[int, int, int]:
    """Layers, key-value heads, and the size of a head."""
    head_dim = getattr(text_config, "head_dim", None) or text_config.hidden_size // text_config.num_attention_heads
    return text_config.num_hidden_layers, text_config.num_key_value_heads, head_dim


def window_of(text_config: Any) -> int | None:
    """How many of the tokens that the decoder wrote a new one sees, itself included; None: all. The prompt it always
    sees whole (reference sliding window attention, of Unlimited-OCR)."""
    kinds = set(getattr(text_config, "layer_types", None) or ())
    return int(text_config.sliding_window) if kinds == {"reference_sliding_attention"} else None


def bytes_per_token(text_config: Any, dtype: torch.dtype) -> int:
    """What one token's keys and values take."""
    layers, heads, head_dim = cache_shape(text_config)
    return 2 * layers * heads * head_dim * dtype.itemsize
