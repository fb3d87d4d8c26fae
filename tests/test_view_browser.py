"""rtprune view in a browser: pages are found and opened, a run is followed, and nothing that a page says is run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_html_browser import HOSTILE, PHONE, playwright, pytestmark
from test_html_browser import chromium as chromium
from test_html_report import HTML, seen
from test_outputs import PAPER, begin, page

from rtprune_cli.outputs import FolderOutput
from rtprune_cli.viewing import FolderWatch, ViewServer

__all__ = ["chromium", "pytestmark"]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[FolderOutput]:
    """A run that has read three pages, of which the second is hostile."""
    with FolderOutput(tmp_path, HTML) as output:
        begin(output, PAPER)
        for number, text in ((1, "Crème brûlée"), (2, f"crème {HOSTILE}"), (3, "nothing")):
            output.add(seen(number, text, document=PAPER))
        yield output


@pytest.fixture
def tab(chromium: Any, run: FolderOutput) -> Iterator[Any]:
    """The page of that run on a phone; a test fails when it complains or asks for anything but this server."""
    with FolderWatch(run.root, every=0.02) as watch, ViewServer(watch) as server:
        watch.wait(5)
        with chromium.new_page(viewport=PHONE) as opened:
            complaints: list[str] = []
            opened.on("console", lambda message: complaints.append(message.text) if "404" not in message.text else None)
            opened.on("pageerror", lambda error: complaints.append(str(error)))
            asked: list[str] = []
            opened.on("request", lambda request: asked.append(request.url))
            opened.goto(server.url)
            yield opened
            assert complaints == []
            assert all(url.startswith(server.url) for url in asked)
            assert opened.evaluate("window.ran") is None


def test_a_page_is_found_opened_and_left_by_keys(tab: Any) -> None:
    hits = tab.locator("#view-hits li")
    playwright.expect(tab.locator("#view-state")).to_contain_text("A run goes on, since")
    tab.keyboard.press("/")
    tab.keyboard.type("CREME")
    playwright.expect(hits).to_have_count(2)
    assert tab.inner_text("#view-count") == "2 pages of 1 document"
    assert hits.locator("mark").all_inner_texts() == ["Crème", "crème"] and HOSTILE in hits.nth(1).inner_text()
    assert tab.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    for key in ("Enter", "ArrowDown", "Enter"):
        tab.keyboard.press(key)
    playwright.expect(tab.locator("#detail-title")).to_have_text("in/paper.pdf, page 2")
    assert tab.evaluate("[...CSS.highlights.get('found')].map(String)") == ["crème"]
    playwright.expect(tab.locator("#view-found")).to_be_hidden()
    tab.keyboard.press("Escape")
    playwright.expect(hits.nth(1).locator("a")).to_be_focused()
    tab.reload()
    playwright.expect(hits).to_have_count(2)


def test_pages_of_a_run_appear(tab: Any, run: FolderOutput) -> None:
    new = playwright.expect(tab.locator("#view-new"))
    tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # looks at once
    playwright.expect(tab.locator("#view-figures")).to_contain_text("1 begun, 3 pages read, 0 failed")
    new.to_be_hidden()
    run.add(page(4, "brand new"))
    tab.wait_for_timeout(100)
    tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    new.to_have_text("1 new page: show")
    assert tab.inner_text("#view-latest") == "Latest: in/paper.pdf, page 4"
    tab.click("#view-new")
    playwright.expect(tab.locator("#pages tbody tr")).to_have_count(4)
    playwright.expect(tab.locator("#view-new")).to_be_hidden()
