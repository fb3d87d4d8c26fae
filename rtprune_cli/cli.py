"""The command line: flags -> options, errors -> exit codes. torch is imported only by commands that need it."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtprune_cli import __version__, logs, settings
from rtprune_cli.analysis.cli import add_command as add_analyze
from rtprune_cli.bench.cli import make_app
from rtprune_cli.errors import EnvironmentFault, ExitCode, RtpruneError
from rtprune_cli.failures import gpu_watched
from rtprune_cli.flags import EPILOG, SECTIONS, Config, Given, SectionedCommand, complete_models, option, with_settings
from rtprune_cli.inspection.cli import add_command as add_inspect
from rtprune_cli.interrupts import Terminated, stoppable
from rtprune_cli.options import BUNDLED_MODEL, LogOptions, ModelOptions, OcrOptions

if TYPE_CHECKING:
    from rtprune_cli.outputs import Output
    from rtprune_cli.records import Document
    from rtprune_cli.report import Totals

log = logging.getLogger("rtprune")

app = typer.Typer(
    name="rtprune",
    help="Document OCR with DeepSeek-OCR and RTPrune visual-token pruning: PDF in, markdown and a report out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models_app = typer.Typer(help="Checkpoints on this machine.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(models_app, name="models")
config_app = typer.Typer(help="Settings and where they come from.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(config_app, name="config")


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


Quiet = Annotated[bool, option("quiet")]
Verbose = Annotated[int, option("verbose")]
Revision = Annotated[str | None, option("revision")]


@app.command(cls=SectionedCommand, epilog=EPILOG)
@with_settings()
def ocr(
    given: Given,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUTS", help="PDFs, images or folders; '-' reads a document from standard input."),
    ] = None,
    files_from: Annotated[
        str | None,
        typer.Option(
            "--files-from",
            metavar="FILE",
            help="File with one input path a line; '-' for standard input.",
            rich_help_panel=SECTIONS["input"],
        ),
    ] = None,
    null: Annotated[
        bool,
        typer.Option(
            "--null",
            "-0",
            help="--files-from is separated by NUL, as find -print0.",
            rich_help_panel=SECTIONS["input"],
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what would be read, and read nothing.", rich_help_panel=SECTIONS["run"]),
    ] = False,
    config: Config = None,
) -> None:
    """Read documents and write markdown and a pruning report.

    Writes OUTPUT/NAME/NAME.md, images/ and NAME.report.json for each document, and OUTPUT/report.jsonl over all of
    them. The same command goes on where the last one stopped.
    """
    with _resolved(given, config) as found:
        raise typer.Exit(_ocr(inputs or [], files_from, null, found.ocr, found.log, dry_run))


@config_app.command("show", cls=SectionedCommand, epilog=EPILOG)
@with_settings()
def config_show(given: Given, config: Config = None) -> None:
    """Print every setting and where it comes from, in a form that can be saved as rtprune.toml.

    Takes the flags of rtprune ocr that are settings.
    """
    with _resolved(given, config) as found:
        typer.echo(settings.render(found))


@contextmanager
def _resolved(given: Given, config: str | None) -> Iterator[settings.Resolved]:
    """The settings of a run, with logging set up as they say; what is wrong with them is reported like any error."""
    early = settings.early_log_options(given, os.environ)
    with _reporting(early):
        user_file = Path(typer.get_app_dir("rtprune"), settings.FILE)
        found = settings.resolve(given, config, user_file, os.environ)
        with _reporting(found.log):
            for warning in found.warnings:
                log.warning(warning)
            yield found


def _ocr(
    paths: list[str],
    files_from: str | None,
    null: bool,
    options: OcrOptions,
    log_options: LogOptions,
    dry_run: bool,
) -> ExitCode:
    from rtprune_cli.inputs import check_pages, content_hash, find_files, name_documents
    from rtprune_cli.outputs import HTML, STDOUT, open_output

    # What can be wrong with the command is found before the model, which takes longest, is loaded.
    check_pages(options.input.pages)
    # The output folder may lie in an input folder: its crops are no input of the next run.
    written = [] if options.output.output == STDOUT else [Path(options.output.output)]
    found = find_files(paths, recursive=options.input.recursive, files_from=files_from, null=null, exclude=written)
    output = open_output(options.output, wait=options.run.wait)

    def documents() -> list[Document]:
        """Named as the output folder allows, which nobody else may change meanwhile."""
        return name_documents(found, lambda document: output.occupancy(document, lambda: content_hash(document)))

    if dry_run:
        return _dry_run(documents(), options, output)
    with stoppable(), output:
        code = _run(documents(), options, output, log_options)
    if options.output.html:
        log.log(logs.NOTICE, "the report is %s", Path(options.output.output, HTML))
    return code


def _run(documents: list[Document], options: OcrOptions, output: Output, log_options: LogOptions) -> ExitCode:
    from rtprune_cli.display import showing, tell_end
    from rtprune_cli.model import locate
    from rtprune_cli.outputs import FolderOutput
    from rtprune_cli.pipeline import ocr as read_and_write

    code = None
    with showing(len(documents), log_options, f"finding {options.model.model}") as display:
        try:
            read_and_write(documents, locate(options.model), options, output, display)
        except KeyboardInterrupt as stop:
            display.totals.stopped, code = "interrupted", _code_of(stop)
    same = "The same command without --force" if options.run.force else "The same command"
    tell_end(display, log_options, goes_on=same if isinstance(output, FolderOutput) else "")
    return exit_code(display.totals) if code is None else code


def _dry_run(documents: list[Document], options: OcrOptions, output: Output) -> ExitCode:
    from rtprune_cli.display import print_plan
    from rtprune_cli.model import locate
    from rtprune_cli.pipeline import make_plan

    try:
        checkpoint = locate(replace(options.model, offline=True))
    except EnvironmentFault as error:
        log.warning("%s; what is done already is not known without it", error)
        checkpoint = None
    plans = (make_plan(document, checkpoint, options, output) for document in documents)
    return exit_code(print_plan(plans, output))


def exit_code(totals: Totals) -> ExitCode:
    """0 when every page was read; 8 or 2 when each failure is an encrypted file or a page range; else 4."""
    failures = {failure["error"]["code"] for failure in totals.failures}
    if not failures:
        return ExitCode.OK
    return {("encrypted",): ExitCode.ENCRYPTED, ("page_range",): ExitCode.USAGE}.get(tuple(failures), ExitCode.PARTIAL)


@models_app.command("list")
def models_list(quiet: Quiet = False, verbose: Verbose = 0) -> None:
    """Checkpoints that are on this machine: name, revision, size, folder."""
    with _reporting(LogOptions(quiet, verbose)):
        from rtprune_cli.hub import cached_models

        for found in cached_models():
            typer.echo(f"{found.name}\t{found.revision}\t{found.size / 2**20:.1f} MiB\t{found.folder}")


@models_app.command("pull")
def models_pull(
    model: Annotated[str, typer.Argument(help="Hub id.", autocompletion=complete_models)] = ModelOptions.model,
    revision: Revision = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Download a checkpoint into the Hugging Face cache and print its folder."""
    with _reporting(LogOptions(quiet, verbose)):
        from rtprune_cli.hub import check_weights, pull

        origin = pull(model, revision)
        check_weights(origin.folder)
        typer.echo(str(origin.folder))


@models_app.command("path")
def models_path(
    model: Annotated[
        str, typer.Argument(help=f"Hub id, folder or '{BUNDLED_MODEL}'.", autocompletion=complete_models)
    ] = ModelOptions.model,
    revision: Revision = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Print the folder of a checkpoint that is on this machine; never downloads."""
    with _reporting(LogOptions(quiet, verbose)):
        from rtprune_cli.hub import checkpoint_folder

        typer.echo(str(checkpoint_folder(model, revision, offline=True).folder))


@models_app.command("remove")
def models_remove(
    model: Annotated[str, typer.Argument(help="Hub id.", autocompletion=complete_models)],
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Delete a checkpoint from the Hugging Face cache."""
    with _reporting(LogOptions(quiet, verbose)):
        from rtprune_cli.hub import remove

        typer.echo(f"removed {model}, {remove(model) / 2**20:.1f} MiB freed")


@app.command()
def info(
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Versions, devices, memory and models; says what is missing and how to get it."""
    with _reporting(LogOptions(quiet, verbose)):
        from rtprune_cli.info import collect, render

        facts = collect()
        typer.echo(json.dumps(facts, indent=2, ensure_ascii=False) if as_json else render(facts))


def _code_of(stop: KeyboardInterrupt) -> ExitCode:
    return ExitCode.TERMINATED if isinstance(stop, Terminated) else ExitCode.INTERRUPTED


@contextmanager
def _reporting(options: LogOptions) -> Iterator[None]:
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
        raise typer.Exit(_code_of(stop)) from None
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


add_inspect(app, _resolved)
add_analyze(app, _resolved)
app.add_typer(make_app(_reporting, _resolved), name="bench")
