"""The server: one folder, one address with a token in it, requests that read. Whatever else is asked for is not there.

Held off are other users of the machine (peers.py, and the token), other machines (it listens on loopback), pages of
other sites in the same browser (the token; a name in ``Host`` that is not this machine's; no CORS; no frames), and
documents whose text or name is hostile (a security policy, no kind of content but the named, nothing outside of the
folder: files.py). Python's own server does it: what it is not made for, the open internet, does not get here.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import os
import re
import secrets
import shutil
import socket
import threading
from collections.abc import Iterable, Iterator
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from rtprune_cli.errors import UsageError
from rtprune_cli.storage import to_json
from rtprune_cli.viewing.files import TYPES, asked_file, open_inside
from rtprune_cli.viewing.page import SEARCH, STATUS, live_page, policy
from rtprune_cli.viewing.peers import of_another_user
from rtprune_cli.viewing.watching import FolderWatch

log = logging.getLogger("rtprune")

LOOPBACK = "127.0.0.1"
TOKEN_BYTES = 32
CONNECTIONS = 64  # at a time; a browser has six
PATIENCE = 20.0  # seconds for the next bytes of a request
END_LOOK = 0.05  # seconds after which the server looks whether it shall end
CHUNK = 1 << 16  # bytes
FIELDS = 8  # of an address
_HOST = re.compile(r"([A-Za-z0-9._-]+)(?::\d{1,5})?")
NO_PAGE = "default-src 'none'; frame-ancestors 'none'; sandbox"  # the policy of what is no page
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class ViewServer(ThreadingHTTPServer):
    """Serves one folder; enter it to have it served."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 32

    def __init__(self, watch: FolderWatch, *, host: str = LOOPBACK, port: int = 0) -> None:
        """``port`` 0: a free one.

        Raises:
            UsageError: it cannot listen there.
        """
        self.watch = watch
        self.token = secrets.token_urlsafe(TOKEN_BYTES)
        self._host = host
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        self._told = False
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            hint = "Give another --port, or none for a free one"
            raise UsageError(f"cannot listen on {host}:{port}: {reason}", hint) from None

    @property
    def url(self) -> str:
        """The page's address."""
        name = socket.gethostname() if self._host in ("", "0.0.0.0") else self._host
        return f"http://{name}:{self.server_port}/{self.token}/"

    def __enter__(self) -> ViewServer:
        threading.Thread(target=self.serve_forever, args=(END_LOOK,), name="serve", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def server_bind(self) -> None:
        """Without asking the network for a name, as the standard library would."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self._host, int(self.server_address[1])

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether the connection may go on at all."""
        client = client_address[:2]
        try:
            refused = ipaddress.ip_address(client[0]).is_loopback and of_another_user(client, request.getsockname()[:2])
        except OSError:
            return False  # it has gone already
        if refused and not self._told:
            log.warning("another user of this machine tried to look, and was refused")
            self._told = True
        return not refused

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, as long as there are not too many."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread began that would give it back
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer the requests of a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away in the middle is no news."""
        log.debug("a request", exc_info=True)

    def is_here(self, host: str) -> bool:
        """Whether a request's ``Host`` names this machine as it listens. A name of another site that leads here is
        none of its own: so does a page get at what its visitor's machine serves (DNS rebinding)."""
        found = _HOST.fullmatch(host)
        name = found[1].lower() if found else ""
        if name in (LOOPBACK, "localhost"):
            return True
        if self._host == LOOPBACK:
            return False
        try:
            return bool(ipaddress.IPv4Address(name))  # which is no name that another site could have lead here
        except ValueError:
            return name in (self._host.lower(), socket.gethostname().lower())


class _Handler(BaseHTTPRequestHandler):
    """The requests of one connection."""

    server: ViewServer
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE

    def do_GET(self) -> None:
        """Answer what is there."""
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # a body is not looked at
        if not self._is_for_us(self.headers):
            self._say(HTTPStatus.FORBIDDEN)
            return
        path, _, query = self.path.partition("?")
        token, slash, rest = path.removeprefix("/").partition("/")
        if not hmac.compare_digest(token.encode(), self.server.token.encode()):
            self._say(HTTPStatus.NOT_FOUND)
        elif not slash:
            self._say(HTTPStatus.PERMANENT_REDIRECT, {"Location": f"/{token}/"})
        else:
            try:
                fields = parse_qs(query, max_num_fields=FIELDS)
            except ValueError:
                self._say(HTTPStatus.BAD_REQUEST)
                return
            self._answer(rest, fields)

    do_HEAD = do_GET

    def _is_for_us(self, headers: Message) -> bool:
        hosts = headers.get_all("Host", [])
        return len(hosts) == 1 and self.server.is_here(hosts[0])

    def _answer(self, path: str, query: dict[str, list[str]]) -> None:
        watch = self.server.watch
        watch.wait(PATIENCE)
        if path == "":
            self._page(live_page(watch, _number(query, "part")))
        elif path == STATUS:
            self._data(watch.status())
        elif path == SEARCH:
            self._data(watch.search(query.get("q", [""])[0], _number(query, "start")))
        else:
            self._file(path)

    def _page(self, parts: Iterable[str]) -> None:
        headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": policy()}
        self._begin(HTTPStatus.OK, {**headers, "Transfer-Encoding": "chunked"})
        if self.command == "HEAD":
            return
        try:
            with self.server.watch.making_a_page():
                for data in _chunks(parts):
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
            self.wfile.write(b"0\r\n\r\n")
        except BaseException:
            self.close_connection = True  # a browser knows by it that the page is not whole
            raise

    def _data(self, value: object) -> None:
        self._send(to_json(value), "application/json")

    def _file(self, path: str) -> None:
        watch = self.server.watch
        place = asked_file(path, {folder: document.files for folder, document in watch.documents.items()})
        file = None if place is None else open_inside(watch.root, place)
        if place is None or file is None:
            self._say(HTTPStatus.NOT_FOUND)
            return
        with file:
            size = os.fstat(file.fileno()).st_size
            self._begin(HTTPStatus.OK, _of(size, TYPES[place.suffix]))
            if self.command != "HEAD":
                shutil.copyfileobj(file, self.wfile)
                self.close_connection |= file.tell() != size  # it was written meanwhile

    # --- What every answer has

    def _say(self, status: HTTPStatus, headers: dict[str, str] | None = None) -> None:
        self._send(f"{status.phrase}\n".encode(), "text/plain; charset=utf-8", status, headers)

    def _send(
        self, data: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None
    ) -> None:
        self._begin(status, _of(len(data), kind) | (headers or {}))
        if self.command != "HEAD":
            self.wfile.write(data)

    def _begin(self, status: HTTPStatus, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (HEADERS | headers).items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library finds wrong with a request: no word of it is repeated."""
        self.close_connection = True
        status = HTTPStatus.METHOD_NOT_ALLOWED if code == HTTPStatus.NOT_IMPLEMENTED else HTTPStatus(code)
        self._say(status, {"Allow": "GET, HEAD"} if status == HTTPStatus.METHOD_NOT_ALLOWED else None)

    def version_string(self) -> str:
        """The header ``Server``."""
        return "rtprune"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: addresses hold the token."""


def _of(size: int, kind: str) -> dict[str, str]:
    """Headers of so many bytes of a kind that is no page."""
    return {"Content-Type": kind, "Content-Length": str(size), "Content-Security-Policy": NO_PAGE}


def _chunks(parts: Iterable[str]) -> Iterator[bytes]:
    """Pieces of a page as bytes, many of them together."""
    held: list[bytes] = []
    size = 0
    for part in parts:
        held.append(part.encode("utf-8", "replace"))
        size += len(held[-1])
        if size >= CHUNK:
            yield b"".join(held)
            held, size = [], 0
    if size:
        yield b"".join(held)


def _number(query: dict[str, list[str]], name: str) -> int:
    """A number of an address; 0 where there is none."""
    text = query.get(name, ["0"])[0]
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else 0
