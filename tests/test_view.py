"""rtprune view: what it shows of a folder in which a run may go on, what it finds, and what it does not hand out."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from conftest import command_line
from hypothesis import given
from hypothesis import strategies as st
from test_html_report import DATA, HTML, OUTSIDE, pages_of, seen
from test_outputs import PAPER, begin, cut_short, page, with_crop, write

from rtprune_cli.errors import InputError, UsageError
from rtprune_cli.options import OutputOptions
from rtprune_cli.outputs import FolderOutput
from rtprune_cli.outputs.lock import run_in
from rtprune_cli.records import Document
from rtprune_cli.viewing import FolderWatch, ViewServer, server, watching
from rtprune_cli.viewing.peers import of_another_user
from rtprune_cli.viewing.search import fold, readable, snippet, words_of

HOSTILE = "<script>alert(1)</script>"
SEEN = Document(Path("in/seen.pdf"), "in/seen.pdf", PurePosixPath("sub/seen ü#%"))


class Client:
    """A browser of one server."""

    def __init__(self, server: ViewServer) -> None:
        self.server = server
        self.base = urlsplit(server.url).path

    def ask(self, path: str = "", *, method: str = "GET", raw: bool = False, **headers: str) -> tuple[int, Any, bytes]:
        """Status, headers and body; ``raw``: the path is the whole of it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=10)
        try:
            connection.putrequest(method, path if raw else self.base + path, skip_host="Host" in headers)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask(".rtprune/status")[2])
        return found

    def search(self, words: str, start: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask(f".rtprune/search?q={quote(words)}&start={start}")[2])
        return found

    def rows(self, path: str = "") -> dict[str, dict[str, Any]]:
        """What the page holds of each page, by its link."""
        return {key: json.loads(data) for key, data in DATA.findall(self.ask(path)[2].decode())}

    def until(self, **wanted: int) -> dict[str, Any]:
        """The status once it says so."""
        for _ in range(200):
            found = self.status()
            if all(found[name] == value for name, value in wanted.items()):
                return found
            time.sleep(0.02)
        raise AssertionError(f"{found} and not {wanted}")


@contextmanager
def served(root: Path) -> Iterator[Client]:
    with FolderWatch(root, every=0.02) as watch, ViewServer(watch) as running:
        yield Client(running)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two documents, one read with --html, and a page that failed."""
    root = tmp_path_factory.mktemp("view") / "out"
    with FolderOutput(root, HTML) as output:
        for document, results in (
            (SEEN, [seen(1, f"one {HOSTILE}", document=SEEN), page(2, document=SEEN, error="it is broken")]),
            (
                PAPER,
                [with_crop(1), page(2, "<table><tr><td>Crème</td><td>brûlée</td></tr></table>"), page(3, "东京都")],
            ),
        ):
            begin(output, document)
            for result in results:
                output.add(result)
            output.finish(document, [each.record.page or 0 for each in results], {"model": {"name": "tiny"}})
    return root


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[Client]:
    with served(folder) as found:
        found.until(ready=5)
        yield found


# --- The page


def test_the_page_has_what_the_report_has(client: Client, folder: Path) -> None:
    status, headers, body = client.ask()
    assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
    assert client.rows() == pages_of(folder)
    assert b"it is broken" in body and HOSTILE.encode() not in body


def test_files_that_the_report_shows_are_handed_out(client: Client, folder: Path) -> None:
    place = quote(str(SEEN.folder))
    for path, kind in (
        (f"{place}/report/page-0001.jpg", "image/jpeg"),
        (f"{place}/report/page-0001.thumb.jpg", "image/jpeg"),
        ("paper/images/page-0001-1.png", "image/png"),
        ("paper/paper.md", "text/plain; charset=utf-8"),
    ):
        status, headers, body = client.ask(path)
        assert (status, headers["Content-Type"]) == (200, kind)
        assert body == (folder / path.replace(place, str(SEEN.folder))).read_bytes()


def test_a_long_list_comes_in_parts(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "PART", 2)
    monkeypatch.setattr("rtprune_cli.viewing.page.PART", 2)
    assert [list(client.rows(f"?part={part}")) for part in (0, 1, 9)] == [
        [f"{SEEN.folder}/1", f"{SEEN.folder}/2"], ["paper/1", "paper/2"], ["paper/3"],
    ]  # fmt: skip
    assert "pages read</dt><dd>4<" in client.ask("?part=2")[2].decode()  # of all of them
    assert client.search("东京")["hits"][0]["part"] == 2


def test_pages_of_a_folder_without_reports_are_shown(tmp_path: Path) -> None:
    write(tmp_path, page(1, "first"), page(2, "second"), options=OutputOptions(md_only=True))
    with served(tmp_path) as client:
        assert [row["html"] for row in client.rows().values()] == ["<p>first</p>\n", "<p>second</p>\n"]
        assert client.ask("paper.md")[0] == 200


def test_a_record_of_a_place_outside_is_not_listed(tmp_path: Path) -> None:
    write(tmp_path, page(1))
    with open(tmp_path / "report.jsonl", "ab") as file:
        file.write(OUTSIDE + b"{torn")
    with served(tmp_path) as client:
        assert list(client.rows()) == ["paper/1"]


def test_a_hostile_name_is_text(tmp_path: Path) -> None:
    name = Document(Path("x"), f"{HOSTILE}.pdf", PurePosixPath(f"a {HOSTILE.replace('/', '')}"))
    with FolderOutput(tmp_path, HTML) as output:
        begin(output, name)
        output.add(seen(1, document=name))
        output.finish(name, [1], {})
    with served(tmp_path) as client:
        body = client.ask()[2].decode()
        assert "<script>alert" not in body and "&lt;script&gt;alert(1)&lt;/script&gt;.pdf" in body
        assert client.ask(f"{quote(str(name.folder))}/report/page-0001.jpg")[0] == 200


# --- A run that goes on


def test_progress_follows_a_run(tmp_path: Path) -> None:
    with FolderOutput(tmp_path, OutputOptions()) as output, served(tmp_path) as client:
        assert client.rows() == {}  # it has just begun
        assert client.status()["run"]["who"].startswith(f"rtprune process {os.getpid()} on ")
        begin(output)
        output.add(page(1, "first"))
        found = client.until(pages=1, ready=1, begun=1)
        assert (found["documents"], found["total"]) == (0, 1)
        assert found["latest"] == {"document": PAPER.name, "page": 1, "key": "paper/1"}
        assert client.rows()["paper/1"]["html"] == "<p>first</p>\n"
        output.add(page(2, error="it is broken"))
        output.add(replace(page(3, "third"), record=replace(page(3).record, retention=0.5)))
        client.until(total=3, failed=1)
        output.finish(PAPER, [1, 2, 3], {})
        assert client.until(documents=1, begun=0)["rate"] > 0
        assert client.search("third")["pages"] == 1
    with served(tmp_path) as client:
        assert client.status() | {"version": 0} == {
            "version": 0, "run": None, "documents": 1, "begun": 0, "pages": 2, "failed": 1, "warned": 0, "total": 3,
            "ready": client.until(ready=3)["ready"], "rate": None, "latest": None,
        }  # fmt: skip


def test_the_rate_is_that_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, page(1))
    watch, clock = FolderWatch(tmp_path), [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    watch.look()
    with FolderOutput(tmp_path, OutputOptions()) as output:
        begin(output, fingerprint="another")
        for now, number in ((100.0, 1), (104.0, 2), (110.0, 3)):  # the first when it is seen that a run began
            clock[0] = now
            output.add(page(number, "new"))
            watch.look()
        assert watch.status()["rate"] == pytest.approx(0.2)
        clock[0] = 225.0  # none came in the latest two minutes
        watch.look()
        assert watch.status()["rate"] == 0


def test_a_line_that_is_half_written_waits(tmp_path: Path) -> None:
    cut_short(tmp_path, page(1, "first"), page(2, "second"))
    (path,) = (tmp_path / ".rtprune/journal").glob("*/*.jsonl")
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    (tmp_path / "report.jsonl").unlink()
    watch = FolderWatch(tmp_path)
    watch.look()
    assert [found.record.page for _, found in watch.pages()] == [1]
    with open(path, "ab") as file:
        file.write(whole[-20:])
    watch.look()
    watch.prepare()
    assert [found.text for _, found in watch.pages()] == ["first", "second"]


def test_a_page_that_is_read_again_has_its_new_text(tmp_path: Path) -> None:
    write(tmp_path, page(1, "old"), page(2, "as it was"))
    watch = FolderWatch(tmp_path)
    for fingerprint, text in (("f", "old"), ("g", "a new text")):
        again = replace(page(1, text), record=replace(page(1).record, output_tokens=len(text)))
        write(tmp_path, again, page(2, "as it was"), fingerprint=fingerprint)
        watch.look()
        watch.prepare()
        assert [found.text for _, found in watch.pages()] == [text, "as it was"]
        assert watch.search("old")["pages"] == (text == "old")


def test_a_run_that_was_killed_goes_on_no_more(tmp_path: Path) -> None:
    note = tmp_path / "owner"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    since = "since 2026-01-01 10:00:00+00:00,"
    note.write_text(f"rtprune process {gone.pid} on {socket.gethostname()}, {since}")
    assert run_in(tmp_path) is None
    note.write_text(f"rtprune process {os.getpid()} on {socket.gethostname()}, since 2000-01-01 10:00:00+00:00,")
    assert run_in(tmp_path) is None  # this one is younger
    note.write_text(f"rtprune process 1 on elsewhere, shard 3/16, {since}")
    found = run_in(tmp_path)
    assert found is not None and found.who == "rtprune process 1 on elsewhere, shard 3/16"


def test_nothing_is_written(tmp_path: Path) -> None:
    write(tmp_path, seen(1), options=HTML)
    os.utime(tmp_path / "report.html", (1, 1))

    def state() -> list[tuple[str, int, int]]:
        return sorted((str(each), each.stat().st_mtime_ns, each.stat().st_size) for each in tmp_path.rglob("*"))

    before = state()
    with served(tmp_path) as client:
        client.until(ready=1)
        client.rows()
        client.search("text")
    assert state() == before


# --- Search


@pytest.mark.parametrize(
    ("asked", "found"),
    [("CREME brulee", 1), ("crème", 1), ("东京", 1), ("京都", 1), ("rème br", 1), ('"crème brulee"', 0), ("td", 0),
     ("table", 0), ("alert(1)", 1), ("broken", 0), ("  ", 0), ('"', 0), ("one nothing", 0), ("", 0)],
)  # fmt: skip
def test_pages_are_found_by_all_words_whatever_case_and_accents(client: Client, asked: str, found: int) -> None:
    assert client.search(asked)["pages"] == found


def test_a_hit_is_marked_and_plain_text(client: Client) -> None:
    (hit,) = client.search("SCRIPT")["hits"]
    assert (hit["document"], hit["page"], hit["key"], hit["part"]) == (SEEN.name, 1, f"{SEEN.folder}/1", 0)
    assert hit["snippet"] == [
        ["one <", False], ["script", True], [">alert(1)</", False], ["script", True], [">", False],
    ]  # fmt: skip


def test_hits_come_some_at_a_time(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "HITS", 2)
    found = [client.search("e", start) for start in (0, 2)]
    assert [[hit["key"] for hit in each["hits"]] for each in found] == [[f"{SEEN.folder}/1", "paper/2"], []]
    assert found[0]["pages"] == 2 and found[0]["documents"] == 2


WORDS = st.text(st.sampled_from("aAäÄßſİıﬁ①が가e\u0301か\u3099ç \n<>字"), min_size=1, max_size=8)


@given(st.lists(WORDS, max_size=30).map(" ".join), WORDS)
def test_a_mark_is_what_was_asked_for(text: str, asked: str) -> None:
    words = words_of(asked)
    pieces = snippet(text, words)
    plain = readable(text)
    assert bool(pieces) == any(word in fold(plain) for word in words)
    assert "".join(piece.text for piece in pieces).strip("… ") in plain
    for piece in pieces:
        assert not piece.marked or any(word in fold(piece.text) for word in words)


def test_a_snippet_is_where_the_words_stand_together() -> None:
    text = "far " + "x " * 300 + "near far near " + "y " * 300
    found = "".join(piece.text for piece in snippet(text, ("near", "far")))
    assert "near far near" in found and found.startswith("… ") and found.endswith(" …") and len(found) < 260


def test_words_of_japanese_and_korean_stay_what_they_are() -> None:
    assert fold("が") != fold("か") and fold("각") == "각"
    assert fold(unicodedata.normalize("NFC", "e\u0301")) == fold("É") == "e" and fold("ＡＢ") == "ab"


# --- Who is not let in


@pytest.mark.parametrize("path", ["/", "/x/", "/.rtprune/status", "//", "/{token}x/", "/{short}/", "/{token}%2f", "*"])
def test_without_the_token_there_is_nothing(client: Client, path: str) -> None:
    token = client.server.token
    status, _, body = client.ask(path.format(token=token, short=token[:-1]), raw=True)
    assert (status, body) == (404, b"Not Found\n")
    assert len(token) >= 40


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil.example:{port}", "[::1", "", "0.0.0.0"]
)
def test_a_name_of_another_site_is_refused(client: Client, host: str) -> None:
    assert client.ask(Host=host.format(port=client.server.server_port))[0] == 403


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "localhost:8000", "127.0.0.1:1"])
def test_this_machine_is_let_in_at_any_port(client: Client, host: str) -> None:
    """As ssh -L forwards it."""
    assert client.ask(".rtprune/status", Host=host)[0] == 200


def spoken(client: Client, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", client.server.server_port), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_requests_that_are_out_of_bounds_are_refused_in_few_words(client: Client) -> None:
    base = client.base.encode()
    host = b"Host: localhost\r\n"
    long = b"x" * 70_000
    for request, status in (
        (b"GET /" + long + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET " + base + b" HTTP/1.1\r\n" + host + b"X: " + long + b"\r\n\r\n", b"431"),
        (b"GET " + base + b" HTTP/1.1\r\n" + host + b"X: y\r\n" * 200 + b"\r\n", b"431"),
        (b"GET " + base + b"?" + b"&".join([b"a=1"] * 50) + b" HTTP/1.1\r\n" + host + b"\r\n", b"400"),
        (b"GET " + base + b" HTTP/1.1\r\n" + host + host + b"\r\n", b"403"),
        (b"GET " + base + b" HTTP/1.1\r\n\r\n", b"403"),
        (b"GET <script> HTTP/1.1\r\n" + host + b"\r\n", b"404"),
        (b"<script> / HTTP/1.1\r\n" + host + b"\r\n", b"405"),
    ):
        answer = spoken(client, request)
        assert answer.split()[1] == status and len(answer) < 1000 and b"script" not in answer


def test_a_body_is_no_second_request(client: Client) -> None:
    inner = b"GET " + client.base.encode() + b".rtprune/status HTTP/1.1\r\nHost: localhost\r\n\r\n"
    outer = b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(inner)
    assert spoken(client, outer + inner).count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"])
def test_only_reading_is_allowed(client: Client, method: str) -> None:
    status, headers, _ = client.ask(method=method)
    assert status == 405 and headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["", ".rtprune/status", "paper/paper.md", "nothing"])
def test_a_head_is_an_answer_without_its_body(client: Client, path: str) -> None:
    status, _, body = client.ask(path, method="HEAD")
    assert status == client.ask(path)[0] and body == b""


@pytest.mark.parametrize("path", ["", ".rtprune/status", ".rtprune/search?q=a", "paper/paper.md", "nothing", "/"])
def test_every_answer_is_kept_from_others(client: Client, path: str) -> None:
    headers = client.ask(path, raw=path == "/", Origin="http://evil.example")[1]
    assert headers["Cache-Control"] == "no-store" and headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert not [name for name in headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize(
    "path",
    ["../secret", "..%2fsecret", "%2e%2e/secret", "paper/../../secret", "paper/images/../../../secret", "/etc/passwd",
     "paper/images/..%2f..%2f..%2fsecret", "paper/images/page-0001-1.png%00", "paper\\paper.md", "paper/paper.json",
     "paper/paper.report.json", "paper/report/page-0001.json", ".rtprune/lock", ".rtprune/journal", "report.jsonl",
     "report.html", "paper", "paper/", "paper/images/", "paper/images/page-9999-1.png", "paper/images/other.png"],
)  # fmt: skip
def test_nothing_else_is_handed_out(client: Client, folder: Path, path: str) -> None:
    (folder.parent / "secret").write_text("secret")
    (folder / "paper/images/other.png").touch()
    (folder / "paper/report").mkdir(exist_ok=True)
    (folder / "paper/report/page-0001.json").touch()
    assert client.ask(path)[0] == 404


def test_links_lead_nowhere_outside(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("<!-- page 1 -->\nsecret\n")
    root = tmp_path / "out"
    write(root, with_crop(1), page(2), options=OutputOptions(json=False))
    crop, markdown = root / "paper/images/page-0001-1.png", root / "paper/paper.md"
    inside, second = root / "paper/images/inside", root / "paper/images/page-0001-2.png"
    crop.rename(inside)
    crop.symlink_to(secret)
    second.symlink_to(inside)
    markdown.unlink()
    markdown.symlink_to(secret)
    os.mkfifo(root / "paper/images/page-0001-3.png")
    (root / "other").symlink_to(tmp_path)
    with served(root) as client:
        client.until(ready=2)
        assert client.search("secret")["pages"] == 0
        asked = ["paper/images/page-0001-1.png", "paper/paper.md", "paper/images/page-0001-3.png", "other/secret"]
        assert [client.ask(path)[0] for path in asked] == [404] * 4
        assert client.ask("paper/images/page-0001-2.png")[0] == 200  # one that stays inside


def test_journals_that_lead_outside_are_not_read(tmp_path: Path) -> None:
    cut_short(tmp_path / "other", page(1, "secret"))
    (outside,) = (tmp_path / "other/.rtprune/journal").glob("*/*.jsonl")
    write(tmp_path / "out", page(1))
    (own,) = (tmp_path / "out/.rtprune/journal").glob("*/*.jsonl")
    own.unlink()
    own.symlink_to(outside)
    os.mkfifo(own.with_name("0.jsonl"))
    watch = FolderWatch(tmp_path / "out")
    watch.look()
    watch.prepare()
    assert [found.text for _, found in watch.pages()] == [None]  # nor what else is said to be of that document


def test_connections_are_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONNECTIONS", 3)
    with served(folder) as client:
        held = [socket.create_connection(("127.0.0.1", client.server.server_port)) for _ in range(3)]
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            client.ask()
        for each in held:
            each.close()
        for _ in range(100):
            time.sleep(0.01)
            try:
                assert client.ask()[0] == 200
                break
            except (ConnectionError, http.client.HTTPException):
                continue
        else:
            raise AssertionError("nobody is let in any more")


def test_a_request_that_never_ends_is_dropped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server._Handler, "timeout", 0.1)
    with served(folder) as client, socket.create_connection(("127.0.0.1", client.server.server_port), 10) as waiting:
        waiting.sendall(b"GET /")
        assert waiting.recv(100) == b""


HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
ROW = "   0: {} {} 01 00000000:00000000 00:00000000 00000000     {}        0 1 1 0 100\n"
US, THEM = os.getuid(), os.getuid() + 4321


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says whose a connection is")
@pytest.mark.parametrize(
    ("user", "six", "refused"),
    [
        (THEM, False, True),
        (THEM, True, True),
        (None, False, True),
        (US, False, False),
        (US, True, False),
        (0, False, False),
    ],
)
def test_connections_of_another_user_are_told(tmp_path: Path, user: int | None, six: bool, refused: bool) -> None:
    local = f"{int.from_bytes(socket.inet_aton('127.0.0.1'), sys.byteorder):08X}"
    near, far, mapped = (
        f"{local}:1F90",
        f"{local}:C001",
        "0000000000000000FFFF0000" if sys.byteorder == "little" else "",
    )
    four, sixth = tmp_path / "tcp", tmp_path / "tcp6"
    theirs = ROW.format(mapped + far, mapped + near, user) if six else ROW.format(far, near, user)
    own = HEAD + ROW.format(near, "00000000:0000", US) + ROW.format(near, far, US)
    four.write_text(own if six or user is None else own + theirs)
    sixth.write_text(HEAD + theirs if six else HEAD)
    assert of_another_user(("127.0.0.1", 0xC001), ("127.0.0.1", 8080), [four, sixth]) is refused
    assert not of_another_user(("127.0.0.1", 0xC001), ("127.0.0.1", 8080), [tmp_path / "none"])


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="another user is needed")
@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1"])
def test_another_user_gets_no_answer(client: Client, caplog: pytest.LogCaptureFixture, address: str) -> None:
    client.server._told = False
    talk = f"exec 3<>/dev/tcp/{address}/{client.server.server_port}; printf 'GET {client.base} HTTP/1.0\\r\\n"
    talk += "Host: localhost\\r\\n\\r\\n' >&3; cat <&3"
    ours, theirs = (subprocess.run(["bash", "-c", talk], user=user, capture_output=True) for user in (0, 65534))
    assert ours.stdout.startswith(b"HTTP/1.1 200") and theirs.stdout == b""
    assert "another user of this machine tried to look, and was refused" in caplog.text


# --- The command


@pytest.mark.parametrize(
    ("name", "message"),
    [("nothing", "is no folder"), ("file.txt", "is no folder"), ("empty", "holds no results of rtprune"),
     ("s3://bucket/out", "is no folder of this machine")],
)  # fmt: skip
def test_what_is_no_output_folder_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").touch()
    with command_line() as rtprune:
        result = rtprune("view", name if ":" in name else tmp_path / name)
    assert result.exit_code == 2 and message in result.stderr and len(result.stderr.splitlines()) == 1


def test_a_port_that_is_taken_is_said(folder: Path) -> None:
    watch = FolderWatch(folder)
    with ViewServer(watch) as first, pytest.raises(UsageError, match=f"127.0.0.1:{first.server_port}: address already"):
        ViewServer(watch, port=first.server_port)


def test_where_others_listen_names_of_other_sites_are_still_refused(folder: Path) -> None:
    with FolderWatch(folder) as watch, ViewServer(watch, host="0.0.0.0") as running:
        assert socket.gethostname() in running.url
        hosts = ["192.168.1.5:80", socket.gethostname(), "localhost", "evil.example"]
        assert [running.is_here(host) for host in hosts] == [True, True, True, False]


def test_a_folder_that_cannot_be_read_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(InputError, match="cannot be read: permission denied"):
        FolderWatch(folder)


@pytest.mark.slow
def test_it_says_where_it_is_and_ends_by_ctrl_c(folder: Path) -> None:
    command = [sys.executable, "-m", "rtprune_cli", "view", str(folder), "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        url = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{43}/", url)
        place = urlsplit(url)
        connection = http.client.HTTPConnection("127.0.0.1", place.port or 0, timeout=10)
        connection.request("GET", place.path)
        assert connection.getresponse().status == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert "Traceback" not in process.stderr.read()
