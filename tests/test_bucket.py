"""An output folder in a bucket, on an S3 server of this machine."""

from __future__ import annotations

import itertools
import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_outputs import OPTIONS, PAPER, begin, finish, page, rows, with_crop

from rtprune_cli import remote, stopping
from rtprune_cli.errors import EnvironmentFault, ExitCode, OutputError, UsageError
from rtprune_cli.options import OutputOptions
from rtprune_cli.outputs import BucketOutput, FolderOutput, open_output, spool_of
from rtprune_cli.outputs.bucket import lease
from rtprune_cli.outputs.bucket.index import Index, Known
from rtprune_cli.outputs.bucket.lease import Lease
from rtprune_cli.outputs.bucket.objects import Objects
from rtprune_cli.outputs.layout import STATE, Layout
from rtprune_cli.outputs.shards import read_notes, take_shard
from rtprune_cli.records import Earlier, PageView
from rtprune_cli.remote import filesystem, shown

NOTICE = Path(__file__).parents[1] / "samples" / "notice.pdf"
LEASE = f"{STATE}/lease/"
VIEW = PageView(b"jpeg", b"small", b'{"version": 0}')

Bucket = Callable[..., BucketOutput]


@pytest.fixture
def s3_url(s3: Callable[[], str]) -> str:
    return f"{s3()}/out"


@pytest.fixture
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A folder of a file system in memory, which is quicker; on S3 for tests that ask for ``s3_url``."""
    if "s3_url" in request.fixturenames:
        yield request.getfixturevalue("s3_url")
        return
    yield "memory://bucket/out"
    filesystem("memory://")[0].store.clear()


@pytest.fixture
def at(url: str, tmp_path: Path) -> Bucket:
    """A function that makes a run's output: on a machine, one of several, each with a spool of its own."""

    def make(machine: str = "here", options: OutputOptions = OPTIONS, **more: Any) -> BucketOutput:
        return BucketOutput(url, options, tmp_path / f"spool-{machine}", **more)

    return make


def stored(url: str, *, tool: bool = False) -> dict[str, bytes]:
    """The objects in a bucket's folder by their names there; ``tool``: leases and their like too."""
    system, path = filesystem(url)
    system.invalidate_cache()
    found = {name.removeprefix(f"{path}/"): system.cat_file(name) for name in system.find(path)}
    return {name: data for name, data in found.items() if tool or not name.startswith(LEASE)}


def files(root: Path) -> dict[str, bytes]:
    """The files in a folder by their names, without what only makes sense on a disk."""
    found = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return {name: data for name, data in found.items() if name not in (f"{STATE}/lock", f"{STATE}/owner")}


def journal_of(found: dict[str, bytes]) -> str:
    (name,) = [name for name in found if name.startswith(f"{STATE}/journal/")]
    return name


class Server:
    """A file system of which some requests fail, and all are counted."""

    def __init__(self, system: Any, fails: Callable[[str, str], BaseException | None]) -> None:
        self._system, self._fails = system, fails
        self.asked: list[tuple[str, str]] = []

    def __getattr__(self, name: str) -> Any:
        known = getattr(self._system, name)
        if name not in ("put_file", "pipe_file", "rm_file", "cat_file", "get", "find"):
            return known

        def ask(*arguments: Any, **more: Any) -> Any:
            place = str(arguments[1 if name == "put_file" else 0])
            self.asked.append((name, place))
            if (error := self._fails(name, place)) is not None:
                raise error
            return known(*arguments, **more)

        return ask


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, url: str) -> Callable[..., Server]:
    """A function that has requests fail from now on: it is asked for the error of each, by call and object."""
    known = remote.filesystem
    monkeypatch.setattr(remote, "WAITS", (0.0, 0.0))

    def make(fails: Callable[[str, str], BaseException | None] = lambda call, place: None) -> Server:
        made = Server(known(url)[0], fails)
        monkeypatch.setattr(remote, "filesystem", lambda url: (made, known(url)[1]))
        return made

    return make


# --- What is there afterwards


def test_a_bucket_is_byte_for_byte_a_folder(s3_url: str, at: Bucket, url: str, tmp_path: Path) -> None:
    options = replace(OPTIONS, html=True, raw=True)
    viewed = replace(with_crop(1), view=VIEW)
    for root in (at("here", options), FolderOutput(tmp_path / "folder", options)):
        with root as out:
            finish(out, viewed, page(2, "more"))
            assert not out.unsaved(wait=True)
    assert stored(url) == files(tmp_path / "folder")
    assert len(stored(url)) == 11


def test_what_is_uploaded_leaves_the_disk(at: Bucket, tmp_path: Path) -> None:
    with at() as out:
        finish(out, with_crop(1))
        out.unsaved(wait=True)
    folder = tmp_path / "spool-here" / "folder"
    assert {path.name for path in folder.iterdir()} == {"report.jsonl", ".rtprune"}


def test_another_machine_reads_nothing_again(s3_url: str, at: Bucket, url: str) -> None:
    with at("one") as out:
        finish(out, with_crop(1), page(2))
    before = stored(url)
    with at("two") as out:
        earlier = out.earlier(PAPER, "f")
        assert earlier.finished and earlier.pages == {1, 2}
        out.skip(PAPER, earlier.records)
    assert stored(url) == before
    assert out.earlier(PAPER, "other settings") == Earlier()


def test_a_download_is_a_folder_in_which_a_run_goes_on(at: Bucket, url: str, tmp_path: Path) -> None:
    with at() as out:
        finish(out, with_crop(1))
    system, path = filesystem(url)
    system.get(path, str(tmp_path / "copy"), recursive=True)
    assert FolderOutput(tmp_path / "copy", OPTIONS).earlier(PAPER, "f").finished


def test_files_that_are_wanted_now_are_made(at: Bucket, url: str) -> None:
    with at(options=replace(OPTIONS, json=False)) as out:
        finish(out, page(1))
    assert at("two", replace(OPTIONS, json=False)).earlier(PAPER, "f").finished
    assert at("two").earlier(PAPER, "f") == Earlier()


def test_what_the_last_reading_made_and_this_one_did_not_goes(at: Bucket, url: str) -> None:
    with at("one", replace(OPTIONS, html=True, raw=True)) as out:
        finish(out, *(replace(with_crop(n), view=VIEW) for n in (1, 2)))
    system, path = filesystem(url)
    system.pipe_file(f"{path}/paper/images/mine.png", b"")
    with at("two") as out:
        finish(out, with_crop(1), page(2), fingerprint="g")
    names = {name for name in stored(url) if name.startswith("paper/")}
    assert names == {"paper/paper.md", "paper/paper.json", "paper/paper.report.json", "paper/images/page-0001-1.png",
                     "paper/images/mine.png"}  # fmt: skip


def test_odd_names_are_no_patterns(s3_url: str, at: Bucket, url: str) -> None:
    odd = replace(PAPER, folder=PAPER.folder.with_name("a[1]*?#"))
    for machine, pages in (("one", [with_crop(1)]), ("two", [page(1)])):
        with at(machine) as out:
            finish(out, *(replace(each, document=odd) for each in pages), document=odd, fingerprint=machine)
    names = [name for name in stored(url) if not name.startswith(".rtprune")]
    assert names == ["a[1]*?#/a[1]*?#.json", "a[1]*?#/a[1]*?#.md", "a[1]*?#/a[1]*?#.report.json", "report.jsonl"]


def test_the_report_keeps_what_other_runs_wrote(at: Bucket, url: str, tmp_path: Path) -> None:
    other = replace(PAPER, folder=PAPER.folder.with_name("other"))
    with at("one") as out:
        finish(out, page(1))
    with pytest.raises(KeyboardInterrupt), at("two") as out:
        finish(out, page(1, document=other), document=other)
        raise KeyboardInterrupt
    (tmp_path / "report.jsonl").write_bytes(stored(url)["report.jsonl"])
    assert rows(tmp_path) == [("paper", 1), ("other", 1)]


def test_the_html_report_has_what_another_machine_read(at: Bucket, url: str) -> None:
    html = replace(OPTIONS, html=True)
    other = replace(PAPER, folder=PAPER.folder.with_name("other"))
    with at("one", html) as out:
        finish(out, page(1, "the first text"))
    with at("two", html) as out:
        finish(out, page(1, "the second text", document=other), document=other)
    shown = stored(url)["report.html"].decode()
    assert "the first text" in shown and "the second text" in shown
    assert out.report_place() == f"{url}/report.html" and out.place(PAPER) == f"{url}/paper/paper.md"


def test_a_shard_leaves_its_note(at: Bucket, url: str, tmp_path: Path) -> None:
    with at(shard="1/1") as out:
        out.begin_shard(take_shard([PAPER], (1, 1), lambda _: "free")[1])
    name = f"{STATE}/shards/1-of-1.json"
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_bytes(stored(url)[name])
    assert [note.folders for note in read_notes(Layout(tmp_path))] == [("paper",)]


# --- Unfinished documents


def test_a_run_that_was_cut_goes_on_from_its_spool(at: Bucket, url: str) -> None:
    with pytest.raises(KeyboardInterrupt), at() as out:
        begin(out)
        out.add(with_crop(1))
        raise KeyboardInterrupt
    assert not [name for name in stored(url) if "paper" in name or "journal" in name]
    assert at("elsewhere").earlier(PAPER, "f") == Earlier()
    with at() as out:
        assert out.earlier(PAPER, "f").pages == {1}
        begin(out)
        out.add(page(2))
        out.finish(PAPER, [1, 2], {})
    assert "paper/images/page-0001-1.png" in stored(url)


def test_of_a_document_with_failed_pages_only_those_are_read_again(at: Bucket, url: str) -> None:
    html = replace(OPTIONS, html=True)
    with at("one", html) as out:
        finish(out, replace(with_crop(1), view=VIEW), page(2, error="torn"), page(3))
    with at("two", html) as out:
        assert out.earlier(PAPER, "f") == Earlier(pages=frozenset({1, 3}), failed=frozenset({2}))
        begin(out)
        out.add(with_crop(2))
        out.finish(PAPER, [1, 2, 3], {})
    found = stored(url)
    for number in (1, 2):
        assert f"paper/images/page-000{number}-1.png" in found
    assert "paper/report/page-0001.jpg" in found  # of a page that was not read again
    assert json.loads(found[journal_of(found)].splitlines()[0])["finished"]
    assert at("three", html).earlier(PAPER, "f").finished


def test_a_document_that_cannot_be_opened_keeps_its_text(at: Bucket, url: str) -> None:
    with at("one") as out:
        finish(out, page(1, "good"))
    before = stored(url)["paper/paper.md"]
    with at("two") as out:
        out.add(page(None, error="gone"))
        out.finish(PAPER, [], {})
    assert stored(url)["paper/paper.md"] == before
    with at("two", OutputOptions()) as out:
        assert out.earlier(PAPER, "f").finished


# --- Uploads that fail, and kills


def test_a_kill_before_the_journal_leaves_the_document_not_done(
    at: Bucket, url: str, server: Callable[..., Server]
) -> None:
    with at("one") as out:
        finish(out, page(1, "old"))
    server(lambda call, place: SystemError("killed") if call == "pipe_file" and "journal" in place else None)
    with at("one") as out:
        finish(out, page(1, "new"), fingerprint="g")
        (lost,) = out.unsaved(wait=True)
    assert "killed" in str(lost.error)
    found = stored(url)
    assert b"new" in found["paper/paper.md"] and not [name for name in found if "journal" in name]
    server()
    assert at("two").earlier(PAPER, "f") == Earlier() == at("two").earlier(PAPER, "g")
    with at("one") as out:
        earlier = out.earlier(PAPER, "g")
        assert earlier.finished
        out.skip(PAPER, earlier.records)
    assert at("three").earlier(PAPER, "g").finished


def test_a_failed_upload_is_tried_again(at: Bucket, url: str, server: Callable[..., Server]) -> None:
    number = itertools.count()
    server(lambda call, place: TimeoutError() if call == "put_file" and next(number) in (0, 2) else None)
    with at() as out:
        finish(out, page(1))
        assert not out.unsaved(wait=True)
    assert "paper/paper.md" in stored(url) and next(number) > 4


def test_an_upload_that_keeps_failing_costs_its_document(
    at: Bucket, url: str, server: Callable[..., Server], tmp_path: Path
) -> None:
    other = replace(PAPER, folder=PAPER.folder.with_name("other"))
    server(lambda call, place: PermissionError() if "paper.md" in place else None)
    with at() as out:
        finish(out, with_crop(1))
        finish(out, page(1, document=other), document=other)
        (lost,) = out.unsaved(wait=True)
        assert not out.unsaved(wait=True)
    assert lost.document is PAPER and lost.error is not None and lost.error.code == "upload"
    assert str(lost.error).startswith("in/paper.pdf could not be uploaded: access is denied. It is kept")
    assert "other/other.md" in stored(url) and "paper/paper.md" not in stored(url)
    assert b'"upload"' in stored(url)["report.jsonl"]
    server()
    with at() as out:
        earlier = out.earlier(PAPER, "f")
        assert earlier.finished
        out.skip(PAPER, earlier.records)
        assert not out.unsaved(wait=True)
    assert {"paper/paper.md", "paper/images/page-0001-1.png"} < stored(url).keys()
    assert b'"upload"' not in stored(url)["report.jsonl"]


def test_many_failures_in_a_row_end_the_run(at: Bucket, server: Callable[..., Server]) -> None:
    server(lambda call, place: PermissionError() if call == "put_file" and "/d" in place else None)
    with pytest.raises(OutputError, match="5 documents one after another could not be uploaded"), at() as out:
        for number in range(5):
            document = replace(PAPER, folder=PAPER.folder.with_name(f"d{number}"))
            finish(out, page(1, document=document), document=document)
        out.unsaved(wait=True)


def test_a_kill_while_journals_are_fetched_fetches_them_again(
    at: Bucket, url: str, server: Callable[..., Server], tmp_path: Path
) -> None:
    with at("one") as out:
        finish(out, page(1))
    name = journal_of(stored(url))
    place = tmp_path / "spool-two" / "folder" / name
    place.parent.mkdir(parents=True)
    place.write_bytes(stored(url)[name][:40])
    assert at("two").earlier(PAPER, "f").finished


# --- What others do in the bucket


def test_what_changed_in_the_bucket_counts(at: Bucket, url: str) -> None:
    with at("one") as out:
        finish(out, page(1))
    with at("two") as out:
        finish(out, with_crop(1), fingerprint="g")
    out = at("one")
    assert out.earlier(PAPER, "f") == Earlier() and out.earlier(PAPER, "g").finished


def test_a_journal_that_is_deleted_there_is_forgotten(at: Bucket, url: str) -> None:
    with at() as out:
        finish(out, page(1))
    system, path = filesystem(url)
    system.rm_file(f"{path}/{journal_of(stored(url))}")
    out = at()
    assert out.earlier(PAPER, "f") == Earlier() and out.occupancy(PAPER, lambda: "content") == "free"


def test_places_of_others_are_known(at: Bucket) -> None:
    with at("one") as out:
        finish(out, page(1))
    stranger = replace(PAPER, path=NOTICE)
    assert at("two").occupancy(stranger, lambda: "other") == "other"
    assert at("two").occupancy(PAPER, lambda: "") == "own"


def test_journals_that_are_known_are_not_asked_for(s3_url: str, at: Bucket, server: Callable[..., Server]) -> None:
    with at("one") as out:
        finish(out, page(1))
    for fetched in (1, 0):
        made = server()
        assert at("two").earlier(PAPER, "f").finished
        assert sum(call == "get" and "journal" in place for call, place in made.asked) == fetched


def test_a_dry_run_writes_nothing_there(at: Bucket, url: str, server: Callable[..., Server]) -> None:
    with at() as out:
        finish(out, page(1))
        assert at().earlier(PAPER, "g") == Earlier()  # beside the run that has the spool
    made = server()
    assert at("three").earlier(PAPER, "f").finished
    assert {call for call, _ in made.asked} <= {"find", "get"}


# --- One run at a time


def test_a_second_run_is_refused(s3_url: str, at: Bucket, url: str) -> None:
    with at("one"):
        with pytest.raises(OutputError, match=rf"rtprune process \d+ on .* writes to '{url}'. Wait for it"):
            at("two").__enter__()
        with pytest.raises(OutputError, match=f"writes to '{url}'"):  # by the lock of the spool
            at("one").__enter__()
    with at("two"):
        pass


def test_a_lease_of_a_run_that_was_lost_is_taken_over(
    s3_url: str, at: Bucket, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with at("one") as lost:
        monkeypatch.setattr(lease, "EXPIRES", -10.0)
        with at("two") as out:
            finish(out, page(1))
            assert not out.unsaved(wait=True)
        monkeypatch.setattr(lease, "EXPIRES", 300.0)
        finish(lost, page(1, "late"), fingerprint="g")
        assert lost._lease is not None
        lost._lease._renew()
        with pytest.raises(OutputError, match="another run has taken over"):
            lost.unsaved()
        monkeypatch.setattr(lost._lease, "check", lambda: None)


def test_a_killed_run_of_this_machine_has_no_lease(at: Bucket, url: str, tmp_path: Path) -> None:
    killed = at().__enter__()
    for lock in (killed._lock, killed._spool_lock):  # as the system does
        lock.release()
    with at():
        pass
    assert len([name for name in stored(url, tool=True) if name.startswith(LEASE)]) == 1


def test_of_many_who_take_a_lease_one_has_it(s3_url: str, url: str) -> None:
    objects = Objects(url)
    takers = [Lease(objects, url, str(number), what="", wait=False) for number in range(8)]
    barrier, won = threading.Barrier(len(takers)), []

    def take(taker: Lease) -> None:
        barrier.wait()
        try:
            taker.take()
            won.append(taker)
        except OutputError:
            pass

    threads = [threading.Thread(target=take, args=(taker,)) for taker in takers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    won[0].release()


def test_a_lease_is_waited_for(at: Bucket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    first = at("one").__enter__()
    monkeypatch.setattr(stopping, "pause", lambda seconds: first.__exit__(None, None, None))
    with caplog.at_level("INFO", "rtprune"), at("two", wait=True):
        pass
    assert "waiting: rtprune process" in caplog.text


def test_a_run_that_slept_looks_before_it_writes(at: Bucket, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with at("one") as slept:
        monkeypatch.setattr(lease, "EXPIRES", -10.0)
        with at("two"):
            finish(slept, page(1))
            with pytest.raises(OutputError, match="another run has taken over"):
                slept.unsaved(wait=True)
        monkeypatch.setattr(slept._lease, "check", lambda: None)
    assert not [name for name in stored(url) if "paper" in name]


# --- Commands


@pytest.mark.slow
def test_a_bucket_by_command(
    s3_url: str, url: str, rtprune: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pages_here: None
) -> None:
    flags = "--model", "tiny", "--device", "cpu", "--workers", "0", "-o", url
    first = rtprune("ocr", NOTICE, *flags, "--spool", tmp_path / "one", "--html")
    assert first.exit_code == 0, first.stderr
    found = stored(url)
    assert {"notice/notice.md", "notice/notice.json", "report.jsonl", "report.html"} < found.keys()
    assert str(tmp_path) not in found["notice/notice.report.json"].decode().replace(str(NOTICE), "")
    monkeypatch.setattr("rtprune_cli.model.Checkpoint.load", lambda *_: pytest.fail("the model is loaded"))
    again = rtprune("ocr", NOTICE, *flags, "--spool", tmp_path / "two")
    assert again.exit_code == 0 and "1 document done before" in again.stderr
    plan = rtprune("ocr", NOTICE, *flags, "--spool", tmp_path / "three", "--dry-run")
    assert "1 done before" in plan.stderr and f"{url}/notice/notice.md" in plan.stdout


@pytest.mark.slow
def test_a_document_that_does_not_get_there_is_a_failure(
    url: str, server: Callable[..., Server], rtprune: Any, tmp_path: Path, pages_here: None
) -> None:
    flags = "--model", "tiny", "--device", "cpu", "--workers", "0", "-o", url, "--spool", tmp_path, "--max-pages", "1"
    server(lambda call, place: PermissionError() if place.endswith("notice.md") else None)
    result = rtprune("ocr", NOTICE, *flags)
    assert result.exit_code == ExitCode.PARTIAL
    assert f"error: {NOTICE} could not be uploaded: access is denied. It is kept on this machine" in result.stderr
    server()
    again = rtprune("ocr", NOTICE, *flags)
    assert again.exit_code == 0 and "1 document done before" in again.stderr and "notice/notice.md" in stored(url)


def test_no_bucket_is_said_in_a_line(s3: Callable[[], str], rtprune: Any, tmp_path: Path) -> None:
    s3()
    result = rtprune("ocr", NOTICE, "--model", "tiny", "-o", "s3://no-such-bucket/x", "--spool", tmp_path)
    assert result.exit_code == ExitCode.FAILURE
    assert "cannot write 's3://no-such-bucket/x': there is no such bucket" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("merge", "s3://b/1", "-o", "whole"),
        ("merge", "here", "-o", "s3://b/whole"),
        ("convert", "s3://b/out", "--to", "text"),
        ("analyze", NOTICE, "-o", "s3://b/out"),
        ("inspect", NOTICE, "-o", "s3://b/out"),
        ("bench", "-o", "s3://b/out"),
        ("bench", "score", "--predictions", "s3://b/out"),
        ("bench", "speed", "--json", "s3://b/out.json"),
    ],
)
def test_commands_that_need_a_folder_refuse_a_url(
    arguments: tuple[Any, ...], rtprune: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = rtprune(*arguments)
    assert result.exit_code == ExitCode.USAGE and "is no folder of this machine" in result.stderr
    assert "s3://b/" in result.stderr and not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for where, message in (("https://host/out", "nothing can be written"), ("s3://b/out.md", "looks like a file")):
        with pytest.raises(UsageError, match=message):
            open_output(OutputOptions(output=where))
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(EnvironmentFault, match=r"gs:// needs a package that is not .* pip install .*gcsfs"):
        open_output(OutputOptions(output="gs://b/out"))


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    assert shown("sftp://me:hidden@host/out") == "sftp://me@host/out"
    assert shown("abfs://container@account.dfs.core.windows.net/out").startswith("abfs://container@account")
    assert spool_of("sftp://me:one@host/out/", str(tmp_path)) == spool_of("sftp://me:two@host/out", str(tmp_path))


def test_file_systems_with_folders_are_written_too(tmp_path: Path) -> None:
    with BucketOutput(f"file://{tmp_path}/there", OPTIONS, tmp_path / "spool") as out:
        finish(out, with_crop(1))
        assert not out.unsaved(wait=True)
    assert FolderOutput(tmp_path / "there", OPTIONS).earlier(PAPER, "f").finished


def test_an_index_survives_a_torn_line(tmp_path: Path) -> None:
    index = Index(tmp_path / "index")
    index.set("a", Known("1"))
    index.set("b", Known("2", 5, (1, 2), begun=True))
    index.set("a", None)
    with open(tmp_path / "index", "ab") as file:
        file.write(b'["b",{"vers')
    again = Index(tmp_path / "index")
    again.set("c", Known("3"))
    assert {name: Index(tmp_path / "index").get(name) for name in "abc"} == {
        "a": None, "b": Known("2", 5, (1, 2), begun=True), "c": Known("3")
    }  # fmt: skip
