"""Pages of a document that are read as one text: what Unlimited-OCR can, with a network that writes what it is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymupdf
import pytest
from stubs import Prompt, Says, scripted, writes

from rtprune_cli.errors import UsageError
from rtprune_cli.model import OcrModel, adapters, load
from rtprune_cli.model.adapters.unlimited_ocr import ADAPTER
from rtprune_cli.options import DecodeOptions, InputOptions, ModelOptions, OcrOptions, PruneOptions
from rtprune_cli.pipeline import ReadingSession, run, whole_contexts
from rtprune_cli.records import Document, Earlier, PageResult

FREE = DecodeOptions(no_repeat_ngram=0, loop_window=64, max_new_tokens=600)
DARK = -1
OPTIONS = OcrOptions(
    decode=FREE, pages_per_context=3, prune=PruneOptions(ratio=0.5), input=InputOptions(dpi=30, workers=0)
)


@pytest.fixture(scope="module")
def loaded(unlimited_folder: Path) -> OcrModel:
    return load(ModelOptions(model=str(unlimited_folder), device="cpu"))


@pytest.fixture
def model(loaded: OcrModel, monkeypatch: pytest.MonkeyPatch) -> OcrModel:
    """With smaller views for contexts, which a CPU encodes sooner."""
    assert ADAPTER.contexts is not None
    small = replace(ADAPTER, contexts=replace(ADAPTER.contexts, mode="tiny"))
    monkeypatch.setitem(adapters.ADAPTERS, ADAPTER.architectures[0], small)
    return loaded


@pytest.fixture
def pdf(tmp_path: Path) -> Callable[..., Path]:
    """A PDF whose pages have so many lines; none: no ink, DARK: little else."""

    def make(*lines: int) -> Path:
        with pymupdf.open() as document:
            for count in lines:
                page = document.new_page(width=300, height=400)
                if count == DARK:
                    page.draw_rect((20, 20, 280, 380), fill=(0, 0, 0))
                    continue
                for line in range(count):
                    page.insert_text((20, 30 + 14 * line), f"line {line} of {count}")
            document.save(tmp_path / "doc.pdf")
        return tmp_path / "doc.pdf"

    return make


def document(path: Path) -> Document:
    from pathlib import PurePosixPath

    return Document(path, path.name, PurePosixPath(path.stem))


def text_of(page: int) -> str:
    return (
        f"<|det|>title [100, 50, 900, 120]<|/det|>Page {page}\n<|det|>text [100, 200, 900, 300]<|/det|>Words {page}\n"
    )


def together(*pages: int) -> str:
    return "".join(f"<PAGE>\n{text_of(page)}" for page in pages)


def by_images(whole: Says | str) -> Callable[[Prompt], Says | str]:
    """``whole`` for prompts of several images; a page by itself says so."""
    return lambda prompt: whole if len(prompt.views) > 1 else "<|det|>text [0, 0, 999, 999]<|/det|>By itself"


def read(model: OcrModel, path: Path, texts: Any, options: OcrOptions = OPTIONS, **settings: Any) -> list[PageResult]:
    return list(run([document(path)], scripted(model, texts, **settings), options))


def texts(results: list[PageResult]) -> list[str]:
    return [result.markdown.text for result in results]


def why(result: PageResult) -> str | None:
    """Why a page was read by itself after all."""
    return next((each.message for each in result.record.warnings if each.code == "context"), None)


# --- Pages together ------------------------------------------------------------------------------------------------


def test_a_text_is_parted_into_the_pages_of_its_context(model: OcrModel, pdf: Callable[..., Path]) -> None:
    results = read(model, pdf(3, 9, 20, 5), [together(1, 2, 3), text_of(4)])
    assert texts(results) == [f"# Page {page}\n\nWords {page}" for page in (1, 2, 3, 4)]
    records = [result.record for result in results]
    assert [(each.page, each.context, each.context_pages) for each in records] == [
        (1, 1, 3), (2, 1, 3), (3, 1, 3), (4, None, None),
    ]  # fmt: skip
    assert {each.finish_reason for each in records} == {"eos"}
    assert all(result.markdown.blocks[0].confidence is not None for result in results)
    assert [len(result.markdown.boxes) for result in results] == [2, 2, 2, 2]


def test_each_page_is_pruned_with_a_ratio_of_its_own(model: OcrModel, pdf: Callable[..., Path]) -> None:
    dynamic = replace(OPTIONS, prune=PruneOptions(ratio="dynamic"))
    records = [result.record for result in read(model, pdf(1, 9, 25), [together(1, 2, 3)], dynamic)]
    assert len({each.ratio for each in records}) == 3
    assert [each.visual_tokens_before for each in records] == [73] * 3
    assert len({each.flops_speedup for each in records}) == 1 and (records[0].flops_speedup or 0) > 1


@pytest.mark.parametrize(
    "text",
    [
        text_of(1) + "<PAGE>\n" + text_of(2),  # none before the first
        f"\n<PAGE>{text_of(1)}<PAGE>{text_of(2)}",  # on the line of what follows
        together(1, 2).replace("Words 1", "Words 1, a <PAGE> in a line"),
    ],
    ids=["none before the first", "on one line", "in a line"],
)
def test_how_page_breaks_may_stand(model: OcrModel, pdf: Callable[..., Path], text: str) -> None:
    results = read(model, pdf(3, 4), [text])
    assert [each.splitlines()[0] for each in texts(results)] == ["# Page 1", "# Page 2"]
    assert [result.record.context for result in results] == [1, 1]


def test_a_page_of_which_nothing_was_written_keeps_its_place(model: OcrModel, pdf: Callable[..., Path]) -> None:
    results = read(model, pdf(3, 4, 5), [f"<PAGE>\n{text_of(1)}<PAGE>\n<PAGE>\n{text_of(3)}"])
    assert [text.partition("\n")[0] for text in texts(results)] == ["# Page 1", "", "# Page 3"]


def test_a_blank_page_is_not_asked_for_and_keeps_its_place(model: OcrModel, pdf: Callable[..., Path]) -> None:
    results = read(model, pdf(3, 0, 5), [together(1, 3)])
    assert [text.partition("\n")[0] for text in texts(results)] == ["# Page 1", "", "# Page 3"]
    assert [result.record.context_pages for result in results] == [2, None, 2]


def test_pages_have_equal_parts_of_the_time_of_their_context(model: OcrModel, pdf: Callable[..., Path]) -> None:
    records = [result.record for result in read(model, pdf(3, 4), [together(1, 2)])]
    assert records[0].prefill_ms == records[1].prefill_ms and records[0].decode_ms == records[1].decode_ms
    assert records[0].prefill_flops == records[1].prefill_flops


def test_a_context_is_compared_page_by_page(model: OcrModel, pdf: Callable[..., Path]) -> None:
    both = replace(OPTIONS, compare=True, measure_baseline=True)
    other = together(1, 2).replace("Words 2", "Wrods 2")
    results = read(model, pdf(3, 4), lambda prompt: together(1, 2) if prompt.pruned else other, both)
    first, second = (result.record for result in results)
    assert first.edit_distance_to_unpruned == 0 and (second.edit_distance_to_unpruned or 0) > 0
    assert first.prefill_speedup == second.prefill_speedup != None  # noqa: E711
    assert first.page_speedup is not None


# --- By themselves after all ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("whole", "reason"),
    [
        (Says(together(1), loop="all work and no play "), "their text ran into a loop"),
        (Says(together(1), fault=RuntimeError("broken")), "RuntimeError"),
        (together(1), "their text has 1 pages instead of 2"),
        (together(1, 2, 3), "their text has 3 pages instead of 2"),
        ("", "their text has 1 pages instead of 2"),
    ],
    ids=["a loop", "a failure", "too few", "too many", "nothing"],
)
def test_a_context_that_comes_to_nothing_is_read_page_by_page(
    model: OcrModel, pdf: Callable[..., Path], whole: Says | str, reason: str
) -> None:
    results = read(model, pdf(3, 0, 4), by_images(whole))
    assert texts(results) == ["By itself", "", "By itself"]
    assert [why(result) is not None for result in results] == [True, False, True]
    assert reason in str(why(results[0]))
    assert all(result.record.context is None for result in results)
    assert (results[0].record.retry_ms or 0) > 0


def test_a_text_that_is_cut_is_read_page_by_page(model: OcrModel, pdf: Callable[..., Path]) -> None:
    short = replace(OPTIONS, decode=replace(FREE, max_new_tokens=40, loop_window=0))
    results = read(model, pdf(3, 4), by_images(Says(together(1), loop="words without end ")), short)
    assert "cut at the token limit" in str(why(results[0]))


def test_a_page_that_cannot_be_encoded_costs_its_neighbours_nothing(model: OcrModel, pdf: Callable[..., Path]) -> None:
    def on_encode(views: Any) -> None:
        if any(view.brightness < 0.7 for view in views):
            raise RuntimeError("no such page")

    results = read(model, pdf(1, DARK, 2), by_images(together(1, 2, 3)), on_encode=on_encode)
    assert [result.error is None for result in results] == [True, False, True]
    assert texts(results) == ["By itself", "", "By itself"]
    assert why(results[1]) is not None


def test_contexts_after_one_that_failed_go_on(model: OcrModel, pdf: Callable[..., Path]) -> None:
    def say(prompt: Prompt) -> str:
        if len(prompt.views) == 1:
            return "By itself"
        return together(1) if prompt.ordinal == 0 else together(4, 5, 6)

    results = read(model, pdf(2, 3, 4, 5, 6, 7), say)
    assert [text.partition("\n")[0] for text in texts(results)] == ["By itself"] * 3 + [
        "# Page 4",
        "# Page 5",
        "# Page 6",
    ]
    assert [result.record.context for result in results] == [None, None, None, 2, 2, 2]


# --- What is refused, and how many --------------------------------------------------------------------------------


def test_auto_is_as_many_pages_as_there_is_room_for(loaded: OcrModel) -> None:
    assert loaded.resolve(replace(OPTIONS, pages_per_context="auto")).pages_per_context == 32768 // (273 + 1024) == 25


def test_pages_together_are_read_as_the_authors_do(loaded: OcrModel) -> None:
    alone, resolved = loaded.resolve(OcrOptions()), loaded.resolve(OcrOptions(pages_per_context=2))
    assert (alone.mode, alone.decode.no_repeat_ngram, alone.decode.no_repeat_window) == ("gundam", 35, 128)
    assert (resolved.mode, resolved.decode.no_repeat_ngram, resolved.decode.no_repeat_window) == ("base", 35, 1024)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pages_per_context": 2, "mode": "gundam"}, "in mode base with the prompt markdown alone"),
        ({"pages_per_context": 2, "prompt": "free"}, "in mode base with the prompt markdown alone"),
        ({"pages_per_context": 121}, "121 pages together are too many"),
    ],
)
def test_what_cannot_be_read_together_is_refused(loaded: OcrModel, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        loaded.resolve(OcrOptions(**options))


def test_a_model_of_single_pages_refuses_contexts(ocr2_folder: Path) -> None:
    with pytest.raises(UsageError, match="reads one page at a time"):
        load(ModelOptions(model=str(ocr2_folder), device="cpu")).resolve(OcrOptions(pages_per_context="auto"))


# --- Going on where a run stopped ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("done", "failed", "left"),
    [
        ({1, 2, 3, 4, 5, 6}, set(), set()),
        ({1, 2, 3, 4}, set(), {4}),  # the second context was cut short
        ({1, 3, 4, 5, 6}, {2}, set()),  # page 2 alone is tried again
        ({1, 3, 4, 5}, {2}, {4, 5}),
        ({7}, set(), set()),  # the last context is a short one
    ],
)
def test_pages_of_an_unfinished_context_are_read_again(done: set[int], failed: set[int], left: set[int]) -> None:
    earlier = Earlier(pages=frozenset(done), failed=frozenset(failed))
    assert whole_contexts([1, 2, 3, 4, 5, 6, 7], earlier, 3) == done - left


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_by_contexts(
    rtprune: Any, pdf: Callable[..., Path], unlimited_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = pdf(2, 3, 4, 5, 6, 7), tmp_path / "out"
    command = ["ocr", path, "-o", out, "--model", unlimited_folder, "--device", "cpu", "--pages-per-context", 2,
               "--dpi", 30, "--no-repeat-ngram", 0]  # fmt: skip
    pages = [(1, 2), (3, 4), (5, 6)]
    with monkeypatch.context() as patch:
        first = writes(patch, [together(*each) for each in pages])
        assert rtprune(*command).exit_code == 0
    assert [len(prompt.views) for prompt in first[0].prompts] == [2, 2, 2]
    whole = (out / "doc" / "doc.md").read_bytes()
    # As if killed while the second context was written: its first page is in the journal.
    (journal,) = (out / ".rtprune").rglob("*.jsonl")
    journal.write_bytes(_unfinished(journal, out))
    (out / "doc" / "doc.md").unlink()
    with monkeypatch.context() as patch:
        again = writes(patch, [together(*each) for each in pages[1:]])
        assert rtprune(*command).exit_code == 0
    assert [len(prompt.views) for prompt in again[0].prompts] == [2, 2]
    assert (out / "doc" / "doc.md").read_bytes() == whole


@pytest.mark.slow
def test_that_pages_were_read_by_themselves_is_no_comment_in_their_text(
    rtprune: Any, pdf: Callable[..., Path], unlimited_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes(monkeypatch, by_images(""))
    found = rtprune("ocr", pdf(2, 3), "-o", "-", "--model", unlimited_folder, "--device", "cpu", "--pages-per-context",
                    "auto", "--dpi", 30)  # fmt: skip
    assert found.stdout == "<!-- page 1 -->\n\nBy itself\n\n<!-- page 2 -->\n\nBy itself\n"
    assert "could not be read together" in found.stderr


def _unfinished(journal: Path, out: Path) -> bytes:
    """The journal as it was when three pages were in it."""
    header, *lines = journal.read_text().splitlines()
    blocks = json.loads((out / "doc" / "doc.json").read_text())["pages"]
    entries = []
    for line, page in zip(lines[:3], blocks, strict=False):
        entry = json.loads(line) | {"text": page["markdown"], "raw": None, "blocks": page["blocks"]}
        entries.append(json.dumps(entry))
    head = json.loads(header) | {"finished": False}
    return ("\n".join([json.dumps(head), *entries]) + "\n").encode()


def test_a_session_reads_documents_one_after_the_other(model: OcrModel, pdf: Callable[..., Path]) -> None:
    """Contexts end with their document."""
    from rtprune_cli.records import DocumentPlan

    path = pdf(3, 4)
    session = ReadingSession(scripted(model, [together(1, 2), together(3, 4)]), OPTIONS)
    results = list(session.read([DocumentPlan(document(path)), DocumentPlan(document(path))]))
    session.close()
    assert [result.record.context for result in results] == [1, 1, 1, 1]
    assert [text.partition("\n")[0] for text in texts(results)] == ["# Page 1", "# Page 2", "# Page 3", "# Page 4"]


def test_why_a_context_came_to_nothing_is_said_once(
    model: OcrModel, pdf: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    read(model, pdf(3, 4, 5, 6, 7), by_images(""))
    said = [record.message for record in caplog.records if "could not be read together" in record.message]
    assert [message.partition(": ")[2][:12] for message in said] == ["pages 1 to 3", "pages 4 to 5"]
