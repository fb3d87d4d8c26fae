"""Views of a page in the modes."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import make_views, spec_of
from PIL import Image

from rtprune_cli.engine.memory import page_pixels
from rtprune_cli.engine.steps import other_mode
from rtprune_cli.errors import UsageError
from rtprune_cli.model import OcrModel
from rtprune_cli.model.adapters import deepseek_ocr, deepseek_ocr2
from rtprune_cli.model.network import normalise
from rtprune_cli.options import SIDES, OcrOptions, check_mode
from rtprune_cli.report.schema import schema
from rtprune_cli.views.grid import TokenGrid, token_grid
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
    assert tile_grid(*size, spec_of("gundam").layout) == grid


def test_of_equally_close_grids_a_roomy_page_takes_the_larger() -> None:
    # 1:1 fits 2 x 2 and 3 x 3 alike
    assert tile_grid(700, 700, spec_of("gundam").layout) == (2, 2)
    assert tile_grid(1500, 1500, spec_of("gundam").layout) == (3, 3)


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


# --- Free views --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [64, 448, 2048])
def test_a_free_view_has_a_token_for_64_pixels_each_way(side: int) -> None:
    views = make_views(PAGE, f"side-{side}")
    assert views.mode == f"side-{side}" and views.global_view.shape == (side, side, 3) and views.tiles is None
    assert len(token_grid(views).kinds()) == (side // 64) * (side // 64 + 1) + 1


@pytest.mark.parametrize("mode", ["tiny", "small", "base", "large"])
def test_a_free_view_of_a_mode_s_side_is_that_mode(mode: str) -> None:
    name, page = f"side-{SIDES[mode]}", Image.effect_noise((90, 120), 60).convert("RGB")
    assert check_mode(name) == OcrOptions(mode=name).mode == make_views(page, name).mode == mode
    assert np.array_equal(make_views(page, name).global_view, make_views(page, mode).global_view)
    free, known = TokenGrid(spec_of(name)), TokenGrid(spec_of(mode))  # by its own name still the same
    assert np.array_equal(free.boxes(page.size), known.boxes(page.size), equal_nan=True)
    assert np.array_equal(free.patch_order(), known.patch_order())


def test_a_free_view_is_encoded_as_the_mode_of_its_side(golden_model: OcrModel) -> None:
    views = make_views(PAGE, "tiny")
    ours, theirs = (golden_model.encode([replace(views, spec=spec_of(mode))])[0] for mode in ("side-512", "tiny"))
    assert torch.equal(ours.tokens, theirs.tokens) and torch.equal(ours.prunable, theirs.prunable)
    assert len(golden_model.encode([make_views(PAGE, "side-576")])[0].tokens) == 91  # 9 rows of 9 and a newline


def test_small_free_views_are_stretched_and_large_ones_padded_as_the_modes_are() -> None:
    page = Image.new("RGB", (100, 400), "white")
    assert make_views(page, "side-576").global_view.min() == 255
    assert make_views(page, "side-704").global_view[:, 0].max() == 127


@pytest.mark.parametrize(
    ("mode", "message"),
    [("side-100", "view of 100 pixels"), ("side-0", "of 0 pixels"), ("side-2112", "of 2112 pixels"),
     ("side-", "unknown mode"), ("side-6e1", "unknown mode"), ("side--64", "unknown mode"), ("448", "unknown mode"),
     ("side-" + "9" * 5000, "unknown mode")],
)  # fmt: skip
def test_a_view_that_cannot_be_is_refused(mode: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        OcrOptions(mode=mode)


def test_a_page_that_loops_is_seen_otherwise_the_next_time() -> None:
    again = {"tiny": "small", "side-448": "tiny", "side-704": "base", "large": "gundam", "side-2048": "gundam",
             "gundam": "large"}  # fmt: skip
    assert {mode: other_mode(mode, spec_of(mode).layout, (2000, 3000)) for mode in again} == again


def test_a_page_too_small_for_tiles_is_not_seen_alike_again() -> None:
    first, second = deepseek_ocr.ADAPTER.layout, deepseek_ocr2.ADAPTER.layout
    again = {mode: other_mode(mode, first, (500, 600)) for mode in ("gundam", "base", "large")}
    assert again == {"gundam": "large", "base": "large", "large": "base"}
    again = {mode: other_mode(mode, second, (500, 600)) for mode in ("gundam", "base", "side-768")}
    assert again == {"gundam": "side-768", "base": "side-768", "side-768": "base"}
    assert other_mode("gundam", second, (2000, 3000)) == "base"


def test_reports_and_the_memory_plan_know_free_views() -> None:
    pattern = schema()["properties"]["mode"]["pattern"]
    assert all(re.search(pattern, mode) for mode in ("tiny", "side-448"))
    assert not any(re.search(pattern, mode) for mode in ("huge", "side-0", "side-448x", "a side-448"))
    assert page_pixels(spec_of("side-448")) == 448**2 and page_pixels(spec_of("side-512")) == page_pixels(
        spec_of("tiny")
    )
