"""The commands of README and docs/: each is run as a reader would, or named here with the reason why it cannot be.

They run with the bundled model in a copy of a folder that has what they speak of, each block in a fresh one. What
cannot run is held to be a command that the program and the shell can read.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pymupdf
import pytest
import typer
from recipes import PAGES, ROOT, SHELL, Block, blocks, calls, statements
from warm import serving

from rtprune_cli.commands.app import app

# A pattern of "PAGE: STATEMENT", and why no test runs it. Each must be needed.
CANNOT_RUN = {
    r"^docs/benchmarks.md: ": "takes minutes to hours; the figures that it gave stand beside it",
    r"\bpip install|python3 -m venv|^CONTRIBUTING.md: (nox|pre-commit)|activate$": "installs; .ci/run does",
    r"\buv tool ": "installs torch",
    r"apt-get install": "installs; .ci/run does",
    r"-m pytest": "the tests themselves",
    r"\bdocker\b": "needs Docker",
    r"models pull|datasets (pull|path|remove)|--dataset omnidocbench": "needs the hub; test_hub.py has one of its own",
    r"s3://": "needs a bucket; test_bucket.py and test_urls.py have one of their own",
    r"https://example.org": "needs the network; test_urls.py has a server of its own",
    r"--cluster ": "starts Ray, which takes a quarter of a minute; test_cluster.py does",
    r"bench speed --arch": "runs a model of full size",
    r"make_pages\(|analyze cards": "takes minutes; test_analysis.py runs a few pages",
    r"rtprune_cli\.tiny\.(train|evaluate)": "takes minutes to hours; test_tiny_train.py takes a few steps",
    r"--leave-one-out": "takes half a minute; test_leave_one_out.py runs one page",
    r"--install-completion": "writes for the shell that has started it, where that shell looks",
    r"\brtprune view ": "serves until it is stopped; test_view.py asks it for pages",
    r"\bsystemctl ": "needs systemd",
    r"\bsbatch ": "needs SLURM",
}
# What stands in for programs that wait, or that show what a machine has
STAND_INS = {
    "journalctl": "exec cat run.log",
    "less": "exec cat",
    "nproc": "echo 2",
    "sleep": "exit 0",
    "tail": 'for word; do [ "$word" = -f ] || kept+=("$word"); done; exec "$(type -ap tail | sed -n 2p)" "${kept[@]}"',
}
PROGRAMS = ("jq", "parallel", "xargs", "find", "awk")
# Little is read, by one process
ENVIRONMENT = {
    "RTPRUNE_MODEL": "tiny",
    "RTPRUNE_DEVICE": "cpu",
    "RTPRUNE_WORKERS": "0",
    "RTPRUNE_MAX_NEW_TOKENS": "24",
    "RTPRUNE_CONFIG": os.devnull,
    "HF_HUB_OFFLINE": "1",
    "SLURM_ARRAY_TASK_ID": "1",
    "SLURM_CPUS_PER_TASK": "1",
    "SLURM_ARRAY_JOB_ID": "7",
}
# Fewer pages, modes and shards, and the folder of the test in the place of one of the reader's
CHANGED = {
    r"rtprune bench (glyphs )?(?=--)": r"\g<0>--limit 1 ",
    r",base,large,gundam( --view-sides \S+)?": "",
    r"/srv/archive": ".",
    r"\b(shards|gpus)=\d+": r"\g<1>=2",
    r"\b(seq |/)16\b": r"\g<1>2",
    r"^rtprune merge parts": "mkdir -p parts; [ -e parts/1 ] || cp -r out parts/1; \\g<0>",
    r"^.* --prompt markdown": "RTPRUNE_MAX_NEW_TOKENS=300 \\g<0>",
}
INPUT = {"read -rs": "secret\n"}
FINDS_NOTHING = "form.json"  # the bundled model does not know how to locate
APART = "\x1e"  # is printed between what one statement says and the next


def reason(block: Block, statement: str) -> str | None:
    """Why a statement cannot run here."""
    where = f"{block.page}: {statement}"
    return next((why for pattern, why in CANNOT_RUN.items() if re.search(pattern, where, re.MULTILINE)), None)


def shell_blocks() -> list[Block]:
    return [block for page in PAGES for block in blocks(page) if block.language in SHELL]


# --- Read by the parsers -----------------------------------------------------------------------------------------


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], str]:
    """A function that has the command line read arguments, run nothing, and say what is wrong with them."""
    everything = typer.main.get_command(app)
    base = next(each for each in type(everything).__mro__ if each.__name__ == "Command")
    monkeypatch.setattr(base, "invoke", lambda self, context: None)

    def read(arguments: list[str]) -> str:
        try:
            everything.main(arguments, "rtprune", standalone_mode=False)
        except SystemExit as end:  # of --help
            return f"ends with {end.code}" if end.code else ""
        except Exception as error:
            return str(getattr(error, "message", error)) or type(error).__name__
        return ""

    return read


def test_statements_are_taken_apart_as_a_shell_does() -> None:
    script = "# two\na=1 b='\n'\nfor x in 1; do\n  echo | \\\n    cat\ndone\n\njq . |\n  sort\n"
    assert statements(script) == ["a=1 b='\n'", "for x in 1; do\n  echo | \\\n    cat\ndone", "jq . |\n  sort"]


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("find . | rtprune ocr - -o out 2> log", ["ocr", "-", "-o", "out"]),
        ("sbatch --wrap 'rtprune merge a/* -o b'", ["merge", "a/*", "-o", "b"]),
        ("docker run rtprune ocr a \\\n  -o b && rm c  # rtprune", ["ocr", "a", "-o", "b"]),
        ('ExecStart=/srv/bin/rtprune ocr "a b" -q', ["ocr", "a b", "-q"]),
    ],
)
def test_calls_are_found_in_any_text(text: str, arguments: list[str]) -> None:
    assert list(calls(text)) == [arguments]


def test_an_option_that_is_none_is_a_fault(faults: Callable[[list[str]], str]) -> None:
    assert "No such option" in faults(["ocr", "a.pdf", "--colour"])
    assert "No such option" in faults(["bench", "glyphs", "--colour"])


@pytest.mark.slow
def test_the_program_reads_every_call(faults: Callable[[list[str]], str]) -> None:
    """Those in blocks whole; of those in running text, which may leave out what differs, the options."""
    wrong = []
    for page in PAGES:
        for block in blocks(page):
            wrong += [(block.name, call, found) for call in calls(block.text) if (found := faults(call))]
        spans = re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for call in calls("\n".join(" ".join(span.split()) for span in re.findall("`([^`]+)`", spans))):
            if "No such option" in (found := faults(call)):
                wrong.append((page.name, call, found))
    assert not wrong


@pytest.mark.slow
def test_every_script_is_whole_and_every_file_is_one() -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    readers = {"yaml": yaml.safe_load, "toml": tomllib.loads, "json": json.loads, "ini": ConfigParser().read_string}
    for page in PAGES:
        for block in blocks(page):
            if block.language in SHELL:
                assert statements(block.text), block.name
            elif block.language in readers:
                readers[block.language](block.text)


def test_no_reason_is_left_over() -> None:
    said = [f"{block.page}: {statement}" for block in shell_blocks() for statement in statements(block.text)]
    assert [p for p in CANNOT_RUN if not any(re.search(p, each, re.MULTILINE) for each in said)] == []


# --- Run ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """A function that makes a folder with what the recipes speak of, in which their commands run."""
    tools, first = tmp_path / "bin", tmp_path / "world"
    for folder in (tools, first / ".venv" / "bin", first / "logs"):
        folder.mkdir(parents=True)
    for name, script in STAND_INS.items():
        (tools / name).write_text(f"#!/bin/bash\n{script}\n")
        (tools / name).chmod(0o755)
    for name in ("python", "python3"):
        (tools / name).symlink_to(sys.executable)
    (first / ".venv" / "bin" / "rtprune").symlink_to(tools / "rtprune")
    (first / "samples").symlink_to(ROOT / "samples")
    (chunks,) = (block for block in blocks(ROOT / "docs" / "cookbook.md") if "chunks.py OUT" in block.text)
    (first / "chunks.py").write_text(chunks.text)
    make_inputs(first)
    with serving(tools / "rtprune"):
        make_earlier_run(first, tools)
        numbers = itertools.count()

        def make() -> Path:
            return Path(shutil.copytree(first, tmp_path / str(next(numbers)), symlinks=True))

        yield make


def make_inputs(folder: Path) -> None:
    letters = {
        "scans/1904/ledger.pdf": 2,
        "scans/letter.pdf": 1,
        "scans/form.tif": 1,
        "papers/first.pdf": 1,
        "paper.pdf": 1,
        "report.pdf": 1,
        "form.png": 1,
        "my-pages/page.png": 1,
    }
    for name, pages in letters.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_letter(path, pages)
        os.utime(path, (1.8e9, 1.8e9))  # new, for find's -newermt
    write_letter(folder / "vault.pdf", 1, encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="secret")
    (folder / "my-pages" / "page.txt").write_text("Open 9-12")
    (folder / "list.txt").write_text("paper.pdf\nreport.pdf\n")


def write_letter(path: Path, pages: int, **save: Any) -> None:
    """A document of a few letters in large print, which the bundled model reads."""
    with pymupdf.open() as document:
        for _ in range(pages):
            document.new_page(width=600, height=600).insert_text((30, 90), "Open 9-12", fontname="helv", fontsize=46)
        if path.suffix == ".pdf":
            document.save(path, **save)
        else:
            document[0].get_pixmap(dpi=72).pil_save(path)


def make_earlier_run(folder: Path, tools: Path) -> None:
    """text/, out/ and run.log, of a run in which pages failed; what it read is put right afterwards.

    The bundled model does not run into loops: that a page did is written into the report.
    """
    ledger, letter = folder / "scans" / "1904" / "ledger.pdf", folder / "scans" / "letter.pdf"
    sound = {path: path.read_bytes() for path in (ledger, letter)}
    with pymupdf.open(ledger) as pdf:
        pdf.update_object(pdf.page_xref(1), "[(not a page)]")
        pdf.saveIncr()
    letter.write_bytes(b"%PDF-")
    for command, code in (
        ("rtprune ocr scans paper.pdf -r -o text --log-format json 2> run.log", 4),
        ("rtprune ocr samples/notice.pdf --pages 1 -o out -q", 0),
    ):
        assert run(command, folder, tools).returncode == code
    for path, content in sound.items():
        path.write_bytes(content)
    report = folder / "text" / "report.jsonl"
    *others, last = map(json.loads, report.read_text(encoding="utf-8").splitlines())
    assert last["document"] == "paper.pdf"
    attempt = {key: last[key] for key in ("mode", "retention", "finish_reason", "output_tokens", "loop_tokens_cut")}
    last |= {"finish_reason": "loop", "loop_tokens_cut": 40, "attempts": [attempt] * 2}
    last |= {"warnings": [{"code": "repaired", "message": "the file is damaged and was repaired"}]}
    report.write_text("".join(json.dumps(each) + "\n" for each in (*others, last)), encoding="utf-8")


def run(script: str, folder: Path, tools: Path) -> subprocess.CompletedProcess[str]:
    environment = ENVIRONMENT | {"PATH": f"{tools}:{os.environ['PATH']}", "HOME": str(folder), "LC_ALL": "C.UTF-8"}
    given = "".join(text for pattern, text in INPUT.items() if pattern in script)
    command = ["bash", "-euo", "pipefail", "-c", script]
    return subprocess.run(
        command, cwd=folder, env=environment, input=given, text=True, capture_output=True, timeout=120
    )


@pytest.mark.slow
def test_every_recipe_runs(world: Callable[[], Path], tmp_path: Path) -> None:
    """To its end with exit code 0, and each query of a report finds something."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        warnings.warn(f"recipes with {', '.join(absent)} do not run: not installed", stacklevel=1)
    missing = re.compile("|".join(rf"\b{name}\b" for name in absent) or "$^")
    failed, seen = {}, set()
    for block in shell_blocks():
        parts = [part for part in statements(block.text) if not reason(block, part) and not missing.search(part)]
        if not seen.issuperset(parts):
            seen.update(parts)
            ended = run(f"\nprintf '{APART}'\n".join(map(changed, parts)), world(), tmp_path / "bin")
            said = zip(parts, ended.stdout.split(APART), strict=False)  # a script may end before its last part
            silent = [part for part, text in said if asks(part) and not text.strip()]
            if ended.returncode or silent:
                failed[block.name] = (ended.returncode, silent, ended.stdout[-300:], ended.stderr[-1500:])
    assert not failed, "".join(f"\n=== {name}: {found}" for name, found in failed.items())


def changed(statement: str) -> str:
    for pattern, other in CHANGED.items():
        statement = re.sub(pattern, other, statement, flags=re.MULTILINE)
    return statement


def asks(statement: str) -> bool:
    """Whether a statement is a query, and should find something."""
    query = re.match(r"jq |tail |journalctl ", statement) and "rtprune ocr" not in statement
    return bool(query or "--dry-run | awk" in statement) and FINDS_NOTHING not in statement
