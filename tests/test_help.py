"""What --help shows of every command: it fits, its examples are commands, and what is wrong is said in one form."""

from __future__ import annotations

import ast
import json
import logging
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

import rtprune_cli
from rtprune_cli import logs, settings
from rtprune_cli.commands import ocr as ocr_module
from rtprune_cli.commands.app import app
from rtprune_cli.commands.examples import EXAMPLES
from rtprune_cli.commands.helppage import wrapped
from rtprune_cli.commands.remedies import fit, fitted_to
from rtprune_cli.settings import all_settings

PACKAGE = Path(rtprune_cli.__file__).parent
ROOT: Any = typer.main.get_command(app)
NARROW = 60
TYPES = {"INTEGER", "TEXT", "NUMBER", "FLOAT", "BOOLEAN", "DIR"}
PYTHON = re.compile(r"\[default: (True|False|None|\d+\.0)\]")


def commands(group: Any = ROOT, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every command and group of commands, by its name without rtprune before it."""
    yield path, group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, f"{path} {name}".strip())


COMMANDS = dict(commands())
EVERY = pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path or "rtprune")


def help_of(path: str) -> str:
    """A command's help, as wide as COLUMNS says: the runner of Typer has a width of its own."""
    context, command = ROOT.context_class(ROOT, info_name="rtprune", **ROOT.context_settings), ROOT
    for name in path.split():
        command = command.commands[name]
        context = command.context_class(command, info_name=name, parent=context)
    return str(command.get_help(context))


def section(text: str, title: str) -> list[str]:
    """The lines of a section of help."""
    return text.partition(f"\n{title}:\n")[2].partition("\n\n")[0].splitlines()


# --- The page --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [60, 80, 120])
def test_help_fits_the_terminal_and_cuts_no_summary(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for path in COMMANDS:
        text = help_of(path)
        assert [line for line in text.splitlines() if len(line) > width] == [], path
        assert "..." not in "\n".join(section(text, "Commands"))
        assert not PYTHON.search(" ".join(text.split())), path


def test_no_flag_shows_a_type_of_python() -> None:
    shown = {(path, param.name, param.metavar) for path, command in COMMANDS.items() for param in command.params}
    assert {each for each in shown if each[2] in TYPES} == set()
    values = {
        (path, param.name) for path, command in COMMANDS.items() for param in command.params if takes_value(param)
    }
    assert {(path, name) for path, name, metavar in shown if metavar is None} & values == set()


def takes_value(param: Any) -> bool:
    return param.param_type_name == "option" and not param.is_flag and not param.count


def test_the_first_screen_has_what_most_people_want_and_the_rest_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = help_of("ocr")
    first, rest = text.split("Rarely needed", 1)
    for flag in (
        "--output",
        "--pages",
        "--recursive",
        "--model",
        "--prompt",
        "--ratio auto|dynamic|0.05-1",
        "--tables",
    ):
        assert flag.replace("--recursive", "--[no-]recursive") in first
    assert len(first.splitlines()) < 50
    shown = text.replace("--[no-]", "--")
    assert [each.flag for each in all_settings().values() if each.flag not in shown] == []
    assert all(each.flag in rest.replace("--[no-]", "--") for each in all_settings().values() if each.rare)


def test_long_words_end_at_commas_and_bars() -> None:
    assert wrapped("one [aa|bb|cc] two", 7) == ["one", "[aa|bb|", "cc] two"]
    assert wrapped("--leave-one-out", 10) == ["--leave-one-out"]


# --- Examples --------------------------------------------------------------------------------------------------------


@EVERY
def test_a_command_ends_with_three_examples_that_it_takes(path: str) -> None:
    examples = EXAMPLES[path]
    assert len(examples) == 3
    assert all(len(line) <= NARROW - 2 for example in examples for line in example.command.splitlines())
    assert help_of(path).rstrip().endswith(wrapped(examples[-1].does, 70)[-1])
    for example in examples:
        found, given = parsed(example.command)
        assert found.startswith(path.partition(" ")[0]), "it is an example of another command"
        settings.resolve(given, None, Path("none.toml"), {})  # raises where a value is none


def parsed(line: str) -> tuple[str, dict[str, Any]]:
    """The command that a line of a shell runs, and the settings that it gives; fails where the command refuses it."""
    plain = re.sub(r'"\$\((.*)\)"', r"; \1", line.replace("\\\n", " "))
    part = next(each for each in re.split(r"[|;>]", plain) if "rtprune" in each)
    words = shlex.split(part[part.index("rtprune") :])[1:]
    command, names = ROOT, []
    while words and words[0] in getattr(command, "commands", {}):
        names.append(words.pop(0))
        command = command.commands[names[-1]]
    context = command.make_context(names[-1] if names else "rtprune", words)
    known = all_settings()
    given = {name: value for name, value in context.params.items() if name in known and value not in (None, False, 0)}
    return " ".join(names), given if "config" in context.params else {}


def test_there_are_no_examples_of_a_command_that_is_gone() -> None:
    assert sorted(EXAMPLES) == sorted(COMMANDS)


# --- What is wrong with a command line -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ocr --foo", "no option --foo. Did you mean --force, --spool? See: rtprune ocr --help"),
        ("ocr -Z", "no option -Z. See: rtprune ocr --help"),
        ("orc x.pdf", "no command orc. Did you mean ocr? See: rtprune --help"),
        ("models lst", "no command lst. Did you mean list? See: rtprune models --help"),
        ("scan.pdf", "no command scan.pdf. To read a file or folder: rtprune ocr scan.pdf"),
        ("ocr --dpi", "--dpi lacks its value. Give --dpi auto|N. See: rtprune ocr --help"),
        ("ocr --force=1", "--force takes no value. Give --force alone. See: rtprune ocr --help"),
        ("convert", "OUT is missing. Give OUT: output folder of rtprune ocr, a document's folder, or a NAME.json. "
         "See: rtprune convert --help"),
        ("convert x", "--to is missing. Give --to docling|text|searchable-pdf. See: rtprune convert --help"),
        ("info one two", "too many arguments: one two. See: rtprune info --help"),
        ("inspect x --seed y", "--seed is 'y'. Give a whole number. See: rtprune inspect --help"),
        ("bench", "no dataset. Give --dataset omnidocbench, ocean-ocr, olmocr-bench, folder, synthetic. The shortest: "
         "rtprune bench --dataset synthetic --model tiny"),
        ("ocr", "no input given. Name PDFs, images or folders"),
    ],
)  # fmt: skip
def test_a_command_line_that_is_wrong_is_said_in_one_line(rtprune: Any, line: str, message: str) -> None:
    result = rtprune(*line.split())
    assert (result.exit_code, result.stderr) == (2, f"rtprune: error: {message}\n")


def test_a_missing_value_names_the_words_that_it_may_be(rtprune: Any) -> None:
    assert "Give --mode tiny|small|base|large|gundam|side-N." in rtprune("ocr", "--mode").stderr


def test_programs_get_it_as_json(rtprune: Any) -> None:
    for flags in (["--log-format", "json"], ["--log-format=json"]):
        assert json.loads(rtprune("ocr", "--foo", *flags).stderr)["level"] == "error"
    assert json.loads(rtprune("ocr", "--foo", env={"RTPRUNE_LOG_FORMAT": "json"}).stderr)["level"] == "error"


def test_ocr_alone_shows_two_commands_on_a_terminal(rtprune: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ocr_module, "sys", SimpleNamespace(stderr=SimpleNamespace(isatty=lambda: True)))
    result = rtprune("ocr")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "rtprune ocr scan.pdf --model tiny\n" in result.stderr
    assert "rtprune ocr scans/ -r" in result.stderr
    assert "rtprune ocr --help" in result.stderr


def test_a_terminal_gets_whole_words_and_programs_one_line(
    rtprune: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a name without end, which no line has room for.pdf"
    plain = rtprune("ocr", path).stderr
    monkeypatch.setattr(logs, "_terminal_width", lambda: 40)
    lines = rtprune("ocr", path).stderr.splitlines()
    assert len(lines) > 2
    assert all(len(line) <= 40 or " " not in line for line in lines)
    assert " ".join(lines) == plain.rstrip("\n")


# --- Remedies --------------------------------------------------------------------------------------------------------

OWN = {
    "commands",
    "bench",
    "analysis",
    "convert",
    "tiny",
    "cluster",
}  # rooms of one command each, which knows its flags
OF_LISTS = {"--files-from", "--null"}  # said of a list alone, which only rtprune ocr takes


@cache
def texts() -> list[tuple[Path, str]]:
    """The texts in the code, without those that document it, each with its file below the package."""
    found = []
    for file in PACKAGE.rglob("*.py"):
        source = file.read_text(encoding="utf-8")
        if re.search(r" --[a-z]|docs/[\w-]+\.md", source):
            tree = ast.parse(source)
            prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            constants = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in prose]
            found += [(file.relative_to(PACKAGE), each.value) for each in constants if isinstance(each.value, str)]
    return found


def remedies() -> list[str]:
    """What the code that commands share can say with a flag in it."""
    described = {"options.py", "page_record.py", "block.py"}  # settings and fields, which name flags of their own
    return [text for file, text in texts() if " --" in text and file.parts[0] not in OWN and file.name not in described]


def flags_in(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", text))


def test_remedies_are_found() -> None:
    assert any("--page-timeout" in text for text in remedies())


@EVERY
def test_no_remedy_names_a_flag_that_the_command_lacks(path: str) -> None:
    command = COMMANDS[path]
    flags = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    if "--config" not in flags:
        return  # it reads no settings, and what it can say is its own
    known = {flag for each in all_settings().values() for flag in (each.flag, each.no_flag)}
    for text in remedies():
        if "rtprune " not in text:
            assert flags_in(fit(text, flags, takes_settings=True)) & known <= flags, text


def test_what_is_no_setting_is_said_only_of_lists() -> None:
    known = {flag for each in all_settings().values() for flag in (each.flag, each.no_flag)}
    said = {flag for text in remedies() if "rtprune " not in text for flag in flags_in(text)} - known
    assert said <= OF_LISTS | {"--query-gpu", "--format", "--address", "--port"}


@pytest.mark.parametrize(
    ("text", "fitted"),
    [
        ("Repair the file, or raise --page-timeout", "Repair the file, or raise RTPRUNE_PAGE_TIMEOUT"),
        ("Give --attachments", "Give RTPRUNE_ATTACHMENTS=1"),
        ("Give --no-md-only, or -o", "Give RTPRUNE_MD_ONLY=0, or -o"),
        ("a smaller --mode takes less", "a smaller --modes takes less"),
        ("Lower --dpi", "Lower --dpi"),
        ("It is gone. Run rtprune ocr again with --force", "It is gone. Run rtprune ocr again with --force"),
        ("It was read with --no-json; run rtprune ocr again", "It was read with --no-json; run rtprune ocr again"),
    ],
)
def test_a_remedy_fits_the_command(text: str, fitted: str) -> None:
    assert fit(text, {"--dpi", "--modes"}, takes_settings=True) == fitted


def test_messages_fit_the_innermost_command(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("rtprune")
    with fitted_to(COMMANDS["bench"]), fitted_to(COMMANDS["inspect"]):
        log.handle(log.makeRecord("rtprune", logging.ERROR, "", 0, "raise --page-timeout over %d", (3,), None))
    with fitted_to(COMMANDS["ocr"]):
        log.handle(log.makeRecord("rtprune", logging.ERROR, "", 0, "raise --page-timeout", (), None))
    assert [record.getMessage() for record in caplog.records] == [
        "raise RTPRUNE_PAGE_TIMEOUT over 3",
        "raise --page-timeout",
    ]


# --- rtprune docs ----------------------------------------------------------------------------------------------------


def test_the_pages_are_listed_with_what_they_are_for(rtprune: Any) -> None:
    rows = dict(line.split("\t") for line in rtprune("docs").stdout.splitlines())
    assert all(rows.values())
    assert rows["errors"] == "understand a message"
    assert not {"index", "changelog", "contributing"} & set(rows)


def test_a_page_is_printed_as_it_is_written(rtprune: Any) -> None:
    folder = Path(rtprune("docs", "--path").stdout.strip())
    page = (folder / "settings.md").read_text(encoding="utf-8")
    assert rtprune("docs", "settings").stdout == page
    assert rtprune("docs", "docs/settings.md").stdout == page
    assert rtprune("docs", "cli").stdout.startswith("# Command line")


def test_a_word_is_found_in_a_page_with_its_heading(rtprune: Any) -> None:
    text = rtprune("docs", "errors", "Encrypted").stdout
    assert text.startswith("## Inputs\n\n- `DOCUMENT is encrypted`")
    assert all("encrypted" in part.lower() or part.startswith("## ") for part in text.split("\n\n"))
    row = rtprune("docs", "exit-codes", "SIGTERM").stdout
    assert row.splitlines()[2].startswith("| code |") and "| 143 |" in row  # the table keeps its head


def test_a_word_is_found_in_all_pages(rtprune: Any) -> None:
    lines = rtprune("docs", "--search", "page-timeout").stdout.splitlines()
    assert {line.split("\t")[0] for line in lines} >= {"cli", "errors", "inputs"}
    assert all("page-timeout" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["eror"], "no page 'eror'. Did you mean errors? See: rtprune docs"),
        (["errors", "xyzzy"], "page errors says nothing of 'xyzzy'. In all pages: rtprune docs --search xyzzy"),
        (["--search", "xyzzy"], "no page says anything of 'xyzzy'. See: rtprune docs"),
    ],
)
def test_what_is_not_there_is_said(rtprune: Any, words: list[str], message: str) -> None:
    result = rtprune("docs", *words)
    assert (result.exit_code, result.stderr) == (2, f"rtprune: error: {message}\n")


def test_no_message_points_to_a_file_that_a_package_lacks() -> None:
    """Comments may: they are read in a clone."""
    config = Path("tiny/network.py")  # what the bundled checkpoint's own config.json says
    assert [(file, text) for file, text in texts() if re.search(r"docs/[\w-]+\.md", text) and file != config] == []
    for path, command in COMMANDS.items():
        assert "docs/" not in (command.help or ""), path
