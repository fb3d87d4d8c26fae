"""The one token geometry: how large views are, which cell of which view each visual token stands for, in what order.

A view of S pixels has S / 64 tokens each way, since 16 of SAM's patches are joined by two convolutions of stride 2. In
DeepSeek-OCR and Unlimited-OCR each stands for a cell of 64 x 64 pixels: in the decoder's order come the tiles' cells,
set side by side as the tiles lie on the page and read row by row, then those of the global view, with a newline token
after each row of cells; the separator is last. DeepSeek-OCR-2 has as many learned queries in the place of a view's
cells, which stand for no place: tile by tile, then the global view's and the separator. Sources: ``forward`` in the
official ``modeling_deepseekocr.py``, ``modeling_unlimitedocr.py`` and ``modeling_deepseekocr2.py``. Letters: N visual
tokens of a page, P of them prunable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from rtprune_cli.options import CELL as CELL
from rtprune_cli.options import view_side

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtprune_cli.records import Views, ViewSpec

# Pages are stretched to views of up to this side, and fitted into larger ones with a gray margin: the official code's
# rule, which it has for tiny and small, base and large, and which goes for free views too.
MOST_STRETCHED = 640
MIN_TILES = 2

Kind = Literal["tile", "global", "newline", "separator"]
KINDS: tuple[Kind, ...] = ("tile", "global", "newline", "separator")
TILE_CELL, GLOBAL_CELL, NEWLINE, SEPARATOR = range(len(KINDS))  # their indices; those before the newline are cells

# What is said where a token's place is asked for and the layout's ``placed`` is False
NO_PLACE = "its visual tokens have no place on the page: each is what a learned query gathered from anywhere on it"

Pair = tuple[float, float]


@dataclass(frozen=True)
class TokenGrid:
    """The visual tokens of a page; ``tiles`` is (columns, rows) of tiles, None without."""

    spec: ViewSpec
    tiles: tuple[int, int] | None = None

    def kinds(self) -> NDArray[np.uint8]:
        """(N,): indices of :data:`KINDS`."""
        parts = []
        for kind, columns, rows in self._blocks():
            block = np.full((rows, columns + self._ends), kind, dtype=np.uint8)
            block[:, columns:] = NEWLINE
            parts.append(block.reshape(-1))
        return np.concatenate([*parts, np.array([SEPARATOR], dtype=np.uint8)])

    def newlines(self) -> NDArray[np.bool_]:
        """(N,): which tokens end a row."""
        return self.kinds() == NEWLINE

    def boxes(self, size: tuple[int, int]) -> NDArray[np.float64]:
        """(N, 4): x1, y1, x2, y2 in pixels of a page of ``size`` (width, height) of the cell behind each token, cut at
        the page's edge and empty where the cell is padding; NaN for newlines, the separator, and queries."""
        if not self.spec.layout.placed:
            return np.full((len(self.kinds()), 4), np.nan)
        parts = []
        for kind, columns, rows in self._blocks():
            block = np.full((rows, columns + self._ends, 4), np.nan)
            block[:, :columns] = self._cells(kind, columns, rows, size)
            parts.append(block.reshape(-1, 4))
        return np.concatenate([*parts, np.full((1, 4), np.nan)])

    def cells(self, size: tuple[int, int]) -> NDArray[np.float64]:
        """(C, 4): the boxes of the global view's cells, row by row, as :meth:`boxes` has them: of the picture that is
        seen, whatever the tokens stand for."""
        return self._cells(*self._blocks()[-1], size).reshape(-1, 4)

    def _cells(self, kind: int, columns: int, rows: int, size: tuple[int, int]) -> NDArray[np.float64]:
        """(rows, columns, 4): the boxes of a block's cells."""
        scale, offset = self._stretched(columns, rows, size) if kind == TILE_CELL else self._fitted(size)
        x, y = np.meshgrid(np.arange(columns) * CELL, np.arange(rows) * CELL)
        corners = np.stack([x, y, x + CELL, y + CELL], axis=-1).astype(np.float64)
        return ((corners - [*offset, *offset]) * [*scale, *scale]).clip(0.0, np.array([*size, *size], dtype=np.float64))

    def patch_order(self) -> NDArray[np.int64]:
        """(P,): for each cell in the decoder's order its place in the encoder's, which sees tile after tile, row by
        row, each with its own cells row by row, and the global view last. Only of cells, not of queries."""
        count = (view_side(self.spec.mode) // CELL) ** 2
        if self.tiles is None:
            return np.arange(count)
        columns, rows = self.tiles
        cells = self.spec.layout.tile // CELL
        tiles = np.arange(rows * columns * cells**2).reshape(rows, columns, cells, cells)
        return np.concatenate([tiles.transpose(0, 2, 1, 3).reshape(-1), tiles.size + np.arange(count)])

    @property
    def _ends(self) -> int:
        """Newlines of a row of cells."""
        return int(self.spec.layout.newlines)

    def _blocks(self) -> list[tuple[int, int, int]]:
        """What is read row by row: kind, columns and rows of cells."""
        side, cells = view_side(self.spec.mode) // CELL, self.spec.layout.tile // CELL
        tiles = [] if self.tiles is None else [(TILE_CELL, self.tiles[0] * cells, self.tiles[1] * cells)]
        return [*tiles, (GLOBAL_CELL, side, side)]

    def _fitted(self, size: tuple[int, int]) -> tuple[Pair, Pair]:
        """Page pixels a pixel of the global view, and its padding at the left and the top (PIL's ``ImageOps.pad``)."""
        (width, height), side = size, view_side(self.spec.mode)
        if side <= MOST_STRETCHED:
            return (width / side, height / side), (0.0, 0.0)
        inner = (side, round(height / width * side)) if width >= height else (round(width / height * side), side)
        inner = max(1, inner[0]), max(1, inner[1])
        scale = width / inner[0], height / inner[1]
        return scale, (float(round((side - inner[0]) * 0.5)), float(round((side - inner[1]) * 0.5)))

    def _stretched(self, columns: int, rows: int, size: tuple[int, int]) -> tuple[Pair, Pair]:
        """Page pixels a pixel of the grid of tiles, to which the page is stretched."""
        return (size[0] / (CELL * columns), size[1] / (CELL * rows)), (0.0, 0.0)


def page_tokens(spec: ViewSpec) -> int:
    """N of a page with as many tiles as there may be. Their grid has little to do with it: one of a single column has
    most newlines."""
    tiles = (1, spec.layout.most_tiles) if spec.mode == "gundam" else None
    return len(TokenGrid(spec, tiles).kinds())


def token_grid(views: Views) -> TokenGrid:
    """The geometry of a page's views."""
    return TokenGrid(views.spec, None if views.tiles is None else views.grid)
