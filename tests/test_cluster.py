"""Reading on a cluster: who gets which pages, with and without Ray, and readers that are lost."""

from __future__ import annotations

import io
import json
import logging
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import pymupdf
import pytest
from conftest import for_every
from rich.console import Console

from rtprune_cli import pipeline
from rtprune_cli.cluster import crew, dispatch, driver, listening, remote, shipping
from rtprune_cli.cluster.dispatch import Chunk, Dispatcher
from rtprune_cli.cluster.remote import Numbered, ReaderFacts, RemoteReader
from rtprune_cli.cluster.shipping import Copies, FileStamp, Shipper
from rtprune_cli.commands import display
from rtprune_cli.commands.display import readers
from rtprune_cli.engine import StepFacts
from rtprune_cli.errors import EnvironmentFault, PageFailedError, UsageError
from rtprune_cli.inputs.passing import PassingFile
from rtprune_cli.model import Checkpoint, locate
from rtprune_cli.options import InputOptions, ModelOptions, OcrOptions, OutputOptions, RunOptions
from rtprune_cli.outputs import open_output
from rtprune_cli.pipeline import Closed, Event, Opened, ocr
from rtprune_cli.records import Document, DocumentPlan, Earlier, PageResult, failed
from rtprune_cli.report import Totals

ERROR = PageFailedError("as read")  # a result of a page is told by its number alone here


def plan_of(name: str, pages: int, done: frozenset[int] = frozenset()) -> DocumentPlan:
    document = Document(Path(name), name, PurePosixPath(name))
    return DocumentPlan(document, tuple(range(1, pages + 1)), Earlier(pages=done))


def result_of(chunk: Chunk, page: int) -> PageResult:
    return failed(chunk.plan.document, page, ERROR)


def all_events(dispatcher: Dispatcher) -> list[Event]:
    return list(dispatcher.events())


# --- Who gets what, without Ray ------------------------------------------------------------------------------------


def test_pages_leave_in_chunks_and_only_as_many_as_there_is_room_for() -> None:
    dispatcher = Dispatcher([plan_of("a", 40)], room=20)
    dispatcher.join(0)
    chunks = dispatcher.assign(0) + dispatcher.assign(0)
    assert [chunk.pages for chunk in chunks] == [list(range(1, 17)), list(range(17, 21))]
    assert dispatcher.assign(0) == []
    assert [chunk.plan.goes_on for chunk in chunks] == [False, True]  # what concerns the document is said once
    dispatcher.arrived(0, result_of(chunks[0], 3))
    assert [chunk.pages for chunk in dispatcher.assign(0)] == [[21]]


def test_small_documents_share_the_room_and_are_taken_in_as_they_are_needed() -> None:
    taken = []

    def plans() -> Iterator[DocumentPlan]:
        for number in range(1000):
            taken.append(number)
            yield plan_of(str(number), 2)

    dispatcher = Dispatcher(plans(), room=10)
    dispatcher.join(0)
    assert [str(chunk.plan.document.folder) for chunk in dispatcher.assign(0)] == ["0", "1", "2", "3", "4"]
    assert len(taken) <= 6


def test_a_document_ends_with_its_last_page_whatever_their_order() -> None:
    dispatcher = Dispatcher([plan_of("a", 3), plan_of("b", 1)], room=10)
    dispatcher.join(0)
    first, second = dispatcher.assign(0)
    assert [type(each) for each in all_events(dispatcher)] == [Opened, Opened]
    for page in (3, 1):
        dispatcher.arrived(0, result_of(first, page))
    assert all_events(dispatcher) == []
    dispatcher.arrived(0, result_of(second, 1))
    dispatcher.arrived(0, result_of(first, 2))
    assert [each.plan.document.name for each in all_events(dispatcher) if isinstance(each, Closed)] == ["b", "a"]
    assert dispatcher.done


def test_what_is_done_is_not_sent_and_contexts_stay_whole() -> None:
    dispatcher = Dispatcher([plan_of("a", 10, done=frozenset((4, 5, 6)))], context=3, room=6)
    dispatcher.join(0)
    (chunk,) = dispatcher.assign(0)
    assert chunk.pages == [1, 2, 3, 7, 8, 9]
    assert chunk.plan.pages == tuple(range(1, 11))  # contexts are counted from the document's first page


def test_a_page_that_comes_twice_counts_once() -> None:
    dispatcher = Dispatcher([plan_of("a", 2)], room=10)
    dispatcher.join(0)
    (chunk,) = dispatcher.assign(0)
    assert dispatcher.arrived(0, result_of(chunk, 1)) is not None
    assert dispatcher.arrived(0, result_of(chunk, 1)) is None


def test_readers_have_equal_parts() -> None:
    dispatcher = Dispatcher([plan_of("a", 60)], room=512)
    for reader in (0, 1):
        dispatcher.join(reader)
    counts = [sum(len(chunk.pages) for chunk in dispatcher.assign(reader)) for _ in range(2) for reader in (0, 1)]
    assert counts == [16, 16, 16, 12]


def test_pages_of_a_lost_reader_are_tried_apart_and_others_go_on() -> None:
    dispatcher = Dispatcher([plan_of("a", 9)], room=3)
    for reader in (0, 1):
        dispatcher.join(reader)
    dispatcher.assign(0)
    (second,) = dispatcher.assign(1)
    dispatcher.lost(0)
    dispatcher.join(2)
    assert [chunk.pages for chunk in dispatcher.assign(2)] == [[1, 2, 3]]  # all of them
    assert dispatcher.assign(2) == []  # and nothing else
    dispatcher.arrived(1, result_of(second, 4))
    assert [chunk.pages for chunk in dispatcher.assign(1)] == [[7]]
    dispatcher.lost(2)
    dispatcher.join(3)
    assert [chunk.pages for chunk in dispatcher.assign(3)] == [[1]]  # by itself
    dispatcher.lost(3)
    assert not [each for each in all_events(dispatcher) if isinstance(each, PageResult)]  # it may have been chance
    dispatcher.join(4)
    assert [chunk.pages for chunk in dispatcher.assign(4)] == [[1]]
    dispatcher.lost(4)
    (failure,) = [each for each in all_events(dispatcher) if isinstance(each, PageResult)]
    assert failure.record.page == 1 and failure.error is not None and failure.error.code == "reader_lost"


def test_a_page_that_was_the_last_of_its_chunk_was_not_by_itself() -> None:
    dispatcher = Dispatcher([plan_of("a", 2)], room=2)
    for reader in range(3):
        dispatcher.join(reader)
        for chunk in dispatcher.assign(reader):
            if len(chunk.pages) == 2 and reader == 1:  # on trial together, and one of them comes
                dispatcher.arrived(reader, result_of(chunk, 1))
        dispatcher.lost(reader)
    assert not [each for each in all_events(dispatcher) if isinstance(each, PageResult)]


@for_every("seed", range(20))
def test_readers_that_are_lost_by_chance_fail_no_page(seed: int) -> None:
    """Ten at random moments, of a run that reads a page in as many turns as it takes to start a reader."""
    draw = random.Random(seed)
    dispatcher = Dispatcher([plan_of("a", 200)], room=64)
    losses = set(draw.sample(range(200), 10))
    flight: dict[int, list[tuple[Chunk, int]]] = {0: [], 1: []}
    for reader in flight:
        dispatcher.join(reader)
    turn, names, read, failures = 0, 2, 0, 0
    while not dispatcher.done:
        failures += sum(isinstance(event, PageResult) for event in dispatcher.events())
        for reader, pages in list(flight.items()):
            pages += [(chunk, page) for chunk in dispatcher.assign(reader) for page in chunk.pages]
            if turn in losses:
                losses.remove(turn)
                dispatcher.lost(reader)
                del flight[reader]
                flight[names] = []
                dispatcher.join(names)
                names += 1
            elif pages:
                chunk, page = pages.pop(0)
                read += dispatcher.arrived(reader, result_of(chunk, page)) is not None
        turn += 1
    assert (read, failures) == (200, 0)


def test_a_document_that_a_reader_cannot_open_fails_as_a_whole() -> None:
    dispatcher = Dispatcher([plan_of("a", 30)], room=4)
    dispatcher.join(0)
    (chunk,) = dispatcher.assign(0)
    assert dispatcher.arrived(0, failed(chunk.plan.document, None, ERROR)) is not None
    assert isinstance(all_events(dispatcher)[-1], Closed) and dispatcher.done


@for_every("seed", range(60))
def test_whatever_readers_do_every_page_comes_once_and_only_killers_fail(seed: int) -> None:
    draw = random.Random(seed)
    plans = [plan_of(str(number), draw.randint(1, 30)) for number in range(draw.randint(1, 8))]
    every = {(plan.document.folder, page) for plan in plans for page in plan.pages}
    killers = set(draw.sample(sorted(every), min(len(every), draw.randint(0, 2))))
    context = draw.choice([1, 1, 3])
    dispatcher = Dispatcher(plans, context=context, room=draw.randint(1, 20))
    flight: dict[int, list[tuple[Chunk, int]]] = {reader: [] for reader in range(draw.randint(1, 3))}
    for reader in flight:
        dispatcher.join(reader)
    read: list[tuple[PurePosixPath, int]] = []
    lost: list[tuple[PurePosixPath, int]] = []
    opened, closed, names = 0, 0, len(flight)
    while not dispatcher.done:
        for event in dispatcher.events():
            opened, closed = opened + isinstance(event, Opened), closed + isinstance(event, Closed)
            if isinstance(event, PageResult):
                lost.append((event.document.folder, event.record.page or 0))
        for reader, pages in list(flight.items()):
            for chunk in dispatcher.assign(reader):
                pages += [(chunk, page) for page in chunk.pages]
            if not pages:
                continue
            chunk, page = pages.pop(0)
            if (chunk.plan.document.folder, page) in killers:
                dispatcher.lost(reader)
                del flight[reader]
                flight[names] = []
                dispatcher.join(names)
                names += 1
            elif (event := dispatcher.arrived(reader, result_of(chunk, page))) is not None:
                read.append((chunk.plan.document.folder, page))
    assert len(read) == len(set(read)) and set(read) | set(lost) == every and not set(read) & set(lost)
    if context == 1:
        assert set(lost) == killers
    assert opened == closed == len(plans)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RunOptions(cluster="here"), "is not an address"),
        (lambda: RunOptions(readers=0), "readers is 0"),
        (lambda: RunOptions(gpus_per_reader=-1), "gpus-per-reader is -1"),
        (
            lambda: OcrOptions(run=RunOptions(cluster="auto"), output=OutputOptions(output="-")),
            "needs an output folder",
        ),
    ],
)
def test_what_cannot_be_is_refused(make: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


def test_without_ray_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EnvironmentFault, match="needs Ray"), driver.connected("local"):
        pass


class NoCluster:
    """In the place of Ray: a cluster that is gone, or on which readers never start."""

    def __init__(self, takes: bool) -> None:
        self._takes = takes

    def cluster_resources(self) -> dict[str, float]:
        return {}

    def remote(self, _: type) -> Any:
        if not self._takes:
            raise ConnectionError("gone")
        return self

    def options(self, **_: Any) -> Any:
        return SimpleNamespace(remote=lambda *_: SimpleNamespace(facts=SimpleNamespace(remote=lambda: None)))

    def get(self, _: Any) -> Any:
        threading.Event().wait()

    def put(self, _: Any) -> None:
        raise NotImplementedError

    def kill(self, *_: Any, **__: Any) -> None:
        pass


@pytest.mark.parametrize(("takes", "message"), [(False, "takes no readers"), (True, "no reader was there")])
def test_a_cluster_that_is_gone_is_said(takes: bool, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "NOBODY", 0.1)
    with pytest.raises(EnvironmentFault, match=message):
        driver.ClusterSource(NoCluster(takes), options_of(2), 1).crew.start()


def test_readers_that_found_other_models_are_refused() -> None:
    """Also one that comes later, in the place of one that was lost."""
    source = driver.ClusterSource(NoCluster(True), options_of(1), 1)
    facts = ReaderFacts("local-1", "float32", "cpu")
    source.crew.welcome(listening.ReaderHandle(0, None), facts)
    with pytest.raises(EnvironmentFault, match="different models or precisions"):
        source.crew.welcome(listening.ReaderHandle(1, None), replace(facts, dtype="bfloat16"))


@pytest.mark.parametrize(("error", "starts"), [(listening.ReaderEnded("ModelError: no"), 3), (OSError("killed"), 10)])
def test_readers_that_end_before_they_read_are_not_started_for_ever(error: Exception, starts: int) -> None:
    """Where they do not say why, a page may have been at fault, and it takes more of them to know."""
    source = driver.ClusterSource(NoCluster(True), options_of(1), 1)
    reader = source.crew.make()
    for _ in range(starts - 1):
        reader = source.crew.replace(reader, error)
    with pytest.raises(EnvironmentFault, match=r"readers end before they read a page: (ModelError: no|killed)"):
        source.crew.replace(reader, error)


# --- Documents that only the driver sees, without Ray --------------------------------------------------------------


def sent_elsewhere(tmp_path: Path, text: bytes = b"text") -> tuple[Shipper, Chunk]:
    """A chunk of a document as it leaves the driver; the reader finds another file under its path."""
    path = tmp_path / "a.pdf"
    path.write_bytes(text)
    plan = DocumentPlan(Document(path, "a.pdf", PurePosixPath("a")), (1,))
    shipper = Shipper(lambda piece: piece)
    return shipper, replace(shipper.addressed(Chunk(plan)), stamp=FileStamp(1, 1))


def test_a_document_is_asked_for_once_and_kept_until_it_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "PIECE", 3)
    shipper, chunk = sent_elsewhere(tmp_path)
    folder, asked = chunk.plan.document.folder, list[PurePosixPath]()
    copies = Copies(asked.append)
    assert copies.placed(chunk) is None and copies.placed(chunk) is None and asked == [folder]
    pieces = shipper.pieces(folder, 7)
    assert pieces == [b"tex", b"t"] and shipper.pieces(folder, 8) is pieces  # they are put where readers get them once
    assert copies.receive(folder, pieces) == [chunk, chunk]
    plan = copies.placed(chunk)
    assert plan is not None and plan.document.path is not None
    path = plan.document.path
    assert (path.read_bytes(), path.suffix, path.parent) == (b"text", ".pdf", Path(tempfile.gettempdir()))
    assert shipper.closed(folder) == {7, 8} and shipper.pieces(folder, 7) is None
    copies.drop(folder)
    assert not os.path.lexists(path)
    assert copies.receive(folder, [b"late"]) == []


def test_a_document_that_is_seen_as_the_driver_sees_it_is_read_where_it_is(tmp_path: Path) -> None:
    shipper, chunk = sent_elsewhere(tmp_path)
    here = shipper.addressed(chunk)
    assert Copies(lambda _: pytest.fail("it was asked for")).placed(here) is here.plan


def test_a_document_to_which_readers_have_a_way_of_their_own_is_not_shipped() -> None:
    chunk = Chunk(DocumentPlan(Document(None, "https://host/a.pdf", PurePosixPath("a")), (1,)))
    sent = Shipper(lambda _: pytest.fail("it was shipped")).addressed(chunk)
    assert sent is chunk and Copies(lambda _: pytest.fail("it was asked for")).placed(sent) is chunk.plan


def test_bytes_of_standard_input_do_not_leave_with_each_chunk(tmp_path: Path) -> None:
    document = Document(None, "stdin", PurePosixPath("stdin"), b"text")
    shipper = Shipper(lambda piece: piece)
    sent = shipper.addressed(Chunk(DocumentPlan(document, (1,)))).plan.document
    assert sent.data is None and sent.path is not None and sent.path.read_bytes() == b"text"
    assert shipper.pieces(document.folder, 0) == [b"text"]
    shipper.close()
    assert not os.path.lexists(sent.path)


def test_of_a_file_that_is_gone_the_reader_says_what_is_wrong(tmp_path: Path) -> None:
    shipper, chunk = sent_elsewhere(tmp_path)
    copies = Copies(lambda _: None)
    copies.placed(chunk)
    (tmp_path / "a.pdf").unlink()
    assert copies.receive(chunk.plan.document.folder, shipper.pieces(chunk.plan.document.folder, 0)) == [chunk]
    assert copies.placed(chunk) is chunk.plan


def test_where_the_system_shows_no_open_files_a_copy_is_a_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping.os.path, "exists", lambda _: False)
    file = PassingFile(".pdf", [b"one", b"two"])
    assert file.path.read_bytes() == b"onetwo" and not file.path.is_symlink()
    file.close()
    assert not os.path.lexists(file.path)


@pytest.fixture
def log_level() -> Iterator[None]:
    """A reader sets the level of the log, in a process that is its own."""
    log = logging.getLogger("rtprune")
    before = log.level
    yield
    log.setLevel(before)


@pytest.mark.slow
@pytest.mark.usefixtures("log_level")
def test_a_reader_asks_for_what_it_does_not_see_and_reads_the_rest_meanwhile(
    books: list[Document], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    get = {"ref": b""}
    monkeypatch.setattr(remote, "import_ray", lambda: SimpleNamespace(get=get.__getitem__))
    reader = RemoteReader(options_of(1), None)
    reader.facts()
    elsewhere, here = (DocumentPlan(book, (1,)) for book in books)
    stamp = FileStamp(1, 1)
    blocked = replace(elsewhere, document=replace(books[0], folder=PurePosixPath("blocked"), name="blocked.pdf"))
    reader.add([Chunk(elsewhere, stamp), Chunk(blocked, stamp), Chunk(here)])
    said: list[Numbered] = []

    def wait_for(count: int) -> None:
        until = time.monotonic() + 60
        while len(said) < count and time.monotonic() < until:
            said.extend(reader.take(len(said)))

    wait_for(3)
    assert [each.wants and str(each.wants) for each in said] == ["book", "blocked", None]
    assert said[2].result is not None and said[2].result.document.name == "leaflet.pdf"
    get["ref"] = books[0].path.read_bytes()  # type: ignore[union-attr]
    reader.receive(PurePosixPath("book"), ["ref"])
    wait_for(4)
    result = said[3].result
    assert result is not None and result.error is None and "page" in result.raw
    reader.receive(PurePosixPath("blocked"), ["lost on its way"])
    wait_for(5)
    result = said[4].result
    assert result is not None and result.record.page is None
    assert str(result.error).startswith("blocked.pdf cannot be brought to a reader: KeyError")
    reader.drop(PurePosixPath("book"))
    reader._chunks.put(None)  # type: ignore[arg-type]  # at which it ends
    wait_for(6)
    assert said[5].end.startswith("AttributeError")


# --- What is said ----------------------------------------------------------------------------------------------------


def test_readers_are_shown_each_or_as_a_range() -> None:
    assert readers([0.5], 1, 1) == "1 reader"
    assert readers([0.5, 1.25], 2, 3) == "2 of 3 readers 0.50, 1.25"
    assert readers([0.5, 1.25, 3, 2, 1], 5, 5) == "5 readers 0.50–3.00"


def test_on_a_terminal_the_speed_of_many_readers_fits_a_line() -> None:
    plan, totals = plan_of("a", 20), Totals()
    totals.pages, totals.failures.count = 12345, 1
    with display._Bar(Console(file=io.StringIO(), width=80, force_terminal=True)) as bar:
        shown = display.ProgressDisplay(1, bar, "finding the model")
        shown.begin(totals)
        shown.rates([], 98, 100)
        shown.opened(plan)
        shown.page(result_of(Chunk(plan), 1))
        shown.rates([0.3, *[1.0] * 98, 10.5], 100, 100)
        line = shown.lines(80)[0]
    assert line == "12345 pages · 1 failed · 108.80 pages/s · 100 readers 0.30–10.50"


def test_the_speed_of_a_reader_is_that_of_the_last_minute() -> None:
    reader = listening.ReaderHandle(0, None)
    for second in range(0, 100, 2):
        reader.has_read(float(second))
    assert (reader.pages, reader.rate(99.0)) == (50, pytest.approx(0.5, abs=0.02))
    assert reader.rate(1000.0) == 0


def test_how_steps_run_is_said_of_all_readers() -> None:
    source = driver.ClusterSource(NoCluster(True), options_of(1), 1)
    assert source.steps.cuda_graphs is None
    for one, all_of_them in [
        (StepFacts(), StepFacts()),
        (StepFacts(True, ("attend", "pick")), StepFacts(True, ("attend", "pick"))),
        (StepFacts(False, ("attend",)), StepFacts(False, ("attend",))),
    ]:
        source.crew.readers.append(listening.ReaderHandle(0, None, steps=one))
        assert source.steps == all_of_them


# --- With Ray ------------------------------------------------------------------------------------------------------

PAGES = 40
FOLDERS = ("book", "leaflet")


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    pytest.importorskip("ray")
    with driver.connected("local") as connected:
        yield connected


@pytest.fixture(scope="module")
def tiny() -> Checkpoint:
    return locate(ModelOptions(model="tiny", device="cpu"))


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> list[Document]:
    """Two documents of 40 and 2 pages."""
    folder = tmp_path_factory.mktemp("books")
    for name, pages in zip(FOLDERS, (PAGES, 2), strict=True):
        with pymupdf.open() as pdf:
            for number in range(pages):
                page = pdf.new_page(width=300, height=300)
                page.insert_text((30, 60), f"page {number + 1}", fontsize=24)
            pdf.save(folder / f"{name}.pdf")
    return [Document(folder / f"{name}.pdf", f"{name}.pdf", PurePosixPath(name)) for name in FOLDERS]


def options_of(readers: int) -> OcrOptions:
    run = RunOptions(cluster="local", readers=readers)
    return OcrOptions(model=ModelOptions(model="tiny", device="cpu"), run=run, input=InputOptions(workers=0))


def read(books: list[Document], tiny: Checkpoint, out: Path, ray: Any = None, readers: int = 2) -> tuple[Totals, Any]:
    """The books read into a folder, by readers on a cluster or, without Ray, by this process."""
    options = options_of(readers)
    with open_output(replace(options.output, output=str(out)), wait=False, several=True) as output:
        if ray is None:
            return ocr(books, tiny, options, output), None
        rates: list[Sequence[float]] = []
        source = driver.ClusterSource(ray, options, 1, lambda pages, alive, wanted: rates.append(pages))
        try:
            source.start()
            totals = ocr(books, source.seen(tiny), options, output, source=source)
            return totals, source.summary()["cluster"] | {"rates": rates}
        finally:
            source.end()


def texts(out: Path) -> list[bytes]:
    return [(out / name / f"{name}.{kind}").read_bytes() for name in FOLDERS for kind in ("md", "json")]


@pytest.fixture(scope="module")
def plain(books: list[Document], tiny: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    out = tmp_path_factory.mktemp("plain")
    read(books, tiny, out)
    return texts(out)


@pytest.mark.slow
def test_a_cluster_writes_the_same_bytes(
    ray: Any,
    books: list[Document],
    tiny: Checkpoint,
    plain: list[bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Also of documents that readers do not see as the driver does, or that came by standard input."""
    real = FileStamp.of
    monkeypatch.setattr(FileStamp, "of", lambda path: replace(real(path) or FileStamp(0, 0), modified=0))
    leaflet = books[1]
    piped = replace(leaflet, path=None, data=leaflet.path.read_bytes())  # type: ignore[union-attr]
    with caplog.at_level(logging.INFO, logger="rtprune"):
        totals, summary = read([books[0], piped], tiny, tmp_path, ray)
    assert (totals.pages, totals.failed, summary["readers_lost"]) == (PAGES + 2, 0, 0)
    assert texts(tmp_path)[:3] == plain[:3]
    assert json.loads(texts(tmp_path)[3])["pages"] == json.loads(plain[3])["pages"]  # but for its path, which is null
    assert summary["rates"][0] == [] and len(summary["rates"][-1]) == 2 and all(summary["rates"][-1])
    (by_reader,) = [each.args for each in caplog.records if each.msg.startswith("pages that each reader")]
    assert sum(map(int, by_reader[0].split(", "))) == PAGES + 2  # type: ignore[index,union-attr]


class EndsAtOnce(RemoteReader):
    """Ends at a page, for ever or until a file is there."""

    page = ("book", 7)
    until: str | None = None

    def _put(self, result: PageResult | None = None, **others: Any) -> None:
        at = None if result is None else (str(result.document.folder), result.record.page)
        if at == self.page and not (self.until and os.path.exists(self.until)):
            if self.until:
                Path(self.until).touch()
            os._exit(9)
        super()._put(result, **others)


def reader_that_ends(monkeypatch: pytest.MonkeyPatch, until: Path | None) -> None:
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(EndsAtOnce, "until", None if until is None else str(until))
    monkeypatch.setattr(crew, "RemoteReader", EndsAtOnce)


@pytest.mark.slow
def test_a_reader_that_is_lost_costs_nothing(
    ray: Any,
    books: list[Document],
    tiny: Checkpoint,
    plain: list[bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader_that_ends(monkeypatch, until=tmp_path / "ended")
    totals, summary = read(books, tiny, tmp_path / "out", ray)
    assert (totals.pages, totals.failed) == (PAGES + 2, 0)
    assert summary["readers_lost"] == 1 and 0 < summary["pages_read_again"] <= driver.ROOM["cpu"]
    assert texts(tmp_path / "out") == plain


@pytest.mark.slow
def test_a_page_that_always_ends_its_reader_fails_alone(
    ray: Any, books: list[Document], tiny: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader_that_ends(monkeypatch, until=None)
    monkeypatch.setattr(EndsAtOnce, "page", ("leaflet", 2))
    monkeypatch.setitem(driver.ROOM, "cpu", 1)  # no other page is lost with it, which takes a reader less to know
    totals, summary = read(books[1:], tiny, tmp_path, ray, readers=1)
    assert (totals.pages, totals.failed, summary["readers_lost"]) == (1, 1, 3)
    (failure,) = totals.failures.first
    assert failure.page == 2 and failure.error is not None and failure.error.code == "reader_lost"


@pytest.mark.slow
def test_a_model_that_is_not_there_is_said_as_ever(ray: Any, tmp_path: Path) -> None:
    options = replace(options_of(1), model=ModelOptions(model=str(tmp_path), device="cpu"))
    source = driver.ClusterSource(ray, options, 1)
    with pytest.raises(EnvironmentFault, match=r"holds no model\.safetensors"):
        source.start()
    source.end()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "starts"), [((), False), (("--force",), True), (("--cluster", "auto", "--device", "auto"), True)]
)
def test_no_cluster_is_started_where_all_is_done(
    flags: tuple[str, ...],
    starts: bool,
    books: list[Document],
    tmp_path: Path,
    rtprune: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or cannot be read; unless it cannot be known before which precision is best for the readers."""

    def connected(_: str) -> Any:
        raise EnvironmentFault("a cluster was started", "")

    hashed: list[Document] = []
    real = pipeline.content_hash
    monkeypatch.setattr(pipeline, "content_hash", lambda document: hashed.append(document) or real(document))
    monkeypatch.setattr(driver, "connected", connected)
    empty = tmp_path / "empty.pdf"
    empty.touch()
    command = (
        "ocr",
        books[1].path,
        empty,
        "-o",
        tmp_path / "out",
        "--model",
        "tiny",
        "--device",
        "cpu",
        "--workers",
        "0",
    )
    assert rtprune(*command).exit_code == 4
    hashed.clear()
    again = rtprune(*command, "--cluster", "local", *flags)
    assert ("a cluster was started" in again.stderr) == starts
    assert again.exit_code == (3 if starts else 4)
    assert len(hashed) == len({document.name for document in hashed})  # none twice, which takes long for many


assert dispatch.CHUNK == 16  # what the tests above count with
