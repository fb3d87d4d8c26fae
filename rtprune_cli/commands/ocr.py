"""The command `rtprune ocr`. torch is imported when it runs."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtprune_cli import stopping
from rtprune_cli.commands.again import goes_on
from rtprune_cli.commands.examples import FIRST_STEPS
from rtprune_cli.commands.flags import Config, Given, flag, with_settings
from rtprune_cli.commands.frame import code_of, resolved
from rtprune_cli.commands.helppage import TYPED
from rtprune_cli.commands.interrupts import stoppable
from rtprune_cli.errors import EnvironmentFault, ExitCode
from rtprune_cli.logs import NOTICE
from rtprune_cli.options import LogOptions, OcrOptions

if TYPE_CHECKING:
    from rtprune_cli.cluster import ClusterSource
    from rtprune_cli.model import Checkpoint
    from rtprune_cli.outputs import Output
    from rtprune_cli.outputs.naming import Occupancy
    from rtprune_cli.records import Document
    from rtprune_cli.report import Totals
    from rtprune_cli.watching import Watcher

log = logging.getLogger("rtprune")


@with_settings()
def ocr(
    given: Given,
    context: typer.Context,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUTS", help="PDFs, images, folders or URLs; '-' reads a document from standard input."
        ),
    ] = None,
    files_from: Annotated[
        str | None,
        flag(
            "input", "--files-from", metavar="FILE",
            help="A list of inputs, one a line: a file, a URL, or '-' for standard input.",
        ),
    ] = None,
    null: Annotated[
        bool,
        flag(
            "input", "--null", "-0", metavar=None, rare=True, help="--files-from is separated by NUL, as find -print0."
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        flag("run", "--dry-run", metavar=None, help="Say what would be read, and read nothing."),
    ] = False,
    config: Config = None,
) -> None:  # fmt: skip
    """Read documents and write markdown and a pruning report.

    Writes OUTPUT/NAME/NAME.md, NAME.json, images/ and NAME.report.json for each document, and OUTPUT/report.jsonl over
    all of them. The same command goes on where the last one stopped.
    """
    with resolved(given, config) as found:
        if not inputs and files_from is None and found.log.log_format != "json" and sys.stderr.isatty():
            typer.echo(FIRST_STEPS, err=True)
            raise typer.Exit(ExitCode.USAGE)
        if not dry_run:
            _keep_terminal_clean(found.ocr, found.log)
        from_stdin = files_from == "-" or "-" in (inputs or [])
        again = goes_on(context.command_path, context.meta[TYPED], forced=found.ocr.run.force, from_stdin=from_stdin)
        raise typer.Exit(_ocr(inputs or [], files_from, null, found.ocr, found.log, dry_run, again))


def _keep_terminal_clean(options: OcrOptions, log_options: LogOptions) -> None:
    """With markdown on standard output a terminal shows that, or the pager that it goes to: warnings and errors alone
    are said there, unless -v asks for more."""
    asks = log_options.verbose or log_options.log_format == "json"
    if options.output.output == "-" and sys.stderr.isatty() and not asks:
        log.setLevel(max(log.level, logging.WARNING))


def _ocr(
    paths: list[str],
    files_from: str | None,
    null: bool,
    options: OcrOptions,
    log_options: LogOptions,
    dry_run: bool,
    again: str,
) -> ExitCode:
    from rtprune_cli.prepare import guard, with_attachments

    guard().start()  # it is there when torch is
    from rtprune_cli.inputs import check_pages, content_hash, find_files
    from rtprune_cli.outputs import STDOUT, name_documents, open_output, take_shard
    from rtprune_cli.outputs.layout import is_output, is_written
    from rtprune_cli.remote import is_url

    # What can be wrong with the command is found before the model, which takes longest, is loaded.
    check_pages(options.input.pages)
    # The output folder may lie in an input folder: its crops are no input of the next run.
    written = [] if options.output.output == STDOUT or is_url(options.output.output) else [Path(options.output.output)]
    found = find_files(
        paths,
        recursive=options.input.recursive,
        files_from=files_from,
        null=null,
        exclude=written,
        patterns=options.input.excluded,
        is_written=is_written,
        is_output=is_output,
    )
    if options.input.attachments:
        found = with_attachments(found, options.input)
    output = open_output(options.output, wait=options.run.wait, several=len(found) > 1, shard=options.run.shard)

    def occupancy(document: Document) -> Occupancy:
        return output.occupancy(document, lambda: content_hash(document))

    def documents() -> list[Document]:
        """Named as the output folder allows, which nobody else may change meanwhile."""
        if options.run.part is None:
            return name_documents(found, occupancy)
        own, note = take_shard(found, options.run.part, occupancy)
        rest = "" if own else "; there is nothing to read"
        log.log(NOTICE, "shard %s: %d of %d documents%s", note.name, len(own), len(found), rest)
        if not dry_run:
            output.begin_shard(note)
        return own

    if dry_run:
        return _dry_run(documents(), options, output)
    with stoppable(), output:
        named = documents()
        code = _run(named, options, output, log_options, again) if named else ExitCode.OK
    place = output.report_place() if options.output.html else None
    if place is not None:
        log.log(NOTICE, "the report is %s", place)
    return code


def _run(
    documents: list[Document], options: OcrOptions, output: Output, log_options: LogOptions, again: str
) -> ExitCode:
    from rtprune_cli.commands.display import showing
    from rtprune_cli.commands.ending import RunEnd, tell_end
    from rtprune_cli.commands.last_run import remember
    from rtprune_cli.outputs import StreamOutput

    code, began, to_stdout = None, time.monotonic(), isinstance(output, StreamOutput)
    with showing(len(documents), log_options, f"finding {options.model.model}", drawn=not to_stdout) as display:
        from rtprune_cli.model import locate  # torch takes seconds
        from rtprune_cli.pipeline import look_ahead
        from rtprune_cli.pipeline import ocr as read_and_write

        try:
            with stopping.at_once():  # it may be downloaded
                checkpoint = locate(options.model)
            to_read, contents = True, None
            if _knows_readers(options, checkpoint):  # which take seconds to start
                to_read, contents = look_ahead(documents, checkpoint, options, output)
            with _source(options, checkpoint, display, to_read) as source:
                if source is not None:
                    checkpoint = source.seen(checkpoint)
                read_and_write(documents, checkpoint, options, output, display, source, contents)
        except KeyboardInterrupt as stop:
            display.totals.stopped, code = "interrupted", code_of(stop)
    seconds = time.monotonic() - began
    tell_end(display, log_options, RunEnd(seconds, options.output.output, "" if to_stdout else again))
    if code is None:
        remember(checkpoint, options, display.totals, seconds)
    return exit_code(display.totals, options.run.fail_on_warning) if code is None else code


def _knows_readers(options: OcrOptions, checkpoint: Checkpoint) -> bool:
    """Whether readers on a cluster find the checkpoint that this machine has found."""
    if options.run.cluster is None:
        return False
    from rtprune_cli.cluster import find_the_same

    return find_the_same(options, checkpoint)


def _source(
    options: OcrOptions, checkpoint: Checkpoint, watcher: Watcher, to_read: bool
) -> AbstractContextManager[ClusterSource | None]:
    """Who reads: readers on a cluster, or None: this process, also where there is nothing ``to_read``."""
    if options.run.cluster is None or not to_read:
        return nullcontext()
    from rtprune_cli.cluster import cluster_source

    return cluster_source(options, checkpoint.resolve(options).pages_per_context, watcher.rates)


def _dry_run(documents: list[Document], options: OcrOptions, output: Output) -> ExitCode:
    from rtprune_cli.commands.last_run import last_run
    from rtprune_cli.commands.plan import print_plan
    from rtprune_cli.model import locate
    from rtprune_cli.pipeline import make_plan

    try:
        checkpoint = locate(replace(options.model, offline=True))
    except EnvironmentFault as error:
        log.warning("%s; what is done already is not known without it", error)
        checkpoint = None
    plans = (make_plan(document, checkpoint, options, output) for document in documents)
    return exit_code(print_plan(plans, output, last_run(checkpoint, options) if checkpoint else None))


def exit_code(totals: Totals, fail_on_warning: bool = False) -> ExitCode:
    """0 when every page was read; 8 or 2 when each failure is an encrypted file or a page range; else 4, which it is
    also for a warning where that was asked for."""
    if not totals.failure_codes:
        return ExitCode.PARTIAL if fail_on_warning and totals.warned.count else ExitCode.OK
    code, *others = totals.failure_codes
    if others:
        return ExitCode.PARTIAL
    return {"encrypted": ExitCode.ENCRYPTED, "page_range": ExitCode.USAGE}.get(code, ExitCode.PARTIAL)
