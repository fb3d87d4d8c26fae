"""The commands `rtprune config ...`: settings and where they come from."""

from __future__ import annotations

import typer

from rtprune_cli import settings
from rtprune_cli.commands.flags import EPILOG, Config, Given, with_settings
from rtprune_cli.commands.frame import resolved
from rtprune_cli.commands.helppage import Command, Group

app = typer.Typer(help="Settings and where they come from.", no_args_is_help=True, rich_markup_mode=None, cls=Group)


@app.command("show", cls=Command, epilog=EPILOG)
@with_settings()
def config_show(given: Given, config: Config = None) -> None:
    """Print every setting and where it comes from.

    In a form that can be saved as rtprune.toml. Takes the flags of rtprune ocr that are settings.
    """
    with resolved(given, config) as found:
        typer.echo(settings.to_toml(found))
