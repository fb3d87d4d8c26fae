"""The command that goes on where a run ended early, as it was typed."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rtprune_cli.commandline import without_secrets


def goes_on(command: str, arguments: Sequence[str], *, forced: bool, from_stdin: bool) -> str:
    """What to run to go on, in a sentence. ``arguments`` are those that were typed after the ``command``; ``forced``:
    documents that are done were read again, as a flag, a variable or a file says; ``from_stdin``: what it read there it
    does not get again by itself."""
    if from_stdin:
        return f"The same command{' without --force' if forced else ''} goes on from here"
    typed = _without_force(arguments)
    if forced and "--force" not in arguments:
        typed.append("--no-force")
    return f"To go on: {shlex.join([*command.split(), *without_secrets(typed)])}"


def _without_force(arguments: Sequence[str]) -> list[str]:
    end = arguments.index("--") if "--" in arguments else len(arguments)  # what comes after it are files
    return [each for each in arguments[:end] if each != "--force"] + list(arguments[end:])
