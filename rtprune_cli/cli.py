"""The command line: flags -> options, errors -> exit codes. torch is imported only by commands that need it."""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtprune_cli import __version__
from rtprune_cli.errors import ExitCode, RtpruneError
from rtprune_cli.options import (
    BUNDLED_MODEL,
    DTYPES,
    MIN_RATIO,
    MODES,
    DecodeOptions,
    InputOptions,
    ModelOptions,
    OcrOptions,
    OutputOptions,
    PruneOptions,
    parse_ratio,
)

if TYPE_CHECKING:
    from rtprune_cli.records import PageResult

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


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Errors only on standard error.")]
Verbose = Annotated[int, typer.Option("--verbose", "-v", count=True, help="More detail; -vv adds tracebacks.")]
ModelName = Annotated[
    str, typer.Option("--model", help=f"Hub id, local folder, or '{BUNDLED_MODEL}' for the bundled model.")
]
Revision = Annotated[str | None, typer.Option("--revision", help="Branch, tag or commit of the hub model.")]
Offline = Annotated[bool, typer.Option("--offline/--online", help="Never use the network; cached models only.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Dtype = Annotated[str, typer.Option("--dtype", help=f"{', '.join(DTYPES)}. auto: bfloat16 on CUDA, float32 on CPU.")]


@app.command()
def ocr(
    inputs: Annotated[
        list[str] | None, typer.Argument(help="PDFs, images or folders; '-' reads a document from standard input.")
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", help="Output folder, or '-' for markdown on standard output.")
    ] = OutputOptions.output,
    ratio: Annotated[
        str, typer.Option("--ratio", help=f"Share of visual tokens to keep: dynamic, or {MIN_RATIO} to 1 (no pruning).")
    ] = "dynamic",
    mode: Annotated[str | None, typer.Option("--mode", help=f"{', '.join(MODES)}. Default: the model's best.")] = None,
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", help="markdown (with layout) or free (text only). Default: the model's best."),
    ] = None,
    model: ModelName = ModelOptions.model,
    revision: Revision = None,
    offline: Offline = ModelOptions.offline,
    device: Device = ModelOptions.device,
    dtype: Dtype = ModelOptions.dtype,
    pages: Annotated[
        str | None, typer.Option("--pages", help="Pages of each document, from 1: 1,3,5-10,20-end.")
    ] = None,
    dpi: Annotated[int, typer.Option("--dpi", help="Resolution at which PDF pages are rasterised.")] = InputOptions.dpi,
    password: Annotated[str | None, typer.Option("--password", help="Password of encrypted PDFs.")] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive/--no-recursive", "-r", help="Take folders with their subfolders.")
    ] = InputOptions.recursive,
    files_from: Annotated[
        str | None, typer.Option("--files-from", help="File with one input path a line; '-' for standard input.")
    ] = None,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="--files-from is separated by NUL, as find -print0.")
    ] = False,
    max_pixels: Annotated[
        int, typer.Option("--max-pixels", help="Refuse pages larger than this (decompression bombs).")
    ] = InputOptions.max_pixels,
    tables: Annotated[
        str, typer.Option("--tables", help="html (as the model writes them) or markdown.")
    ] = OutputOptions.tables,
    raw: Annotated[
        bool, typer.Option("--raw/--no-raw", help="Keep the raw model text beside the markdown.")
    ] = OutputOptions.raw,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Pages decoded together.")] = DecodeOptions.batch_size,
    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", help="Longest text of a page, in tokens.")
    ] = DecodeOptions.max_new_tokens,
    no_repeat_ngram: Annotated[
        int, typer.Option("--no-repeat-ngram", help="Never write an n-gram of this length twice; 0 turns it off.")
    ] = DecodeOptions.no_repeat_ngram,
    no_repeat_window: Annotated[
        int, typer.Option("--no-repeat-window", help="...within this many tokens; 0 for the whole text.")
    ] = DecodeOptions.no_repeat_window,
    solver: Annotated[
        str, typer.Option("--solver", help="Optimal transport by sinkhorn (fast) or pot (reference).")
    ] = PruneOptions.solver,
    measure_baseline: Annotated[
        bool, typer.Option("--measure-baseline", help="Prefill each page unpruned too and report the speed-up.")
    ] = OcrOptions.measure_baseline,
    compare: Annotated[
        bool, typer.Option("--compare", help="Read each page unpruned too and report the edit distance.")
    ] = OcrOptions.compare,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Read documents and write markdown and a pruning report.

    Writes OUTPUT/NAME/NAME.md, images/ and NAME.report.json for each document, and OUTPUT/report.jsonl for the run.
    """
    with _reporting(quiet, verbose):
        options = OcrOptions(
            model=ModelOptions(model, revision, offline, device, dtype),
            prune=PruneOptions(ratio=parse_ratio(ratio), solver=solver),  # type: ignore[arg-type]
            decode=DecodeOptions(max_new_tokens, no_repeat_ngram, no_repeat_window, batch_size),
            input=InputOptions(pages, dpi, password, recursive, max_pixels),
            output=OutputOptions(output, tables, raw),  # type: ignore[arg-type]
            mode=mode,  # type: ignore[arg-type]
            prompt=prompt,  # type: ignore[arg-type]
            measure_baseline=measure_baseline,
            compare=compare,
        )
        raise typer.Exit(_ocr(inputs or [], files_from, null, options, quiet))


def _ocr(paths: list[str], files_from: str | None, null: bool, options: OcrOptions, quiet: bool) -> ExitCode:
    from rtprune_cli.inputs import check_pages, find_documents
    from rtprune_cli.outputs import STDOUT, open_output

    # What can be wrong with the command is found before the model, which takes longest, is loaded.
    check_pages(options.input.pages)
    # The output folder may lie in an input folder: its crops are no input of the next run.
    written = [] if options.output.output == STDOUT else [Path(options.output.output)]
    documents = find_documents(
        paths, recursive=options.input.recursive, files_from=files_from, null=null, exclude=written
    )
    with open_output(options.output) as writer:
        from rtprune_cli.model import load
        from rtprune_cli.pipeline import ocr as run_ocr
        from rtprune_cli.report import print_table

        with _progress(f"loading {options.model.model}", len(documents), quiet) as on_page:
            model = load(options.model)
            log.info("%s (%s) on %s", model.name, model.revision, model.device)
            records = run_ocr(documents, model, options, writer, on_page)
    if not quiet and any(record["status"] == "ok" for record in records):
        print_table(records, _console())
    return exit_code(records)


def exit_code(records: list[dict[str, Any]]) -> ExitCode:
    """0 when every page was read; 8 or 2 when each failure is an encrypted file or a page range; else 4."""
    failures = {record["error"]["code"] for record in records if record["status"] == "failed"}
    if not failures:
        return ExitCode.OK
    return {("encrypted",): ExitCode.ENCRYPTED, ("page_range",): ExitCode.USAGE}.get(tuple(failures), ExitCode.PARTIAL)


@models_app.command("list")
def models_list(quiet: Quiet = False, verbose: Verbose = 0) -> None:
    """Checkpoints that are on this machine: name, revision, size, folder."""
    with _reporting(quiet, verbose):
        from rtprune_cli.hub import cached_models

        for found in cached_models():
            typer.echo(f"{found.name}\t{found.revision}\t{found.size / 2**20:.1f} MiB\t{found.folder}")


@models_app.command("pull")
def models_pull(
    model: Annotated[str, typer.Argument(help="Hub id.")] = ModelOptions.model,
    revision: Revision = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Download a checkpoint into the Hugging Face cache and print its folder."""
    with _reporting(quiet, verbose):
        from rtprune_cli.hub import check_weights, pull

        origin = pull(model, revision)
        check_weights(origin.folder)
        typer.echo(str(origin.folder))


@models_app.command("path")
def models_path(
    model: Annotated[str, typer.Argument(help=f"Hub id, folder or '{BUNDLED_MODEL}'.")] = ModelOptions.model,
    revision: Revision = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Print the folder of a checkpoint that is on this machine; never downloads."""
    with _reporting(quiet, verbose):
        from rtprune_cli.hub import checkpoint_folder

        typer.echo(str(checkpoint_folder(model, revision, offline=True).folder))


@models_app.command("remove")
def models_remove(
    model: Annotated[str, typer.Argument(help="Hub id.")],
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Delete a checkpoint from the Hugging Face cache."""
    with _reporting(quiet, verbose):
        from rtprune_cli.hub import remove

        typer.echo(f"removed {model}, {remove(model) / 2**20:.1f} MiB freed")


@app.command()
def info(
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Versions, devices, memory and models; says what is missing and how to get it."""
    with _reporting(quiet, verbose):
        from rtprune_cli.info import collect, render

        facts = collect()
        typer.echo(json.dumps(facts, indent=2, ensure_ascii=False) if as_json else render(facts))


@contextmanager
def _reporting(quiet: bool, verbose: int) -> Iterator[None]:
    """Set up logging; turn every expected error into one line and its exit code."""
    level = logging.ERROR if quiet else (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    handler = _Stderr()
    handler.setFormatter(_OneLine())
    log.handlers, log.propagate = [handler], False
    log.setLevel(level)
    if level > logging.DEBUG:
        warnings.simplefilter("ignore")  # of libraries; -vv shows them
    traceback = level == logging.DEBUG
    try:
        yield
    except RtpruneError as error:
        log.error("%s", error, exc_info=traceback)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        log.error("interrupted; finished documents are in the output folder")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
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


class _Stderr(logging.Handler):
    """Writes to whatever standard error is at the time: the status line puts itself in its place while it is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)


class _OneLine(logging.Formatter):
    """``rtprune: error: ...`` on one line, whatever is in a file's name; a traceback below it when there is one."""

    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        line = f"rtprune: {level}{record.getMessage()}".replace("\n", "\\n").replace("\r", "\\r")
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _console() -> Any:
    from rich.console import Console

    console = Console(stderr=True)
    # Away from a terminal nothing should be folded to 80 columns: a log is read with grep.
    return console if console.is_terminal else Console(stderr=True, width=160)


@contextmanager
def _progress(first: str, documents: int, quiet: bool) -> Iterator[Any]:
    """A callback for finished pages: a status line on a terminal, nothing elsewhere (the table follows)."""
    from rich.markup import escape

    console = _console()
    if quiet or not console.is_terminal:
        yield lambda result: None
        return
    with console.status(escape(first)) as status:
        count = 0

        def on_page(result: PageResult) -> None:
            nonlocal count
            count += 1
            of = f"{documents} document{'s' * (documents != 1)}"
            status.update(f"{count} page{'s' * (count != 1)} of {of}, last {escape(result.document.name)}")

        yield on_page
