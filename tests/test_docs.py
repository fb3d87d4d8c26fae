"""The pages under docs/ agree with the program: flags, errors, exit codes, links."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import rtprune_cli
from rtprune_cli import errors
from rtprune_cli.errors import ExitCode, RtpruneError
from rtprune_cli.settings import all_settings

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
ERRORS = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, RtpruneError)}
PYTHON = "Programming Language :: Python :: "
COLUMNS = 78  # of a code block on the smallest of usual screens
SAID = {"warning", "error"}  # methods of the log whose messages a user meets
MIN_LETTERS = 4  # a message with fewer of its own, like f"{message} ({place})", is made of another one


@pytest.fixture(scope="module")
def make_cli() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_cli", DOCS / "make_cli.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- Flags and exit codes ----------------------------------------------------------------------------------------


def test_the_command_line_reference_is_fresh(make_cli: ModuleType) -> None:
    assert make_cli.PAGE.read_text(encoding="utf-8") == make_cli.page(), "renew it: python docs/make_cli.py"


def test_the_reference_does_not_depend_on_terminal_or_settings(
    make_cli: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = make_cli.page()
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("RTPRUNE_DPI", "300")
    assert make_cli.page() == before


def test_every_setting_is_in_the_reference() -> None:
    text = (DOCS / "cli.md").read_text(encoding="utf-8").replace("--[no-]", "--")
    assert [setting.flag for setting in all_settings().values() if setting.flag not in re.split("[` ,]", text)] == []


def test_every_exit_code_has_its_row() -> None:
    table = (DOCS / "exit-codes.md").read_text(encoding="utf-8").partition("\n## ")[0]
    rows = re.findall(r"^\| (\d+) \|", table, re.MULTILINE)
    assert rows == [str(code.value) for code in ExitCode]


# --- Errors ------------------------------------------------------------------------------------------------------


def said(source: str) -> Iterator[str]:
    """Patterns of the messages that the code of a module can say: of its errors, and on the log."""
    for scope in ast.walk(ast.parse(source)):
        if isinstance(scope, (ast.FunctionDef, ast.Module)):
            for call in own_nodes(scope):
                if isinstance(call, ast.Call) and call.args and says(call.func):
                    yield from patterns(call.args[0], scope)


def own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function or module, less those of functions inside."""
    for node in ast.iter_child_nodes(scope):
        if not isinstance(node, ast.FunctionDef):
            yield node
            yield from own_nodes(node)


def says(function: ast.expr) -> bool:
    if isinstance(function, ast.Attribute):
        return function.attr in SAID and isinstance(function.value, ast.Name) and function.value.id == "log"
    return isinstance(function, ast.Name) and function.id in ERRORS


def patterns(message: ast.expr, scope: ast.AST) -> Iterator[str]:
    """A message may be a text, one of two, or a name that was given one in the same function."""
    if isinstance(message, ast.IfExp):
        yield from patterns(message.body, scope)
        yield from patterns(message.orelse, scope)
    elif isinstance(message, ast.Name):
        for node in own_nodes(scope):
            if isinstance(node, ast.Assign) and message.id in {getattr(t, "id", None) for t in node.targets}:
                yield from patterns(node.value, scope)
    else:
        parts = message.values if isinstance(message, ast.JoinedStr) else [message]
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else "%s" for part in parts)
        constant = re.split(r"%[\d.]*\w", text)
        if sum(c.isalpha() for c in "".join(constant)) >= MIN_LETTERS:
            yield ".*".join(map(re.escape, constant))


def test_messages_are_found() -> None:
    source = """
def f(x):
    log.warning("%s goes to %s", a, b)
    message = f"{x} is lost"
    if x: raise InputError(message, "Look for it")
    raise UsageError(f"{x} is {y}" if x else "nothing given")
    raise type(error)(f"{error.message} ({place})")
"""
    assert [pattern.replace("\\", "") for pattern in said(source)] == [".* goes to .*", ".* is lost", "nothing given"]


@pytest.mark.slow
def test_every_error_is_documented() -> None:
    """docs/errors.md has each message whole, in a code span, with something in capitals for what differs."""
    page = " ".join((DOCS / "errors.md").read_text(encoding="utf-8").split())
    documented = re.findall("`([^`]+)`", page)
    missing = [
        f"{path.name}: {pattern}"
        for path in sorted(Path(rtprune_cli.__file__).parent.rglob("*.py"))
        if path.parent.name != "tiny"
        for pattern in said(path.read_text(encoding="utf-8"))
        if not any(re.fullmatch(pattern, message) for message in documented)
    ]
    assert not missing, "add these to docs/errors.md"


def test_every_error_code_is_documented() -> None:
    page = (DOCS / "errors.md").read_text(encoding="utf-8")
    codes = {getattr(errors, name).code for name in ERRORS if issubclass(getattr(errors, name), errors.InputError)}
    assert {code for code in codes if f"`{code}`" not in page} == set()


# --- Versions and lines ------------------------------------------------------------------------------------------


def test_the_version_of_python_is_one_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    least = project["project"]["requires-python"].removeprefix(">=")
    minor = [each.removeprefix(PYTHON) for each in project["project"]["classifiers"] if each.startswith(PYTHON + "3.")]
    assert minor[0] == least == project["tool"]["mypy"]["python_version"]
    assert project["tool"]["ruff"]["target-version"] == "py" + least.replace(".", "")
    assert f"FROM python:{least}-" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    for page in ("README.md", "CONTRIBUTING.md", "docs/index.md"):
        said = re.findall(r"Python (3\.\d+) or newer", (ROOT / page).read_text(encoding="utf-8"))
        assert said == [least], page
    assert f"--python {least} " in (ROOT / "README.md").read_text(encoding="utf-8")
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert f"python: {json.dumps(minor)}" in workflow


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/index.md"])
def test_what_a_newcomer_copies_needs_no_scrolling(page: str) -> None:
    blocks = re.findall(r"^```bash\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert [line for block in blocks for line in block.splitlines() if len(line) > COLUMNS] == []


# --- Links -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_link_is_dead(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"", text)
    dead = []
    for target in (one or other for one, other in links):
        if not re.match(r"\w+:", target):
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            if not file.exists() or (anchor and anchor not in anchors(file)):
                dead.append(target)
    assert not dead


def anchors(page: Path) -> set[str]:
    """The names that GitHub and the built site give to headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}
