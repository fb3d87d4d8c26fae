"""Reading on a cluster: who gets which pages, with and without Ray, and readers that are lost."""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import pymupdf
import pytest
from conftest import for_every

from rtprune_cli.cluster import dispatch, driver
from rtprune_cli.cluster.dispatch import Chunk, Dispatcher
from rtprune_cli.cluster.remote import ReaderFacts, RemoteReader
from rtprune_cli.errors import EnvironmentFault, PageFailedError, UsageError
from rtprune_cli.model import Checkpoint, locate
from rtprune_cli.options import InputOptions, ModelOptions, OcrOptions, OutputOptions, RunOptions
from rtprune_cli.outputs import open_output
from rtprune_cli.pipeline import Closed, DocumentPlan, Event, Opened, ocr
from rtprune_cli.records import Document, Earlier, PageResult, failed
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
    (failure,) = [each for each in all_events(dispatcher) if isinstance(each, PageResult)]
    assert failure.record.page == 1 and failure.error is not None and failure.error.code == "reader_lost"


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
        (lambda: RunOptions(cluster="here"), "is no address"),
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

    def kill(self, *_: Any, **__: Any) -> None:
        pass


@pytest.mark.parametrize(("takes", "message"), [(False, "takes no readers"), (True, "no reader was there")])
def test_a_cluster_that_is_gone_is_said(takes: bool, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "NOBODY", 0.1)
    with pytest.raises(EnvironmentFault, match=message):
        driver.ClusterSource(NoCluster(takes), options_of(2), 1).start()


def test_readers_that_found_other_models_are_refused() -> None:
    """Also one that comes later, in the place of one that was lost."""
    source = driver.ClusterSource(NoCluster(True), options_of(1), 1)
    facts = ReaderFacts("local-1", "float32", "cpu")
    source._welcome(driver._Reader(0, None), facts)
    with pytest.raises(EnvironmentFault, match="different models or precisions"):
        source._welcome(driver._Reader(1, None), replace(facts, dtype="bfloat16"))


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
        source = driver.ClusterSource(ray, options, 1)
        try:
            source.start()
            return ocr(books, source.seen(tiny), options, output, source=source), source.summary()["cluster"]
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
    ray: Any, books: list[Document], tiny: Checkpoint, plain: list[bytes], tmp_path: Path
) -> None:
    totals, summary = read(books, tiny, tmp_path, ray)
    assert (totals.pages, totals.failed, summary["readers_lost"]) == (PAGES + 2, 0, 0)
    assert texts(tmp_path) == plain
    totals, _ = read(books, tiny, tmp_path, ray, readers=1)
    assert totals.pages == 0  # all is done


class EndsAtOnce(RemoteReader):
    """Ends at the page 7 of the book, for ever or until a file is there."""

    until: str | None = None

    def _put(self, result: PageResult | None, end: str = "") -> None:
        if result is not None and result.record.page == 7 and not (self.until and os.path.exists(self.until)):
            if self.until:
                Path(self.until).touch()
            os._exit(9)
        super()._put(result, end)


def reader_that_ends(monkeypatch: pytest.MonkeyPatch, until: Path | None) -> None:
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(EndsAtOnce, "until", None if until is None else str(until))
    monkeypatch.setattr(driver, "RemoteReader", EndsAtOnce)


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
    totals, summary = read(books, tiny, tmp_path, ray, readers=1)
    assert (totals.pages, totals.failed, summary["readers_lost"]) == (PAGES + 1, 1, 3)
    (failure,) = totals.failures
    assert failure.page == 7 and failure.error is not None and failure.error.code == "reader_lost"


@pytest.mark.slow
def test_a_model_that_is_not_there_is_said_as_ever(ray: Any, tmp_path: Path) -> None:
    options = replace(options_of(1), model=ModelOptions(model=str(tmp_path), device="cpu"))
    source = driver.ClusterSource(ray, options, 1)
    with pytest.raises(EnvironmentFault, match=r"holds no model\.safetensors"):
        source.start()
    source.end()


assert dispatch.CHUNK == 16  # what the tests above count with
