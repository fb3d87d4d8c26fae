"""Where on the page each visual token lies, and what became of it: what reports and overlays are drawn from.

The geometry is that of views.py, backwards: a token stands for a cell of 64 x 64 pixels of its view. Letters: N visual
tokens of a page in decoder order (tiles row by row, then the global view, newlines after each row, the separator last).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from rtprune_cli.views import SIDES, STRETCHED, TILE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtprune_cli.records import PrunedTokens, Views, VisualTokens

CELL = 64  # pixels of a view behind one token, each way

Kind = Literal["tile", "global", "newline", "separator"]
KINDS: tuple[Kind, ...] = ("tile", "global", "newline", "separator")


@dataclass(frozen=True)
class TokenMap:
    """The visual tokens of one page.

    ``kind`` (N,) are indices of :data:`KINDS`. ``boxes`` (N, 4) float: x1, y1, x2, y2 in page pixels of the cell
    behind a token, cut at the page's edge and empty where the cell is padding; NaN for newlines and the separator.
    ``norms`` (N,) are L2 norms before merging; ``stays`` (N,) bool says what enters the decoder.
    """

    kind: NDArray[np.uint8]
    boxes: NDArray[np.float64]
    norms: NDArray[np.float32]
    stays: NDArray[np.bool_]

    @property
    def merged(self) -> NDArray[np.bool_]:
        """(N,): prunable tokens that are gone."""
        return ~self.stays & (self.kind < KINDS.index("newline"))


def token_map(views: Views, size: tuple[int, int], tokens: VisualTokens, pruned: PrunedTokens) -> TokenMap:
    """The map of a page whose image is ``size`` (width, height) pixels."""
    count = len(tokens.tokens)
    stays = np.zeros(count, dtype=np.bool_)
    stays[pruned.keep.cpu().numpy()] = True
    kind, boxes = layout(views.mode, views.grid if views.tiles is not None else None, size)
    norms = tokens.tokens.float().norm(dim=-1).cpu().numpy()
    return TokenMap(kind, boxes, norms, stays)


def layout(
    mode: str, grid: tuple[int, int] | None, size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """``kind`` (N,) and ``boxes`` (N, 4) of :class:`TokenMap`.

    Args:
        mode: one of the five.
        grid: (columns, rows) of tiles, None without tiles.
        size: (width, height) of the page in pixels.
    """
    parts = []
    if grid is not None:
        columns, rows = grid
        cells = TILE // CELL
        # The page is stretched to the grid of tiles, whose tokens are set side by side before they are read.
        scale = size[0] / (TILE * columns), size[1] / (TILE * rows)
        parts.append(_rows(cells * columns, cells * rows, "tile", scale, (0.0, 0.0), size))
    side = SIDES[mode]
    scale, offset = _fit(mode, side, size)
    parts.append(_rows(side // CELL, side // CELL, "global", scale, offset, size))
    parts.append((np.array([KINDS.index("separator")], dtype=np.uint8), np.full((1, 4), np.nan)))
    return np.concatenate([kind for kind, _ in parts]), np.concatenate([boxes for _, boxes in parts])


def _fit(mode: str, side: int, size: tuple[int, int]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Page pixels a view pixel, and the view pixels of padding at the left and the top (PIL's ``ImageOps.pad``)."""
    width, height = size
    if mode in STRETCHED:
        return (width / side, height / side), (0.0, 0.0)
    inner = (side, round(height / width * side)) if width >= height else (round(width / height * side), side)
    inner = max(1, inner[0]), max(1, inner[1])
    scale = width / inner[0], height / inner[1]
    return scale, (float(round((side - inner[0]) * 0.5)), float(round((side - inner[1]) * 0.5)))


def _rows(
    columns: int,
    rows: int,
    name: Kind,
    scale: tuple[float, float],
    offset: tuple[float, float],
    size: tuple[int, int],
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """A view's cells row by row, a newline after each row."""
    kind = np.full((rows, columns + 1), KINDS.index(name), dtype=np.uint8)
    kind[:, -1] = KINDS.index("newline")
    x, y = np.meshgrid(np.arange(columns) * CELL, np.arange(rows) * CELL)
    corners = np.stack([x, y, x + CELL, y + CELL], axis=-1).astype(np.float64)
    limits = np.array([size[0], size[1], size[0], size[1]], dtype=np.float64)
    boxes = np.full((rows, columns + 1, 4), np.nan)
    boxes[:, :-1] = ((corners - [*offset, *offset]) * [*scale, *scale]).clip(0.0, limits)
    return kind.reshape(-1), boxes.reshape(-1, 4)
