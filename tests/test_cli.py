"""The command line as a user meets it: outputs, exit codes, one-line errors."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rtprune_cli import __version__
from rtprune_cli.commands.ocr import exit_code
from rtprune_cli.errors import ExitCode
from rtprune_cli.records import ErrorRecord, PageRecord
from rtprune_cli.report import Totals

TINY = ("--model", "tiny", "--max-new-tokens", "4")


def one_line(stderr: str) -> str:
    """The error line; fails on a traceback."""
    lines = [line for line in stderr.splitlines() if line]
    assert len(lines) == 1, stderr
    assert lines[0].startswith("rtprune: ")
    return lines[0]


def test_a_pdf_becomes_markdown_and_reports(make_pdf: Callable[..., Path], rtprune: Any, tmp_path: Path) -> None:
    result = rtprune("ocr", make_pdf("one", "two"), "-o", tmp_path / "out", *TINY)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert "73 →" in result.stderr
    folder = tmp_path / "out" / "doc"
    text = (folder / "doc.md").read_text()
    assert text.index("<!-- page 1 -->") < text.index("<!-- page 2 -->")
    report = json.loads((folder / "doc.report.json").read_text())
    assert [page["page"] for page in report["pages"]] == [1, 2]
    assert report["summary"]["pages"] == 2
    model = report["settings"]["model"]
    assert (model["name"], model["experts"], model["cuda_graphs"]) == ("tiny", "eager", None)
    assert len((tmp_path / "out" / "report.jsonl").read_text().splitlines()) == 2


@pytest.mark.slow
def test_dash_writes_markdown_to_standard_output_and_nothing_else(make_pdf: Callable[..., Path]) -> None:
    command = [sys.executable, "-m", "rtprune_cli", "ocr", str(make_pdf("one")), "-o", "-", *TINY]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.startswith("<!-- page 1 -->\n")
    assert "rtprune" not in result.stdout
    assert "73 →" in result.stderr


def test_help_loads_nothing_heavy() -> None:
    code = "import sys; sys.argv = ['rtprune', '--help']\ntry:\n    from rtprune_cli.__main__ import main; main()\n"
    code += (
        "except SystemExit: pass\nassert not {'torch', 'transformers', 'numpy', 'pymupdf', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_version(rtprune: Any) -> None:
    assert rtprune("-V").stdout == f"rtprune {__version__}\n"


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--mode", "huge"], 2, "unknown mode 'huge'. Use one of tiny"),
        (["--ratio", "2"], 2, "out of range. Give --ratio dynamic or a number"),
        (["--ratio", "half"], 2, "neither 'dynamic' nor a number"),
        (["--prompt", "poem"], 2, "unknown prompt"),
        (["--dtype", "int4"], 2, "unknown dtype"),
        (["--tables", "csv"], 2, "unknown table format"),
        (["--solver", "simplex"], 2, "unknown transport solver"),
        (["--batch-size", "0"], 2, "batch-size is 0"),
        (["--dpi", "3"], 2, "dpi 3 is out of range"),
        (["--pages", "0-"], 2, "--pages"),
        (["--pages", "7"], 2, "7"),
        (["--device", "cuda:9"], 3, "no GPU answers"),
        (["--model", "nobody/nothing", "--offline"], 3, "rtprune models pull nobody/nothing"),
    ],
)
def test_bad_settings_are_one_line(
    make_pdf: Callable[..., Path], rtprune: Any, tmp_path: Path, flags: list[str], code: int, message: str
) -> None:
    result = rtprune("ocr", make_pdf("one"), "-o", tmp_path / "out", *TINY, *flags)
    assert message in one_line(result.stderr)
    assert result.exit_code == code


def test_an_unknown_flag_gets_a_suggestion(rtprune: Any) -> None:
    result = rtprune("ocr", "x.pdf", "--ratoi", "0.5")
    assert result.exit_code == 2
    assert "--ratio" in result.stderr


def test_no_input_and_missing_input_are_usage_errors(rtprune: Any, tmp_path: Path) -> None:
    assert "no input given" in one_line(rtprune("ocr").stderr)
    result = rtprune("ocr", tmp_path / "absent.pdf")
    assert "does not exist" in one_line(result.stderr)
    assert result.exit_code == 2


def test_an_encrypted_pdf_exits_with_8_and_opens_with_its_password(
    make_pdf: Callable[..., Path], rtprune: Any, tmp_path: Path
) -> None:
    path = make_pdf("one", encryption=5, user_pw="secret", owner_pw="owner")
    result = rtprune("ocr", path, "-o", tmp_path / "out", *TINY)
    assert "Give --password" in one_line(result.stderr)
    assert result.exit_code == 8
    assert rtprune("ocr", path, "-o", tmp_path / "out", "--password", "secret", *TINY).exit_code == 0


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("empty.pdf", b"", "empty"),
        ("notes.docx", b"PK\x03\x04 words", "rtprune reads"),
        ("broken.pdf", b"%PDF-1.7\ngarbage", "broken.pdf"),
    ],
)
def test_a_bad_file_is_one_line_and_keeps_its_place(
    rtprune: Any, tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(data)
    result = rtprune("ocr", tmp_path / name, "-o", tmp_path / "out", *TINY)
    assert message in one_line(result.stderr)
    assert result.exit_code == 4
    row = json.loads((tmp_path / "out" / "report.jsonl").read_text())
    assert (row["status"], row["page"]) == ("failed", None)
    assert "failed" in next((tmp_path / "out").glob("*/*.md")).read_text()


def test_a_quiet_run_still_names_what_failed(rtprune: Any, tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"")
    result = rtprune("ocr", tmp_path / "a.pdf", "-q", "-o", tmp_path / "out", *TINY)
    assert "a.pdf is empty" in one_line(result.stderr)


def test_a_bad_file_does_not_stop_the_others(make_pdf: Callable[..., Path], rtprune: Any, tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"")
    result = rtprune("ocr", tmp_path / "a.pdf", make_pdf("one"), "-o", tmp_path / "out", *TINY)
    assert result.exit_code == 4
    assert (tmp_path / "out" / "doc" / "doc.md").exists()


def test_an_unwritable_output_is_found_before_the_model_is_loaded(
    make_pdf: Callable[..., Path], rtprune: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    result = rtprune("ocr", make_pdf("one"), "-o", tmp_path / "file" / "out", "--model", "nobody/nothing", "--offline")
    assert "-o" in one_line(result.stderr)
    assert result.exit_code == 1


def test_double_verbose_shows_the_traceback(rtprune: Any) -> None:
    result = rtprune("ocr", "absent.pdf", "-vv")
    assert "Traceback" in result.stderr
    assert result.exit_code == 2


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [(KeyboardInterrupt(), 130, "interrupted"), (ZeroDivisionError("oh"), 1, "Run again with -vv")],
)
def test_interrupts_and_bugs_are_one_line(
    make_pdf: Callable[..., Path],
    rtprune: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    message: str,
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("rtprune_cli.pipeline.run_settings", fail)
    result = rtprune("ocr", make_pdf("one"), "-o", tmp_path / "out", *TINY)
    assert message in one_line(result.stderr)
    assert result.exit_code == code


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_the_run_quietly(make_pdf: Callable[..., Path]) -> None:
    command = [sys.executable, "-m", "rtprune_cli", "ocr", str(make_pdf("one")), "-o", "-", *TINY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_images_and_folders_are_read(rtprune: Any, tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    Image.new("L", (300, 300), 255).save(tmp_path / "in" / "deep" / "a [1].png")
    result = rtprune("ocr", tmp_path / "in", "-r", "-q", "-o", tmp_path / "out", *TINY)
    assert (result.exit_code, result.stderr) == (0, "")
    assert (tmp_path / "out" / "deep" / "a [1]" / "a [1].md").exists()


def test_models_commands_know_the_bundled_model(rtprune: Any) -> None:
    assert rtprune("models", "list").stdout.startswith("tiny\tbundled-")
    folder = Path(rtprune("models", "path", "tiny").stdout.strip())
    assert (folder / "model.safetensors").is_file()
    result = rtprune("models", "remove", "tiny")
    assert "part of the package" in one_line(result.stderr)
    assert result.exit_code == 3


def test_pulling_what_is_here_says_so_and_prints_its_folder(rtprune: Any, tmp_path: Path) -> None:
    bundled = rtprune("models", "path", "tiny").stdout
    result = rtprune("models", "pull", "tiny")
    assert (result.exit_code, result.stdout) == (0, bundled)
    assert "tiny is part of the package: there is nothing to download" in result.stderr
    copy = shutil.copytree(bundled.strip(), tmp_path / "copy")
    result = rtprune("models", "pull", copy)
    assert (result.exit_code, result.stdout) == (0, f"{copy}\n")
    assert "is a folder on this machine" in one_line(result.stderr)


def test_info_says_what_is_here_and_what_is_missing(rtprune: Any) -> None:
    facts = json.loads(rtprune("info", "--json").stdout)
    assert facts["packages"]["torch"]
    assert "tiny" in [model["name"] for model in facts["models"]]
    text = rtprune("info").stdout
    assert "transformers" in text
    assert all(lack in text for lack in facts["missing"])


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([], ExitCode.OK),
        (["encrypted", "encrypted"], ExitCode.ENCRYPTED),
        (["encrypted", "unreadable"], ExitCode.PARTIAL),
        (["page_range"], ExitCode.USAGE),
        (["page_failed"], ExitCode.PARTIAL),
    ],
)
def test_exit_code_follows_the_failures(codes: list[str], expected: ExitCode) -> None:
    totals = Totals()
    totals.failures = [
        PageRecord(document="a", folder="a", page=1, status="failed", error=ErrorRecord(code, "")) for code in codes
    ]
    assert exit_code(totals) == expected
