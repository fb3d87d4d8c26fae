"""Owns on which visual tokens each glyph of a page lies, and what it means for a glyph that some of them are pruned.

A glyph's box may straddle cells, so it is placed in two ways. By its **centre**: the cell that the middle of its ink
falls into, one in each view of the page. By all cells that its ink **touches**. Where a page has tiles (mode gundam),
every glyph lies on a cell of a tile and on one of the global view. Letters: G glyphs, N visual tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Place = Literal["all", "kept", "pruned", "in one view", "only kept", "straddling", "only pruned"]
"""all: every glyph. By the centre: kept, or pruned, in all views; ``in one view``: kept in one and pruned in the other.
By all cells that are touched: none of them pruned, some, all."""
PLACES: tuple[Place, ...] = get_args(Place)


def centre_cells(glyphs: NDArray[np.float64], cells: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(G, N): the cells that hold the middle of each glyph; boxes (G, 4) and (N, 4) in pixels of the page.

    Rows and columns of NaN, as newlines have them, hold nothing. A middle on an edge belongs to the right and lower.
    """
    x, y = (glyphs[:, :2] + glyphs[:, 2:]).T[..., None] / 2
    return (cells[:, 0] <= x) & (x < cells[:, 2]) & (cells[:, 1] <= y) & (y < cells[:, 3])


def touched_cells(glyphs: NDArray[np.float64], cells: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(G, N): the cells that share some area with each glyph's box."""
    x1, y1, x2, y2 = glyphs.T[..., None]
    return (cells[:, 0] < x2) & (x1 < cells[:, 2]) & (cells[:, 1] < y2) & (y1 < cells[:, 3])


def places(
    glyphs: NDArray[np.float64], cells: NDArray[np.float64], stays: NDArray[np.bool_]
) -> dict[Place, NDArray[np.bool_]]:
    """Which glyphs are where: a mask (G,) for each place. ``stays`` (N,): what pruning left."""
    middle, touched = centre_cells(glyphs, cells), touched_cells(glyphs, cells)
    by_centre, by_touch = _shares(middle, stays), _shares(touched, stays)
    return {
        "all": np.ones(len(glyphs), dtype=np.bool_),
        "kept": by_centre == 1,
        "pruned": by_centre == 0,
        "in one view": (by_centre > 0) & (by_centre < 1),
        "only kept": by_touch == 1,
        "straddling": (by_touch > 0) & (by_touch < 1),
        "only pruned": by_touch == 0,
    }


def _shares(cells: NDArray[np.bool_], stays: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(G,): the share of each glyph's cells that stays; NaN for a glyph that lies on none."""
    with np.errstate(invalid="ignore"):
        return np.asarray((cells & stays).sum(axis=1) / cells.sum(axis=1), dtype=np.float64)
