"""The command `rtprune merge`: output folders joined into one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from rtprune_cli.commands.flags import Config, Given, flag, with_settings
from rtprune_cli.commands.frame import resolved
from rtprune_cli.commands.interrupts import stoppable
from rtprune_cli.errors import ExitCode, UsageError
from rtprune_cli.logs import NOTICE

log = logging.getLogger("rtprune")


@with_settings("wait", "quiet", "verbose", "log_format")
def merge_command(
    given: Given,
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="OUT", help="Output folders of rtprune ocr: of shards, or of any runs."),
    ],
    whole: Annotated[
        Path | None,
        flag("output", "--output", "-o", metavar="FOLDER", help="Folder for all; it may have documents already."),
    ] = None,
    copy: Annotated[
        bool,
        flag("output", "--copy", metavar=None, help="Copy files; else they are hard links."),
    ] = False,
    config: Config = None,
) -> None:  # fmt: skip
    """Join output folders into one, with their reports.

    The folders stay as they are; what is done counts as done in the whole. The same command again takes what is new in
    them. When to use it: rtprune docs
    scaling.
    """
    with resolved(given, config) as found:
        if whole is None or str(whole) == "-":
            raise UsageError("no folder to merge into", "Give it with -o")
        from rtprune_cli.outputs.merging import merge

        with stoppable(at_once=True):
            merged = merge(folders, whole, link=not copy, wait=found.ocr.run.wait)
        log.log(NOTICE, "%d documents in %r, %d of them new", merged.documents, str(whole), merged.added)
        for what in merged.missing:
            log.warning("%s. Run the shards that are not done, then merge again", what)
        raise typer.Exit(ExitCode.PARTIAL if merged.missing else ExitCode.OK)
