"""Completion in the real shells: what TAB offers for commands, flags, choices and files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from rtprune_cli.commands.app import app

ZSH = r"""
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z "PS1=; autoload -Uz compinit; compinit -u -D; eval \"\$(rtprune --show-completion)\"; echo RE''ADY"
zpty -r -m z line '*READY*'
zpty -w -n z "$1"$'\t'
zpty -r -m z line "$2" || exit 1
print -r -- "$line"
zpty -d z
"""


def needs(shell: str) -> pytest.MarkDecorator:
    here = shutil.which(shell) and sys.platform != "win32"
    return pytest.mark.skipif(not here, reason=f"{shell} is not installed")


@pytest.fixture
def run_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """A function that runs a script in a shell, in a folder with files, as a user without settings or models."""
    here = tmp_path / "here"
    here.mkdir()
    (here / "scan one.pdf").touch()
    for name in [name for name in os.environ if name.startswith(("RTPRUNE_", "_RTPRUNE_", "_TYPER_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")

    def run(*command: str) -> str:
        result = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=60, check=True)
        assert result.stderr == ""
        return result.stdout

    return run


@pytest.mark.slow
@needs("bash")
@pytest.mark.parametrize(
    ("words", "offers"),
    [
        ("rtprune ", "analyze bench config convert datasets docs info inspect merge models ocr view"),
        ("rtprune ocr --mode ", "tiny small base large gundam"),
        ("rtprune ocr --model ", "tiny"),
        (
            "rtprune ocr --no-re",
            "--no-recursive --no-repair-hyphens --no-repair-lists --no-repeat-ngram --no-repeat-window",
        ),
        ("rtprune config show --tab", "--tables"),
        ("rtprune models path ", "tiny"),
        ("rtprune merge --c", "--config --copy"),
        ("rtprune datasets pull ", "omnidocbench olmocr-bench"),
        ("rtprune ocr --ratio 0.", "0.5 0.75 0.84"),
        ("rtprune bench --methods none,rt", "none,rtprune"),
        ("rtprune docs err", "errors"),
        # Nothing is offered: -o default leaves these to readline, which completes files.
        ("rtprune ocr ", ""),
        ("rtprune ocr --config ", ""),
    ],
)
def test_bash(run_shell, words: str, offers: str) -> None:  # type: ignore[no-untyped-def]
    *line, last = words.split(" ")
    script = f"""eval "$(rtprune --show-completion)"
    [[ $(complete -p rtprune) == *'-o default'* ]] || exit 1
    COMP_WORDS=({" ".join(line)} "{last}"); COMP_CWORD={len(line)}
    _rtprune_completion rtprune; echo "${{COMPREPLY[*]}}" """
    assert set(run_shell("bash", "--norc", "-c", script).split()) == set(offers.split())


@needs("fish")
@pytest.mark.parametrize(
    ("words", "offers"),
    [
        ("rtprune ocr --mode ", "tiny small base large gundam"),
        ("rtprune ocr --no-rec", "--no-recursive"),
        ("rtprune ocr --ratio dy", "dynamic"),
        ("rtprune bench --modes base,g", "base,gundam"),
        ("rtprune docs err", "errors"),
        ("rtprune ocr ", "scan one.pdf"),
        ("rtprune ocr --mode base --config ", "scan one.pdf"),
    ],
)
def test_fish(run_shell, words: str, offers: str) -> None:  # type: ignore[no-untyped-def]
    script = f"rtprune --show-completion | source; complete -C '{words}'"
    found = [line.split("\t")[0] for line in run_shell("fish", "--no-config", "-c", script).splitlines()]
    assert sorted(found) == sorted([offers] if "." in offers else offers.split())


@needs("zsh")
@pytest.mark.parametrize(
    ("words", "becomes"),
    [
        ("rtprune ocr --mode b", "*base*"),
        ("rtprune ocr --no-rec", "*--no-recursive*"),
        ("rtprune bench --methods none,rt", "*none,rtprune*"),
        ("rtprune docs err", "*errors*"),
        ("rtprune ocr sc", r"*scan\\ one.pdf*"),
        ("rtprune ocr --mode base --config sc", r"*scan\\ one.pdf*"),
    ],
)
def test_zsh(run_shell, words: str, becomes: str) -> None:  # type: ignore[no-untyped-def]
    assert run_shell("zsh", "-f", "-c", ZSH, "zsh", words, becomes)


@needs("zsh")
def test_a_shell_can_ask_for_the_script_of_another(run_shell) -> None:  # type: ignore[no-untyped-def]
    assert run_shell("env", "_RTPRUNE_COMPLETE=source_zsh", "rtprune").strip().startswith("#compdef rtprune")


@pytest.mark.parametrize(
    ("words", "offers"),
    [
        ("ocr --ratio ", "auto dynamic 0.5 0.75 0.84 1"),
        ("ocr --prompt l", "locate"),
        ("ocr --pages 1-10,", "1-10,1 1-10,1- 1-10,1-10 1-10,20-end"),
        ("ocr --pages 3-", "3-12 3-end"),
        ("bench --dataset o", "omnidocbench ocean-ocr olmocr-bench"),
        ("bench --ratios dynamic,0.", "dynamic,0.5 dynamic,0.75 dynamic,0.84"),
        ("bench --modes base,", "base,tiny base,small base,large base,gundam"),
        ("bench --rules ", "v1.5 v1.6"),
        ("bench --sheet ", "a4 card"),
        ("bench glyphs --words natural,", "natural,mixed natural,random"),
        ("bench speed --stages prefill,st", "prefill,step"),
        ("convert x --to ", "docling text searchable-pdf"),
        ("docs e", "errors exit-codes"),
    ],
)
def test_values_are_completed(words: str, offers: str) -> None:
    *before, last = words.split(" ")
    command: Any = typer.main.get_command(app)
    for word in before:
        command = getattr(command, "commands", {}).get(word, command)
    flags = [param for param in command.params if before[-1] in param.opts]
    param = (flags or [param for param in command.params if param.param_type_name == "argument"])[0]
    found = param.shell_complete(command.context_class(command), last)
    assert [item.value for item in found] == offers.split()


def test_choices_that_help_names_are_those_that_are_checked() -> None:
    """Their modules draw pages and read datasets; the command line does not wait for these."""
    from rtprune_cli.bench.accuracy.synthetic import SHEETS, WORDS
    from rtprune_cli.bench.scoring.omnidocbench import RULES

    group: Any = typer.main.get_command(app)
    shown = {param.opts[0]: param.metavar for param in group.commands["bench"].params}
    assert (shown["--sheet"], shown["--words"], shown["--rules"]) == tuple(map("|".join, (SHEETS, WORDS, RULES)))


def test_completing_loads_nothing_heavy() -> None:
    code = "import sys; import rtprune_cli.commands.app; from rtprune_cli.commands.completing import complete_models; "
    code += "from rtprune_cli.commands.docs import complete_page_names; assert 'tiny' in complete_models(); "
    code += (
        "assert complete_page_names(); assert not {'torch', 'transformers', 'numpy', 'rich.markdown'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_broken_model_cache_still_completes_the_bundled_model(monkeypatch: pytest.MonkeyPatch) -> None:
    from rtprune_cli.commands.completing import complete_models

    def fail() -> None:
        raise OSError

    monkeypatch.setattr("rtprune_cli.hub.cached_models", fail)
    assert complete_models() == ["tiny"]
