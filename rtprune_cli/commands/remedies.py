"""Messages say what to do, and code that many commands share cannot know which flags the command at hand has. Here a
flag that it lacks becomes what it has: the flag's form for a list, or the setting's variable."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from rtprune_cli.settings import Setting, all_settings

_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")


@contextmanager
def fitted_to(command: Any) -> Iterator[None]:
    """Inside, what is logged names the flags of this command, the innermost where they are nested."""
    flags = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    filters = logging.getLogger("rtprune").filters
    before = [each for each in filters if isinstance(each, _Fit)]
    own = _Fit(flags, takes_settings=any(param.name == "config" for param in command.params))
    filters[:] = [*(each for each in filters if each not in before), own]
    try:
        yield
    finally:
        filters[:] = [*(each for each in filters if each is not own), *before]


def fit(message: str, flags: Collection[str], *, takes_settings: bool) -> str:
    """The message for a command that has these ``flags``, and reads settings from variables, or does not.

    Flags of another command that the sentence names stay, and those that are no settings.
    """

    def replaced(match: re.Match[str]) -> str:
        flag = match[0]
        sentence = message[: match.start()].rpartition(". ")[2] + message[match.start() :].partition(". ")[0]
        setting = _setting_of(flag)
        if flag in flags or setting is None or "rtprune " in sentence:
            return flag
        if f"{flag}s" in flags:  # --modes for --mode
            return f"{flag}s"
        if not takes_settings:
            return flag
        value = "" if setting.kind is not bool else "=0" if flag == setting.no_flag else "=1"
        return f"{setting.variable}{value}"

    return _FLAG.sub(replaced, message)


def _setting_of(flag: str) -> Setting | None:
    return next((each for each in all_settings().values() if flag in (each.flag, each.no_flag)), None)


class _Fit(logging.Filter):
    """Rewrites records for one command."""

    def __init__(self, flags: Collection[str], *, takes_settings: bool) -> None:
        super().__init__()
        self._flags, self._takes_settings = flags, takes_settings

    def filter(self, record: logging.LogRecord) -> bool:
        if "--" in (message := record.getMessage()):
            record.msg, record.args = fit(message, self._flags, takes_settings=self._takes_settings), ()
        return True
