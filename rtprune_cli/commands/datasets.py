"""The commands `rtprune datasets ...`: benchmarks of the hub on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from rtprune_cli.bench.accuracy.datasets.published import (
    PUBLISHED,
    REVISION_FLAG,
    REVISION_HELP,
    cached_datasets,
    complete_revisions,
    dataset_folder,
    pull_dataset,
    remove_dataset,
)
from rtprune_cli.commands.flags import Quiet, Verbose, flag
from rtprune_cli.commands.frame import reporting
from rtprune_cli.commands.helppage import Command, Group
from rtprune_cli.logs import NOTICE, log
from rtprune_cli.options import LogOptions

app = typer.Typer(
    help="Datasets of the hub on this machine, for rtprune bench.",
    no_args_is_help=True,
    rich_markup_mode=None,
    cls=Group,
)

Name = Annotated[
    str, typer.Argument(help=f"{' or '.join(PUBLISHED)}.", autocompletion=lambda: list(PUBLISHED), show_default=False)
]
ReleaseName = Annotated[
    str | None,
    flag("dataset", "--revision", REVISION_FLAG, metavar="NAME", help=REVISION_HELP, autocompletion=complete_revisions),
]


@app.command("list", cls=Command)
def datasets_list(quiet: Quiet = False, verbose: Verbose = 0) -> None:
    """List the datasets that are on this machine.

    A line each: name, release or branch, commit, size, folder, with tabs between them.
    """
    with reporting(LogOptions(quiet, verbose)):
        found = cached_datasets()
        for name, each in found:
            release = PUBLISHED[name].repository.release_of(each.commit) or ",".join(each.refs) or "-"
            typer.echo(f"{name}\t{release}\t{each.commit}\t{each.size / 2**20:.1f} MiB\t{each.folder}")
        if not found:
            log.log(NOTICE, "none is here: rtprune datasets pull %s", " or ".join(PUBLISHED))


@app.command("pull", cls=Command)
def datasets_pull(name: Name, revision: ReleaseName = None, quiet: Quiet = False, verbose: Verbose = 0) -> None:
    """Download a dataset and print its folder.

    Annotations and pages go into the Hugging Face cache. What has arrived before is not fetched again.
    """
    with reporting(LogOptions(quiet, verbose)):
        typer.echo(str(pull_dataset(name, revision)))


@app.command("path", cls=Command)
def datasets_path(name: Name, revision: ReleaseName = None, quiet: Quiet = False, verbose: Verbose = 0) -> None:
    """Print the folder of a dataset that is on this machine.

    It may be there in part; nothing is downloaded.
    """
    with reporting(LogOptions(quiet, verbose)):
        typer.echo(str(dataset_folder(name, revision)))


@app.command("remove", cls=Command)
def datasets_remove(name: Name, quiet: Quiet = False, verbose: Verbose = 0) -> None:
    """Delete a dataset from this machine.

    All its revisions go from the Hugging Face cache.
    """
    with reporting(LogOptions(quiet, verbose)):
        typer.echo(f"removed {name}, {remove_dataset(name) / 2**20:.1f} MiB freed")
