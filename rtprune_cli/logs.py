"""Owns the lines on standard error: text for people, or one JSON object a line for programs."""

from __future__ import annotations

import json
import logging
import os
import sys
import textwrap
import warnings
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rtprune_cli.options import LogOptions

if TYPE_CHECKING:
    from rich.console import Console

log = logging.getLogger("rtprune")

NOTICE = 25  # between WARNING and INFO: said unless --quiet
logging.addLevelName(NOTICE, "NOTICE")


def set_up(options: LogOptions) -> None:
    """Send the log to standard error as ``options`` say."""
    level = logging.ERROR if options.quiet else (NOTICE, logging.INFO, logging.DEBUG)[min(options.verbose, 2)]
    handler = _Stderr()
    handler.setFormatter(_JsonLine() if options.log_format == "json" else _OneLine())
    log.handlers, log.propagate = [handler], False
    log.setLevel(level)
    # What libraries log, Pillow for one, is for -vv alone, in the same form; without a handler Python would print it.
    root = logging.getLogger()
    root.handlers = [each for each in root.handlers if not isinstance(each, (_Stderr, logging.NullHandler))]
    root.addHandler(handler if level <= logging.DEBUG else logging.NullHandler())
    if level > logging.DEBUG:
        warnings.simplefilter("ignore")  # of libraries; -vv shows them


def shows_tracebacks() -> bool:
    """Whether -vv was given."""
    return log.level <= logging.DEBUG


def make_console() -> Console:
    """Standard error, as wide as the terminal; away from one so wide that nothing is folded, since logs are grepped.

    Rich honours NO_COLOR.
    """
    from rich.console import Console

    console = Console(stderr=True)
    return console if console.is_terminal else Console(stderr=True, width=160)


class _Stderr(logging.Handler):
    """Writes to whatever standard error is at the time: the progress display takes its place while it is on."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)


class _OneLine(logging.Formatter):
    """``rtprune: error: ...`` on one line, whatever is in a file's name; a traceback below it when there is one.

    A terminal gets it in lines that end between words. What is longer than a line, a path perhaps, is left to it.
    """

    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno in (logging.INFO, NOTICE) else f"{record.levelname.lower()}: "
        line = f"rtprune: {level}{record.getMessage()}".replace("\n", "\\n").replace("\r", "\\r")
        if (width := _terminal_width()) is not None:
            line = _wrap(line, width)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _terminal_width() -> int | None:
    """Columns of standard error; None where it is no terminal."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or None
    except (AttributeError, OSError, ValueError):
        return None


def _wrap(line: str, width: int) -> str:
    wrapper = textwrap.TextWrapper(width, expand_tabs=False, replace_whitespace=False, break_long_words=False)
    wrapper.break_on_hyphens = False
    return wrapper.fill(line)


class _JsonLine(logging.Formatter):
    """Time, level and message, then the fields of the event that a caller passed as ``extra={"data": ...}``."""

    def format(self, record: logging.LogRecord) -> str:
        data: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "data", {}),
        }
        if record.exc_info:
            data["traceback"] = self.formatException(record.exc_info)
        return json.dumps(data)
