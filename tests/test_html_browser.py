"""report.html in a browser: it opens, is used by mouse and keys, runs nothing that a page says, and asks nobody.

That of `rtprune bench` too: it fits a phone, follows dark mode, and its colours mean what one expects.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from axe import serious_faults
from PIL import Image, ImageDraw
from test_bench_summary import make as bench_summary
from test_bench_summary import page as page_record
from test_bench_summary import row
from test_html_report import HTML, seen, tokens, unplaced
from test_outputs import begin, page

from rtprune_cli.bench.accuracy.html import comparison_page
from rtprune_cli.bench.accuracy.plan import AccuracyPlan
from rtprune_cli.outputs import FolderOutput
from rtprune_cli.outputs.htmlreport import Shown, page_view, report_page
from rtprune_cli.records import Box, Document, Markdown, PageResult
from rtprune_cli.report import Totals
from rtprune_cli.views.grid import NO_PLACE

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")

DOCUMENT = Document(Path("in/my doc.pdf"), "in/my doc.pdf", PurePosixPath("my doc ü#%"))
HOSTILE = "<script>window.ran = 1</script> <img src=x onerror='window.ran = 1'>"
PHONE = {"width": 390, "height": 844}
TABLE = "<table><tr><td rowspan=2>a</td><td>b</td></tr><tr><td>c</td></tr></table>"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"] if root else [])
        yield browser
        browser.close()


def with_tiles(number: int) -> PageResult:
    image = Image.new("RGB", (1280, 1920), "white")
    ImageDraw.Draw(image).rectangle((100, 100, 700, 300), fill="black")
    result = page(number, document=DOCUMENT)
    counts = {"visual_tokens_before": 100, "visual_tokens_after": 40, "kept": 25, "merged": 55, "decode_ms": 1234.4}
    started = "2026-11-28T15:43:46.577+00:00"
    record = replace(result.record, retention=0.25, output_tokens=9, started=started, **counts)
    view = page_view(image, tokens("gundam", (2, 3), image.size), [])
    return PageResult(DOCUMENT, record, Markdown(TABLE), view=view)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("report")
    results = [seen(1, HOSTILE, document=DOCUMENT), with_tiles(2), page(3, document=DOCUMENT, error="it is broken"),
               page(4, "text of a page without a view", document=DOCUMENT)]  # fmt: skip
    with FolderOutput(root, HTML) as output:
        begin(output, DOCUMENT)
        for result in results:
            output.add(result)
        output.finish(DOCUMENT, [1, 2, 3, 4], {"model": {"name": HOSTILE}})
    return root / "report.html"


@pytest.fixture
def opened(chromium: Any, report: Path) -> Iterator[Any]:
    """The report in a fresh tab; a test fails when the page complains or asks for anything but files."""
    with chromium.new_page() as tab:
        complaints: list[str] = []
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        asked: list[str] = []
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(report.as_uri())
        yield tab
        assert complaints == []
        assert asked and all(url.startswith(("file:", "data:")) for url in asked)
        assert tab.evaluate("window.ran") is None


def rows(tab: Any) -> list[str]:
    return list(tab.locator("#pages tbody tr:visible td:nth-child(3)").all_inner_texts())


def visible(tab: Any, kind: str) -> int:
    return int(tab.locator(f"#cells .{kind}:visible").count())


def open_page(tab: Any, number: int) -> None:
    tab.click(f"#pages tbody tr:nth-child({number}) th a")
    tab.wait_for_selector("#detail:visible")


def test_the_list_is_filtered_by_text_and_by_state(opened: Any) -> None:
    assert rows(opened) == ["1", "2", "3", "4"]
    opened.fill("#find", "doc 3")
    assert rows(opened) == ["3"]
    opened.fill("#find", "")
    opened.select_option("#state", "unseen")
    assert rows(opened) == ["4"]
    opened.select_option("#state", "failed")
    assert rows(opened) == ["3"]
    opened.fill("#find", "nothing like it")
    assert opened.is_visible("#none") and opened.inner_text("#count") == "0 of 4 pages"


def test_the_list_is_sorted_by_its_headings(opened: Any) -> None:
    opened.click("#pages thead th:nth-child(3) button")
    opened.click("#pages thead th:nth-child(3) button")
    assert rows(opened) == ["4", "3", "2", "1"]
    opened.click("#pages thead th:has-text('retention') button")
    assert rows(opened)[0] == "2"  # the only one with a retention
    assert opened.get_attribute("#pages thead th:has-text('retention')", "aria-sort") == "ascending"


def test_layers_of_a_page_are_switched(opened: Any) -> None:
    open_page(opened, 1)
    kept, merged = visible(opened, "kept"), visible(opened, "merged")
    assert kept + merged == 64 and kept and visible(opened, "dropped") == 2
    opened.uncheck("#merged")
    assert (visible(opened, "kept"), visible(opened, "merged")) == (kept, 0)
    opened.uncheck("#dropped")
    assert visible(opened, "dropped") == 0
    assert opened.is_visible("#regions text") and opened.text_content("#regions text") == "title"
    opened.uncheck("#boxes")
    assert not opened.is_visible("#regions text")
    opened.check("#norms")
    opacities = opened.eval_on_selector_all("#cells .kept", "cells => cells.map(cell => cell.style.fillOpacity)")
    assert len(set(opacities)) > 10


def test_tiles_and_the_global_view_have_their_own_grids(opened: Any) -> None:
    open_page(opened, 2)
    assert opened.locator("#cells .kept, #cells .merged").count() == 20 * 30
    opened.select_option("#grid", "1")
    assert opened.locator("#cells .kept, #cells .merged").count() == 12 * 16  # less the padding at the sides


def test_tokens_without_a_place_are_counted_and_not_drawn(chromium: Any, tmp_path: Path) -> None:
    view = page_view(Image.new("RGB", (600, 800), "white"), unplaced(), [Box("title", (1, 2, 300, 40))])
    results = [replace(page(1, document=DOCUMENT), view=view), seen(2, document=DOCUMENT)]
    with FolderOutput(tmp_path, HTML) as output:
        begin(output, DOCUMENT)
        for result in results:
            output.add(result)
        output.finish(DOCUMENT, [1, 2], {})
    with chromium.new_page() as tab:
        complaints: list[str] = []
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.goto((tmp_path / "report.html").as_uri())
        open_page(tab, 1)
        assert tab.is_visible("#unplaced") and NO_PLACE in tab.inner_text("#unplaced")
        assert tab.locator("#cells *").count() == 0 and tab.is_visible("#regions rect")
        counts = {name: tab.inner_text(f"label:has(#{name}) output") for name in ("kept", "merged", "dropped")}
        assert counts == {"kept": "444", "merged": "100", "dropped": "0"}
        assert tab.is_disabled("#kept") and tab.inner_text("#hover") == "Norms from 2.00 to 4.99."
        tab.click("#next")
        tab.wait_for_selector("#cells .kept")
        assert tab.is_enabled("#kept") and not tab.is_visible("#unplaced") and visible(tab, "dropped") == 2
        assert complaints == []


def test_a_page_is_opened_and_left_by_keys(opened: Any) -> None:
    # The browser tells of a new address in its own time: each look waits for what it wants to see.
    title, pages, detail = (playwright.expect(opened.locator(name)) for name in ("#detail-title", "#list", "#detail"))
    for key in ("ArrowDown", "ArrowDown", "Enter"):
        opened.keyboard.press(key)
    title.to_have_text("in/my doc.pdf, page 2")
    pages.to_be_hidden()
    opened.keyboard.press("ArrowRight")
    title.to_have_text("in/my doc.pdf, page 3")
    opened.keyboard.press("Escape")
    pages.to_be_visible()
    detail.to_be_hidden()
    opened.wait_for_function("document.activeElement.closest('tr')?.cells[2].textContent === '3'")
    opened.go_back()
    detail.to_be_visible()


def test_a_link_leads_to_a_page(opened: Any) -> None:
    address = opened.get_attribute("#pages tbody tr:nth-child(2) th a", "href")
    opened.goto(opened.url.split("#")[0] + address)
    opened.reload()
    playwright.expect(opened.locator("#detail-title")).to_have_text("in/my doc.pdf, page 2")


def test_hostile_text_shows_its_letters_and_runs_nothing(opened: Any) -> None:
    open_page(opened, 1)
    assert HOSTILE in opened.inner_text("#text")
    assert opened.locator("#text script, #text img").count() == 0


def test_pictures_load_from_beside_the_report(opened: Any) -> None:
    opened.wait_for_function("[...document.querySelectorAll('.thumb img')].every(image => image.naturalWidth > 0)")
    open_page(opened, 2)
    opened.wait_for_function("document.getElementById('picture').naturalWidth > 0")
    assert opened.evaluate("document.getElementById('picture').naturalHeight") == 1400


def test_the_list_has_what_is_kept_and_merged(opened: Any) -> None:
    headings = opened.locator("#pages thead th button").all_inner_texts()
    assert headings[:5] == ["document", "page", "visual tokens", "kept", "merged"]
    assert "FLOPs ×" in headings and "prefill ×" not in headings  # nothing was measured
    cells = opened.locator("#pages tbody tr:nth-child(2) td:not(.thumb)").all_inner_texts()
    assert cells[:4] == ["2", "100 → 40", "25", "55"]


def test_a_page_says_what_was_kept_when_it_was_read_and_its_times_in_whole_milliseconds(opened: Any) -> None:
    open_page(opened, 2)
    told = "100 → 40 visual tokens · 25 kept, 55 merged · FLOPs 1.00 × · read 2026-11-28 15:43 UTC"
    assert opened.inner_text("#told") == told
    times = opened.locator("#times dd").all_inner_texts()
    assert "1,234 ms" in times and "1 ms" in times and not any("." in each for each in times)


def test_a_link_leads_to_the_markdown_beside_the_report(opened: Any, report: Path) -> None:
    header = opened.get_attribute("header > p a", "href")
    open_page(opened, 2)
    assert opened.get_attribute("#file", "href") == header == "my%20doc%20%C3%BC%23%25/my%20doc%20%C3%BC%23%25.md"
    assert (report.parent / opened.inner_text("#file")).is_file()


@pytest.mark.parametrize("clipboard", ["there", "none", "neither"])
def test_the_text_of_a_page_is_copied_as_markdown(opened: Any, clipboard: str) -> None:
    """Without the new clipboard, as over plain http, by the old way; where nothing works, it is selected."""
    opened.context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened.evaluate("read = () => navigator.clipboard.readText(); clip = navigator.clipboard")
    opened.evaluate("clip.writeText('before')")
    if clipboard != "there":
        opened.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    if clipboard == "neither":
        opened.evaluate("document.execCommand = () => false")
    open_page(opened, 2)
    opened.click("#copy")
    said = playwright.expect(opened.locator("#copied"))
    if clipboard == "neither":
        said.to_have_text("Selected: copy it with your keyboard")
        assert opened.evaluate("getSelection().toString().split(/\\s+/).filter(Boolean)") == ["a", "b", "c"]
    else:
        said.to_have_text("Copied")
        assert opened.evaluate("clip.readText()") == TABLE
        playwright.expect(opened.locator("#copy")).to_be_focused()


def test_a_table_is_a_table(opened: Any) -> None:
    open_page(opened, 2)
    assert opened.get_attribute("#text td", "rowspan") == "2"


@pytest.mark.parametrize(("number", "message"), [(3, "it is broken"), (4, "Read without --html; --force reads again")])
def test_pages_without_a_view_say_why(opened: Any, number: int, message: str) -> None:
    open_page(opened, number)
    assert message in opened.inner_text("#message") and not opened.is_visible("#seen")


def test_dark_is_dark_and_paper_is_white(opened: Any) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    assert opened.evaluate(ground) == "rgb(255, 255, 255)"
    opened.emulate_media(color_scheme="dark")
    assert opened.evaluate(ground) == "rgb(21, 23, 26)"
    open_page(opened, 1)
    opened.emulate_media(color_scheme="dark", media="print")
    assert opened.evaluate(ground) == "rgb(255, 255, 255)"
    assert opened.is_visible("#list") and opened.is_visible("#detail")


def test_a_phone_scrolls_down_only(opened: Any) -> None:
    opened.set_viewport_size({"width": 360, "height": 640})
    opened.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    width = "document.documentElement.scrollWidth"
    assert opened.evaluate(width) == 360
    assert opened.evaluate("[...document.querySelectorAll('.scroll')].every((e) => e.scrollWidth <= e.clientWidth)")
    merged = opened.locator("#pages tbody tr:nth-child(2) [data-label=merged]")
    assert merged.bounding_box()["x"] + merged.bounding_box()["width"] <= 360 and merged.text_content() == "55"
    opened.click("#pages thead th:has-text('page') button")  # a phone sorts too
    open_page(opened, 2)
    assert opened.evaluate(width) == 360


def test_without_scripts_it_is_a_list(chromium: Any, report: Path) -> None:
    with chromium.new_page(java_script_enabled=False) as tab:
        tab.goto(report.as_uri())
        assert tab.locator("#pages tbody tr").count() == 4
        assert tab.is_visible("noscript p") and not tab.is_visible("#tools") and not tab.is_visible("#detail")


# --- The plot of a document


@pytest.fixture
def plotted(chromium: Any, tmp_path: Path) -> Iterator[Any]:
    """A report of ten pages, of which page 4 failed, on a phone in dark mode."""
    results = [page(4, document=DOCUMENT, error="it is broken")]
    for number in (1, 2, 3, *range(5, 11)):
        result = page(number, document=DOCUMENT)
        values = {"retention": number / 10, "ratio": 0.5, "r_similarity": 0.4, "r_density": 0.2}
        results.append(replace(result, record=replace(result.record, **values)))
    results.sort(key=lambda result: result.record.page or 0)
    with FolderOutput(tmp_path, HTML) as output:
        begin(output, DOCUMENT)
        for result in results:
            output.add(result)
        output.finish(DOCUMENT, list(range(1, 11)), {})
    with chromium.new_page(viewport=PHONE, color_scheme="dark") as tab:
        tab.goto((tmp_path / "report.html").as_uri())
        yield tab


def test_a_click_on_the_plot_leads_to_the_page_and_back(plotted: Any) -> None:
    plotted.locator(".axes").scroll_into_view_if_needed()
    box = plotted.locator(".axes").bounding_box()
    plotted.mouse.click(box["x"] + 0.65 * box["width"], box["y"] + 5)
    title = playwright.expect(plotted.locator("#detail-title"))
    title.to_have_text("in/my doc.pdf, page 7")
    plotted.keyboard.press("Escape")
    playwright.expect(plotted.locator(".walk input")).to_be_focused()
    assert plotted.inner_text(".walk output") == "70.0 % kept (1 → 1), ratio 0.500"


def test_keys_walk_over_the_plot(plotted: Any) -> None:
    slider = plotted.locator(".walk input")
    slider.focus()
    for _ in range(3):
        plotted.keyboard.press("ArrowRight")
    assert "failed" in plotted.inner_text(".walk output") and "failed" in slider.get_attribute("aria-valuetext")
    plotted.keyboard.press("Enter")
    playwright.expect(plotted.locator("#detail-title")).to_have_text("in/my doc.pdf, page 4")
    plotted.keyboard.press("Escape")
    playwright.expect(slider).to_be_focused()


def test_a_plot_fits_a_phone_and_follows_dark_mode(plotted: Any) -> None:
    assert plotted.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    boxes = plotted.eval_on_selector_all(".axes text", "all => all.map(e => e.getBoundingClientRect().toJSON())")
    assert len(boxes) == 3 + 5 and all(box["left"] >= 0 and box["right"] <= PHONE["width"] for box in boxes)
    assert all(left["right"] < right["left"] for left, right in pairwise(boxes[3:]))
    colours = "[...document.querySelectorAll('.axes .line')].map(e => getComputedStyle(e).stroke)"
    dark = plotted.evaluate(colours)
    plotted.emulate_media(color_scheme="light")
    light = plotted.evaluate(colours)
    assert len(set(dark)) == len(set(light)) == 4 and not set(dark) & set(light)


@pytest.mark.slow
def test_a_thousand_pages_open_with_few_elements(chromium: Any, tmp_path: Path) -> None:
    """What a report takes to open is what its browser lays out: rows, and no page's text before it is looked at."""
    place = thousand_pages(tmp_path)
    assert place.stat().st_size < 15e6
    with chromium.new_page() as tab:
        tab.goto(place.as_uri(), wait_until="domcontentloaded")
        tab.wait_for_function("document.getElementById('count').textContent === '1,000 pages'")
        tab.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")  # painted
        assert tab.locator("#pages tbody tr").count() == 1000
        assert tab.evaluate("document.getElementsByTagName('*').length") < 20 * 1000


def thousand_pages(folder: Path) -> Path:
    """Pages with tiles, tables and 3,000 letters each."""
    paragraph = "The quick brown fox jumps over the lazy dog. " * 10
    table = "<table>" + "<tr>" + "<td>cell</td>" * 6 + "</tr>" * 12 + "</table>"
    text = "\n\n".join(["# Title", *[paragraph] * 4, table, *[f"- item {i}" for i in range(20)]])
    made = json.loads(page_view(Image.new("RGB", (600, 800)), tokens("gundam", (2, 3)), []).tokens)
    totals, record = Totals(), page(1, document=DOCUMENT).record
    for _ in range(1000):
        totals.add(record)
    files = "a/report/page-0001.jpg", "a/report/page-0001.thumb.jpg"
    pages = (Shown(replace(record, page=number + 1), text, made, files) for number in range(1000))
    place = folder / "report.html"
    place.write_text("".join(report_page(totals.summary(), {"mode": "gundam"}, [], pages)), encoding="utf-8")
    return place


# --- The report of rtprune bench ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bench_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two modes, each unpruned and pruned, over four pages of which one word is wrong when pruned."""
    configurations = AccuracyPlan(modes=("tiny", "base"), ratios=("0.75", "dynamic")).configurations()
    rows = []
    for number, each in enumerate(configurations):
        kept = 64 * (1 + number)
        record = page_record(
            kept, visual_tokens_before=400, kept=kept, prefill_flops=kept * 10**9, prune_flops=0, seconds=1.0
        )
        errors = 0 if each.method == "none" else 1
        rows += [row(each, f"p{i}", errors + i % 2, groups={"layout": "one"}, record=record) for i in range(4)]
    page = comparison_page(
        bench_summary(rows, configurations),
        rows,
        image=lambda _: Image.new("RGB", (900, 1200), "white"),
        text=lambda name, _: "one two three" if name.endswith("none") else "one 2 three",
        truth=lambda _: "one two three",
    )
    path = tmp_path_factory.mktemp("bench") / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


@pytest.fixture
def bench_tab(chromium: Any, bench_report: Path) -> Iterator[Any]:
    """The report on a phone in dark mode."""
    with chromium.new_page(viewport=PHONE, color_scheme="dark") as tab:
        tab.goto(bench_report.as_uri())
        yield tab


def test_nothing_of_a_comparison_goes_sideways(bench_tab: Any) -> None:
    bench_tab.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    assert bench_tab.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    wide = "[...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1)"
    assert bench_tab.evaluate(f"{wide}.filter((e) => !e.closest('.unseen')).map((e) => e.outerHTML)") == []
    cell = bench_tab.locator("#results td").first
    assert cell.evaluate("(e) => getComputedStyle(e, '::before').content") == '"pages"'
    bench_tab.set_viewport_size({"width": 1280, "height": 800})
    assert bench_tab.evaluate("document.documentElement.scrollWidth") == 1280


def test_pictures_have_the_colours_of_the_page(bench_tab: Any) -> None:
    def colours() -> list[list[str]]:
        found: list[list[str]] = bench_tab.evaluate(
            """[...document.querySelectorAll(".pictures svg")].map((svg) => [
                getComputedStyle(svg.querySelector("path")).fill, getComputedStyle(svg.querySelector("text")).fill])"""
        )
        page = bench_tab.evaluate("[getComputedStyle(document.body)].map((s) => [s.backgroundColor, s.color])[0]")
        assert len(found) == 2 and all(each == page for each in found)
        return found

    dark = colours()
    bench_tab.emulate_media(color_scheme="light")
    assert colours() != dark


def test_right_is_green_and_wrong_is_red(bench_tab: Any) -> None:
    for scheme in ("dark", "light"):
        bench_tab.emulate_media(color_scheme=scheme)
        for text, stronger in (("two ", 1), ("2 ", 0)):
            mark = bench_tab.locator("#pages .text mark", has_text=text).first
            colour = mark.evaluate("(e) => getComputedStyle(e).backgroundColor.match(/\\d+/g).map(Number)")
            assert colour.index(max(colour)) == stronger
    legend = bench_tab.locator("#pages .legend").inner_text()
    assert "green" in legend and "right" in legend and "red" in legend and "wrong" in legend


# --- What axe-core says of the two


@pytest.mark.slow
def test_axe_finds_no_serious_fault_in_the_list_nor_in_a_page(opened: Any) -> None:
    opened.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    assert serious_faults(opened) == set()
    open_page(opened, 1)
    assert serious_faults(opened) == set()


@pytest.mark.slow
def test_axe_finds_no_serious_fault_in_a_comparison(chromium: Any, bench_report: Path) -> None:
    with chromium.new_page() as tab:
        tab.goto(bench_report.as_uri())
        tab.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
        assert serious_faults(tab) == set()
