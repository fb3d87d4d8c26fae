"""Settings as flags of a Typer command: names, help in sections, completion."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from typing import Annotated, Any

import typer

from rtprune_cli.commands.completing import completer, one_of
from rtprune_cli.commands.frame import refuse_urls, reporting
from rtprune_cli.commands.helppage import SECTIONS, panel
from rtprune_cli.errors import UsageError
from rtprune_cli.options import CELL, Mode, check_mode
from rtprune_cli.settings import FILE, Setting, all_settings, early_log_options

EPILOG = (
    "Settings also come from variables, RTPRUNE_BATCH_SIZE for --batch-size, and from rtprune.toml, where keys are "
    "named as flags. A flag beats the variable, the variable the file. See: rtprune docs settings"
)

VIEW_SIDES_HELP = f"Single square views besides, by their side: multiples of {CELL}. 448 is the mode side-448."

Given = dict[str, Any]  # the settings that were given on the command line, by field name
Config = Annotated[
    str | None,
    typer.Option(
        "--config", metavar="FILE", help=f"Settings file, instead of your own {FILE}.",
        rich_help_panel=panel(SECTIONS["run"], rare=True),
    ),
]  # fmt: skip


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
    notes = [setting.forms] if setting.metavar and setting.forms else []
    notes += [f"default: {setting.default_text}"] if setting.default_text else []
    return typer.Option(
        *filter(None, names),
        help=setting.help + (f"  [{'; '.join(notes)}]" if notes else ""),
        show_default=False,  # it would be None
        metavar=None if setting.kind is bool or setting.count else setting.placeholder,
        count=setting.count,
        autocompletion=completer(setting),
        rich_help_panel=panel(SECTIONS[setting.group], rare=setting.rare),
    )


def flag(section: str, *names: str, metavar: str | None, help: str, rare: bool = False, **more: Any) -> Any:
    """A flag that is no setting, in its section of the help; ``rare``: few need it. A ``metavar`` of choices, a4|card,
    completes them."""
    where = panel(SECTIONS[section], rare=rare)
    if metavar and "|" in metavar:
        more = {"autocompletion": one_of(metavar.split("|")), **more}
    return typer.Option(*names, metavar=metavar, help=help, rich_help_panel=where, **more)


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


Quiet = Annotated[bool, option("quiet")]
Verbose = Annotated[int, option("verbose")]
