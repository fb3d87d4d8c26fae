"""The commands that README and the pages of docs/ tell, taken from their fenced blocks; and what they need to run."""

from __future__ import annotations

import re
import shlex
import subprocess
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
MADE = {"docs/cli.md"}  # of the program itself: its blocks are usage lines
PAGES = [
    ROOT / name
    for name in ("README.md", "CONTRIBUTING.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")))
    if name not in MADE
]
SHELL = {"bash", "sh"}
FENCE = re.compile(r"^( *)```(\S*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
SUBCOMMAND = r"(?:ocr|convert|merge|models|datasets|config|info|inspect|analyze|bench|view|docs)"
CALL = re.compile(rf"(?<![\w/-])(?:[\w./]+/)?rtprune (?={SUBCOMMAND})(?:'[^'\n]*'|\"[^\"\n]*\"|[^|;&<>\n#()`'\"])*")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, the word behind its fence, and its lines."""

    page: str
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(ROOT).as_posix()
    return [
        Block(name, text[: found.start()].count("\n") + 1, found[2], textwrap.dedent(found[3]))
        for found in FENCE.finditer(text)
    ]


def statements(script: str) -> list[str]:
    """The parts of a script that the shell runs one by one, each as many lines as it takes to be whole.

    Raises:
        ValueError: the last one is not whole.
    """
    found: list[str] = []
    lines: list[str] = []
    for line in script.splitlines():
        lines.append(line)
        part = "\n".join(lines)
        if not part.strip() or (line.lstrip().startswith("#") and len(lines) == 1):
            lines = []
        elif not line.endswith("\\") and is_whole(part):
            found.append(part)
            lines = []
    if lines:
        raise ValueError("\n".join(lines))
    return found


def is_whole(script: str) -> bool:
    """Whether a shell can read it: no quote, pipe or loop is open."""
    if not re.search(r"['\"({|]|\b(do|then|case|else)\b|&&$", script):
        return True
    return subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True).returncode == 0


def calls(text: str) -> Iterator[list[str]]:
    """The arguments of each call of rtprune in a text, a shell's or another one's."""
    joined = text.replace("\\\n", "")
    for found in CALL.finditer(joined):
        call = found[0].rstrip(" ,.\\")
        if joined[found.end() : found.end() + 1] == ">":
            call = re.sub(r"\s\d$", "", call)  # 2> file
        for quote in "'\"":
            if call.count(quote) % 2:  # of a command within a quoted one
                call = call.replace(quote, "")
        yield shlex.split(call)[1:]
