"""Owns the command `rtprune inspect`: flags -> pictures and numbers of every page. torch is imported when it runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
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
    from rtprune_cli.inspection.leave_one_out import LeaveOneOut
    from rtprune_cli.model import OcrModel
    from rtprune_cli.records import Document, PageFault, PageImage, Views

log = logging.getLogger("rtprune")


OUTPUT = Path("inspect")
# Settings of `rtprune ocr` that concern a page up to its pruning, and those of reading it for --leave-one-out
SETTINGS = (
    "model", "revision", "offline", "device", "dtype", "mode", "ratio", "solver", "dpi", "pages", "password",
    "recursive", "max_pixels", "prompt", "max_new_tokens", "batch_size", "quiet", "verbose", "log_format",
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
        flag("output", "--output", "-o", metavar="FOLDER", help="Output folder."),
    ] = OUTPUT,
    left_out: Annotated[
        bool,
        flag(
            "comparison", "--leave-one-out", metavar=None,
            help="Read each page unpruned, then again without each single visual token: which change the text?",
        ),
    ] = False,
    tokens: Annotated[
        int | None,
        flag(
            "comparison", "--tokens", metavar="N", rare=True,
            help="Of --leave-one-out: tokens that are tried on a page, at most, by chance.  [default: all]",
        ),
    ] = None,
    seed: Annotated[int, flag("comparison", "--seed", metavar="N", help="Of --tokens.", rare=True)] = 0,
    config: Config = None,
) -> None:  # fmt: skip
    """Show what pruning does to pages, without reading their text.

    Writes pictures of every page, page-0001.kept.png, .norms.png, .density.png and .transport.png, and the numbers
    behind them, page-0001.json, to OUTPUT/NAME; with --leave-one-out, what the text hangs on. How to read them:
    rtprune docs inspect.
    """
    with resolved(given, config) as found:
        if tokens is not None and not left_out:
            raise UsageError("--tokens is of --leave-one-out", "Give --leave-one-out too")
        for name, value, least in (("tokens", tokens, 1), ("seed", seed, 0)):
            if value is not None and value < least:
                raise UsageError(f"{name} is {value}", f"Give a whole number of at least {least}")
        trial = Trial(tokens, seed) if left_out else None
        raise typer.Exit(_inspect(inputs or [], folder, found.ocr, trial))


@dataclass(frozen=True)
class Trial:
    """What --leave-one-out takes out of a page: ``most`` tokens by chance of the seed, None: all of them."""

    most: int | None
    seed: int


def _inspect(paths: Sequence[str], folder: Path, options: OcrOptions, trial: Trial | None) -> ExitCode:
    from rtprune_cli.inputs import check_pages
    from rtprune_cli.model import locate
    from rtprune_cli.outputs import find_documents
    from rtprune_cli.storage import make_folder
    from rtprune_cli.views.grid import NO_PLACE

    if str(folder) == "-":
        raise UsageError("pictures cannot go to standard output", "Give a folder with -o")
    # What can be wrong with the command is found before the model, which takes longest, is loaded.
    check_pages(options.input.pages)
    documents = find_documents(paths, recursive=options.input.recursive, exclude=[folder])
    make_folder(folder)
    with stoppable(at_once=True):
        checkpoint = locate(options.model)
        settled = checkpoint.resolve(options)
        if not checkpoint.adapter.layout.placed:
            text = "%s: %s; pictures that need one are left out, the numbers are all there"
            log.log(NOTICE, text, checkpoint.name, NO_PLACE)
        if options.prune.ratio is None and settled.prune.ratio == 1:
            log.log(NOTICE, "%s is not pruned by default: --ratio shows what pruning would do", checkpoint.name)
        model = checkpoint.load()
        log.info("the model %s (%s) is loaded on %s", model.name, model.revision, model.device)
        inspector = Inspector(folder, model, settled, trial)
        pages, codes = 0, set()
        for document in documents:
            for page, error in inspector.document(document):
                if error is None:
                    pages += 1
                else:
                    tell(document, page, error)
                    codes.add(error.exit_code)
    log.log(NOTICE, "%d %s inspected, in %s", pages, "page" if pages == 1 else "pages", folder)
    if len(codes) > 1:
        return ExitCode.PARTIAL
    return codes.pop() if codes else ExitCode.OK


class Inspector:
    """Inspects pages with one model, into one folder."""

    def __init__(self, folder: Path, model: OcrModel, options: ResolvedOptions, trial: Trial | None) -> None:
        from rtprune_cli.engine.prompts import PromptDecoder

        self._folder, self._model, self._options, self._trial = folder, model, options, trial
        self._decoder = PromptDecoder(model, options) if trial else None
        self._run = _run_record(model, options, trial)

    def document(self, document: Document) -> Iterator[tuple[int | None, RtpruneError | None]]:
        """Inspect a document's pages: the number of each, and what is wrong with it, if anything; None is the document.

        Raises:
            OutputError: the folder cannot be written.
            EnvironmentFault: the GPU failed.
        """
        from rtprune_cli.prepare import read_pages

        pages = read_pages(document, self._options.input)
        while True:
            try:
                page = next(pages, None)
            except RtpruneError as error:  # the document cannot be opened, or has no such page
                yield None, error
                return
            if page is None:
                return
            try:
                self._page(page)
            except InputError as error:
                yield page.page, error
            else:
                yield page.page, None

    def _page(self, page: PageImage | PageFault) -> None:
        from rtprune_cli.inspection.measure import inspect
        from rtprune_cli.inspection.write import write_page
        from rtprune_cli.records import PageFault
        from rtprune_cli.views import make_views

        if isinstance(page, PageFault):
            raise page.error
        name = page_name(page.document, page.page)
        with at_page(page.document, page.page):
            views = make_views(page.image, self._model.view_spec(self._options.mode))
            found = inspect(self._model, views, page.image.size, self._options.prune)
            left_out = self._left_out(views)
        write_page(self._folder / page.document.folder, page, found, self._run, left_out)
        kept, merged = len(found.plan.kept), len(found.plan.merged)
        log.info("%s: %d of %d visual tokens are kept, %d merged into them", name, kept, kept + merged, merged)
        if left_out is not None:
            same, tried = left_out.unchanged, len(left_out.tried)
            text = "%s: %d of %d tokens can go, one at a time, without a change of the text"
            log.log(NOTICE, text, name, same, tried)
            if left_out.noise:
                log.warning(
                    "%s read twice with all tokens differs by %d edits: smaller changes mean nothing; "
                    "give --dtype float32",
                    name, left_out.noise,
                )  # fmt: skip

    def _left_out(self, views: Views) -> LeaveOneOut | None:
        from rtprune_cli.inspection.leave_one_out import draw, leave_one_out

        if self._decoder is None or self._trial is None:
            return None
        (tokens,) = self._model.encode([views])
        tried = draw(len(tokens.tokens), self._trial.most, self._trial.seed)
        return leave_one_out(self._model, self._decoder, tokens, self._options.prompt, tried)


def _run_record(model: OcrModel, options: ResolvedOptions, trial: Trial | None) -> dict[str, Any]:
    """Settings, model and versions, as a report of `rtprune ocr` has them; those of the text where it is read."""
    settings = {**asdict(options.prune), "dpi": options.input.dpi, "max_pixels": options.input.max_pixels}
    if trial is not None:
        settings |= {"prompt": options.prompt, "tokens": trial.most, "seed": trial.seed}
    return {"settings": settings, "model": model_facts(model), "versions": versions()}
