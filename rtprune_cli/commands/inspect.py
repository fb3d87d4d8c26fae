"""Owns the command `rtprune inspect`: flags -> pictures and numbers of every page. torch is imported when it runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtprune_cli.commands.flags import Config, Given, flag, with_settings
from rtprune_cli.commands.frame import resolved
from rtprune_cli.commands.interrupts import stoppable
from rtprune_cli.errors import ExitCode, InputError, RtpruneError, UsageError
from rtprune_cli.failures import at_page, page_name, tell
from rtprune_cli.logs import NOTICE
from rtprune_cli.options import OcrOptions, ResolvedOptions
from rtprune_cli.report.facts import model_facts, versions

if TYPE_CHECKING:
    from rtprune_cli.model import OcrModel
    from rtprune_cli.records import Document, PageFault, PageImage

log = logging.getLogger("rtprune")


OUTPUT = Path("inspect")
# Settings of `rtprune ocr` that concern a page up to its pruning
SETTINGS = (
    "model", "revision", "offline", "device", "dtype", "mode", "ratio", "solver", "dpi", "pages", "password",
    "recursive", "max_pixels", "quiet", "verbose", "log_format",
)  # fmt: skip


@with_settings(*SETTINGS)
def inspect_command(
    given: Given,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUTS", help="PDFs, images or folders; '-' reads a document from standard input."),
    ] = None,
    folder: Annotated[
        Path,
        flag("output", "--output", "-o", metavar="DIR", help="Output folder."),
    ] = OUTPUT,
    config: Config = None,
) -> None:  # fmt: skip
    """Show what pruning does to pages, without reading their text.

    Writes pictures of every page, page-0001.kept.png, .norms.png, .density.png and .transport.png, and the numbers
    behind them, page-0001.json, to OUTPUT/NAME. How to read them: docs/inspect.md.
    """
    with resolved(given, config) as found:
        raise typer.Exit(_inspect(inputs or [], folder, found.ocr))


def _inspect(paths: Sequence[str], folder: Path, options: OcrOptions) -> ExitCode:
    from rtprune_cli.inputs import check_pages
    from rtprune_cli.model import locate
    from rtprune_cli.outputs import find_documents
    from rtprune_cli.storage import make_folder

    if str(folder) == "-":
        raise UsageError("pictures cannot go to standard output", "Give a folder with -o")
    # What can be wrong with the command is found before the model, which takes longest, is loaded.
    check_pages(options.input.pages)
    documents = find_documents(paths, recursive=options.input.recursive, exclude=[folder])
    make_folder(folder)
    with stoppable(at_once=True):
        model = locate(options.model).load()
        settled = model.resolve(options)
        log.info("loaded %s (%s) on %s", model.name, model.revision, model.device)
        run = _run_record(model, settled)
        pages, codes = 0, set()
        for document in documents:
            for page, error in _document(document, folder, model, settled, run):
                if error is None:
                    pages += 1
                else:
                    tell(document, page, error)
                    codes.add(error.exit_code)
    log.log(NOTICE, "%d %s inspected, in %s", pages, "page" if pages == 1 else "pages", folder)
    if len(codes) > 1:
        return ExitCode.PARTIAL
    return codes.pop() if codes else ExitCode.OK


def _document(
    document: Document, folder: Path, model: OcrModel, options: ResolvedOptions, run: dict[str, Any]
) -> Iterator[tuple[int | None, RtpruneError | None]]:
    """Inspect a document's pages: the number of each, and what is wrong with it, if anything; None is the document.

    Raises:
        OutputError: the folder cannot be written.
        EnvironmentFault: the GPU failed.
    """
    from rtprune_cli.prepare import read_pages

    pages = read_pages(document, options.input)
    while True:
        try:
            page = next(pages, None)
        except RtpruneError as error:  # the document cannot be opened, or has no such page
            yield None, error
            return
        if page is None:
            return
        try:
            _page(page, folder / document.folder, model, options, run)
        except InputError as error:
            yield page.page, error
        else:
            yield page.page, None


def _page(
    page: PageImage | PageFault, folder: Path, model: OcrModel, options: ResolvedOptions, run: dict[str, Any]
) -> None:
    from rtprune_cli.inspection.measure import inspect
    from rtprune_cli.inspection.write import write_page
    from rtprune_cli.records import PageFault
    from rtprune_cli.views import make_views

    if isinstance(page, PageFault):
        raise page.error
    with at_page(page.document, page.page):
        found = inspect(model, make_views(page.image, options.mode), page.image.size, options.prune)
    write_page(folder, page, found, run)
    kept, merged = len(found.plan.kept), len(found.plan.merged)
    log.info("%s: %d of %d tokens kept", page_name(page.document, page.page), kept, kept + merged)


def _run_record(model: OcrModel, options: ResolvedOptions) -> dict[str, Any]:
    """Settings, model and versions, as a report of `rtprune ocr` has them, without what is of the text."""
    settings = {**asdict(options.prune), "dpi": options.input.dpi, "max_pixels": options.input.max_pixels}
    return {"settings": settings, "model": model_facts(model), "versions": versions()}
