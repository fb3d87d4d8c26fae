"""Owns what a person sees while pages are read: a bar on a terminal, a line a configuration elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rtprune_cli.logs import NOTICE, make_console
from rtprune_cli.options import LogOptions

log = logging.getLogger("rtprune")

Tell = Callable[[str, int], None]  # what is being done, and how many pages of it are done since the last call


@contextmanager
def showing(pages: int, options: LogOptions) -> Iterator[Tell]:
    """A function that is told of every page; ``pages`` are all that are to come."""
    console = make_console()
    if options.quiet or options.log_format == "json" or not console.is_terminal or not pages:
        last = ""

        def tell(what: str, _: int) -> None:
            nonlocal last
            if what != last:
                log.log(NOTICE, "%s", what)
                last = what

        yield tell
        return
    from rich import progress as rich

    columns = (
        rich.BarColumn(bar_width=None),
        rich.MofNCompleteColumn(),
        rich.TextColumn("pages"),
        rich.TimeElapsedColumn(),
        rich.TextColumn("left"),
        rich.TimeRemainingColumn(),
        rich.TextColumn("{task.description}"),
    )
    with rich.Progress(*columns, console=console, transient=True, expand=True) as progress:
        task = progress.add_task("", total=pages)
        yield lambda what, done: progress.update(task, description=what, advance=done)
