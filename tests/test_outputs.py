"""The output folder, atomic writes, and markdown on standard output."""

from __future__ import annotations

import errno
import io
import json
import os
from pathlib import Path, PurePosixPath

import pytest
from PIL import Image

from rtprune_cli.errors import ExitCode, OutputError
from rtprune_cli.options import OutputOptions
from rtprune_cli.outputs import FolderOutput, StreamOutput, atomic_write, open_output
from rtprune_cli.records import Document, Markdown, PageResult

PAPER = Document(Path("in/paper.pdf"), "in/paper.pdf", PurePosixPath("paper"))


def page(number: int | None, text: str = "text", *, document: Document = PAPER, error: str = "") -> PageResult:
    record: dict[str, object] = {"page": number, "status": "ok"}
    if error:
        record |= {"status": "failed", "error": {"code": "unreadable", "message": error}}
        text = ""
    return PageResult(document, record, Markdown(text), raw=f"<|det|>{text}")


def write(root: Path, *results: PageResult, raw: bool = False, **summary: object) -> Path:
    """One document; returns its folder."""
    with FolderOutput(root, OutputOptions(str(root), raw=raw)) as output:
        for result in results:
            output.add(result)
        output.finish(PAPER, summary)
    return root / "paper"


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
    with pytest.raises(OutputError, match="A file stands") as caught:
        open_output(OutputOptions(str(tmp_path / place)))
    assert caught.value.exit_code is ExitCode.FAILURE


def test_unwritable_output_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "touch", forbid)
    with pytest.raises(OutputError, match="permission denied") as caught:
        open_output(OutputOptions(str(tmp_path)))
    assert ".rtprune" not in str(caught.value)


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
    folder = write(tmp_path, page(1), page(2, error="broken"), totals={"pages": 2}, ratio=float("nan"))
    report = json.loads((folder / "paper.report.json").read_text())
    assert report["schema_version"] == 1
    assert report["totals"] == {"pages": 2}
    assert report["ratio"] is None
    assert report["document"] == {"name": "in/paper.pdf", "path": str(Path("in/paper.pdf")), "folder": "paper"}
    assert [record["status"] for record in report["pages"]] == ["ok", "failed"]


def test_run_report_has_one_line_a_page(tmp_path: Path) -> None:
    result = page(1)
    result.record.update(note="é 😀\nline", score=float("inf"), parts=(1.5, float("nan")))
    write(tmp_path, result, page(2))
    lines = (tmp_path / "report.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == 2
    assert '"note":"é 😀\\nline"' in lines[0]
    assert json.loads(lines[0])["parts"] == [1.5, None]
    assert not (tmp_path / "report.jsonl.part").exists()


def test_run_report_grows_with_every_document(tmp_path: Path) -> None:
    with FolderOutput(tmp_path, OutputOptions()) as output:
        output.add(page(1))
        output.finish(PAPER, {})
        assert json.loads((tmp_path / "report.jsonl.part").read_text())["page"] == 1


def test_run_report_survives_an_interrupt(tmp_path: Path) -> None:
    def run() -> None:
        with FolderOutput(tmp_path, OutputOptions()) as output:
            output.add(page(1))
            output.finish(PAPER, {})
            output.add(page(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert len((tmp_path / "report.jsonl").read_text().splitlines()) == 1


def test_run_that_failed_before_its_first_document_keeps_the_old_report(tmp_path: Path) -> None:
    (tmp_path / "report.jsonl").write_text("old")
    with pytest.raises(KeyboardInterrupt), FolderOutput(tmp_path, OutputOptions()):
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ["report.jsonl"]
    assert (tmp_path / "report.jsonl").read_text() == "old"


def test_raw_text_is_written_when_asked(tmp_path: Path) -> None:
    assert not (write(tmp_path / "a", page(1)) / "paper.raw.txt").exists()
    folder = write(tmp_path / "b", page(1, "one"), page(2, error="broken"), raw=True)
    assert (folder / "paper.raw.txt").read_text() == (
        "<!-- page 1 -->\n\n<|det|>one\n\n<!-- page 2 failed: unreadable: broken -->\n"
    )


def test_lone_surrogates_do_not_stop_a_document(tmp_path: Path) -> None:
    result = page(1, "a\ud800b")
    result.record["note"] = "\ud800"
    folder = write(tmp_path, result, raw=True)
    assert "a?b" in (folder / "paper.md").read_text("utf-8")
    assert json.loads((tmp_path / "report.jsonl").read_text("utf-8"))["note"] == "?"


def test_crops_are_saved_with_the_page(tmp_path: Path) -> None:
    noise = Image.effect_noise((60, 40), 90).convert("RGB")
    markdown = Markdown("![](images/page-0001-1.png)", crops={"page-0001-1.png": (3, 4, 20, 30)})
    with FolderOutput(tmp_path, OutputOptions()) as output:
        output.add(PageResult(PAPER, {"page": 1, "status": "ok"}, markdown, image=noise))
        with Image.open(tmp_path / "paper" / "images" / "page-0001-1.png") as crop:
            assert crop.tobytes() == noise.crop((3, 4, 20, 30)).tobytes()


def test_crop_names_cannot_leave_the_folder(tmp_path: Path) -> None:
    markdown = Markdown("", crops={"../../../evil.png": (0, 0, 2, 2)})
    with FolderOutput(tmp_path / "out", OutputOptions()) as output:
        output.add(PageResult(PAPER, {"page": 1}, markdown, image=Image.new("RGB", (4, 4))))
    assert [path.parent.name for path in tmp_path.rglob("evil.png")] == ["images"]


@pytest.mark.parametrize("folder", ["../x", "/x", ""])
def test_documents_stay_inside_the_output_folder(tmp_path: Path, folder: str) -> None:
    document = Document(None, "x", PurePosixPath(folder))
    with FolderOutput(tmp_path, OutputOptions()) as output, pytest.raises(OutputError):
        output.finish(document, {})


def test_documents_can_be_interleaved_and_mirrored(tmp_path: Path) -> None:
    other = Document(None, "stdin", PurePosixPath("2020/two\nlines"))
    with FolderOutput(tmp_path, OutputOptions()) as output:
        output.add(page(1, "mine"))
        output.add(page(1, "other", document=other))
        output.finish(PAPER, {})
        output.finish(other, {})
    assert "mine" in (tmp_path / "paper" / "paper.md").read_text()
    assert "other" in (tmp_path / "2020" / "two\nlines" / "two\nlines.md").read_text()


def test_rerun_gives_the_same_bytes(tmp_path: Path) -> None:
    first = (write(tmp_path, page(1)) / "paper.md").read_bytes(), (tmp_path / "report.jsonl").read_bytes()
    assert ((write(tmp_path, page(1)) / "paper.md").read_bytes(), (tmp_path / "report.jsonl").read_bytes()) == first


# --- Standard output


def test_stream_has_the_markdown_of_the_folder(tmp_path: Path) -> None:
    results = [page(1, "é one"), page(2, error="broken"), page(3)]
    stream = io.StringIO()
    with StreamOutput(stream) as output:
        for result in results:
            output.add(result)
        output.finish(PAPER, {})
    assert stream.getvalue() == (write(tmp_path, *results) / "paper.md").read_text("utf-8")


def test_stream_drops_references_to_crops() -> None:
    stream = io.StringIO()
    crop, other = "![](images/page-0001-1.png)", "![](images/page-0001-2.png)"
    markdown = Markdown(f"a\n\n{crop}\n\nb {other}", crops={"page-0001-1.png": (0, 0, 2, 2)})
    StreamOutput(stream).add(PageResult(PAPER, {"page": 1}, markdown))
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
