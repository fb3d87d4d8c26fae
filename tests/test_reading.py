"""Batches that fail and pages that loop, driven by a network that misbehaves on purpose."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import torch
from conftest import make_views
from PIL import Image, ImageDraw
from stubs import Act, Prompt, ScriptedNetwork, View

from rtprune_cli.device import hardware
from rtprune_cli.engine import engine, memory, prompts
from rtprune_cli.engine.reader import WAITING_RESULTS, PageReader
from rtprune_cli.engine.steps import normalised_edit_distance
from rtprune_cli.errors import EnvironmentFault
from rtprune_cli.model import OcrModel
from rtprune_cli.options import DecodeOptions, OcrOptions, PruneOptions
from rtprune_cli.pruning import PendingPrune
from rtprune_cli.records import Document, PageImage, PageResult, PreparedPage, PrunedTokens

DOCUMENT = Document(Path("scan.tif"), "scan.tif", PurePosixPath("scan"))
LOOP = Act(cycle=tuple(range(20, 30)))
OPTIONS = OcrOptions(decode=DecodeOptions(max_new_tokens=90, no_repeat_ngram=0, loop_window=24))
OUT_OF_MEMORY = Act(fault=torch.OutOfMemoryError("secret details"))


def make_page(number: int, paper: str = "white", mode: str = "tiny") -> PreparedPage:
    image = Image.new("RGB", (256, 256), paper)
    ImageDraw.Draw(image).text((20, 40), f"p{number}", fill="gray", font_size=24)
    return PreparedPage(PageImage(DOCUMENT, number, image, None, 0.0), make_views(image, mode), 0.0)


def make_reader(tiny: OcrModel, script: Callable[[Prompt], Act | None], **options: Any) -> PageReader:
    model = replace(tiny, network=ScriptedNetwork(tiny.network, script))  # type: ignore[arg-type]
    return PageReader(model, replace(OPTIONS, **options))


def read_one(tiny: OcrModel, script: Callable[[Prompt], Act | None], **options: Any) -> PageResult:
    (result,) = make_reader(tiny, script, **options).read([make_page(1)])
    return result


def batch(size: int, max_new_tokens: int = 3) -> dict[str, DecodeOptions]:
    return {"decode": DecodeOptions(max_new_tokens=max_new_tokens, batch_size=size)}


def test_a_page_can_be_pruned_otherwise_than_the_run_says(tiny: OcrModel) -> None:
    reader = make_reader(tiny, lambda _: Act(endless=True), prune=PruneOptions(ratio=0.9), **batch(3))
    pages = [make_page(1), replace(make_page(2), prune=PruneOptions(ratio=0.5)), make_page(3)]
    assert [result.record.ratio for result in reader.read(pages)] == [0.9, 0.5, 0.9]


# --- Batches that fail


@pytest.mark.slow
def test_a_batch_that_does_not_fit_is_halved_and_the_next_ones_are_small(
    tiny: OcrModel, caplog: pytest.LogCaptureFixture
) -> None:
    network = ScriptedNetwork(tiny.network, lambda _: Act(endless=True), most_rows=2)
    reader = PageReader(replace(tiny, network=network), OPTIONS)  # type: ignore[arg-type]
    results = list(reader.read([make_page(i) for i in range(1, 5)]))
    assert [result.record.status for result in results] == ["ok"] * 4
    assert [result.record.page for result in results] == [1, 2, 3, 4]
    assert reader.batch_size == 2
    assert "going on with 2 pages together" in caplog.text


@pytest.mark.slow
def test_a_page_that_does_not_fit_alone_is_marked_and_the_batch_stays_large(tiny: OcrModel) -> None:
    def dark_pages_are_too_large(prompt: Prompt) -> Act | None:
        return OUT_OF_MEMORY if prompt.view and prompt.view.brightness < 0.5 else None

    reader = make_reader(tiny, dark_pages_are_too_large, **batch(4))
    results = list(reader.read([make_page(1), make_page(2, "black"), make_page(3), make_page(4)]))
    assert [result.record.status for result in results] == ["ok", "failed", "ok", "ok"]
    assert results[1].record.error.code == "out_of_memory"
    assert "secret" not in results[1].record.error.message
    assert reader.batch_size == 4


def test_memory_of_the_cpu_counts_too(tiny: OcrModel) -> None:
    fault = Act(fault=RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"))
    assert read_one(tiny, lambda _: fault).record.error.code == "out_of_memory"


def test_a_broken_gpu_ends_the_run_instead_of_failing_every_page(tiny: OcrModel) -> None:
    fault = Act(fault=torch.AcceleratorError("CUDA error: an illegal memory access was encountered"))
    with pytest.raises(EnvironmentFault, match="the GPU failed at page 1"):
        read_one(tiny, lambda _: fault)


def test_any_other_failure_costs_its_page_only(tiny: OcrModel) -> None:
    reader = make_reader(tiny, lambda p: Act(fault=ValueError()) if p.view and p.view.brightness < 0.5 else None)
    results = list(reader.read([make_page(1), make_page(2, "black"), make_page(3)]))
    assert [result.record.error and result.record.error.code for result in results] == [None, "page_failed", None]


# --- What is said


def test_the_ways_of_a_run_are_told_at_vv_alone(tiny: OcrModel, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "rtprune"):
        read_one(tiny, lambda _: None, **batch(1))
    (told,) = [each for each in caplog.records if each.getMessage() == "attention: sdpa; experts: eager"]
    assert told.levelno == logging.DEBUG


def test_a_mode_that_does_not_fit_is_warned_of(
    tiny: OcrModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = engine.plan
    monkeypatch.setattr(engine, "plan", lambda *args: replace(real(*args), lacking=1_500_000_000))
    assert read_one(tiny, lambda _: None, **batch(1)).record.status == "ok"
    assert "cpu lacks 1.5 GB for one page in mode tiny" in caplog.text


@pytest.mark.parametrize(("rows", "recorded"), [(512, True), (513, False)])
def test_steps_that_cannot_be_recorded_are_warned_of(
    tiny: OcrModel, rows: int, recorded: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hardware, "capability", lambda _: (8, 0))
    assert prompts._recordable(replace(tiny, device=torch.device("cuda")), rows) == recorded
    assert ("give --batch-size 512 or less" in caplog.text) != recorded


# --- Order


@pytest.mark.slow
def test_pages_come_out_in_order_whatever_they_take(tiny: OcrModel) -> None:
    network = ScriptedNetwork(tiny.network, lambda prompt: Act(endless=True) if prompt.ordinal % 3 == 0 else None)
    reader = PageReader(replace(tiny, network=network), OPTIONS)  # type: ignore[arg-type]
    items = ["first", make_page(1), make_page(2), "between", make_page(3), make_page(4), "last"]
    found = [item if isinstance(item, str) else item.record.page for item in reader.read(items)]
    assert found == ["first", 1, 2, "between", 3, 4, "last"]


def test_what_is_no_page_needs_no_model(tiny: OcrModel) -> None:
    reader = PageReader(tiny, OPTIONS, on_load=lambda: pytest.fail("the model was loaded"))
    assert list(reader.read(["opened", "closed"])) == ["opened", "closed"]


@pytest.mark.slow
def test_a_slow_page_lets_only_so_many_wait_behind_it(tiny: OcrModel) -> None:
    pulled = []

    def pages() -> Iterator[PreparedPage]:
        for number in range(1, 40):
            pulled.append(number)
            yield make_page(number)

    network = ScriptedNetwork(tiny.network, lambda prompt: Act(endless=True) if prompt.ordinal == 0 else None)
    reader = PageReader(replace(tiny, network=network), replace(OPTIONS, **batch(2, max_new_tokens=200)))  # type: ignore[arg-type]
    next(iter(reader.read(pages())))
    assert len(pulled) <= WAITING_RESULTS * 2


def test_pages_that_wait_for_a_slow_one_hold_no_pixels(tiny: OcrModel) -> None:
    images = []

    def pages() -> Iterator[PreparedPage]:
        for number in range(1, 7):
            page = make_page(number)
            images.append(weakref.ref(page.page.image))
            yield page
            del page

    network = ScriptedNetwork(tiny.network, lambda prompt: Act(endless=True) if prompt.ordinal == 0 else None)
    results = PageReader(replace(tiny, network=network), OPTIONS).read(pages())  # type: ignore[arg-type]
    assert next(results).page is None
    assert [image() for image in images] == [None] * 6


def test_a_page_that_fails_among_images_encoded_together_costs_itself_only(
    tiny: OcrModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, where several are encoded together."""
    monkeypatch.setitem(memory.ENCODED_PIXELS, "cpu", 4 * 512**2)
    encoded = []

    def dark_pages_fail(views: Sequence[View]) -> None:
        encoded.append(len(views))
        if any(view.brightness < 0.5 for view in views):
            raise ValueError

    network = ScriptedNetwork(tiny.network, lambda _: None, dark_pages_fail)
    reader = PageReader(replace(tiny, network=network), OPTIONS)  # type: ignore[arg-type]
    pages = [make_page(1), make_page(2), make_page(3, "black"), make_page(4)]
    assert [r.record.status for r in reader.read(pages)] == ["ok", "ok", "failed", "ok"]
    assert encoded == [4, 2, 2, 1, 1]


@pytest.mark.slow
def test_short_memory_after_the_pruning_halves_the_encodings(tiny: OcrModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of the pages is gathered while the decoder holds more memory than when they were encoded."""
    monkeypatch.setitem(memory.ENCODED_PIXELS, "cpu", 4 * 512**2)
    encoded, real = [], PendingPrune.result

    def short(pending: PendingPrune) -> list[PrunedTokens]:
        if sum(len(places) for places, *_ in pending._batches) > 2:
            raise torch.AcceleratorError("CUDA error: out of memory")
        return real(pending)

    monkeypatch.setattr(PendingPrune, "result", short)
    network = ScriptedNetwork(tiny.network, lambda _: None, lambda views: encoded.append(len(views)))
    reader = PageReader(replace(tiny, network=network), OPTIONS)  # type: ignore[arg-type]
    assert [r.record.status for r in reader.read([make_page(n) for n in range(1, 7)])] == ["ok"] * 6
    assert encoded == [4, 2, 2, 2]


def test_a_comparison_that_fails_keeps_the_text(tiny: OcrModel, caplog: pytest.LogCaptureFixture) -> None:
    result = read_one(tiny, lambda prompt: None if prompt.pruned else OUT_OF_MEMORY, compare=True)
    assert (result.record.status, result.record.edit_distance_to_unpruned) == ("ok", None)
    assert "could not be read unpruned to compare" in caplog.text


# --- Pages that loop


def test_a_loop_is_read_again_unpruned(tiny: OcrModel) -> None:
    row = read_one(tiny, lambda prompt: LOOP if prompt.pruned else None).record
    assert [(a.mode, a.finish_reason) for a in row.attempts] == [("tiny", "loop"), ("tiny", "eos")]
    assert (row.status, row.finish_reason, row.retention, row.loop_tokens_cut) == ("ok", "eos", 1, 0)
    assert row.retry_ms > 0


def test_a_loop_without_pruning_too_is_read_in_another_mode(tiny: OcrModel) -> None:
    row = read_one(tiny, lambda prompt: LOOP if prompt.view and prompt.view.side == 512 else None).record
    assert [a.finish_reason for a in row.attempts[:2]] == ["loop", "loop"]
    assert row.attempts[2].mode == row.mode == "small"
    assert row.finish_reason != "loop"


def test_a_page_that_was_not_pruned_goes_to_another_mode_at_once(tiny: OcrModel) -> None:
    row = read_one(tiny, lambda _: LOOP, prune=PruneOptions(ratio=1.0)).record
    assert [a.mode for a in row.attempts] == ["tiny", "small"]


@pytest.mark.slow
def test_a_page_that_always_loops_is_kept_without_the_repetition(tiny: OcrModel) -> None:
    result = read_one(tiny, lambda _: LOOP)
    row = result.record
    assert (row.status, row.finish_reason, len(row.attempts)) == ("ok", "loop", 3)
    assert row.output_tokens == 10 < row.loop_tokens_cut
    assert result.markdown.text


@pytest.mark.slow
def test_of_readings_that_all_loop_the_one_that_got_furthest_is_kept(tiny: OcrModel) -> None:
    longer = Act(cycle=tuple(range(20, 45)))
    row = read_one(tiny, lambda prompt: LOOP if prompt.pruned or prompt.view.side == 640 else longer).record
    assert [attempt.output_tokens for attempt in row.attempts] == [10, 25, 10]
    assert row.output_tokens == 25


def test_mark_reads_a_looping_page_once(tiny: OcrModel) -> None:
    row = read_one(tiny, lambda _: LOOP, on_loop="mark").record
    assert (row.status, row.finish_reason, row.attempts) == ("ok", "loop", None)


def test_fail_makes_a_looping_page_a_failed_one(tiny: OcrModel) -> None:
    row = read_one(tiny, lambda _: LOOP, on_loop="fail").record
    assert (row.status, row.error.code) == ("failed", "loop")


@pytest.mark.slow
def test_a_retry_that_fails_keeps_the_text_that_is_there(tiny: OcrModel) -> None:
    result = read_one(tiny, lambda prompt: LOOP if prompt.pruned else OUT_OF_MEMORY)
    assert (result.record.status, result.record.finish_reason) == ("ok", "loop")
    assert result.markdown.text


def test_a_page_without_an_end_is_kept_and_marked(tiny: OcrModel) -> None:
    endless = Act(endless=True)
    row = read_one(tiny, lambda _: endless, decode=DecodeOptions(max_new_tokens=12)).record
    assert (row.status, row.finish_reason, row.output_tokens) == ("ok", "length", 12)


def test_only_the_looping_page_of_a_batch_is_read_again(tiny: OcrModel) -> None:
    def dark_pages_loop(prompt: Prompt) -> Act | None:
        return LOOP if prompt.pruned and prompt.view and prompt.view.brightness < 0.5 else None

    rows = [r.record for r in make_reader(tiny, dark_pages_loop).read([make_page(1), make_page(2, "black")])]
    assert [row.attempts and len(row.attempts) for row in rows] == [None, 2]


def test_edit_distance_is_normalised() -> None:
    assert normalised_edit_distance("abcd", "abxd") == 0.25
    assert normalised_edit_distance("", "") == 0
