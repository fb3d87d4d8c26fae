"""What --help shows: the flags that most people want, examples, and last the flags that few need.

The classes take the place of Typer's own. They keep to what every version of Typer has: the records of its parameters,
and a formatter that is as wide as the terminal.
"""

from __future__ import annotations

import re
from typing import Any

from typer.core import TyperCommand, TyperGroup

from rtprune_cli.commands.examples import EXAMPLES
from rtprune_cli.commands.remedies import fitted_to
from rtprune_cli.commands.usage import run_as_usual
from rtprune_cli.settings import LOG

# The sections of help in their order, by the settings' group.
SECTIONS = {
    "dataset": "Dataset",
    "comparison": "Comparison",
    "input": "Input",
    "output": "Output",
    "": "Reading",
    "prune": "Pruning",
    "model": "Model",
    "decode": "Decoding",
    "run": "Run",
    LOG: "Messages and help",
}
TYPED = "rtprune.typed"
COMMON, RARE = "Options", "Rarely needed"
_PANEL = f"{RARE}, "  # and then the section, in a parameter's panel: Typer keeps nothing else of a flag's place
MAX_WIDTH = 100  # of help on a wider terminal
INDENT = 2
GAP = 2  # between a flag and what it does

_Rows = list[tuple[str, str]]


def panel(section: str, *, rare: bool) -> str:
    """Where a flag of a section stands in help, as Typer takes it."""
    return f"{_PANEL}{section}" if rare else section


def section_of(panel: str | None) -> str:
    """The section of a flag, however rare it is; empty where it has none."""
    return (panel or "").removeprefix(_PANEL)


def is_rare(panel: str | None) -> bool:
    """Whether the flag stands under the rarely needed ones."""
    return (panel or "").startswith(_PANEL)


class Page:
    """Help of a command, or of a group of commands."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the page: what it is for, its commands, flags, and three examples."""
        self.format_usage(ctx, formatter)  # type: ignore[attr-defined]
        for paragraph in _paragraphs(self.help):  # type: ignore[attr-defined]
            _write(formatter, "", [paragraph])
        if commands := getattr(self, "commands", None):
            summaries = [(name, summary(command)) for name, command in commands.items() if not command.hidden]
            _write_rows(formatter, "Commands", summaries)
        self._write_flags(ctx, formatter)
        for paragraph in _paragraphs(self.epilog):  # type: ignore[attr-defined]
            _write(formatter, "", [paragraph])
        if examples := EXAMPLES.get(path_of(ctx)):
            formatter.write("\nExamples:\n")
            for example in examples:
                formatter.write(f"{'':{INDENT}}{example.command}\n")
                _write_lines(formatter, example.does, 3 * INDENT)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As Typer does; what goes wrong knows the command, of which it says how to ask for help."""
        try:
            return list(super().parse_args(ctx, args))  # type: ignore[misc]
        except Exception as error:
            if getattr(error, "ctx", ctx) is None:
                error.ctx = ctx  # type: ignore[attr-defined]
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command; its messages name flags that it has."""
        with fitted_to(self):
            return super().invoke(ctx)  # type: ignore[misc]

    def _write_flags(self, ctx: Any, formatter: Any) -> None:
        arguments: _Rows = []
        common: _Rows = []
        rare: dict[str, _Rows] = {}
        for param in sorted(self.get_params(ctx), key=_place):  # type: ignore[attr-defined]
            if record := param.get_help_record(ctx):
                where = getattr(param, "rich_help_panel", None)
                row = re.sub(r"--([a-z-]+) / --no-\1$", r"--[no-]\1", record[0]), record[1]
                if param.param_type_name == "argument":
                    arguments.append(row)
                else:
                    (rare.setdefault(section_of(where), []) if is_rare(where) else common).append(row)
        _write_rows(formatter, "Arguments", arguments)
        _write_rows(formatter, COMMON, common)
        for section, rows in rare.items():
            _write_rows(formatter, f"{RARE}, {section.lower()}", rows)


class Command(Page, TyperCommand):
    """A command. Its context's ``meta`` has under :data:`TYPED` what was typed after it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments of the command line."""
        ctx.meta[TYPED] = tuple(args)
        return super().parse_args(ctx, args)


class Group(Page, TyperGroup):
    """A group of commands; it may be a command itself."""


class Root(Group):
    """All commands; what is wrong with a command line is said as every other error is."""

    def main(self, *args: Any, **more: Any) -> Any:
        """Run the command line and exit."""
        return run_as_usual(super().main, self, *args, **more)


def _place(param: Any) -> int:
    """The place of a flag's section among the others; those without one come last."""
    sections, own = list(SECTIONS.values()), section_of(getattr(param, "rich_help_panel", None))
    return sections.index(own) if own in sections else len(sections)


def path_of(ctx: Any) -> str:
    """A command's name without rtprune before it: ``models pull``."""
    names: list[str] = []
    while ctx.parent is not None:
        names.insert(0, ctx.info_name)
        ctx = ctx.parent
    return " ".join(names)


def summary(command: Any) -> str:
    """What a command does, in a sentence: its help's first paragraph, whole."""
    return next(iter(_paragraphs(command.help)), "")


def _paragraphs(text: str | None) -> list[str]:
    return [" ".join(paragraph.split()) for paragraph in (text or "").split("\n\n") if paragraph.strip()]


def _write(formatter: Any, title: str, paragraphs: list[str]) -> None:
    formatter.write(f"\n{title}:\n" if title else "\n")
    for paragraph in paragraphs:
        _write_lines(formatter, paragraph, INDENT)


def _write_lines(formatter: Any, text: str, indent: int) -> None:
    for line in wrapped(text, formatter.width - indent):
        formatter.write(f"{'':{indent}}{line}\n")


def _write_rows(formatter: Any, title: str, rows: _Rows) -> None:
    if not rows:
        return
    formatter.write(f"\n{title}:\n")
    widths = [len(name) for name, _ in rows]
    first = max((width for width in widths if width <= formatter.width // 3), default=2 * INDENT) + INDENT + GAP
    for name, text in rows:
        head = f"{'':{INDENT}}{name}"
        lines = wrapped(text, formatter.width - first)
        if len(head) + GAP > first:
            formatter.write(f"{head}\n")
            head = ""
        for line in lines:
            formatter.write(f"{head:{first}}{line}\n")
            head = ""


def wrapped(text: str, width: int) -> list[str]:
    """The text in lines of at most ``width``, never cut inside a word; a list without spaces is cut behind its commas
    and bars."""
    lines = [""]
    for word in text.split():
        pieces = [word] if len(word) <= width else re.findall(r"[^,|/]+[,|/]?|[,|/]", word)
        for number, piece in enumerate(pieces):
            space = " " if number == 0 and lines[-1] else ""
            if lines[-1] and len(lines[-1]) + len(space) + len(piece) > width:
                lines.append(piece)
            else:
                lines[-1] += space + piece
    return lines
