"""rtprune bench, what people look at: the pictures, the pages that lost most, the report."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image
from test_bench_summary import DYNAMIC, METRICS, NONE, make, page, row

from rtprune_cli.bench.accuracy import table
from rtprune_cli.bench.accuracy.gates import Gate
from rtprune_cli.bench.accuracy.html import comparison_page
from rtprune_cli.bench.accuracy.plan import Configuration
from rtprune_cli.bench.accuracy.plots import pictures
from rtprune_cli.bench.accuracy.rows import Row
from rtprune_cli.bench.accuracy.timing import PageTimes
from rtprune_cli.bench.accuracy.worst import SHOWN, differences, largest_losses, words
from rtprune_cli.bench.scoring.records import Marks

HOSTILE = "<script>alert('&\"')</script><img src=http://example.org/x onerror=alert(1)>"
RANDOM = Configuration("random 0.5", "random", "0.5")
BASELINES = {each.name: each.baseline for each in (NONE, DYNAMIC, RANDOM)}
PAGES = [f"p{i}" for i in range(6)]


@pytest.fixture
def rows() -> list[Row]:
    """Page i loses i errors under the dynamic ratio; random pruning loses on p1 and p2 alone."""
    groups = {"layout": HOSTILE}
    return [
        *(row(NONE, name, 1, record=page(), groups=groups, teds=0.9) for name in PAGES),
        *(row(DYNAMIC, name, 1 + i, record=page(80), groups=groups, teds=0.8) for i, name in enumerate(PAGES)),
        *(row(RANDOM, name, 2 if i in (1, 2) else 0, record=page(50), groups=groups) for i, name in enumerate(PAGES)),
    ]


def summary_of(rows: Sequence[Row], **more: Any) -> dict[str, Any]:
    return make(rows, [NONE, DYNAMIC, RANDOM], **more)


def report(rows: Sequence[Row], **more: Any) -> str:
    texts = {"none": "the quick brown fox", "rtprune dynamic": "the quick fox jumps", "random 0.5": None}
    given = {
        "image": lambda sample: Image.new("RGB", (1200, 1800), "white"),
        "text": lambda configuration, sample: texts[configuration],
        "truth": lambda sample: f"truth of {sample}",
    }
    gates = [Gate("cer", 0.2, above=True), Gate("cer", 0.9, above=True)]
    summary = summary_of(rows, gates=gates, official={"none": {"text": {"all": 0.5}, "cdm": None}})
    return comparison_page(summary, rows, **{**given, **more})


# --- Pictures ----------------------------------------------------------------------------------------------------


def test_pictures_are_svg_with_words_and_every_method(rows: list[Row]) -> None:
    found = pictures(summary_of(rows))
    assert [picture.title for picture in found] == [
        "Accuracy over visual tokens kept", "Accuracy over speed-up by prefill FLOPs",
    ]  # fmt: skip
    for picture in found:
        root = ElementTree.fromstring(picture.svg)
        assert (
            root.get("role") == "img" and root[0].tag.endswith("title") and "rtprune dynamic at" in (root[1].text or "")
        )
        assert {"none", "rtprune", "random", "hollow: dynamic"} <= {(node.text or "").strip() for node in root.iter()}


def test_measured_speed_is_preferred_and_named(rows: list[Row]) -> None:
    timings = {name: {"a": PageTimes(10, 100)} for name in {each.configuration for each in rows}}
    assert pictures(summary_of(rows, timings=timings))[-1].title == "Accuracy over speed-up by measured prefill"


def test_headline_metrics_have_pictures_of_their_own(rows: list[Row]) -> None:
    summary = summary_of(rows)
    summary["metrics"][1]["headline"] = True
    assert [picture.title.split()[0] for picture in pictures(summary)] == ["Accuracy", "CER", "TEDS", "Accuracy"]


def test_pictures_are_the_same_each_time_and_share_no_names(rows: list[Row]) -> None:
    first, second = pictures(summary_of(rows))
    assert [first, second] == pictures(summary_of(rows))
    names = [set(re.findall(r'id="([^"]+)"', picture.svg)) for picture in (first, second)]
    assert names[0] and not names[0] & names[1]
    assert set(re.findall(r'(?:href="|url\()#([\w-]+)', first.svg)) <= names[0]


def test_a_headline_metric_that_no_page_has_has_no_picture(rows: list[Row]) -> None:
    rows = [replace(each, marks=Marks({"cer": each.marks.scores["cer"]})) for each in rows]
    summary = summary_of(rows)
    summary["metrics"][1]["headline"] = True
    assert [picture.title.split()[0] for picture in pictures(summary)] == ["Accuracy", "CER", "Accuracy"]


def test_predictions_without_retention_have_no_pictures(rows: list[Row]) -> None:
    assert not pictures(summary_of([row(NONE, "a", 1), row(DYNAMIC, "a", 1), row(RANDOM, "a", 1)]))


# --- Pages that lost most ----------------------------------------------------------------------------------------


def test_every_configuration_shows_its_worst_pages_in_turn(rows: list[Row]) -> None:
    losses = largest_losses(rows, METRICS, ["cer"], 5, BASELINES)
    assert [(loss.configuration, loss.sample) for loss in losses] == [
        ("rtprune dynamic", "p5"), ("random 0.5", "p1"), ("rtprune dynamic", "p4"), ("random 0.5", "p2"),
        ("rtprune dynamic", "p3"),
    ]  # fmt: skip
    assert losses[0].before == 0.9 and losses[0].size == pytest.approx(0.5)


def test_a_page_that_lost_nothing_is_not_shown(rows: list[Row]) -> None:
    assert len(largest_losses(rows, METRICS, ["cer"], 99, BASELINES)) == 5 + 2


def test_texts_differ_in_words() -> None:
    left, right = differences("one two  three\nfour", "one 2 three four five")
    assert [span for span in left if span.mark] == [("two  ", "differs")]
    assert [span for span in right if span.mark] == [("2 ", "differs"), ("five", "differs")]
    assert "".join(span.text for span in left) == "one two  three\nfour"


def test_what_the_truth_has_is_right_and_the_rest_is_wrong() -> None:
    left, right = differences("one two three for", "one 2 three four", truth="one two three four")
    assert [span for span in left if span.mark] == [("two ", "right"), ("for", "wrong")]
    assert [span for span in right if span.mark] == [("2 ", "wrong"), ("four", "right")]


def test_letters_of_languages_without_spaces_are_words() -> None:
    assert words(" 你好ab c.") == [" ", "你", "好", "ab ", "c", "."]


def test_long_texts_are_cut_but_compared_a_little_further() -> None:
    text = "word " * 3000
    left, right = differences(text, "new " + text)
    assert sum(len(span.text) for span in left) == sum(len(span.text) for span in right) == SHOWN
    assert not any(span.mark for span in left) and [span.text for span in right if span.mark] == ["new "]


# --- The report --------------------------------------------------------------------------------------------------


def test_the_report_holds_every_part(rows: list[Row]) -> None:
    text = report(rows)
    for part in ("rtprune bench: folder 1", "random 0.5", "cer not above 0.2", "CER: edits over characters",
                 "torch</th><td>2", "unmatched", "truth of p5", "text: all", "n/a", "data:image/jpeg;base64,",
                 "No text."):  # fmt: skip
        assert part in text
    assert '<html lang="en">' in text and text.count("<svg ") == 2
    assert '<strong class="failed">failed</strong> by rtprune dynamic' in text
    assert '<strong class="passed">passed</strong> by all 3' in text


def test_differences_are_marked_on_both_sides(rows: list[Row]) -> None:
    text = report(rows, truth=lambda sample: "the quick brown fox")
    assert 'the quick <mark class="right">brown </mark>fox' in text and '<mark class="wrong">jumps</mark>' in text


def test_the_report_has_the_columns_of_the_terminal(rows: list[Row]) -> None:
    summary = summary_of(rows)
    columns = table.columns(summary["configurations"], summary)
    text = comparison_page(summary, rows, image=lambda _: None, text=lambda *_: None, truth=lambda _: "")
    head = text.partition("<thead>")[2].partition("</thead>")[0]
    headings = re.findall(r'<th scope="col">([^<]*?) ?(?:<|$)', head)
    assert headings == ["configuration", *(column.heading for column in columns)]
    body = text.partition("<tbody>")[2].partition("</tbody>")[0]
    assert re.findall(r'data-label="([^"]*)"', body) == [column.heading for column in columns] * 3
    assert all(column.cells[1].text in body for column in columns)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["text", "truth", "sample", "configuration", "facts"])
def test_no_text_becomes_a_part_of_the_page(rows: list[Row], where: str) -> None:
    if where == "text":
        text = report(rows, text=lambda configuration, sample: HOSTILE)
    elif where == "truth":
        text = report(rows, truth=lambda sample: HOSTILE)
    elif where == "sample":
        rows = [*rows, row(NONE, HOSTILE, 0), row(DYNAMIC, HOSTILE, 10)]
        text = report(rows)
    elif where == "configuration":
        bad = Configuration(HOSTILE, "random", "0.5")
        rows = [row(NONE, "a", 0, record=page()), row(bad, "a", 10, record=page(50))]
        summary = make(rows, [NONE, bad], gates=[Gate("cer", 0, above=True)])
        text = comparison_page(summary, rows, image=lambda sample: None, text=lambda *_: "", truth=lambda _: "")
    else:
        summary = {**summary_of(rows, official={HOSTILE: {HOSTILE: HOSTILE}}), "command": HOSTILE, HOSTILE: [HOSTILE]}
        text = comparison_page(summary, rows, image=lambda sample: None, text=lambda *_: "", truth=lambda _: "")
    assert text.count("<script") == 1 and "<img src=http" not in text
    assert "&lt;script&gt;alert(&#39;&amp;&#34;&#39;)&lt;/script&gt;" in text


def test_the_report_needs_no_other_file(rows: list[Row]) -> None:
    addresses: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag not in ("link", "iframe", "object", "embed", "base")
            addresses.extend(value or "" for name, value in attrs if name in ("src", "srcset", "action", "data"))
            addresses.extend(value or "" for name, value in attrs if name.endswith("href"))

    text = report(rows)
    Reader().feed(text)
    assert addresses and all(address.startswith(("#", "data:image/jpeg;base64,")) for address in addresses)
    assert not re.search(r"url\((?!#)|@import", text) and "default-src 'none'" in text


@pytest.mark.slow
def test_the_same_run_makes_the_same_bytes(rows: list[Row]) -> None:
    assert report(rows) == report(rows)


@pytest.mark.slow
def test_pictures_of_pages_are_made_small(rows: list[Row]) -> None:
    assert 'width="900" height="1350"' in report(rows)
    assert "No picture." in report(rows, image=lambda sample: None)


def test_texts_are_cut_with_a_note(rows: list[Row]) -> None:
    text = report(rows, truth=lambda sample: "x" * (SHOWN + 1234))
    assert "Cut after 5,000 characters; 1,234 more." in text and "x" * (SHOWN + 1) not in text


def test_without_a_baseline_there_is_a_report_still() -> None:
    alone = Configuration("a/b", "predictions")
    rows = [row(alone, "a", 1), row(alone, "b", 2, status="missing")]
    text = comparison_page(make(rows, [alone]), rows, image=lambda _: None, text=lambda *_: None, truth=lambda _: "")
    assert "2 (1 missing)" in text
    for part in ("rel. accuracy", "Pages that lost most", "visual tokens</th>", "FLOPs ×", "s a page", "In short"):
        assert part not in text


def test_names_that_are_no_unicode_are_written(rows: list[Row]) -> None:
    report([*rows, row(NONE, "\udcff", 0), row(DYNAMIC, "\udcff", 10)]).encode()
