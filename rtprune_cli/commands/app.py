"""The command line: all commands under their names. torch is imported only by commands that need it, when they run."""

from __future__ import annotations

from typing import Annotated

import typer

from rtprune_cli import __version__
from rtprune_cli.commands import (
    analyze,
    bench,
    bench_glyphs,
    bench_score,
    bench_speed,
    config,
    convert,
    datasets,
    docs,
    info,
    inspect,
    merge,
    models,
    ocr,
    view,
)
from rtprune_cli.commands.flags import EPILOG
from rtprune_cli.commands.helppage import MAX_WIDTH, Command, Group, Root

app = typer.Typer(
    name="rtprune",
    help="Document OCR with DeepSeek-OCR and RTPrune visual-token pruning: PDF in, markdown and a report out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": MAX_WIDTH},
    cls=Root,
)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"rtprune {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command(cls=Command, epilog=EPILOG)(ocr.ocr)
app.command("view", cls=Command, epilog=EPILOG)(view.view_command)
app.command("convert", cls=Command, epilog=EPILOG)(convert.convert_command)
app.command("merge", cls=Command, epilog=EPILOG)(merge.merge_command)
app.add_typer(models.app, name="models")
app.add_typer(datasets.app, name="datasets")
app.add_typer(config.app, name="config")
app.command(cls=Command)(info.info)
app.command("inspect", cls=Command, epilog=EPILOG)(inspect.inspect_command)
app.command(cls=Command, epilog=EPILOG)(analyze.analyze)

bench_app = typer.Typer(rich_markup_mode=None)
bench_app.callback(cls=Group, invoke_without_command=True, epilog=EPILOG)(bench.accuracy)
bench_app.command(cls=Command)(bench_score.score)
bench_app.command(cls=Command)(bench_speed.speed)
bench_app.command(cls=Command, epilog=EPILOG)(bench_glyphs.glyphs)
app.add_typer(bench_app, name="bench")
app.command("docs", cls=Command)(docs.docs_command)
