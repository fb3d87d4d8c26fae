"""A page image -> the global view and tiles that the vision encoder sees, equal to the official preprocessing.

Sources: the official ``modeling_deepseekocr.py``, ``modeling_deepseekocr2.py`` and ``modeling_unlimitedocr.py``
(``infer``, ``dynamic_preprocess``, ``BasicImageTransform``), which differ in a tile's side and how many there may be.
Resampling is PIL's bicubic throughout: another filter shifts the tokens. Pixels stay bytes here, a quarter of what
crosses to a worker's parent and to the GPU; the model normalises them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from rtprune_cli.options import check_mode, view_side
from rtprune_cli.records import ViewLayout, Views, ViewSpec
from rtprune_cli.views.grid import MIN_TILES, MOST_STRETCHED

if TYPE_CHECKING:
    from numpy.typing import NDArray

GRAY = (127, 127, 127)


def make_views(image: Image.Image, spec: ViewSpec) -> Views:
    """Views of an upright RGB page.

    Raises:
        UsageError: the mode is unknown.
    """
    mode, layout = check_mode(spec.mode), spec.layout
    side = view_side(mode)
    if side <= MOST_STRETCHED:
        view = image.resize((side, side), Image.Resampling.BICUBIC)
    else:
        view = ImageOps.pad(image, (side, side), method=Image.Resampling.BICUBIC, color=GRAY)
    tiles, grid = None, (1, 1)
    if mode == "gundam" and max(image.size) > layout.tile:
        grid = tile_grid(*image.size, layout)
        tiles = _tiles(image, grid, layout.tile)
    return Views(ViewSpec(mode, layout), np.array(view, dtype=np.uint8), tiles, grid)


def tile_grid(width: int, height: int, layout: ViewLayout) -> tuple[int, int]:
    """(columns, rows) with 2 to ``most_tiles`` tiles whose aspect ratio is closest to the page's.

    Of equally close grids the later one wins when the page has more than half of its pixels (official rule).
    """
    grids = sorted(
        (
            (columns, rows)
            for columns in range(1, layout.most_tiles + 1)
            for rows in range(1, layout.most_tiles + 1)
            if MIN_TILES <= columns * rows <= layout.most_tiles
        ),
        key=lambda grid: grid[0] * grid[1],
    )
    best, best_distance = (1, 1), float("inf")
    for columns, rows in grids:
        distance = abs(width / height - columns / rows)
        roomy = width * height > 0.5 * layout.tile**2 * columns * rows
        if distance < best_distance or (distance == best_distance and roomy):
            best, best_distance = (columns, rows), distance
    return best


def _tiles(image: Image.Image, grid: tuple[int, int], side: int) -> NDArray[np.uint8]:
    """(columns * rows, side, side, 3), row by row, of the page stretched to the grid."""
    columns, rows = grid
    page = np.array(image.resize((side * columns, side * rows), Image.Resampling.BICUBIC), dtype=np.uint8)
    split = page.reshape(rows, side, columns, side, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(split.reshape(rows * columns, side, side, 3))
