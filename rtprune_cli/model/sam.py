"""SAM's attention with its relative positions inside queries and keys, so that no table of all pairs is written.

SAM adds to the score of the patches n = (y, x) and m = (v, u) what n's query says about their distance:
``scale q[n]·k[m] + q[n]·H[y - v] + q[n]·W[x - u]`` (``get_decomposed_rel_pos`` of segment-anything and transformers).
transformers writes these sums out, (heads, N, N) of each image, and hands them over as a mask: 403 MB a layer of a page
in mode base, and a mask rules out the flash kernels. But a query has only one number for each row and column of
patches, so that the sum is a product too: the query is lengthened by its numbers, and each key by ones at its own row
and column. The scores are the same within rounding (nearer to exact, as the sums stay in the kernel's float32).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

ALIGNED = 8  # flash kernels take widths of whole multiples


class RelativeAttention:
    """Takes the place of ``forward`` in a SAM attention module of transformers, whose weights stay as they are.

    What follows from the weights and a size alone is made once and kept: transformers makes it in every layer of every
    pass, by an index on the host, for which a GPU's queue would stop 24 times a pass.
    """

    def __init__(self, module: Any) -> None:
        self._module = module
        self._tables: dict[Hashable, tuple[Tensor, Tensor, Tensor]] = {}

    def __call__(self, hidden_states: Tensor, output_attentions: bool = False) -> tuple[Tensor, None]:
        """The attention's output, (B, h, w, D) as its input, and no weights.

        Args:
            hidden_states: (B, h, w, D), B images or windows of h by w patches.
            output_attentions: only for the signature; there are no weights to give.
        """
        module = self._module
        batch, height, width, _ = hidden_states.shape
        parts = module.qkv(hidden_states).unflatten(-1, (3, module.num_attention_heads, -1))
        query, key, value = parts.permute(3, 0, 4, 1, 2, 5).unbind(0)  # (B, heads, h, w, C) each
        rows, columns, places = self._tables_of(height, width, query)
        by_row = torch.einsum("bnhwc,hkc->bnhwk", query, rows)
        by_column = torch.einsum("bnhwc,wkc->bnhwk", query, columns)
        added = places.shape[-1]
        padding = query.new_zeros(()).expand(*query.shape[:-1], added - height - width)
        output = F.scaled_dot_product_attention(
            torch.cat([query, by_row, by_column, padding], dim=-1).flatten(2, 3),
            torch.cat([key.flatten(2, 3), places.expand(batch, module.num_attention_heads, -1, -1)], dim=-1),
            F.pad(value.flatten(2, 3), (0, added)),  # the kernels want one width for all three
            scale=module.scale,
        )[..., : value.shape[-1]]
        return module.proj(output.transpose(1, 2).reshape(batch, height, width, -1)), None

    def _tables_of(self, height: int, width: int, query: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """H (h, h, C) and W (w, w, C) of the module's docstring, and what lengthens the keys (h w, h + w + padding): at
        a patch's row and column the number that the kernel's scale makes to a one."""
        key = height, width, query.dtype, query.device
        if key not in self._tables:
            module = self._module
            place = torch.arange(height * width, device=query.device)
            row, column = F.one_hot(place // width, height), F.one_hot(place % width, width)
            padding = row.new_zeros(len(place), -(query.shape[-1] + height + width) % ALIGNED)
            self._tables[key] = (
                module.get_rel_pos(height, height, module.rel_pos_h),
                module.get_rel_pos(width, width, module.rel_pos_w),
                torch.cat([row, column, padding], dim=-1).to(query.dtype) / module.scale,
            )
        return self._tables[key]
