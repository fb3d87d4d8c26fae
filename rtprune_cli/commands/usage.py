"""What is wrong with a command line, in the words and form of every other error: one line, and what to do next."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import typer

from rtprune_cli import logs
from rtprune_cli.errors import UsageError
from rtprune_cli.settings import LOG, all_settings, early_log_options

# Typer's exceptions: those of Click, of which newer versions of Typer have a copy of their own.
_click = sys.modules[typer.BadParameter.__module__]
KINDS = {"integer": "a whole number", "float": "a number"}


def run_as_usual(main: Callable[..., Any], root: Any, *args: Any, standalone_mode: bool = True, **more: Any) -> Any:
    """Run a command line with ``main``, the ``root`` command's; in ``standalone_mode`` exit with its code."""
    if not standalone_mode:
        return main(*args, standalone_mode=False, **more)
    try:
        code = main(*args, standalone_mode=False, **more)
    except _click.NoArgsIsHelpError as error:
        error.show()
        code = error.exit_code
    except _click.ClickException as error:
        words = args[0] if args else more.get("args")
        logs.set_up(early_log_options(_log_flags(sys.argv[1:] if words is None else words), os.environ))
        known = described(error, root)
        logs.log.error("%s", known)
        code = known.exit_code
    except typer.Abort:
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def described(error: Any, root: Any) -> UsageError:
    """An error of Typer as one of ours."""
    ctx = getattr(error, "ctx", None)
    path = ctx.command_path if ctx else "rtprune"
    command = ctx.command if ctx else root
    see = f"See: {path} --help"
    if isinstance(error, _click.NoSuchOption):
        return UsageError(f"no option {error.option_name}", f"{_meant(error.possibilities or ())}{see}")
    if isinstance(error, _click.BadOptionUsage):
        if "not take a value" in error.message:
            return UsageError(f"{error.option_name} takes no value", f"Give {error.option_name} alone. {see}")
        return UsageError(f"{error.option_name} lacks its value", f"Give {_usage(command, error.option_name)}. {see}")
    if isinstance(error, _click.MissingParameter) and error.param is not None:
        param, name = error.param, param_name(error.param)
        is_argument = param.param_type_name == "argument"
        give = f"{name}: {_first_lower(param.help)}" if is_argument else _usage(command, name)
        return UsageError(f"{name} is missing", f"Give {give}. {see}")
    if isinstance(error, _click.BadParameter) and error.param is not None:
        name = param_name(error.param)
        if found := re.fullmatch(r"(.*) is not a valid (integer|float)\.?", error.message):
            return UsageError(f"{name} is {found[1]}", f"Give {KINDS[found[2]]}. {see}")
        return UsageError(f"{name}: {_first_lower(error.message)}", see)
    if found := re.match(r"No such command '(.*?)'", error.message):
        return _no_command(found[1], command, see)
    if found := re.match(r"Got unexpected extra arguments?(?:\(s\))? \((.*)\)", error.message):
        return UsageError(f"too many arguments: {found[1]}", see)
    return UsageError(_first_lower(error.message), see)


def param_name(param: Any) -> str:
    """What a person calls a parameter: its flag, or an argument's name in capitals."""
    if param.param_type_name == "argument":
        return str(param.metavar or param.name.upper())
    return str(param.opts[0])


def _no_command(word: str, group: Any, see: str) -> UsageError:
    if "ocr" in group.commands and (Path(word).exists() or "." in word or "/" in word):  # a person just wants it read
        return UsageError(f"no command {word}", f"To read a file or folder: rtprune ocr {word}")
    return UsageError(f"no command {word}", f"{_meant(get_close_matches(word, group.commands))}{see}")


def _meant(words: Sequence[str]) -> str:
    return f"Did you mean {', '.join(sorted(words))}? " if words else ""


def _usage(command: Any, flag: str) -> str:
    """A flag with the words that it takes, or what stands for its value."""
    param = next((param for param in command.params if flag in (*param.opts, *param.secondary_opts)), None)
    if param is None or not param.metavar:
        return f"{flag} and a value"
    words = re.search(r"\[([^ ;\]]+\|[^ ;\]]+)[;\]]", param.help or "")
    return f"{flag} {words[1] if words else param.metavar}"


def _first_lower(text: str) -> str:
    """A sentence as a part of one."""
    text = text.strip().rstrip(".")
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def _log_flags(words: Sequence[str]) -> dict[str, Any]:
    """Settings of messages that stand on a command line which cannot be read as a whole."""
    found = {}
    for setting in (each for each in all_settings().values() if each.group == LOG and each.choices):
        for word, following in zip(words, [*words[1:], ""], strict=True):
            name, _, value = str(word).partition("=")
            if name == setting.flag:
                found[setting.name] = value or str(following)
    return found
