"""The commands `rtprune models ...`: checkpoints on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from rtprune_cli.commands.completing import complete_models
from rtprune_cli.commands.flags import Quiet, Verbose, option
from rtprune_cli.commands.frame import reporting
from rtprune_cli.commands.helppage import Command, Group
from rtprune_cli.logs import NOTICE, log
from rtprune_cli.options import BUNDLED_MODEL, LogOptions, ModelOptions

app = typer.Typer(
    help="Models on this machine: list, download, find, delete.", no_args_is_help=True, rich_markup_mode=None, cls=Group
)

Revision = Annotated[str | None, option("revision")]


@app.command("list", cls=Command)
def models_list(quiet: Quiet = False, verbose: Verbose = 0) -> None:
    """List the models that are on this machine.

    A line each: name, revision, size, folder, with tabs between them.
    """
    with reporting(LogOptions(quiet, verbose)):
        from rtprune_cli.hub import cached_models

        for found in cached_models():
            typer.echo(f"{found.name}\t{found.revision}\t{found.size / 2**20:.1f} MiB\t{found.folder}")


@app.command("pull", cls=Command)
def models_pull(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Hub id.", autocompletion=complete_models)
    ] = ModelOptions.model,
    revision: Revision = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Download a model and print its folder.

    It goes into the Hugging Face cache.
    """
    with reporting(LogOptions(quiet, verbose)):
        from rtprune_cli.hub import checkpoint_folder, local

        if local(model):
            what = "part of the package" if model == BUNDLED_MODEL else "a folder on this machine"
            log.log(NOTICE, "%s is %s: there is nothing to download", model, what)
        typer.echo(str(checkpoint_folder(model, revision).folder))


@app.command("path", cls=Command)
def models_path(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help=f"Hub id, folder or '{BUNDLED_MODEL}'.", autocompletion=complete_models),
    ] = ModelOptions.model,
    revision: Revision = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Print the folder of a model that is on this machine; nothing is downloaded."""
    with reporting(LogOptions(quiet, verbose)):
        from rtprune_cli.hub import checkpoint_folder

        typer.echo(str(checkpoint_folder(model, revision, offline=True).folder))


@app.command("remove", cls=Command)
def models_remove(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Hub id.", autocompletion=complete_models)],
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Delete a model from the Hugging Face cache."""
    with reporting(LogOptions(quiet, verbose)):
        from rtprune_cli.hub import remove

        typer.echo(f"removed {model}, {remove(model) / 2**20:.1f} MiB freed")
