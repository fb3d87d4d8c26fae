"""Views of a page in the five modes."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from rtprune_cli.errors import UsageError
from rtprune_cli.model.network import normalise
from rtprune_cli.views import make_views
from rtprune_cli.views.grid import token_grid
from rtprune_cli.views.preprocess import tile_grid

PAGE = Image.new("RGB", (900, 1200), "white")


@pytest.mark.parametrize(
    ("mode", "side", "tokens"), [("tiny", 512, 73), ("small", 640, 111), ("base", 1024, 273), ("large", 1280, 421)]
)
def test_side_and_token_count_of_a_mode(mode: str, side: int, tokens: int) -> None:
    views = make_views(PAGE, mode)
    assert views.global_view.shape == (side, side, 3)
    assert len(token_grid(views).kinds()) == tokens


def test_gundam_tiles_a_large_page() -> None:
    views = make_views(PAGE, "gundam")
    columns, rows = views.grid
    assert views.tiles is not None
    assert views.tiles.shape == (columns * rows, 640, 640, 3)
    assert len(token_grid(views).kinds()) == 273 + (10 * columns + 1) * 10 * rows


def test_gundam_leaves_a_small_page_whole() -> None:
    assert make_views(Image.new("RGB", (640, 640)), "gundam").tiles is None


@pytest.mark.parametrize(
    ("size", "grid"), [((1240, 1754), (2, 3)), ((1000, 1000), (2, 2)), ((4000, 500), (8, 1)), ((641, 9000), (1, 9))]
)
def test_the_grid_has_the_closest_aspect_ratio(size: tuple[int, int], grid: tuple[int, int]) -> None:
    assert tile_grid(*size) == grid


def test_of_equally_close_grids_a_roomy_page_takes_the_larger() -> None:
    # 1:1 fits 2 x 2 and 3 x 3 alike
    assert tile_grid(700, 700) == (2, 2)
    assert tile_grid(1500, 1500) == (3, 3)


def test_padding_is_mid_gray_and_paper_is_one() -> None:
    view = normalise(make_views(PAGE, "base").global_view[None], torch.device("cpu"))[0]
    assert view[:, 500, 0].tolist() == pytest.approx([127 / 127.5 - 1] * 3, abs=1e-6)
    assert torch.all(view[:, 500, 512] == 1)


def test_tiles_lie_row_by_row() -> None:
    page = Image.new("RGB", (1280, 1280), "black")
    page.paste("white", (640, 0, 1280, 640))  # upper right
    tiles = make_views(page, "gundam").tiles
    assert tiles is not None
    assert [round(tile.mean().item()) for tile in tiles] == [0, 255, 0, 0]


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown mode"):
        make_views(PAGE, "huge")
