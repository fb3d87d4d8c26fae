"""What `rtprune inspect` shows of a page: numbers that agree with the pruning, and pictures that agree with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_views, spec_of
from PIL import Image

from rtprune_cli.inspection.canvas import DROPPED, HEAT, KEPT, LARGEST, MARGIN, MERGED, PAGE_SIDE, VIRIDIS, Sheet
from rtprune_cli.inspection.in_order import draw_left_out_in_order, draw_norms_in_order
from rtprune_cli.inspection.leave_one_out import LeaveOneOut
from rtprune_cli.inspection.measure import Inspection, TransportPlan, inspect, transport_plan
from rtprune_cli.inspection.overlays import MOST_LINES, draw_density, draw_kept, draw_norms, draw_transport
from rtprune_cli.model import OcrModel
from rtprune_cli.options import PruneOptions
from rtprune_cli.pruning import prune_pages
from rtprune_cli.pruning.merging import merge
from rtprune_cli.pruning.rtprune import cosines
from rtprune_cli.storage import to_json
from rtprune_cli.views.grid import GLOBAL_CELL, NEWLINE, TokenGrid
from rtprune_cli.views.tokenmap import TokenMap

GRAY = (200, 200, 200)


def lined(size: tuple[int, int] = (800, 800)) -> Image.Image:
    """White, with bars in its upper half."""
    image = Image.new("RGB", size, "white")
    for y in range(40, size[1] // 2, 60):
        image.paste((0, 0, 0), (60, y, size[0] - 200, y + 25))
    return image


def by_hand(
    kept: set[int], size: tuple[int, int] = (512, 512), dropped: tuple[int, ...] = (), norms: Any = None
) -> Inspection:
    """A page in mode tiny of which the ``kept`` prunable tokens stay, all mass to the first of them."""
    kind, boxes = TokenGrid(spec_of("tiny")).kinds(), TokenGrid(spec_of("tiny")).boxes(size)
    stays = np.array([index in kept or (kind[index] >= NEWLINE and index not in dropped) for index in range(len(kind))])
    merged = np.flatnonzero(~stays & (kind == GLOBAL_CELL))
    rows = np.array(sorted(kept))
    mass = np.zeros((len(rows), len(merged)))
    mass[0] = 1
    norms = np.ones(len(kind), dtype=np.float32) if norms is None else norms
    plan = TransportPlan(rows, merged, mass, np.zeros(len(merged)), np.zeros(len(rows)))
    tokens, cells = TokenMap(kind, boxes, norms, stays), TokenGrid(spec_of("tiny")).cells(size)
    return Inspection(size, "tiny", None, tokens, np.full(len(cells), 0.1), cells, plan, 0.5, 0.5, 0.1)


def colours(picture: Image.Image, found: Inspection, index: int) -> set[Any]:
    """In a square of 20 pixels at the middle of a token's cell, of a square page."""
    x, y = (found.tokens.boxes[index].reshape(2, 2).mean(axis=0) * PAGE_SIDE / max(found.size)).round().astype(int)
    return {picture.getpixel((int(x) + i, int(y) + j)) for i in range(-10, 10) for j in range(-10, 10)}


@pytest.fixture(scope="module")
def half(tiny: OcrModel) -> Inspection:
    image = lined()
    return inspect(tiny, make_views(image, "tiny"), image.size, PruneOptions(ratio=0.5))


# --- numbers ---


@pytest.mark.parametrize("options", [PruneOptions(ratio=0.5), PruneOptions(), PruneOptions(ratio=0.5, solver="pot")])
def test_every_token_gives_or_takes_a_mass_of_one(tiny: OcrModel, options: PruneOptions) -> None:
    image = lined()
    plan = inspect(tiny, make_views(image, "tiny"), image.size, options).plan
    assert plan.mass.shape == (len(plan.kept), len(plan.merged)) and len(plan.merged) > 0
    assert plan.mass.sum(0) + plan.unmoved == pytest.approx(np.ones(len(plan.merged)), abs=1e-4)
    assert plan.mass.sum(1) + plan.unfilled == pytest.approx(np.ones(len(plan.kept)), abs=1e-4)
    assert min(plan.mass.min(), plan.unmoved.min(), plan.unfilled.min()) > 0


def test_the_plan_is_the_one_that_merging_applies(tiny: OcrModel) -> None:
    view = make_views(lined(), "tiny")
    (tokens,) = tiny.encode([view])
    kept = tokens.prunable.numpy() & (np.arange(len(tokens.tokens)) % 3 == 0)
    pruned = tokens.prunable.numpy() & ~kept
    options = PruneOptions()
    plan = transport_plan(tokens.tokens, kept, pruned, options)
    values = tokens.tokens[None].float()
    sides = torch.from_numpy(np.stack([kept, pruned]))
    merged = merge(values, cosines(values, values.norm(dim=-1), tokens.prunable), sides[:1], sides[1:], options)[0]
    moved = options.alpha * torch.from_numpy(plan.mass).float() @ values[0, plan.merged]
    assert (merged[plan.kept] - values[0, plan.kept] - moved).abs().max() < 1e-4 * moved.abs().max()


@pytest.mark.parametrize("size", [(800, 800), (500, 900)])
@pytest.mark.parametrize("mode", ["tiny", "base"])
def test_the_mean_of_the_cells_is_the_density_of_the_page(tiny: OcrModel, mode: str, size: tuple[int, int]) -> None:
    found = inspect(tiny, make_views(lined(size), mode), size, PruneOptions())
    assert found.density.mean() == pytest.approx(found.r_density, abs=1e-6) and found.density.std() > 0.01
    assert (found.cells == found.tokens.boxes[found.tokens.kind == GLOBAL_CELL]).all()


def test_the_record_agrees_with_the_pruning(tiny: OcrModel, half: Inspection) -> None:
    view = make_views(lined(), "tiny")
    pixels = tiny.pixels([view])
    tokens = tiny.encode([view], pixels)
    (pruned,) = prune_pages(tokens, pixels, PruneOptions(ratio=0.5))
    record = half.record()
    assert [t["index"] for t in record["tokens"] if t["state"] == "kept"] == pruned.keep.tolist()
    assert [t["norm"] for t in record["tokens"]] == pytest.approx(tokens[0].tokens.norm(dim=-1).tolist(), rel=1e-4)
    assert record["counts"] == {
        "total": pruned.total,
        "kept": pruned.kept,
        "merged": pruned.merged,
        "newlines_dropped": pruned.newlines_dropped,
    }
    assert record["r_density"] == pytest.approx(pruned.r_density, abs=1e-6)


def test_the_record_names_what_took_most_of_a_token_in_order(half: Inspection) -> None:
    tokens = half.record()["tokens"]
    merged = [token for token in tokens if token["state"] == "merged"]
    assert merged and all("into" in token and len(token["into"]) == 5 for token in merged)
    for token in merged:
        masses = [mass for _, mass in token["into"]]
        assert masses == sorted(masses, reverse=True) and sum(masses) + token["dustbin"] < 1
        assert all(tokens[index]["state"] == "kept" for index, _ in token["into"])


# --- pictures ---


def test_kept_cells_are_clear_and_merged_ones_covered_and_hatched() -> None:
    found = by_hand({0, 10, 20})
    picture = draw_kept(Image.new("RGB", found.size, GRAY), found)
    for index in np.flatnonzero(found.tokens.kind == GLOBAL_CELL).tolist():
        seen = colours(picture, found, index)
        assert seen == {GRAY} if index in (0, 10, 20) else GRAY not in seen and len(seen) == 2


def test_a_dropped_newline_is_marked_beside_its_row() -> None:
    found = by_hand({0}, dropped=(26,))  # the third row's: 9 tokens a row
    picture = draw_kept(Image.new("RGB", found.size, GRAY), found)
    beside = [picture.getpixel((PAGE_SIDE + MARGIN // 2, round((row + 0.5) * PAGE_SIDE / 8))) for row in range(8)]
    assert [colour == DROPPED for colour in beside] == [row == 2 for row in range(8)]


def test_heat_goes_from_the_first_to_the_last_colour() -> None:
    norms = np.ones(73, dtype=np.float32)
    norms[10] = 2
    found = by_hand({10}, norms=norms)
    picture = draw_norms(Image.new("RGB", found.size, "white"), found)
    for index, colour in ((0, VIRIDIS[0]), (10, VIRIDIS[-1])):
        (seen,) = colours(picture, found, index)
        assert seen == pytest.approx([HEAT * part + (1 - HEAT) * 255 for part in colour], abs=2)


def test_lines_lead_from_merged_to_kept_tokens_only() -> None:
    found = by_hand(set(range(8)))
    picture = np.asarray(draw_transport(Image.new("RGB", found.size, "white"), found))
    nothing = by_hand({index for index in range(72) if index % 9 != 8})
    blank = np.asarray(draw_transport(Image.new("RGB", found.size, "white"), nothing))
    inside = slice(10, PAGE_SIDE - 10)
    assert (picture[inside, inside] < 250).any() and (blank[inside, inside] == 255).all()


def test_weak_lines_are_left_out(monkeypatch: pytest.MonkeyPatch, half: Inspection) -> None:
    from rtprune_cli.inspection import overlays

    drawn = []
    monkeypatch.setattr(Sheet, "line", lambda self, *line: drawn.append(line))
    monkeypatch.setattr(overlays, "MOST_LINES", 20)
    draw_transport(lined(), half)
    assert len(drawn) == 20 and MOST_LINES == 300
    assert [width for _, _, width, _ in drawn] == sorted(width for _, _, width, _ in drawn)


def test_numbers_that_overflowed_are_drawn_and_null() -> None:
    norms = np.full(73, np.nan, dtype=np.float32)
    found = by_hand({0, 1}, norms=norms)
    found.plan.mass[:], found.plan.unmoved[:] = np.nan, np.nan
    for draw in (draw_kept, draw_norms, draw_density, draw_transport):
        draw(Image.new("RGB", found.size, "white"), found)
    record = json.loads(to_json(found.record()))
    assert record["threshold_norm"] is None and record["tokens"][5]["dustbin"] is None


@pytest.mark.parametrize("norm", [1.0, np.nan])
def test_tokens_without_a_place_stand_in_the_decoders_order(norm: float) -> None:
    placed = by_hand({0, 10}, norms=np.array([norm] * 72 + [9], dtype=np.float32))
    placed.tokens.norms[[10, 20]] = 2, 1
    found = replace(placed, tokens=replace(placed.tokens, boxes=np.full((73, 4), np.nan)))
    picture = draw_norms_in_order(found)
    assert max(picture.size) <= LARGEST and not found.tokens.placed
    seen = {colour for _, colour in picture.crop((0, 0, PAGE_SIDE, 30)).getcolors(2**16)}
    assert KEPT in seen and MERGED not in seen  # the one of highest norm, at the top, was kept
    trial = LeaveOneOut("text", 73, np.array([3, 72]), np.array([0, 4]))
    assert max(draw_left_out_in_order(found, trial).size) <= LARGEST


@pytest.mark.parametrize("size", [(3000, 40), (40, 3000), (1, 1), (900, 1273)])
@pytest.mark.parametrize("draw", [draw_kept, draw_norms, draw_density, draw_transport])
def test_pictures_are_no_larger_than_they_may_be(
    draw: Callable[[Image.Image, Inspection], Image.Image], size: tuple[int, int]
) -> None:
    assert max(draw(Image.new("RGB", size, "white"), by_hand({0, 1}, size)).size) <= LARGEST


# --- tiles and the command ---


@pytest.mark.slow
def test_tiles_have_their_own_picture(rtprune: Any, tmp_path: Path) -> None:
    golden = Path(__file__).parent / "golden"
    out, again = tmp_path / "out", tmp_path / "again"
    arguments = (golden / "pages" / "slide_wide.png", "--model", golden / "checkpoint", "--ratio", "0.4")
    assert rtprune("inspect", *arguments, "--mode", "gundam", "-o", out).exit_code == 0
    assert rtprune("inspect", *arguments, "--mode", "gundam", "-o", again).exit_code == 0
    files = sorted(path.name.split(".")[1] for path in (out / "slide_wide").iterdir())
    assert files == ["density", "json", "kept", "kept-tiles", "norms", "transport"]
    for path in (out / "slide_wide").iterdir():
        assert path.read_bytes() == (again / "slide_wide" / path.name).read_bytes(), "not the same twice"
    record = json.loads((out / "slide_wide" / "page-0001.json").read_bytes())
    tiles = [token for token in record["tokens"] if token["kind"] == "tile"]
    columns, rows = record["grid"]
    assert len(tiles) == 100 * columns * rows and all("density" not in token for token in tiles)
    # A page without tiles has no such picture, nor one of an earlier run.
    assert rtprune("inspect", *arguments, "--mode", "base", "-o", out).exit_code == 0
    assert not list((out / "slide_wide").glob("*kept-tiles*"))


@pytest.mark.slow
def test_the_command_writes_pictures_and_numbers(rtprune: Any, make_pdf: Any, tmp_path: Path) -> None:
    document = make_pdf("one\ntwo", "three", "four")
    found = rtprune("inspect", document, "--model", "tiny", "--pages", "2-3", "--dpi", "60", "-o", tmp_path / "out")
    assert found.exit_code == 0, found.output
    assert {path.name for path in (tmp_path / "out" / "doc").iterdir()} == {
        f"page-{page:04}.{kind}"
        for page in (2, 3)
        for kind in ("json", "kept.png", "norms.png", "density.png", "transport.png")
    }
    record = json.loads((tmp_path / "out" / "doc" / "page-0002.json").read_bytes())
    assert (record["schema_version"], record["page"], record["mode"]) == (1, 2, "tiny")
    assert (
        record["model"]["name"] == "tiny" and record["settings"]["dpi"] == 60 and "password" not in record["settings"]
    )
    assert "2 pages inspected" in found.output


@pytest.mark.slow
def test_a_ratio_of_one_has_its_pictures_too(rtprune: Any, make_pdf: Any, tmp_path: Path) -> None:
    earlier = tmp_path / "out" / "doc" / "page-0001.leave-one-out.png"  # of a run that was asked for it
    earlier.parent.mkdir(parents=True)
    earlier.touch()
    found = rtprune("inspect", make_pdf("one"), "--model", "tiny", "--ratio", "1", "-o", tmp_path / "out")
    assert found.exit_code == 0 and len(list((tmp_path / "out" / "doc").glob("*.png"))) == 4
    assert json.loads((tmp_path / "out" / "doc" / "page-0001.json").read_bytes())["counts"]["merged"] == 0


@pytest.mark.slow
def test_two_documents_of_one_name_have_their_own_folders(rtprune: Any, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        lined().save(tmp_path / folder / "scan.png")
    found = rtprune("inspect", tmp_path / "a", tmp_path / "b", "--model", "tiny", "-o", tmp_path / "out")
    assert found.exit_code == 0 and {p.name for p in (tmp_path / "out").iterdir()} == {"scan", "scan_2"}


@pytest.mark.slow
def test_a_page_that_cannot_be_read_does_not_stop_the_others(rtprune: Any, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n not a picture")
    lined().save(tmp_path / "good.png")
    found = rtprune("inspect", broken, tmp_path / "good.png", "--model", "tiny", "-o", tmp_path / "out")
    assert found.exit_code == 4 and (tmp_path / "out" / "good" / "page-0001.json").is_file()
    errors = [line for line in found.output.splitlines() if "error:" in line]
    assert len(errors) == 1 and "broken.png" in errors[0] and "Traceback" not in found.output


def test_a_page_that_is_not_there_is_one_line(rtprune: Any, make_pdf: Any, tmp_path: Path) -> None:
    found = rtprune("inspect", make_pdf("one"), "--model", "tiny", "--pages", "3", "-o", tmp_path / "out")
    assert found.exit_code == 2 and "--pages" in found.output and "Traceback" not in found.output


def test_an_output_that_is_a_file_is_one_line(rtprune: Any, make_pdf: Any, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    found = rtprune("inspect", make_pdf("one"), "--model", "tiny", "-o", tmp_path / "out")
    assert found.exit_code == 1 and "cannot write" in found.output and len(found.output.splitlines()) == 1


def test_standard_output_takes_no_pictures(rtprune: Any, make_pdf: Any) -> None:
    found = rtprune("inspect", make_pdf("one"), "--model", "tiny", "-o", "-")
    assert found.exit_code == 2 and "standard output" in found.output
