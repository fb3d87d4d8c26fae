"""A page image -> the global view and tiles that the vision encoder sees, equal to the official preprocessing.

Source: DeepSeek-OCR's ``modeling_deepseekocr.py`` (``infer``, ``dynamic_preprocess``, ``BasicImageTransform``).
Resampling is PIL's bicubic throughout: another filter shifts the tokens. Pixels stay bytes here, a quarter of what
crosses to a worker's parent and to the GPU; the model normalises them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from rtprune_cli.options import Mode, check_mode, view_side
from rtprune_cli.records import Views
from rtprune_cli.views.grid import MAX_TILES, MIN_TILES, MOST_STRETCHED, TILE

if TYPE_CHECKING:
    from numpy.typing import NDArray

GRAY = (127, 127, 127)


def make_views(image: Image.Image, mode: Mode) -> Views:
    """Views of an upright RGB page in a mode.

    Raises:
        UsageError: the mode is unknown.
    """
    mode = check_mode(mode)
    side = view_side(mode)
    if side <= MOST_STRETCHED:
        view = image.resize((side, side), Image.Resampling.BICUBIC)
    else:
        view = ImageOps.pad(image, (side, side), method=Image.Resampling.BICUBIC, color=GRAY)
    tiles, grid = None, (1, 1)
    if mode == "gundam" and max(image.size) > TILE:
        grid = tile_grid(*image.size)
        tiles = _tiles(image, grid)
    return Views(mode, np.array(view, dtype=np.uint8), tiles, grid)


def tile_grid(width: int, height: int) -> tuple[int, int]:
    """(columns, rows) with 2 to 9 tiles whose aspect ratio is closest to the page's.

    Of equally close grids the later one wins when the page has more than half of its pixels (official rule).
    """
    grids = sorted(
        (
            (columns, rows)
            for columns in range(1, MAX_TILES + 1)
            for rows in range(1, MAX_TILES + 1)
            if MIN_TILES <= columns * rows <= MAX_TILES
        ),
        key=lambda grid: grid[0] * grid[1],
    )
    best, best_distance = (1, 1), float("inf")
    for columns, rows in grids:
        distance = abs(width / height - columns / rows)
        roomy = width * height > 0.5 * TILE * TILE * columns * rows
        if distance < best_distance or (distance == best_distance and roomy):
            best, best_distance = (columns, rows), distance
    return best


def _tiles(image: Image.Image, grid: tuple[int, int]) -> NDArray[np.uint8]:
    """(columns * rows, 640, 640, 3), row by row, of the page stretched to the grid."""
    columns, rows = grid
    page = np.array(image.resize((TILE * columns, TILE * rows), Image.Resampling.BICUBIC), dtype=np.uint8)
    split = page.reshape(rows, TILE, columns, TILE, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(split.reshape(rows * columns, TILE, TILE, 3))
