"""The only place where stages meet: documents in, page results out, in order, none missing, none twice."""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Protocol

import torch

from rtprune_cli import __version__, stopping
from rtprune_cli.engine import PageReader, StepFacts
from rtprune_cli.errors import OutputNameError, RtpruneError
from rtprune_cli.failures import tell, tell_warnings
from rtprune_cli.inputs import content_hash, fetcher
from rtprune_cli.libraries import import_ahead
from rtprune_cli.markdown import plain_markdown
from rtprune_cli.model import Checkpoint, OcrModel
from rtprune_cli.options import OcrOptions, ResolvedOptions, affecting
from rtprune_cli.outputs import Output
from rtprune_cli.prepare import Job, Preparer, available_cores, select_pages, worker_count
from rtprune_cli.records import (
    Document,
    DocumentPlan,
    Earlier,
    Idle,
    PageFault,
    PageImage,
    PageResult,
    PreparedContext,
    PreparedPage,
    WarningRecord,
    failed,
)
from rtprune_cli.report import Totals, unread_record
from rtprune_cli.report.facts import model_facts, versions
from rtprune_cli.settings import all_settings
from rtprune_cli.watching import Watcher

SAID_ONCE = frozenset(("untrained_mode", "untrained_prompt"))
FETCHED_AHEAD = 32  # documents at URLs
MIN_PAGES_FOR_RATE = 20  # before that, one bad page in the first three would stop a run of thousands


@dataclass(frozen=True)
class Opened:
    """The pages of this document come next, perhaps between those of others."""

    plan: DocumentPlan


@dataclass(frozen=True)
class Closed:
    """All pages of this document have come."""

    plan: DocumentPlan


Event = PageResult | Opened | Closed


class PageSource(Protocol):
    """Reads planned documents: here (:class:`OwnReader`), or by others on a cluster."""

    def read(self, plans: Iterable[DocumentPlan]) -> Generator[Event, None, None]:
        """Every document's beginning, its pages in any order, and its end; a plan is asked for when there is room."""

    @property
    def steps(self) -> StepFacts:
        """As :class:`~rtprune_cli.engine.PageReader` says it."""

    def summary(self) -> dict[str, Any]:
        """What the report's settings say of those who read; nothing of this process."""


class OwnReader:
    """Reads in this process, page by page in order."""

    def __init__(self, checkpoint: Checkpoint, options: OcrOptions, watcher: Watcher) -> None:
        self._checkpoint, self._options = checkpoint, checkpoint.resolve(options)
        self._reader, self._watcher = PageReader(checkpoint, options, watcher.loading), watcher

    def read(self, plans: Iterable[DocumentPlan]) -> Generator[Event, None, None]:
        """As :class:`PageSource` says."""
        with _own_threads(), _make_preparer(self._checkpoint, self._options) as preparer:
            events: Iterator[Event] = self._reader.read(_items(self._looked_at(plans), preparer, self._options))
            for event in events:
                if isinstance(event, PageResult):
                    self._watcher.workers(preparer.alive)
                yield event

    def _looked_at(self, plans: Iterable[DocumentPlan]) -> Iterator[DocumentPlan]:
        """The plans; when there is a page to read, what the model needs is imported while it is made ready."""
        for plan in plans:
            if not isinstance(self._checkpoint, OcrModel) and not plan.earlier.pages.issuperset(plan.pages):
                import_ahead(self._checkpoint.adapter.network)
            yield plan

    @property
    def steps(self) -> StepFacts:
        """As :class:`PageSource` says."""
        return self._reader.steps

    def summary(self) -> dict[str, Any]:
        """As :class:`PageSource` says."""
        return {}


def ocr(
    documents: Iterable[Document],
    checkpoint: Checkpoint,
    options: OcrOptions,
    output: Output,
    watcher: Watcher | None = None,
    source: PageSource | None = None,
    contents: Mapping[PurePosixPath, str] | None = None,
) -> Totals:
    """Read documents and write each as soon as its last page is done; the totals of what was read.

    Pages that an earlier run has done are not read again, and the model is loaded only when there is one to read.
    ``totals.stopped`` says why a run ended early (``--abort-on-error``, ``--max-page-error-rate``). ``source`` is who
    reads; None: this process. ``contents``: hashes that :func:`look_ahead` has made already.

    Raises:
        OutputError: the output cannot be written; what was finished before stays.
        ModelError: the weights cannot be loaded.
        EnvironmentFault: the GPU failed.
    """
    watcher = watcher or Watcher()
    settings = run_settings(checkpoint, options)
    totals = Totals()
    said: set[str] = set()
    at_hand: dict[PurePosixPath, tuple[DocumentPlan, Totals]] = {}  # documents by their folders
    watcher.begin(totals)
    planner = _Planner(checkpoint, options, output)
    plans = _starting(_planned(documents, planner, contents or {}), output, watcher)
    source = source or OwnReader(checkpoint, options, watcher)
    with closing(source.read(plans)) as events:
        for event in events:
            stopping.check()
            if isinstance(event, PageResult):
                _tell(event, said)
                plan, own = at_hand[event.document.folder]
                event = _placed(event, plan, output)
                output.add(event)
                totals.add_of(plan.document.name, own, event.record)
                watcher.page(event)
            elif isinstance(event, Opened):
                at_hand[event.plan.document.folder] = event.plan, Totals()
                watcher.opened(event.plan)
            else:
                plan, own = at_hand.pop(event.plan.document.folder)
                if plan.earlier.finished:
                    output.skip(plan.document, plan.earlier.records)
                    if options.run.fail_on_warning:  # they have not been seen to by being read before
                        for record in plan.earlier.records:
                            if record.warnings:
                                totals.warned.add(record)
                else:
                    settings["model"] |= asdict(source.steps)  # what became of them
                    output.finish(plan.document, plan.pages, settings | source.summary())
                watcher.closed(plan, own)
            _count_unsaved(output.unsaved(), totals, said)
            totals.stopped = _reason_to_stop(totals, options)
            if totals.stopped:
                break
    _count_unsaved(output.unsaved(wait=True), totals, said)
    return totals


def _count_unsaved(results: Iterable[PageResult], totals: Totals, said: set[str]) -> None:
    """Documents that were read, and failed on their way out: the watcher has seen them closed, and sees the totals."""
    for result in results:
        _tell(result, said)
        totals.add(result.record)


def run(documents: Iterable[Document], model: OcrModel, options: OcrOptions) -> Iterator[PageResult]:
    """Read documents page by page, in order. Every page yields one result; one that fails has its error in the record.

    A document that cannot be opened yields one result whose record has no page number. Nothing is written.
    """
    return read((DocumentPlan(document) for document in documents), model, options)


def read(
    plans: Iterable[DocumentPlan], model: OcrModel, options: OcrOptions, *, said: Collection[str] = ()
) -> Iterator[PageResult]:
    """:func:`run` for some pages of each document; a plan without pages means those of the options. ``said``: codes of
    warnings for every page that the caller has said."""
    with closing(ReadingSession(model, options)) as session:
        yield from session.read(plans, said=said)


class ReadingSession:
    """:func:`read` any number of times with one checkpoint and one set of options: the loaded model, its engine and the
    workers are kept in between.

    A read that was left before its end leaves pages in the engine and the workers; the session is then ``spoilt`` and
    can only be closed.
    """

    def __init__(self, checkpoint: Checkpoint, options: OcrOptions) -> None:
        self._checkpoint = checkpoint
        self._options = checkpoint.resolve(options)
        self._reader = PageReader(checkpoint, options)
        self._preparer = _make_preparer(checkpoint, self._options)
        self.spoilt = False

    @property
    def model(self) -> OcrModel | None:
        """What was loaded; None before the first page."""
        return self._reader.model

    @property
    def steps(self) -> StepFacts:
        """As :class:`PageSource` says."""
        return self._reader.steps

    @property
    def on_gpu(self) -> bool:
        """Whether the model works on a GPU."""
        return self._checkpoint.device.type == "cuda"

    def read(self, plans: Iterable[DocumentPlan | Idle], *, said: Collection[str] = ()) -> Iterator[PageResult]:
        """As :func:`read`; one at a time. Where the plans are :class:`Idle`, the pages that are there go on."""
        told = set(said)
        self.spoilt = True
        with _own_threads():
            for item in self._reader.read(_items(plans, self._preparer, self._options)):
                if isinstance(item, PageResult):
                    _tell(item, told)
                    yield item
        self.spoilt = False

    def close(self) -> None:
        """End the workers at once."""
        self._preparer.close()


def look_ahead(
    documents: Iterable[Document], checkpoint: Checkpoint, options: OcrOptions, output: Output
) -> tuple[bool, dict[PurePosixPath, str]]:
    """Whether there is a page to read, which costs something to be ready for; and, of the documents that had to be
    opened to know it, the hashes of their contents, by folder. Nothing is written."""
    contents = {}
    planner = _Planner(checkpoint, options, output)
    for document in documents:
        stopping.check()
        plan = planner.with_pages(planner.begun(document, None))
        if plan.content:
            contents[document.folder] = plan.content
        if plan.error is None and not plan.earlier.pages.issuperset(plan.pages):
            return True, contents
    return False, contents


def make_plan(
    document: Document,
    checkpoint: Checkpoint | None,
    options: OcrOptions,
    output: Output,
    *,
    content: str | None = None,
) -> DocumentPlan:
    """What is to be done with a document. Opens it, reads no page, writes nothing; never raises RtpruneError.

    Without a checkpoint nothing counts as done. ``content``: the hash of its bytes where it is known.
    """
    planner = _Planner(checkpoint, options, output)
    return planner.with_pages(planner.begun(document, content))


def _planned(
    documents: Iterable[Document], planner: _Planner, contents: Mapping[PurePosixPath, str]
) -> Iterator[DocumentPlan]:
    """The plans of all documents; files at URLs that are to be read are fetched before their turn comes."""
    ahead: deque[DocumentPlan] = deque()
    for document in documents:
        ahead.append(planner.begun(document, contents.get(document.folder)))
        if document.remote is not None and not ahead[-1].earlier.finished:
            fetcher().want(document.remote)
        while ahead and (document.remote is None or len(ahead) > FETCHED_AHEAD):
            yield planner.with_pages(ahead.popleft())
    yield from map(planner.with_pages, ahead)


class _Planner:
    """Makes plans in two steps, between which documents may be fetched."""

    def __init__(self, checkpoint: Checkpoint | None, options: OcrOptions, output: Output) -> None:
        self._checkpoint, self._options, self._output = checkpoint, options, output
        self._resolved = None if checkpoint is None else checkpoint.resolve(options)

    def begun(self, document: Document, content: str | None) -> DocumentPlan:
        """What is known of a document before it is opened; ``content`` as in :func:`make_plan`."""
        plan = DocumentPlan(document)
        try:
            content = content or content_hash(document)
            if self._checkpoint is not None and self._resolved is not None:
                mark = fingerprint(content, self._checkpoint, self._resolved)
                plan = replace(plan, content=content, fingerprint=mark)
                if not self._options.run.force:
                    plan = replace(plan, earlier=self._output.earlier(document, mark))
            return plan
        except RtpruneError as error:
            return replace(plan, error=error)

    def with_pages(self, plan: DocumentPlan) -> DocumentPlan:
        """The plan with the pages that are asked for, for which the document is opened unless it is done."""
        if plan.error is not None:
            return plan
        if plan.earlier.finished:
            pages = (record.page for record in plan.earlier.records)
            return replace(plan, pages=tuple(page for page in pages if page is not None))
        try:
            plan = replace(plan, pages=tuple(select_pages(plan.document, self._options.input)))
        except RtpruneError as error:
            return replace(plan, error=error)
        if self._resolved is None:
            return plan
        done = whole_contexts(plan.pages, plan.earlier, self._resolved.pages_per_context)
        return replace(plan, earlier=replace(plan.earlier, pages=done))


def whole_contexts(pages: Sequence[int], earlier: Earlier, size: int) -> frozenset[int]:
    """The pages that need not be read again where ``size`` of them are read as one text: those of contexts that an
    earlier run came to the end of. Others would be read without their neighbours, and have another text."""
    tried = earlier.pages | earlier.failed
    groups = (pages[start : start + size] for start in range(0, len(pages), size))
    return earlier.pages & {page for group in groups if tried.issuperset(group) for page in group}


def fingerprint(content: str, checkpoint: Checkpoint, options: ResolvedOptions) -> str:
    """What stands for everything that the text of a document depends on: content (SHA-256), settings, model, version.

    The device is not part of it: a run may go on elsewhere, if with the same dtype. The options are as the checkpoint
    resolves them.
    """
    facts = {
        **affecting(options),
        "content": content,
        "revision": checkpoint.revision,
        "dtype": str(checkpoint.dtype),
        "version": __version__,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


# --- Documents and pages in order --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Asked:
    """The pages of the document at hand that were asked for, done ones too."""

    pages: tuple[int, ...]


def _starting(plans: Iterable[DocumentPlan], output: Output, watcher: Watcher) -> Iterator[DocumentPlan]:
    for plan in plans:
        watcher.planned(plan)
        try:
            if plan.error is None and not plan.earlier.finished:
                output.start(plan.document, plan.fingerprint, plan.content, plan.earlier.pages)
        except OutputNameError as error:
            yield replace(plan, error=error)
        else:
            yield plan


def _make_preparer(checkpoint: Checkpoint, options: ResolvedOptions) -> Preparer:
    on_gpu, cores = checkpoint.device.type == "cuda", available_cores()
    workers = worker_count(options.input.processes, cores, on_gpu=on_gpu, small_model=checkpoint.is_small)

    def leave_cores_to_workers() -> None:
        # Threads that wait for each other lose many times the share of a core that a worker takes from one of them.
        if not on_gpu and checkpoint.is_small and "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(max(1, min(torch.get_num_threads(), cores - workers)))

    return Preparer(
        options.input,
        checkpoint.view_spec(options.mode),
        workers=workers,
        batch_size=options.decode.rows,
        on_start=leave_cores_to_workers,
    )


@contextmanager
def _own_threads() -> Iterator[None]:
    """Inside, workers may take cores; afterwards torch has as many threads as before."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _items(
    plans: Iterable[DocumentPlan | Idle], preparer: Preparer, options: ResolvedOptions
) -> Iterator[PreparedPage | PreparedContext | PageResult | Idle | Opened | Closed]:
    return _in_contexts(_made(plans, preparer, options), options.pages_per_context)


def _in_contexts(
    items: Iterable[PreparedPage | PageResult | Idle | Opened | Closed | _Asked], size: int
) -> Iterator[PreparedPage | PreparedContext | PageResult | Idle | Opened | Closed]:
    """Pages in groups of ``size``, counted from a document's first page that was asked for."""
    if size == 1:
        yield from (item for item in items if not isinstance(item, _Asked))
        return
    numbers: dict[int, int] = {}  # of the page's context
    group: list[PreparedPage | PageResult] = []
    number = 0
    for item in items:
        own = 0
        if isinstance(item, Idle):
            yield item
            continue
        if isinstance(item, _Asked):
            numbers = {page: 1 + at // size for at, page in enumerate(item.pages)}
        elif isinstance(item, PreparedPage):
            own = numbers[item.page.page]
        elif isinstance(item, PageResult) and item.record.page is not None:
            own = numbers[item.record.page]
        if own != number:
            yield from _grouped(number, group)
            group, number = [], own
        if own:
            group.append(item)  # type: ignore[arg-type]
        elif not isinstance(item, _Asked):
            yield item
        del item


def _grouped(
    number: int, items: Sequence[PreparedPage | PageResult]
) -> Iterator[PreparedPage | PreparedContext | PageResult]:
    context = PreparedContext(number, tuple(items))
    if len(context.pages) > 1:
        yield context
    else:
        yield from items


def _made(
    plans: Iterable[DocumentPlan | Idle], preparer: Preparer, options: ResolvedOptions
) -> Iterator[PreparedPage | PageResult | Idle | Opened | Closed | _Asked]:
    items: Iterator[PreparedPage | PageImage | PageFault | Idle | Opened | Closed | _Asked]
    items = preparer.prepare(_jobs(plans, options))
    for item in items:
        if isinstance(item, PageFault):
            yield failed(item.document, item.page, item.error, item.warnings)
        elif isinstance(item, PageImage):
            text, record = item.text or "", unread_record(item, options.mode, options.prompt)
            yield PageResult(item.document, record, plain_markdown(text), text)
        else:
            yield item
        del item  # its pixels are not needed while the next page is made


def _jobs(
    plans: Iterable[DocumentPlan | Idle], options: OcrOptions
) -> Iterator[Job | PageFault | Idle | Opened | Closed | _Asked]:
    for plan in plans:
        stopping.check()
        if isinstance(plan, Idle):
            yield plan
            continue
        yield Opened(plan)
        try:
            if plan.error is not None:
                raise plan.error
            if not plan.earlier.finished:
                pages = plan.pages or select_pages(plan.document, options.input)
                yield _Asked(tuple(pages))
                yield Job(plan.document, [page for page in pages if page not in plan.earlier.pages], plan.goes_on)
        except RtpruneError as error:
            yield PageFault(plan.document, None, error)
        yield Closed(plan)


def _tell(result: PageResult, said: set[str]) -> None:
    """When its turn comes: the page may have failed long before. What is the same for every page is said once."""
    if result.error is not None:
        tell(result.document, result.record.page, result.error)
    page = result.record.page
    new = [each for each in result.record.warnings if _said_as(result, each) not in said]
    tell_warnings(result.document, page, new)
    said.update(key for each in new if (key := _said_as(result, each)))


def _said_as(result: PageResult, warning: WarningRecord) -> str | None:
    """What stands for a warning that is said once: for all pages, or those of a context. None: it is of this page."""
    if warning.code == "context":
        return f"{result.document.name}\n{warning.message}"
    return warning.code if warning.code in SAID_ONCE else None


def _placed(result: PageResult, plan: DocumentPlan, output: Output) -> PageResult:
    """With what the report says of where the page came from and went to."""
    path, remote = output.text_path(result.document), plan.document.remote
    version = remote.version if remote else None
    content = plan.content or None if version is None else None
    return replace(result, record=replace(result.record, text_path=path, input_sha256=content, input_version=version))


def _reason_to_stop(totals: Totals, options: OcrOptions) -> str | None:
    rate, count = options.run.max_page_error_rate, totals.pages + totals.failed
    if options.run.abort_on_error and totals.failed:
        return "stopped at the first failure, as --abort-on-error asks"
    if rate is not None and count >= MIN_PAGES_FOR_RATE and totals.failed > rate * count:
        return f"stopped: {totals.failed} of {count} pages failed, more than --max-page-error-rate {rate:g} allows"
    return None


# --- What the report says about the run --------------------------------------------------------------------------


def run_settings(checkpoint: Checkpoint, options: OcrOptions) -> dict[str, Any]:
    """What a reader of the report needs to run this again: settings, model, device and versions."""
    settings = asdict(checkpoint.resolve(options))
    for name, setting in all_settings().items():
        group = settings.get(setting.group, settings)
        if setting.shown and group.get(name, "") is None:
            group[name] = setting.shown  # dynamic, auto
    settings["input"].pop("password")  # a report is shared; a password is not
    for name in ("output", "spool"):
        settings["output"].pop(name)  # folders can be moved
    settings.pop("run")  # how often the run was begun is no property of its result
    return {
        **settings,
        "model": model_facts(checkpoint),
        "versions": versions(),
    }
