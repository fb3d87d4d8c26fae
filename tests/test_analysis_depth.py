"""The claim over the decoder's depth: overlaps, their nulls, where they change, what is said of them, and the page."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe import serious_faults
from conftest import GOLDEN, Case, Encoded, golden_cases

from rtprune_cli.analysis.depth import ROWS, SIZES, STATISTICS, DepthMeasures, measure_depth, overlap, tokens_of
from rtprune_cli.analysis.depth_summary import depth_record, summarise_depth
from rtprune_cli.analysis.estimates import statistic
from rtprune_cli.analysis.findings import figure, findings, interval, number, p_text, percent, points, span, summary
from rtprune_cli.analysis.panels import Drawn
from rtprune_cli.analysis.recorder import TokenGroups, Watched
from rtprune_cli.analysis.report import Analysed, analysed_record, summarise
from rtprune_cli.analysis.tables import Figures, attention, drops, layers, norms, overlaps, overview, statistics
from rtprune_cli.analysis.trajectory import DRAWS, NULLS, draws, measure, null_columns
from rtprune_cli.analysis.webpage import analysis_page
from rtprune_cli.options import PruneOptions
from rtprune_cli.pruning import prune_pages

SLOW_FIXTURES = {"page"}  # draws some twenty pictures
TOKENS, LAYERS, TURN = 64, 12, 5


def planted(seed: int, follows: range | None, *, rows: tuple[str, ...] = ROWS) -> tuple[Watched, TokenGroups, Any]:
    """A page of 64 tokens in 12 layers: in some of them attention follows the norms, in the others it is by chance."""
    random = np.random.default_rng(seed)
    values = random.random(TOKENS) + 1
    chance = {row: random.random((LAYERS, TOKENS)).astype(np.float32) for row in ROWS}
    for row in rows if follows is not None else ():
        for layer in follows or ():
            chance[row][layer] = values
    high = values > np.median(values)
    groups = TokenGroups(np.ones(TOKENS, bool), high, draws(seed)(high))
    masses = np.full((10, LAYERS, 5), 0.2, np.float32)
    drawn = np.full((10, len(groups.draws)), 0.2, np.float32)
    kept = values * (1 + 0.1 * random.random((LAYERS, TOKENS)))
    watched = Watched(
        [], "eos", masses, drawn, np.zeros((10, 1), np.int64), chance["prefill"], chance["decoding"], kept
    )
    return watched, groups, values


def depth_of(seed: int, follows: range | None, **more: Any) -> DepthMeasures:
    return measure_depth(*planted(seed, follows, **more), draws(seed))


def page_of(seed: int, follows: range | None, group: str = "pages", **more: Any) -> Analysed:
    watched, groups, values = planted(seed, follows, **more)
    depth = measure_depth(watched, groups, values, draws(seed))
    return Analysed(f"{seed}.png", 1, group, "eos", measure(watched, groups, values), depth)


FIRST, LAST = range(TURN), range(LAYERS - TURN, LAYERS)


# --- One page ---------------------------------------------------------------------------------------------------------
def test_overlaps_are_counted_by_hand() -> None:
    ranks = np.array([[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0]])  # of six tokens the first two are highest; then the last
    looks = np.array([[9, 8, 1, 1, 1, 1], [1, 7, 1, 9, 1, 1], [1, 1, 1, 8, 1, 9.0]])
    found = overlap(ranks, looks, 2)
    assert found.counts[0, :, 0].tolist() == [2, 1, 0] and found.counts[1, :, 0].tolist() == [2, 2, 2]
    assert found.counts[0, :, 1].tolist() == [0, 0, 1] and found.counts[1, :, 1].tolist() == [0, 0, 1]
    assert found.union.tolist() == [2, 3, 4]
    assert found.curves[0, :, 0].tolist() == [1, 0.5, 0]
    np.testing.assert_allclose(found.chance, [[1 / 3] * 3, [1 / 3, 1 / 2, 2 / 3]])
    np.testing.assert_allclose(found.independent, [1 / 3, 5 / 9, 19 / 27])
    values = {name: each[0] for name, each in found.statistics.items()}
    fall = np.sqrt(2 / 3) * (
        1 - 0.25
    )  # after layer 1; after layer 2 it is sqrt(2 / 3) * 0.75 too, and the first counts
    assert values == pytest.approx({"mean": 0.5, "peak": 1, "cumulated": 1, "fall": fall}) and found.change_layer == 1


def test_tokens_are_counted_as_rtprune_counts_them(encode_case: Callable[[Case], Encoded]) -> None:
    seen = encode_case(golden_cases(GOLDEN)["note_small/tiny"])
    values = seen.tokens[0].tokens.float().norm(dim=-1).numpy()[seen.tokens[0].prunable.numpy()]
    for share in SIZES.values():
        kept = prune_pages(seen.tokens, seen.pixels, PruneOptions(ratio=share))[0].keep.numpy()
        expected = np.isin(np.flatnonzero(seen.tokens[0].prunable.numpy()), kept)
        highest = np.argsort(np.argsort(-values)) < tokens_of(share, len(values))
        assert (highest == expected).all()
    assert tokens_of(1 / 8, 3) == 1


def test_what_chance_gives_is_what_its_draws_give() -> None:
    found = depth_of(0, FIRST).overlaps["prefill"]["3/8"]
    drawn = found.curves[..., null_columns()["shuffled"]].mean(-1)
    np.testing.assert_allclose(drawn, found.chance, atol=0.03)  # of 200 draws: a standard error of 0.006 and less


def test_independent_layers_cover_nearly_all() -> None:
    ranks = np.arange(400)[None]
    random = np.random.default_rng(0)
    for share, expected in ((1 / 4, 0.968), (3 / 8, 0.996)):
        pages = [overlap(ranks, random.random((LAYERS, 400)), tokens_of(share, 400)) for _ in range(20)]
        assert pages[0].independent[-1] == pytest.approx(expected, abs=5e-4)
        assert np.mean([page.curves[1, -1, 0] for page in pages]) == pytest.approx(expected, abs=0.01)


def test_attention_that_follows_norms_at_first_turns_where_it_turns() -> None:
    for row in ROWS:
        for found in depth_of(1, FIRST).overlaps[row].values():
            assert found.change_layer == found.turning_layer == TURN
            assert found.p["fall"] == dict.fromkeys(NULLS, 1 / (1 + DRAWS))
            assert found.curves[0, :TURN, 0].tolist() == [1] * TURN and found.curves[1, 0, 0] == 1


def test_attention_that_follows_norms_at_last_does_not_turn() -> None:
    found = depth_of(1, LAST).overlaps["prefill"]["3/8"]
    assert found.turning_layer is None and found.p["fall"]["shifted"] == 1
    assert found.p["mean"]["shifted"] == 1 / (1 + DRAWS)  # and yet it looks at high norms


def test_chance_turns_one_page_in_twenty() -> None:
    random, turned = np.random.default_rng(0), 0
    for seed in range(100):
        ranks = np.concatenate([np.arange(TOKENS)[None], draws(seed)(np.arange(TOKENS))])
        turned += overlap(ranks, random.random((LAYERS, TOKENS)), 24).turning_layer is not None
    assert turned <= 10  # as 99 % of binomials of 100 by a twentieth


def test_two_layers_have_no_course() -> None:
    found = overlap(np.tile(np.arange(8), (1 + 2 * DRAWS, 1)), np.ones((2, 8)), 2)
    assert found.change_layer is None and found.turning_layer is None and np.isnan(found.p["fall"]["shifted"])


def test_norms_that_stay_and_norms_that_turn_round() -> None:
    watched, groups, values = planted(2, None)
    watched.layer_norms[0], watched.layer_norms[-1] = 3 * values, 1 / values
    found = measure_depth(watched, groups, values, draws(2))
    correlation, ratio = (found.persistence[name][:, 0] for name in ("rank_correlation", "norm_ratio"))
    assert correlation[[0, 1, -1]].tolist() == pytest.approx([1, 1, -1])
    assert ratio[0] == pytest.approx(values[groups.high].mean() / values[~groups.high].mean())
    assert ratio[1] == pytest.approx(ratio[0]) and ratio[-1] < 1
    np.testing.assert_allclose(found.norms[:, 1], 3 * found.norms[:, 0])
    assert found.p["rank_correlation"]["shifted"] == 1.0
    drawn = found.persistence["rank_correlation"][1, null_columns()["shifted"]]
    assert abs(drawn.mean()) < 0.1 and drawn.max() < 1  # a pattern that is moved is another one


# --- Pages together ---------------------------------------------------------------------------------------------------
def test_the_mean_curve_turns_where_its_pages_do() -> None:
    found = summarise_depth([depth_of(seed, FIRST, rows=("prefill",)) for seed in range(6)], 0)
    curve = found["prefill"]["3/8"]["curve"]
    assert curve["change_layer"] == {"value": TURN, "low": TURN, "high": TURN}
    assert (
        curve["fall"]["null"]["shifted"]["p"]
        < 0.01
        < 0.05
        < found["decoding"]["3/8"]["curve"]["fall"]["null"]["shifted"]["p"]
    )
    assert found["prefill"]["3/8"]["turned"]["pages"] == 6
    assert found["prefill"]["3/8"]["turned"]["layer"] == {"value": TURN, "low": TURN, "high": TURN}


def test_the_excess_is_over_what_chance_gives() -> None:
    pages = [depth_of(seed, FIRST) for seed in range(6)]
    found = summarise_depth(pages, 0)["prefill"]["1/4"]["overlap"]
    assert found["excess"]["shuffled"]["value"][:TURN] == pytest.approx([0.75] * TURN)
    shifted = [page.overlaps["prefill"]["1/4"].curves[0, :, null_columns()["shifted"]].mean(1) for page in pages]
    own = [page.overlaps["prefill"]["1/4"].curves[0, :, 0] for page in pages]
    assert found["excess"]["shifted"]["value"] == pytest.approx(np.mean(own, 0) - np.mean(shifted, 0), abs=1e-7)
    low, high = (np.array(found["excess"]["shifted"][end]) for end in ("low", "high"))
    assert (low[:TURN] > 0.6).all() and (high[TURN:] < 0.3).all()


def test_a_statistic_s_excess_is_that_of_its_pages() -> None:
    found = statistic(np.array([1.0, np.nan, 3.0]), {"shifted": np.array([[0.0, 1.0], [5.0, 5.0], [2.0, 2.0]])}, 0)
    assert found["pages"] == 2 and found["value"] == 2 and found["null"]["shifted"]["excess"]["value"] == 0.75


def test_a_line_has_what_the_page_has() -> None:
    page = depth_of(1, FIRST)
    found = depth_record(page)
    main = found["prefill"]["3/8"]
    assert main["tokens"] == 24 and main["turning_layer"] == TURN and len(main["cumulated_chance"]) == LAYERS
    assert set(main["statistics"]) == set(STATISTICS) and set(found) == {"norms", *ROWS}
    assert analysed_record(page_of(1, FIRST))["depth"]["norms"]["high"] == pytest.approx(page.norms[0], abs=1e-7)


# --- What is said -----------------------------------------------------------------------------------------------------
def said(*pages: Analysed) -> list[Any]:
    return findings(summarise(pages, 0)["groups"][0])


def test_what_speaks_for_the_claim_and_what_against_it() -> None:
    found = said(*(page_of(seed, FIRST, rows=("prefill",)) for seed in range(4)))
    assert [each.verdict for each in found] == [
        "beside",
        "for",
        "beside",
        "against",
        "against",
        "beside",
        "beside",
        "against",
    ]
    assert summary(found).startswith(
        f"For the claim: the overlap with high norms falls after layer {TURN} (attention of"
    )
    assert "p = 0.005" in found[1].text and "from 100.0 % in layer 1" in found[1].text
    assert found[6].text.startswith("High norm persists")


def test_a_fall_that_pages_do_not_share_is_not_for_the_claim() -> None:
    group = summarise([page_of(seed, FIRST) for seed in range(2)], 0)["groups"][0]
    assert findings(group)[1].verdict == "for"
    group["depth"]["prefill"]["3/8"]["curve"]["fall"]["low"] = -0.01
    assert findings(group)[1].verdict == "against"


def test_a_high_overlap_alone_is_not_for_the_claim() -> None:
    found = said(*(page_of(seed, range(LAYERS)) for seed in range(4)))
    assert {each.verdict for each in found} == {"beside", "against"}
    assert summary(found).startswith("For the claim: nothing.")


# --- The page ---------------------------------------------------------------------------------------------------------
HOSTILE = "<script>window.ran = 1</script>"


@pytest.fixture(scope="module")
def analysis() -> dict[str, Any]:
    pages = [page_of(seed, FIRST, group) for group, seeds in ((HOSTILE, (0, 1)), ("b", (2,))) for seed in seeds]
    facts = {"command": "rtprune analyze", "started": "now", "settings": {"high": 0.5}, "model": {"name": HOSTILE}}
    found = summarise(pages, 0)
    found["groups"].pop()  # two are enough to show: all pages, and a group
    return {**facts, "versions": {"torch": "2"}, "pages": 3, "failed": 1, **found}


@pytest.fixture(scope="module")
def page(analysis: dict[str, Any]) -> str:
    return analysis_page(analysis)


def test_the_page_holds_every_figure(analysis: dict[str, Any], page: str) -> None:
    text = html.unescape(re.sub(r"\s+", " ", re.sub(r"<svg.*?</svg>|<[^>]*>", " ", page, flags=re.DOTALL)))
    group = analysis["groups"][0]
    made: list[Figures] = [overview(analysis["groups"]), attention(analysis["groups"])]
    for each in analysis["groups"]:
        made += [make(each) for make in (overlaps, layers, norms, statistics, drops)]
    for table in made:
        for row in table.rows:
            line = " ".join(part.strip() for cell in row for part in (cell.text, cell.below) if part)
            assert line in text
    for finding in findings(group):
        assert finding.text in text
    for row in ROWS:
        for size in SIZES:
            found = group["depth"][row][size]
            for name in ("mean", "peak"):
                null = found["statistics"][name]["null"]["shifted"]
                assert f"{figure(found['statistics'][name])} {span(null)} {p_text(null['p'])}" in text
            fall = found["curve"]["fall"]
            assert f"{points(fall['value'])}{interval(fall, sign=True)}" in text
            for layer, value in enumerate(found["cumulated"]["value"]):
                assert percent(value) in text and percent(found["independent"]["value"][layer]) in text
    assert number(group["depth"]["norms"]["rank_correlation"]["value"][-1]) in text
    assert "1 that could not be read" in text


def test_the_page_stands_alone(page: str) -> None:
    script = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(script) == 1 and HOSTILE not in page and html.escape(HOSTILE) in page
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert not re.search(r'(?:src|href)="(?!#|data:)', page) and "url(http" not in page
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', page)) <= set(ids)


def test_pictures_take_the_page_s_colours(page: str) -> None:
    svg = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    assert "var(--high, #0072b2)" in svg and "currentColor" in svg
    assert not re.search(r"(?:fill|stroke): #(?:000000|ffffff)", svg)
    assert page.count("<svg ") == 8 + 1 + 2 * 7  # the first group's overlaps, the other's, and seven kinds of both


def test_many_groups_are_shown_in_part(analysis: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtprune_cli.analysis.webpage.MOST_GROUPS", 1)
    kinds = defaultdict(lambda: Drawn("kind", (), [("heading", "")]))  # pictures take most of the time
    monkeypatch.setattr("rtprune_cli.analysis.webpage._pictures", lambda groups, edges: kinds)
    groups = [{**analysis["groups"][1], "name": name} for name in ("first", "second", "third")]
    page = analysis_page({**analysis, "groups": groups})
    assert "show the first group; 2 more are in analysis.json" in page
    assert ">third<" in page and "Norms by layer: second" not in page


def test_a_page_of_nothing_says_so(analysis: dict[str, Any]) -> None:
    page = analysis_page({**analysis, "groups": [], "norm_edges": [], "pages": 0})
    assert "No page was read." in page and "<svg" not in page


@pytest.mark.slow
def test_a_browser_shows_it_it_fits_and_axe_finds_no_serious_fault(page: str, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium on this machine")
    place = tmp_path / "analysis.html"
    place.write_text(page, encoding="utf-8")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 800})
        complaints: list[str] = []
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("request", lambda asked: complaints.append(asked.url) if asked.url.startswith("http") else None)
        tab.goto(place.as_uri())
        tab.click("#groups thead th:nth-child(2) button")
        assert tab.locator("#groups tbody tr").first.locator("th").inner_text() == HOSTILE
        drawn = "getComputedStyle(document.querySelector('figure svg text')).fill"
        light = tab.evaluate(drawn)
        tab.emulate_media(color_scheme="dark")
        assert tab.evaluate(drawn) != light
        tab.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        for width in (1280, 390):
            tab.set_viewport_size({"width": width, "height": 800})
            assert tab.evaluate("document.documentElement.scrollWidth") == width
        assert complaints == [] and tab.evaluate("window.ran") is None
        tab.set_viewport_size({"width": 1280, "height": 800})
        # What is told in words, and what is as what stands above it: looking at it takes most of the time.
        alike = "svg > g, svg > defs, details, tbody tr:nth-child(n+3)"
        tab.evaluate("(alike) => document.querySelectorAll(alike).forEach((each) => each.remove())", alike)
        assert serious_faults(tab) == set()
        browser.close()
