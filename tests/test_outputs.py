"""The output folder, atomic writes, and markdown on standard output."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from PIL import Image

from rtprune_cli.errors import ExitCode, InputError, OutputError, OutputNameError, UsageError
from rtprune_cli.options import OutputOptions
from rtprune_cli.outputs import FolderOutput, StreamOutput, open_output
from rtprune_cli.records import FIELDS, Document, Earlier, Markdown, PageImage, PageRecord, PageResult, failed
from rtprune_cli.storage import append, atomic_write

PAPER = Document(Path("in/paper.pdf"), "in/paper.pdf", PurePosixPath("paper"))
OPTIONS = OutputOptions()
NUMBERS = {name: 1 for name in FIELDS if name.startswith(("visual", "output", "flops")) or name.endswith("_ms")}


def page(number: int | None, text: str = "text", *, document: Document = PAPER, error: str = "") -> PageResult:
    if error:
        return failed(document, number, InputError(error))
    place = {"document": document.name, "folder": str(document.folder), "page": number}
    record = PageRecord(**place, status="ok", finish_reason="eos", **NUMBERS)
    return PageResult(document, record, Markdown(text), raw=f"<|det|>{text}")


def drawn(image: Image.Image) -> PageImage:
    return PageImage(PAPER, 1, image, None, 0.0)


def with_crop(number: int) -> PageResult:
    name = f"page-{number:04d}-1.png"
    result = page(number)
    return replace(
        result,
        markdown=Markdown(f"![](images/{name})", crops={name: (0, 0, 2, 2)}),
        page=drawn(Image.new("RGB", (4, 4))),
    )


def begin(output: FolderOutput, document: Document = PAPER, fingerprint: str = "f") -> None:
    """Start a document as the pipeline does: what an earlier run has done stays."""
    output.start(document, fingerprint, "content", output.earlier(document, fingerprint).pages)


def finish(output: FolderOutput, *results: PageResult, document: Document = PAPER, fingerprint: str = "f") -> None:
    begin(output, document, fingerprint)
    for result in results:
        output.add(result)
    output.finish(document, [r.record.page for r in results if r.record.page], {"ratio": float("nan")})


def write(root: Path, *results: PageResult, options: OutputOptions = OPTIONS, fingerprint: str = "f") -> Path:
    """One run over one document; returns its folder."""
    with FolderOutput(root, options) as output:
        finish(output, *results, fingerprint=fingerprint)
    return root / "paper"


def cut_short(root: Path, *results: PageResult, options: OutputOptions = OPTIONS) -> None:
    """A run that is interrupted before the document's last page."""
    with pytest.raises(KeyboardInterrupt), FolderOutput(root, options) as output:
        begin(output)
        for result in results:
            output.add(result)
        raise KeyboardInterrupt


def rows(root: Path) -> list[tuple[str, int]]:
    lines = (root / "report.jsonl").read_text("utf-8").splitlines()
    return [(row["folder"], row["page"]) for row in map(json.loads, lines)]


# --- Writing


def test_atomic_write_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    atomic_write(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


def test_atomic_write_follows_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        atomic_write(tmp_path / "a", b"")
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("number", "hint"),
    [(errno.ENOSPC, "Free some space"), (errno.EACCES, "permissions"), (errno.EIO, "Check the disk")],
)
def test_failed_write_keeps_the_old_file_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, hint: str
) -> None:
    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match=hint):
        atomic_write(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_interrupted_write_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(tmp_path / "a", b"new")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_output_on_a_file_is_refused_at_once(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="A file stands") as caught, open_output(OutputOptions(str(tmp_path / place))):
        pass
    assert caught.value.exit_code is ExitCode.FAILURE


def test_unwritable_output_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", forbid)
    with pytest.raises(OutputError, match="permission denied"), open_output(OutputOptions(str(tmp_path))):
        pass


def test_a_line_that_does_not_fit_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    calls = []

    def half(descriptor: int, data: memoryview) -> int:
        calls.append(descriptor)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[:3])

    (tmp_path / "a").write_bytes(b"one\n")
    descriptor = os.open(tmp_path / "a", os.O_RDWR)
    monkeypatch.setattr(os, "write", half)
    with pytest.raises(OutputError, match="Free some space"):
        append(descriptor, b"second\n", tmp_path / "a")
    os.close(descriptor)
    assert (tmp_path / "a").read_bytes() == b"one\n"


# --- The output folder


def test_markdown_has_a_marker_before_each_page(tmp_path: Path) -> None:
    folder = write(tmp_path, page(1, "one"), page(2, ""), page(3, "three"))
    assert (
        folder / "paper.md"
    ).read_text() == "<!-- page 1 -->\n\none\n\n<!-- page 2 -->\n\n<!-- page 3 -->\n\nthree\n"


def test_failed_page_is_a_comment_in_its_place(tmp_path: Path) -> None:
    folder = write(tmp_path, page(1, "one"), page(2, error="it is broken"), page(3, "three"))
    assert (
        "one\n\n<!-- page 2 failed: unreadable: it is broken -->\n\n<!-- page 3 -->"
        in (folder / "paper.md").read_text()
    )


def test_failed_document_is_one_comment(tmp_path: Path) -> None:
    folder = write(tmp_path, page(None, error="it is encrypted"))
    assert (folder / "paper.md").read_text() == "<!-- document failed: unreadable: it is encrypted -->\n"


@pytest.mark.parametrize("message", ["a --> b", "a\n--!> b", "--", "-->", "x" * 1000, "a -", ""])
def test_error_text_cannot_leave_its_comment(tmp_path: Path, message: str) -> None:
    text = (write(tmp_path, page(1, error=message or " ")) / "paper.md").read_text()
    assert text.count("\n") == 1
    assert text.endswith(" -->\n")
    assert len(text) < 300
    assert "--" not in text[4:-4]
    assert ">" not in text[:-2]


def test_report_of_a_document(tmp_path: Path) -> None:
    folder = write(tmp_path, page(1), page(2, error="broken"))
    report = json.loads((folder / "paper.report.json").read_text())
    assert report["schema_version"] == 1
    assert report["settings"] == {"ratio": None}
    assert report["document"] == {"name": "in/paper.pdf", "path": os.path.abspath("in/paper.pdf"), "folder": "paper"}
    assert [record["status"] for record in report["pages"]] == ["ok", "failed"]
    assert (report["summary"]["pages"], report["summary"]["failed"]) == (1, 1)


def test_run_report_has_one_line_a_page(tmp_path: Path) -> None:
    result = page(1)
    record = replace(result.record, document="é 😀\nline", ratio=float("inf"), retention=float("nan"))
    write(tmp_path, replace(result, record=record), page(2))
    lines = (tmp_path / "report.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == 2
    assert '"document":"é 😀\\nline"' in lines[0]
    assert (json.loads(lines[0])["ratio"], json.loads(lines[0])["retention"]) == (None, None)


def test_run_report_holds_what_was_finished_before_an_interrupt(tmp_path: Path) -> None:
    def run() -> None:
        with FolderOutput(tmp_path, OPTIONS) as output:
            finish(output, page(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert rows(tmp_path) == [("paper", 1)]


def test_run_report_holds_the_pages_of_an_unfinished_document(tmp_path: Path) -> None:
    cut_short(tmp_path, page(1), page(2, error="broken"))
    assert rows(tmp_path) == [("paper", 1), ("paper", 2)]


def test_run_report_keeps_the_documents_of_other_runs(tmp_path: Path) -> None:
    other = Document(Path("b.pdf"), "b.pdf", PurePosixPath("b"))
    write(tmp_path, page(1), page(2))
    with FolderOutput(tmp_path, OPTIONS) as output:
        finish(output, page(1, document=other), document=other)
    write(tmp_path, page(1), fingerprint="changed")
    assert rows(tmp_path) == [("b", 1), ("paper", 1)]


def test_run_that_failed_before_its_first_document_keeps_the_old_report(tmp_path: Path) -> None:
    (tmp_path / "report.jsonl").write_text("old")
    with pytest.raises(KeyboardInterrupt), FolderOutput(tmp_path, OPTIONS):
        raise KeyboardInterrupt
    assert (tmp_path / "report.jsonl").read_text() == "old"


def test_raw_text_is_written_when_asked(tmp_path: Path) -> None:
    assert not (write(tmp_path / "a", page(1)) / "paper.raw.txt").exists()
    folder = write(tmp_path / "b", page(1, "one"), page(2, error="broken"), options=OutputOptions(raw=True))
    assert (folder / "paper.raw.txt").read_text() == (
        "<!-- page 1 -->\n\n<|det|>one\n\n<!-- page 2 failed: unreadable: broken -->\n"
    )


def test_lone_surrogates_do_not_stop_a_document(tmp_path: Path) -> None:
    result = page(1, "a\ud800b")
    result = replace(result, record=replace(result.record, document="\ud800"))
    folder = write(tmp_path, result, options=OutputOptions(raw=True))
    assert "a?b" in (folder / "paper.md").read_text("utf-8")
    assert json.loads((tmp_path / "report.jsonl").read_text("utf-8"))["document"] == "?"


def test_crops_are_saved_with_the_page(tmp_path: Path) -> None:
    noise = Image.effect_noise((60, 40), 90).convert("RGB")
    markdown = Markdown("![](images/page-0001-1.png)", crops={"page-0001-1.png": (3, 4, 20, 30)})
    cut_short(tmp_path, replace(page(1), markdown=markdown, page=drawn(noise)))
    with Image.open(tmp_path / "paper" / "images" / "page-0001-1.png") as crop:
        assert crop.tobytes() == noise.crop((3, 4, 20, 30)).tobytes()


def test_crop_names_cannot_leave_the_folder(tmp_path: Path) -> None:
    markdown = Markdown("", crops={"../../../evil.png": (0, 0, 2, 2)})
    cut_short(tmp_path / "out", replace(page(1), markdown=markdown, page=drawn(Image.new("RGB", (4, 4)))))
    assert [path.parent.name for path in tmp_path.rglob("evil.png")] == ["images"]


def test_crops_of_an_earlier_run_go_and_other_files_stay(tmp_path: Path) -> None:
    folder = write(tmp_path, with_crop(1), with_crop(2))
    (folder / "images" / "mine.png").touch()
    write(tmp_path, page(1), with_crop(2), fingerprint="changed")
    assert sorted(os.listdir(folder / "images")) == ["mine.png", "page-0002-1.png"]


@pytest.mark.parametrize("folder", ["../x", "/x", ""])
def test_documents_stay_inside_the_output_folder(tmp_path: Path, folder: str) -> None:
    document = Document(None, "x", PurePosixPath(folder))
    with FolderOutput(tmp_path, OPTIONS) as output, pytest.raises(OutputError):
        output.start(document, "f", "c", frozenset())


def test_documents_can_be_interleaved_and_mirrored(tmp_path: Path) -> None:
    other = Document(None, "stdin", PurePosixPath("2020/two\nlines"))
    with FolderOutput(tmp_path, OPTIONS) as output:
        begin(output)
        begin(output, other)
        output.add(page(1, "mine"))
        output.add(page(1, "other", document=other))
        output.finish(PAPER, [1], {})
        output.finish(other, [1], {})
    assert "mine" in (tmp_path / "paper" / "paper.md").read_text()
    assert "other" in (tmp_path / "2020" / "two\nlines" / "two\nlines.md").read_text()


def test_md_only_writes_one_file_a_document(tmp_path: Path) -> None:
    write(tmp_path, with_crop(1), page(2), options=OutputOptions(md_only=True))
    assert [path for path in os.listdir(tmp_path) if not path.startswith(".")] == ["paper.md"]
    assert (tmp_path / "paper.md").read_text() == "<!-- page 1 -->\n\n<!-- page 2 -->\n\ntext\n"


# --- Going on


def test_a_finished_document_is_known_with_its_records(tmp_path: Path) -> None:
    results = page(1), page(2)
    write(tmp_path, *results)
    earlier = FolderOutput(tmp_path, OPTIONS).earlier(PAPER, "f")
    assert earlier.finished
    assert list(earlier.records) == [result.record for result in results]


@pytest.mark.parametrize("name", ["paper.md", "paper.report.json"])
def test_a_finished_document_without_its_files_is_read_again(tmp_path: Path, name: str) -> None:
    (write(tmp_path, page(1)) / name).unlink()
    assert FolderOutput(tmp_path, OPTIONS).earlier(PAPER, "f") == Earlier()


def test_other_settings_make_a_document_new(tmp_path: Path) -> None:
    write(tmp_path, page(1))
    assert FolderOutput(tmp_path, OPTIONS).earlier(PAPER, "g") == Earlier()


def test_pages_before_an_interrupt_are_done(tmp_path: Path) -> None:
    cut_short(tmp_path, page(1), page(2))
    earlier = FolderOutput(tmp_path, OPTIONS).earlier(PAPER, "f")
    assert (earlier.finished, earlier.pages) == (False, {1, 2})


def test_failed_pages_are_tried_again_and_take_their_place(tmp_path: Path) -> None:
    write(tmp_path, page(1, "one"), page(2, error="broken"), page(3, "three"))
    assert FolderOutput(tmp_path, OPTIONS).earlier(PAPER, "f").pages == {1, 3}
    with FolderOutput(tmp_path, OPTIONS) as output:
        begin(output)
        output.add(page(2, "two"))
        output.finish(PAPER, [1, 2, 3], {})
    text = (tmp_path / "paper" / "paper.md").read_text()
    assert text.index("one") < text.index("two") < text.index("three")
    assert FolderOutput(tmp_path, OPTIONS).earlier(PAPER, "f").finished


def test_a_page_whose_crop_is_gone_is_read_again(tmp_path: Path) -> None:
    cut_short(tmp_path, with_crop(1), with_crop(2))
    (tmp_path / "paper" / "images" / "page-0002-1.png").unlink()
    assert FolderOutput(tmp_path, OPTIONS).earlier(PAPER, "f").pages == {1}


@pytest.mark.parametrize("cut", range(1, 400, 57))
def test_a_torn_last_line_costs_its_page_only(tmp_path: Path, cut: int) -> None:
    cut_short(tmp_path, page(1, "one"), page(2, "two"))
    (path,) = (tmp_path / ".rtprune" / "journal").rglob("*.jsonl")
    path.write_bytes(path.read_bytes()[:-cut])
    assert FolderOutput(tmp_path, OPTIONS).earlier(PAPER, "f").pages == {1}
    with FolderOutput(tmp_path, OPTIONS) as output:
        begin(output)
        output.add(page(2, "two again"))
        output.finish(PAPER, [1, 2], {})
    assert (tmp_path / "paper" / "paper.md").read_text().endswith("one\n\n<!-- page 2 -->\n\ntwo again\n")


def test_going_on_gives_the_bytes_of_one_run(tmp_path: Path) -> None:
    results = [with_crop(1), page(2, "é"), with_crop(3)]
    write(tmp_path / "whole", *results)
    cut_short(tmp_path / "cut", *results[:2])
    with FolderOutput(tmp_path / "cut", OPTIONS) as output:
        begin(output)
        output.add(results[2])
        output.finish(PAPER, [1, 2, 3], {"ratio": float("nan")})
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_what_a_killed_run_left_is_cleared(tmp_path: Path) -> None:
    scratch = tmp_path / ".rtprune" / "tmp"
    scratch.mkdir(parents=True)
    (scratch / "half").touch()
    write(tmp_path, page(1))
    assert not scratch.exists()


def test_a_second_run_is_refused_and_told_who_writes(tmp_path: Path) -> None:
    def second() -> None:
        with FolderOutput(tmp_path, OPTIONS):
            raise AssertionError

    with FolderOutput(tmp_path, OPTIONS), pytest.raises(OutputError, match=rf"process {os.getpid()} on .*--wait"):
        second()


def test_a_second_run_can_wait(tmp_path: Path) -> None:
    order = []

    def second() -> None:
        with FolderOutput(tmp_path, OPTIONS, wait=True):
            order.append("second")

    with FolderOutput(tmp_path, OPTIONS):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


# --- Whose place it is


def other_document(tmp_path: Path, name: str = "elsewhere.pdf") -> Document:
    return Document(tmp_path / name, name, PurePosixPath("paper"))


def test_a_place_belongs_to_the_document_that_filled_it(tmp_path: Path) -> None:
    document = other_document(tmp_path)
    document.path.touch()  # type: ignore[union-attr]
    with FolderOutput(tmp_path / "out", OPTIONS) as output:
        finish(output, page(1, document=document), document=document)
    output = FolderOutput(tmp_path / "out", OPTIONS)
    assert output.occupancy(document, lambda: "changed content") == "own"
    assert output.occupancy(PAPER, lambda: "content") == "other"


def test_a_document_that_was_moved_is_known_by_its_content(tmp_path: Path) -> None:
    write(tmp_path, page(1))  # of in/paper.pdf, which does not exist
    output = FolderOutput(tmp_path, OPTIONS)
    assert output.occupancy(other_document(tmp_path), lambda: "content") == "own"
    assert output.occupancy(other_document(tmp_path), lambda: "other content") == "other"


@pytest.mark.parametrize("name", ["paper.md", "paper.json", "paper.report.json", "paper.raw.txt"])
@pytest.mark.parametrize("text", ["# My notes", "<!-- page 1 -->", '{"document": {"path": "x"}}'])
def test_a_file_of_the_user_is_not_overwritten(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / name).write_text(text)
    assert FolderOutput(tmp_path, OPTIONS).occupancy(PAPER, lambda: "content") == "other"


def test_without_its_journal_a_document_is_known_by_its_report(tmp_path: Path) -> None:
    write(tmp_path, page(1))
    shutil.rmtree(tmp_path / ".rtprune")
    output = FolderOutput(tmp_path, OPTIONS)
    assert output.occupancy(PAPER, lambda: "content") == "own"
    assert output.occupancy(other_document(tmp_path), lambda: "content") == "other"


def test_layouts_that_share_a_file_do_not_share_a_document(tmp_path: Path) -> None:
    write(tmp_path, page(1))
    inner = Document(Path("paper/paper.pdf"), "paper/paper.pdf", PurePosixPath("paper/paper"))
    assert FolderOutput(tmp_path, OutputOptions(md_only=True)).occupancy(inner, lambda: "else") == "other"


def test_what_came_from_a_pipe_is_known_by_its_content(tmp_path: Path) -> None:
    pipe = Document(Path("/dev/fd/63"), "/dev/fd/63", PurePosixPath("63"), data=b"one")
    with FolderOutput(tmp_path, OPTIONS) as output:
        finish(output, page(1, document=pipe), document=pipe)
    assert FolderOutput(tmp_path, OPTIONS).occupancy(pipe, lambda: "other content") == "other"


def test_a_place_whose_document_cannot_be_read_is_left_alone(tmp_path: Path) -> None:
    def unreadable() -> str:
        raise InputError("it is gone")

    write(tmp_path, page(1))
    assert FolderOutput(tmp_path, OPTIONS).occupancy(other_document(tmp_path), unreadable) == "other"


def test_a_document_that_was_moved_keeps_its_place_when_it_changes(tmp_path: Path) -> None:
    write(tmp_path, page(1))
    moved = other_document(tmp_path)
    with FolderOutput(tmp_path, OPTIONS) as output:
        output.skip(moved, output.earlier(moved, "f").records)
    assert FolderOutput(tmp_path, OPTIONS).occupancy(moved, lambda: "changed") == "own"


@pytest.mark.parametrize("md_only", [False, True])
def test_a_document_that_can_no_longer_be_opened_keeps_its_text(tmp_path: Path, md_only: bool) -> None:
    options = OutputOptions(md_only=md_only)
    write(tmp_path, page(1, "precious"), options=options)
    with FolderOutput(tmp_path, options) as output:
        output.add(page(None, error="gone"))
        output.finish(PAPER, [], {})
    markdown = tmp_path / "paper.md" if md_only else tmp_path / "paper" / "paper.md"
    assert "precious" in markdown.read_text()
    assert md_only or rows(tmp_path) == [("paper", None)]


def test_a_document_that_never_could_be_opened_keeps_its_place(tmp_path: Path) -> None:
    options = OutputOptions(md_only=True)
    for reason in ("first", "second"):
        with FolderOutput(tmp_path, options) as output:
            assert output.occupancy(PAPER, lambda: "content") == ("free" if reason == "first" else "own")
            output.add(page(None, error=reason))
            output.finish(PAPER, [], {})
    assert "second" in (tmp_path / "paper.md").read_text()


def test_rows_of_a_killed_run_survive_a_run_without_a_report(tmp_path: Path) -> None:
    killed = FolderOutput(tmp_path, OPTIONS)
    killed.__enter__()
    finish(killed, page(1))
    killed._lock.release()
    with FolderOutput(tmp_path, OutputOptions(md_only=True)):
        pass
    assert rows(tmp_path) == [("paper", 1)]


def test_rows_of_a_killed_run_reach_the_report_with_the_next_one(tmp_path: Path) -> None:
    killed = FolderOutput(tmp_path, OPTIONS)
    killed.__enter__()
    finish(killed, page(1))
    with open(killed._layout.rows, "ab") as file:
        file.write(b'{"folder": "torn')
    killed._lock.release()
    other = Document(Path("b.pdf"), "b.pdf", PurePosixPath("b"))
    with FolderOutput(tmp_path, OPTIONS) as output:
        finish(output, page(1, document=other), document=other)
    assert rows(tmp_path) == [("paper", 1), ("b", 1)]


def test_a_document_that_lost_a_page_on_the_way_is_not_finished(tmp_path: Path) -> None:
    with FolderOutput(tmp_path, OPTIONS) as output:
        begin(output)
        output.add(page(1))
        output.finish(PAPER, [1, 2], {})
    assert not FolderOutput(tmp_path, OPTIONS).earlier(PAPER, "f").finished


@pytest.mark.parametrize(
    "garbage", [b"", b"{}\n", b'{"journal": 1, "path": [], "sha256": "", "fingerprint": ""}\n', b"x" * 99]
)
def test_a_journal_of_garbage_is_no_journal(tmp_path: Path, garbage: bytes) -> None:
    cut_short(tmp_path, page(1))
    (path,) = (tmp_path / ".rtprune" / "journal").rglob("*.jsonl")
    path.write_bytes(garbage)
    assert FolderOutput(tmp_path, OPTIONS).earlier(PAPER, "f") == Earlier()


# --- Standard output


def test_stream_has_the_markdown_of_the_folder(tmp_path: Path) -> None:
    results = [page(1, "é one"), page(2, error="broken"), page(3)]
    stream = io.StringIO()
    with StreamOutput(stream) as output:
        for result in results:
            output.add(result)
        output.finish(PAPER, [1, 2, 3], {})
    assert stream.getvalue() == (write(tmp_path, *results) / "paper.md").read_text("utf-8")


def test_stream_drops_references_to_crops() -> None:
    stream = io.StringIO()
    crop, other = "![](images/page-0001-1.png)", "![](images/page-0001-2.png)"
    markdown = Markdown(f"a\n\n{crop}\n\nb {other}", crops={"page-0001-1.png": (0, 0, 2, 2)})
    StreamOutput(stream).add(replace(page(1), markdown=markdown))
    assert stream.getvalue() == f"<!-- page 1 -->\n\na\n\nb {other}\n"


def test_stream_is_utf8_with_bare_newlines_whatever_the_locale() -> None:
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, encoding="ascii", newline="\r\n")
    StreamOutput(stream).add(page(1, "é\nb"))
    assert buffer.getvalue() == "<!-- page 1 -->\n\né\nb\n".encode()


def test_dash_writes_to_standard_output(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    with open_output(OutputOptions("-")) as output:
        output.add(page(1, "é"))
    assert capsysbinary.readouterr() == ("<!-- page 1 -->\n\né\n".encode(), b"")


@pytest.mark.parametrize(("raised", "expected"), [(BrokenPipeError, BrokenPipeError), (OSError, OutputError)])
def test_reader_that_went_away_is_told_from_a_full_disk(raised: type[OSError], expected: type[Exception]) -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise raised

    with pytest.raises(expected):
        StreamOutput(Gone()).add(page(1))


# --- Poor places -----------------------------------------------------------------------------------------------------


def test_a_name_that_the_file_system_refuses_fails_that_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.mkdir

    def mkdir(self: Path, *arguments: Any, **more: Any) -> None:
        if self.name == "paper":
            raise OSError(errno.ENAMETOOLONG, "File name too long", str(self))
        real(self, *arguments, **more)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with FolderOutput(tmp_path / "out", OPTIONS) as output:
        with pytest.raises(OutputNameError, match=r"paper\.pdf cannot be written under its name: file name too long"):
            output.start(PAPER, "", "", frozenset())
        output.add(page(None, error="no"))
        output.finish(PAPER, (), {})
    assert (tmp_path / "out" / "report.jsonl").read_text().count("\n") == 1


def test_a_name_is_tried_without_leaving_anything(tmp_path: Path) -> None:
    with FolderOutput(tmp_path / "out", OPTIONS) as output:
        output.start(PAPER, "", "", frozenset())
        assert not (tmp_path / "out" / "paper").exists()


def test_without_locks_a_file_says_that_the_folder_is_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with FolderOutput(tmp_path / "out", OPTIONS):
        assert "this file system has no locks" in caplog.text
        with pytest.raises(OutputError, match="writes to"), FolderOutput(tmp_path / "out", OPTIONS):
            pass
    assert not (tmp_path / "out" / ".rtprune" / "lock.soft").exists()


def test_without_fsync_a_run_goes_on_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_sync(_: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr("os.fsync", no_sync)
    monkeypatch.setattr("rtprune_cli.storage._syncs", True)
    for name in "ab":
        atomic_write(tmp_path / name, b"x")
    assert caplog.text.count("cannot say when data is on the disk") == 1


@pytest.mark.parametrize("name", ["notes.md", "out.TXT"])
def test_what_looks_like_a_file_is_no_output_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="looks like a file"):
        open_output(OutputOptions(output=str(tmp_path / name)))
    (tmp_path / name).mkdir()
    open_output(OutputOptions(output=str(tmp_path / name)))
