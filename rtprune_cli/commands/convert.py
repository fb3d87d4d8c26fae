"""The command `rtprune convert`: what was read, in other forms."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from rtprune_cli.commands.flags import Config, Given, flag, with_settings
from rtprune_cli.commands.frame import resolved
from rtprune_cli.commands.interrupts import stoppable
from rtprune_cli.errors import ExitCode

log = logging.getLogger("rtprune")


@with_settings("password", "quiet", "verbose", "log_format")
def convert_command(
    given: Given,
    results: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="Output folder of rtprune ocr, a document's folder, or a NAME.json."),
    ],
    to: Annotated[
        str, flag("output", "--to", metavar="docling|text|searchable-pdf", help="The form.")
    ],
    folder: Annotated[
        Path | None,
        flag("output", "--output", "-o", metavar="FOLDER", help="Folder for the results, instead of beside NAME.json."),
    ] = None,
    force_text: Annotated[
        bool,
        flag(
            "output", "--force-text", metavar=None, rare=True,
            help="Pages of PDFs that have text already get it once more.",
        ),
    ] = False,
    config: Config = None,
) -> None:  # fmt: skip
    """Convert what `rtprune ocr` has read, without reading it again.

    Writes NAME.docling.json, NAME.txt or NAME.pdf for each document, and prints their paths. What they are for:
    rtprune docs convert.
    """
    with resolved(given, config) as found:
        from rtprune_cli.convert import ConvertOptions, convert
        from rtprune_cli.convert.searchable import LayerOptions

        options = ConvertOptions(to, folder, LayerOptions(found.ocr.input.password, force_text))
        failed: set[ExitCode] = set()
        with stoppable(at_once=True):
            for result in convert(results, options):
                if isinstance(result, Path):
                    typer.echo(str(result))
                else:
                    log.error("%s", result)
                    failed.add(result.exit_code)
        raise typer.Exit(failed.pop() if len(failed) == 1 else ExitCode.PARTIAL if failed else ExitCode.OK)
