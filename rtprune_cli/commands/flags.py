"""Settings as flags of a Typer command: names, help in sections, completion."""

from __future__ import annotations

import functools
import inspect
import os
import re
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from rtprune_cli.commands.frame import refuse_urls, reporting
from rtprune_cli.errors import UsageError
from rtprune_cli.options import BUNDLED_MODEL, CELL, Mode, check_mode
from rtprune_cli.settings import FILE, LOG, Setting, all_settings, early_log_options

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
EPILOG = (
    "Settings also come from variables, RTPRUNE_BATCH_SIZE for --batch-size, and from rtprune.toml, where keys are "
    "named as flags. A flag beats the variable, the variable the file. See: rtprune config show"
)
TYPED = "rtprune.typed"
METAVARS = {int: "INTEGER", float: "NUMBER", str: "TEXT"}

VIEW_SIDES_HELP = f"Single square views besides, by their side: multiples of {CELL}. 448 is the mode side-448."

Given = dict[str, Any]  # the settings that were given on the command line, by field name
Config = Annotated[
    str | None,
    typer.Option(
        "--config", metavar="FILE", help=f"Settings file, instead of your own {FILE}.", rich_help_panel=SECTIONS["run"]
    ),
]


class Sectioned:
    """Plain help with its flags in sections, as the other kind of Typer's help would have them."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then the flags; ``--x / --no-x`` as ``--[no-]x``, which leaves room for the help."""
        sections: dict[str, list[tuple[str, str]]] = {title: [] for title in ("Arguments", *SECTIONS.values())}
        for param in self.get_params(ctx):  # type: ignore[attr-defined]
            if record := param.get_help_record(ctx):
                title = getattr(param, "rich_help_panel", None) or SECTIONS[LOG]
                names = re.sub(r"--([a-z-]+) / --no-\1$", r"--[no-]\1", record[0])
                sections["Arguments" if param.param_type_name == "argument" else title].append((names, record[1]))
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class SectionedCommand(Sectioned, TyperCommand):
    """A command with its flags in sections. Its context's ``meta`` has under :data:`TYPED` what was typed after it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments of the command line."""
        ctx.meta[TYPED] = tuple(args)
        return super().parse_args(ctx, args)


class SectionedGroup(Sectioned, TyperGroup):
    """A group of commands that is a command itself, with its flags in sections."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the flags, then the commands."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


def with_settings(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command a flag for each setting, or for those that are named.

    Its parameter ``given`` gets those that were given. A flag's default is None, for not given: a variable or the file
    may have the setting.
    """
    chosen = names or tuple(all_settings())

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def with_flags(**arguments: Any) -> None:
            flags = {name: arguments.pop(name) for name in chosen}
            given = {name: value for name, value in flags.items() if _is_given(name, value)}
            with reporting(early_log_options(given, os.environ)):
                refuse_urls(*arguments.values())
            command(given=given, **arguments)

        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "given"]
        flags = [
            inspect.Parameter(s.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(s))
            for group in SECTIONS
            for s in all_settings().values()
            if s.group == group and s.name in chosen
        ]
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + flags
        with_flags.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        with_flags.__annotations__ = {p.name: p.annotation for p in parameters}
        return with_flags

    return decorate


def _is_given(name: str, value: Any) -> bool:
    setting = all_settings()[name]
    # A count that was not given is 0 to some versions of Typer, a flag without its opposite False.
    return value is not None and (bool(value) or not (setting.count or (setting.kind is bool and not setting.no_flag)))


def _annotation(setting: Setting) -> Any:
    # A value stays as it was typed: settings.py reads it as it reads a variable, with errors of one line.
    kind = bool if setting.kind is bool else int if setting.count else str
    return Annotated[kind | None, option(setting.name)]  # type: ignore[valid-type]


def option(name: str) -> Any:
    """A setting's flag as Typer wants it."""
    setting = all_settings()[name]
    names = [f"{setting.flag}/{setting.no_flag}" if setting.no_flag else setting.flag, setting.short]
    default = f"  [default: {setting.default_text}]" if setting.default_text else ""
    return typer.Option(
        *filter(None, names),
        help=setting.help + default,
        show_default=False,  # it would be None
        metavar=None if setting.kind is bool or setting.count else METAVARS[str if setting.parse else setting.kind],
        count=setting.count,
        autocompletion=completer(setting),
        rich_help_panel=SECTIONS[setting.group],
    )


def flag(section: str, *names: str, metavar: str | None, help: str, **more: Any) -> Any:
    """A flag that is no setting, in its section of the help."""
    return typer.Option(*names, metavar=metavar, help=help, rich_help_panel=SECTIONS[section], **more)


def words(text: str) -> tuple[str, ...]:
    """A list with commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def numbers(name: str, text: str) -> tuple[int, ...]:
    """A list of whole numbers with commas.

    Raises:
        UsageError: one of them is none.
    """
    try:
        return tuple(int(word) for word in words(text))
    except ValueError:
        raise UsageError(f"{name} is {text!r}", "Give whole numbers with commas: 1,4,8") from None


def view_modes(sides: str) -> tuple[Mode, ...]:
    """The modes of --view-sides: single square views of these pixels each way.

    Raises:
        UsageError: one is no number, or cannot be cut into tokens.
    """
    return tuple(check_mode(f"side-{side}") for side in numbers("view-sides", sides))


def completer(setting: Setting) -> Callable[[], list[str]] | None:
    """What completes a setting's value; None leaves it to the shell, which completes files."""
    if setting.name == "model":
        return complete_models
    return (lambda: list(setting.choices)) if setting.choices else None


def complete_models() -> list[str]:
    """The bundled model and those in the cache."""
    from rtprune_cli.hub import cached_models

    try:
        return sorted({model.name for model in cached_models()})
    except Exception:  # whatever is wrong with the cache is not said in the middle of a command line
        return [BUNDLED_MODEL]


Quiet = Annotated[bool, option("quiet")]
Verbose = Annotated[int, option("verbose")]
