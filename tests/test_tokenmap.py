"""Where visual tokens lie on the page: the way of preprocess.py backwards."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import make_views, spec_of
from PIL import Image

from rtprune_cli.model import OcrModel
from rtprune_cli.model.adapters import deepseek_ocr2
from rtprune_cli.options import PruneOptions
from rtprune_cli.pruning import prune_pages
from rtprune_cli.records import ViewSpec
from rtprune_cli.views.grid import GLOBAL_CELL, KINDS, NEWLINE, TILE_CELL, TokenGrid, token_grid
from rtprune_cli.views.preprocess import tile_grid
from rtprune_cli.views.tokenmap import token_map

MODES = ("tiny", "small", "base", "large", "gundam")


def page(size: tuple[int, int], spot: tuple[int, int] | None = None) -> Image.Image:
    """White, with a black square of a twentieth of its width at ``spot``."""
    image = Image.new("RGB", size, "white")
    if spot is not None:
        edge = size[0] // 20
        image.paste((0, 0, 0), (spot[0], spot[1], spot[0] + edge, spot[1] + edge))
    return image


def test_queries_have_no_place_and_the_view_that_they_see_has_its_cells() -> None:
    grid, size = TokenGrid(ViewSpec("gundam", deepseek_ocr2.ADAPTER.layout), (2, 3)), (900, 1300)
    assert np.isnan(grid.boxes(size)).all() and len(grid.boxes(size)) == 6 * 144 + 256 + 1
    other = TokenGrid(spec_of("gundam"), (2, 3))
    assert (grid.cells(size) == other.boxes(size)[other.kinds() == GLOBAL_CELL]).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "size"),
    [*((mode, (900, 1300)) for mode in MODES), ("gundam", (1300, 900)), ("gundam", (700, 700))],  # tiles differ
)
def test_there_is_a_box_for_every_token(golden_model: OcrModel, mode: str, size: tuple[int, int]) -> None:
    views = make_views(page(size), mode)
    tokens = golden_model.encode([views])[0]
    kind, boxes = token_grid(views).kinds(), token_grid(views).boxes(size)
    assert len(kind) == len(boxes) == len(tokens.tokens)
    assert ((kind == NEWLINE) == tokens.newline.numpy()).all() and KINDS[kind[-1]] == "separator"
    assert (np.isnan(boxes[:, 0]) == (kind >= NEWLINE)).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(900, 1300), (1303, 877)])
def test_cells_cover_the_page_and_do_not_overlap(mode: str, size: tuple[int, int]) -> None:
    grid = TokenGrid(spec_of(mode), tile_grid(*size, spec_of(mode).layout) if mode == "gundam" else None)
    kind, boxes = grid.kinds(), grid.boxes(size)
    for view in {GLOBAL_CELL, TILE_CELL} & set(kind.tolist()):
        own = boxes[kind == view]
        areas = (own[:, 2] - own[:, 0]) * (own[:, 3] - own[:, 1])
        assert areas.sum() == pytest.approx(size[0] * size[1], rel=2e-3) and (areas >= 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(900, 1300), (1303, 877)])
@pytest.mark.parametrize("spot", [(100, 100), (500, 700), (820, 30)])
def test_a_spot_is_seen_in_the_cells_whose_boxes_hold_it(
    mode: str, size: tuple[int, int], spot: tuple[int, int]
) -> None:
    views = make_views(page(size, spot), mode)
    kind, boxes = token_grid(views).kinds(), token_grid(views).boxes(size)
    cells = views.global_view.shape[0] // 64
    dark = views.global_view.min(axis=-1).reshape(cells, 64, cells, 64).min(axis=(1, 3)).reshape(-1) < 60
    middle = np.array(spot) + size[0] / 40
    own = boxes[kind == GLOBAL_CELL]
    holds = (own[:, :2] <= middle).all(axis=1) & (middle < own[:, 2:]).all(axis=1)
    assert holds.sum() == 1 and dark[holds].all()


def test_tiles_are_read_across_the_grid() -> None:
    grid = TokenGrid(spec_of("gundam"), (2, 3))
    tiles = grid.boxes((1280, 1920))[grid.kinds() == TILE_CELL]
    assert len(tiles) == 20 * 30
    assert tiles[0].tolist() == [0, 0, 64, 64] and tiles[19].tolist() == [1216, 0, 1280, 64]
    assert tiles[20].tolist() == [0, 64, 64, 128]
    # The encoder sees tile after tile: the 11th cell of the first row is the first of the second tile.
    order = grid.patch_order()
    assert order[[0, 9, 10, 20]].tolist() == [0, 9, 100, 10]
    assert sorted(order.tolist()) == list(range(600 + 256))


def test_the_map_knows_what_was_merged(tiny: OcrModel) -> None:
    image = page((800, 800), (300, 300))
    views = make_views(image, "tiny")
    pixels = tiny.pixels([views])
    tokens = tiny.encode([views], pixels)
    (pruned,) = prune_pages(tokens, pixels, PruneOptions(ratio=0.5))
    found = token_map(views, image.size, tokens[0], pruned)
    assert found.merged.sum() == pruned.merged == 32
    assert found.stays.sum() == len(pruned.keep)
    kept, merged = found.norms[(found.kind == GLOBAL_CELL) & found.stays], found.norms[found.merged]
    assert kept.min() >= merged.max()
