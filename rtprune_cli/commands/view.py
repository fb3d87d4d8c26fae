"""The command `rtprune view`: the report of an output folder in a browser, while a run may go on."""

from __future__ import annotations

import logging
import os
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from rtprune_cli.commands.flags import Config, Given, flag, with_settings
from rtprune_cli.commands.frame import resolved
from rtprune_cli.commands.interrupts import stoppable
from rtprune_cli.logs import NOTICE
from rtprune_cli.stopping import Interrupted, pause

log = logging.getLogger("rtprune")


@with_settings("quiet", "verbose", "log_format")
def view_command(
    given: Given,
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Output folder of rtprune ocr; a run may be writing.")],
    port: Annotated[
        int, flag("run", "--port", metavar="N", help="Port to listen on; 0 is a free one.", min=0, max=65535)
    ] = 0,
    host: Annotated[
        str, flag("run", "--host", metavar="ADDRESS", help="Another address of this machine, which others reach.")
    ] = "127.0.0.1",
    no_open: Annotated[bool, flag("run", "--no-open", metavar=None, help="Open no browser.")] = False,
    config: Config = None,
) -> None:  # fmt: skip
    """Look at an output folder in a browser: its report, a run's progress, search in all texts.

    Prints the address, and serves it on this machine alone until Ctrl-C. Nothing is written. More: rtprune docs view.
    """
    with resolved(given, config):
        import webbrowser

        from rtprune_cli.viewing import LOOPBACK, FolderWatch, ViewServer

        with FolderWatch(folder) as watch, ViewServer(watch, host=host, port=port) as server:
            typer.echo(server.url)
            if host != LOOPBACK:
                log.warning("others on the network who learn this address can read the folder, and what is sent is "
                            "not encrypted. ssh -L is safer: rtprune docs view")  # fmt: skip
            log.log(NOTICE, "serving %r, Ctrl-C ends it", str(folder))
            if not no_open and _has_browser():
                threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
            try:
                with stoppable():
                    while True:
                        pause(60)
            except Interrupted:  # the way to end it
                raise typer.Exit from None


def _has_browser() -> bool:
    """Whether someone is there to look, and a screen to look at."""
    if not sys.stdout.isatty():
        return False
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
