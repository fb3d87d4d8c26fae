"""The frame of every command: settings resolved, the log set up, errors turned into exit codes.

A command runs inside :func:`resolved`, where its flags are settings, or inside :func:`reporting`.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rtprune_cli import logs, settings
from rtprune_cli.errors import ExitCode, RtpruneError, UsageError
from rtprune_cli.failures import gpu_watched
from rtprune_cli.options import LogOptions
from rtprune_cli.remote import shown
from rtprune_cli.stopping import Terminated

if TYPE_CHECKING:
    from rtprune_cli.commands.flags import Given

log = logging.getLogger("rtprune")

_URL = re.compile(r"([a-z][a-z0-9+.-]+):/+(.+)", re.IGNORECASE)  # a path has one of its slashes


@contextmanager
def resolved(given: Given, config: str | None) -> Iterator[settings.Resolved]:
    """The settings of a run, with logging set up as they say; what is wrong with them is reported like any error."""
    early = settings.early_log_options(given, os.environ)
    with reporting(early):
        user_file = Path(typer.get_app_dir("rtprune"), settings.FILE)
        found = settings.resolve(given, config, user_file, os.environ)
        with reporting(found.log):
            for warning in found.warnings:
                log.warning(warning)
            yield found


def refuse_urls(*arguments: object) -> None:
    """What a command takes as a path is of this machine; a URL would become a folder called ``s3:``.

    Raises:
        UsageError: a path among the arguments, or in a list there, is a URL.
    """
    for path in (each for value in arguments for each in (value if isinstance(value, list) else [value])):
        if isinstance(path, Path) and (found := _URL.fullmatch(path.as_posix())):
            name = shown(f"{found[1]}://{found[2]}")
            hint = "Download it and name that folder, as with: aws s3 sync s3://BUCKET/FOLDER FOLDER"
            raise UsageError(f"{name!r} is no folder of this machine", hint)


@contextmanager
def reporting(options: LogOptions) -> Iterator[None]:
    """Set up logging; turn every expected error into one line and its exit code."""
    logs.set_up(options)
    traceback = logs.shows_tracebacks()
    try:
        with gpu_watched():
            yield
    except RtpruneError as error:
        log.error("%s", error, exc_info=traceback)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt as stop:
        log.error("interrupted")
        raise typer.Exit(code_of(stop)) from None
    except BrokenPipeError:
        # The reader of our standard output went away; keep Python from complaining about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise typer.Exit(ExitCode.FAILURE) from None
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        log.error("unexpected %s. Run again with -vv and report the traceback", reason, exc_info=traceback)
        raise typer.Exit(ExitCode.FAILURE) from None


def code_of(stop: KeyboardInterrupt) -> ExitCode:
    """The exit code of a run that was stopped."""
    return ExitCode.TERMINATED if isinstance(stop, Terminated) else ExitCode.INTERRUPTED
