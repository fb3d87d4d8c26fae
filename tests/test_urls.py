"""Inputs at URLs: what is found, fetched and kept of them, on an S3 and an HTTP server of this machine."""

from __future__ import annotations

import http.server
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
import pytest

from rtprune_cli import remote, stopping
from rtprune_cli.errors import EnvironmentFault, InputError, UsageError
from rtprune_cli.inputs import content_hash, fetching, find_files
from rtprune_cli.inputs.content import here
from rtprune_cli.inputs.fetching import Fetcher
from rtprune_cli.outputs.layout import is_output, is_written
from rtprune_cli.records import Document, RemoteFile

Bucket = Callable[[], str]


def put(url: str, data: bytes = b"x") -> str:
    """An object at ``url``, which is returned."""
    system, path = remote.filesystem(url)
    system.pipe_file(path, data)
    return url


def places(found: list[Document]) -> list[str]:
    return [str(document.folder) for document in found]


# --- What is found


def test_files_of_a_bucket_are_chosen_as_those_of_a_folder(s3: Bucket) -> None:
    root = s3()
    for name in (
        "b.pdf",
        "a/x.PNG",
        ".h/x.pdf",
        "a/.x.pdf",
        "draft-1.pdf",
        "notes.txt",
        "old/out/.rtprune/lock",
        "old/out/p/p.pdf",
    ):
        put(f"{root}/in/{name}")
    found = find_files([f"{root}/in/"], recursive=True, patterns=["draft-*"], is_output=is_output)
    assert places(found) == ["a/x", "b"]
    assert [document.name for document in found] == [f"{root}/in/a/x.PNG", f"{root}/in/b.pdf"]
    assert places(find_files([f"{root}/in"], recursive=False)) == ["b", "draft-1"]


def test_crops_of_a_run_into_the_same_bucket_are_no_input(s3: Bucket) -> None:
    root = s3()
    for name in (
        ".rtprune/lock",
        "a.pdf",
        "a/images/page-0001-1.png",
        "a/report/page-0001.jpg",
        "a/report/page-0001.json",
    ):
        put(f"{root}/{name}")
    found = find_files([root], recursive=True, is_output=is_output, is_written=is_written)
    assert places(found) == ["a"]


def test_an_object_that_is_not_there_is_a_wrong_command_and_in_a_list_fails_alone(s3: Bucket, tmp_path: Path) -> None:
    root = s3()
    with pytest.raises(UsageError, match=r"'s3://.*none.pdf' does not exist"):
        find_files([f"{root}/none.pdf"], recursive=False)
    names = put(f"{root}/list", f"{put(f'{root}/a.pdf')}\n{root}/none.pdf\n".encode())
    found = find_files([], recursive=False, files_from=names)
    assert places(found) == ["a", "none"]
    with pytest.raises(InputError, match=r"none.pdf cannot be fetched: there is no such file"):
        content_hash(found[1])


def test_a_list_that_is_not_there_is_a_wrong_command(s3: Bucket) -> None:
    with pytest.raises(UsageError, match=r"cannot read the list s3://.*: there is no such file"):
        find_files([], recursive=False, files_from=f"{s3()}/list")


def test_a_bucket_without_documents_is_told_as_a_folder_is(s3: Bucket) -> None:
    root = s3()
    put(f"{root}/in/notes.txt")
    with pytest.raises(UsageError, match="holds no file that can be read"):
        find_files([f"{root}/in"], recursive=True)


def test_an_object_that_is_named_twice_is_one(s3: Bucket) -> None:
    root = s3()
    assert len(find_files([put(f"{root}/a.pdf"), root, f"{root}/"], recursive=True)) == 1


def test_addresses_without_a_library_say_what_to_do() -> None:
    with pytest.raises(UsageError, match="foo:// is not an address that can be used"):
        find_files(["foo://x/y"], recursive=False)


def test_a_library_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(url: str) -> None:
        raise ImportError("no gcsfs")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(EnvironmentFault, match=r"gs:// needs a package .* pip install '?gcsfs"):
        find_files(["gs://x/y"], recursive=False)


# --- What a URL may show


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@host/a%20b.pdf?id=3&X-Amz-Signature=1&X-Amz-Expires=9", "https://host/a%20b.pdf?id=3"),
        ("https://host/a?sv=1&sig=abc&se=2", "https://host/a"),
        ("HTTPS://host/a?page=1&access_token=s", "https://host/a?page=1"),
        ("s3://bucket/a?b#c", "s3://bucket/a?b#c"),
    ],
)
def test_what_lets_others_in_is_not_shown(url: str, shown: str) -> None:
    assert remote.shown(url) == shown


@pytest.mark.parametrize(
    ("path", "is_one"), [("s3://b/x", True), ("https://x", True), ("s3:/b", False), ("C://x", False), ("a/b", False)]
)
def test_what_is_a_url(path: str, is_one: bool) -> None:
    assert remote.is_url(path) == is_one


# --- What stands for its content


def test_the_version_stands_for_the_content_and_changes_with_it(s3: Bucket) -> None:
    url = put(f"{s3()}/a.pdf", b"one")

    def content() -> str:
        (found,) = find_files([url], recursive=False)
        return content_hash(found)

    before = content()
    assert content() == before
    put(url, b"two")
    assert content() != before


class _Plain(http.server.BaseHTTPRequestHandler):
    """Serves some bytes, and says nothing of their version."""

    data = b"some bytes"

    def do_HEAD(self) -> None:
        self.send_response(403 if "/secret" in self.path else 200)
        self.send_header("Content-Length", str(len(self.data)))
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(self.data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[str]:
    pytest.importorskip("aiohttp", reason="aiohttp is not installed")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Plain)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_without_a_version_the_bytes_are_hashed(web: str, tmp_path: Path) -> None:
    (found,) = find_files([f"{web}/a.pdf?page=2&token=secret1"], recursive=False)
    assert found.name == f"{web}/a.pdf?page=2" and str(found.folder) == "a"
    (tmp_path / "a").write_bytes(_Plain.data)
    assert content_hash(found) == content_hash(Document(tmp_path / "a", "a", PurePosixPath("a")))


def test_what_may_not_be_read_says_so(web: str) -> None:
    with pytest.raises(InputError, match=r"access is denied. Give credentials as the cloud's own tools take them"):
        find_files([f"{web}/secret.pdf"], recursive=False)


def test_a_server_that_does_not_answer_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "WAITS", (0.0, 0.0))
    tries = itertools.count(1)

    def work() -> int:
        if next(tries) < 3:
            raise TimeoutError
        return 7

    assert remote.tried(work) == 7
    with pytest.raises(remote.RemoteMissingError):
        remote.tried(lambda: (_ for _ in ()).throw(FileNotFoundError(next(tries))))
    assert next(tries) == 5  # that one was not


# --- Fetching


def files_of(fetcher: Fetcher) -> int:
    return sum(held.place.path.exists() for held in fetcher._files.values())


def looked_up(url: str) -> RemoteFile:
    file = remote.look(url)
    assert file is not None
    return file


def test_what_is_read_stays_and_of_the_rest_no_more_than_there_is_room_for(
    s3: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, fetcher = s3(), Fetcher()
    monkeypatch.setattr(fetching, "KEPT", 10)
    files = [looked_up(put(f"{root}/{number}.pdf", b"123456")) for number in range(4)]
    with fetcher.have(files[0]) as first, fetcher.have(files[1]) as second:
        with fetcher.have(files[0]) as again:
            assert again == first and first.suffix == ".pdf"
        assert first.read_bytes() == second.read_bytes() == b"123456"
    assert files_of(fetcher) == 1
    for file in files[2:]:
        fetcher.want(file)  # one of them would be too much
    with fetcher.have(files[3]):
        pass
    assert files_of(fetcher) == 1


def test_a_file_that_could_not_be_fetched_is_tried_again_later(s3: Bucket) -> None:
    root, fetcher = s3(), Fetcher()
    file = RemoteFile(f"{root}/late.pdf", f"{root}/late.pdf")
    with pytest.raises(InputError, match="cannot be fetched"), fetcher.have(file):
        pass
    put(file.url, b"there")
    with fetcher.have(file) as path:
        assert path.read_bytes() == b"there"


def test_a_file_that_changes_while_it_is_fetched_is_refused(s3: Bucket) -> None:
    file = looked_up(put(f"{s3()}/a.pdf", b"short"))
    put(file.url, b"much longer")
    with pytest.raises(InputError, match="it changed while it was read"), Fetcher().have(file):
        pass


def test_a_run_that_is_stopped_does_not_wait_for_a_file(s3: Bucket) -> None:
    file = looked_up(put(f"{s3()}/a.pdf", b"x" * 2**20))
    stopping.ask(stopping.Interrupted)
    try:
        with pytest.raises(KeyboardInterrupt), Fetcher().have(file):
            pass
    finally:
        stopping.clear()


# --- The whole way


@pytest.mark.slow
def test_documents_at_urls_are_read_as_files_are_and_read_once(s3: Bucket, rtprune: Any, tmp_path: Path) -> None:
    root = s3()
    sample = (Path(__file__).parents[1] / "samples" / "notice.pdf").read_bytes()
    put(f"{root}/deep/a.pdf", sample)
    (tmp_path / "b.pdf").write_bytes(sample)
    inputs = (root, "-r", tmp_path / "b.pdf", "-o", tmp_path / "out")
    options = ("--model", "tiny", "--device", "cpu", "--max-pages", "1")
    assert rtprune("ocr", *inputs, *options).exit_code == 0
    assert (tmp_path / "out/deep/a/a.md").read_bytes() == (tmp_path / "out/b/b.md").read_bytes()
    record = json.loads((tmp_path / "out/report.jsonl").read_text().splitlines()[0])
    assert record["document"] == f"{root}/deep/a.pdf" and record["input_version"] and not record["input_sha256"]
    again = rtprune("ocr", *inputs, *options)
    assert again.exit_code == 0 and "2 documents done before" in again.stderr
    made = rtprune("convert", tmp_path / "out", "--to", "searchable-pdf")
    assert made.exit_code == 0 and (tmp_path / "out/deep/a/a.pdf").exists()
    put(f"{root}/deep/a.pdf", sample + b"\n")
    assert (
        "a.pdf has changed since it was read" in rtprune("convert", tmp_path / "out", "--to", "searchable-pdf").stderr
    )


def test_a_document_at_a_url_lies_here_only_while_it_is_read(s3: Bucket) -> None:
    (found,) = find_files([put(f"{s3()}/a.pdf", b"x")], recursive=False)
    with here(found) as local:
        assert local.path is not None and local.remote is None and local.name == found.name
        assert local.path.read_bytes() == b"x"
