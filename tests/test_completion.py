"""Completion in the real shells: what TAB offers for commands, flags, choices and files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
        ("rtprune ", "ocr analyze bench config convert datasets info inspect merge models"),
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
        ("rtprune ocr sc", r"*scan\\ one.pdf*"),
        ("rtprune ocr --mode base --config sc", r"*scan\\ one.pdf*"),
    ],
)
def test_zsh(run_shell, words: str, becomes: str) -> None:  # type: ignore[no-untyped-def]
    assert run_shell("zsh", "-f", "-c", ZSH, "zsh", words, becomes)


@needs("zsh")
def test_a_shell_can_ask_for_the_script_of_another(run_shell) -> None:  # type: ignore[no-untyped-def]
    assert run_shell("env", "_RTPRUNE_COMPLETE=source_zsh", "rtprune").strip().startswith("#compdef rtprune")


def test_completing_models_loads_no_torch() -> None:
    code = "import sys; from rtprune_cli.commands.completing import complete_models; assert 'tiny' in complete_models()"
    code += "; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_broken_model_cache_still_completes_the_bundled_model(monkeypatch: pytest.MonkeyPatch) -> None:
    from rtprune_cli.commands.completing import complete_models

    def fail() -> None:
        raise OSError

    monkeypatch.setattr("rtprune_cli.hub.cached_models", fail)
    assert complete_models() == ["tiny"]
