"""The command line as it was typed, without what lets others in: for reports, and for the command that goes on."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

from rtprune_cli.remote import is_url, shown
from rtprune_cli.settings import all_settings

HIDDEN = "..."  # stands for a password


def command_line() -> str:
    """The command of this process, as it can be pasted again; a password must be given anew."""
    return shlex.join(["rtprune", *without_secrets(sys.argv[1:])])


def without_secrets(arguments: Sequence[str]) -> list[str]:
    """Arguments without passwords, and URLs without passwords and signatures."""
    secret = {setting.flag for setting in all_settings().values() if setting.secret}
    safe: list[str] = []
    for each in arguments:
        flag, _, value = each.partition("=")
        if safe and safe[-1] in secret:
            safe.append(HIDDEN)
        elif flag in secret and value:
            safe.append(f"{flag}={HIDDEN}")
        else:
            safe.append(shown(each) if is_url(each) else each)
    return safe
