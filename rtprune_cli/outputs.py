"""Owns the way out: the layout of the output folder, who may write there, and markdown on standard output.

OUTPUT/report.jsonl          one record a page, of every document in the folder
OUTPUT/NAME/NAME.md, NAME.report.json, NAME.raw.txt, images/
OUTPUT/.rtprune/             the tool's own: a journal a document, the lock, temporary files
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, Any, TextIO

from rtprune_cli import journal
from rtprune_cli.errors import OutputError
from rtprune_cli.journal import Entry, Header, Journal
from rtprune_cli.logs import NOTICE
from rtprune_cli.options import OutputOptions
from rtprune_cli.records import Document, Occupancy, PageResult
from rtprune_cli.report import SCHEMA_VERSION, Record, summarise
from rtprune_cli.storage import atomic_write, make_folder, output_error, remove, temporary_path, to_json

log = logging.getLogger("rtprune")

REPORT = "report.jsonl"
STATE = ".rtprune"
STDOUT = "-"
MAX_ERROR_TEXT = 200
_CROP_LINK = re.compile(r"!\[\]\(images/(page-\d{4,12}-\d{1,9}\.png)\)")
_CROP_NAME = re.compile(r"page-\d{4,12}-\d{1,9}\.png")


@dataclass(frozen=True)
class Earlier:
    """What an earlier run left of a document: all of it, or the ``pages`` that need not be read again."""

    finished: bool = False
    pages: frozenset[int] = frozenset()
    records: tuple[Record, ...] = ()


# --- A page as text ----------------------------------------------------------------------------------------------


def _page_text(record: Mapping[str, object], text: str) -> str:
    """One page with its marker; a failed page (or document) is a comment in its place."""
    page = record.get("page")
    place = "document" if page is None else f"page {page}"
    if record.get("status") != "failed":
        return f"<!-- {place} -->\n\n{text}".rstrip()
    error = record.get("error")
    error = error if isinstance(error, Mapping) else {}
    code, message = (_harmless(error.get(key, default)) for key, default in (("code", "failure"), ("message", "")))
    return f"<!-- {place} failed: {code}: {message}".rstrip(" :") + " -->"


def _harmless(value: object) -> str:
    """Text that cannot end the comment it stands in, on one line."""
    text = " ".join(str(value).split())[:MAX_ERROR_TEXT]
    return re.sub("-{2,}", "-", text).replace(">", "&gt;").strip("-")


def _join(pages: Sequence[str]) -> bytes:
    return ("\n\n".join(pages) + "\n").encode("utf-8", "replace")


def _without_crops(result: PageResult) -> str:
    """The page's markdown without references to crops, for outputs that have no files to lead to."""
    crops = result.markdown.crops
    text = _CROP_LINK.sub(lambda link: "" if link[1] in crops else link[0], result.markdown.text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


# --- The output folder -------------------------------------------------------------------------------------------


class FolderOutput:
    """A folder with one subfolder a document, and ``report.jsonl`` over all of them.

    Nothing is written before it is entered; entering takes the folder for this run alone, leaving it (also by an
    exception) brings the report up to date. A document goes through :meth:`start`, :meth:`add` for each page, and
    :meth:`finish`; or through :meth:`skip`.
    """

    def __init__(self, root: Path, options: OutputOptions, *, wait: bool = False) -> None:
        self.root = root
        self._options = options
        self._wait = wait
        self._journals: dict[PurePosixPath, Journal] = {}
        self._lost: dict[PurePosixPath, Record] = {}  # documents that failed as a whole
        self._rows: IO[bytes] | None = None
        self._written: set[str] = set()  # folders of the documents in the rows
        self._lock: Any = None

    # --- Taking and leaving the folder

    def __enter__(self) -> FolderOutput:
        """
        Raises:
            OutputError: the folder cannot be created or written, or another run has it.
        """
        make_folder(self._state)
        self._acquire()
        try:
            shutil.rmtree(self._scratch, ignore_errors=True)  # what a killed run left
            self._scratch.mkdir()
            self._rows = open(self._rows_path, "wb")
        except OSError as error:
            self._lock.release()
            raise output_error(self.root, error) from None
        return self

    def _acquire(self) -> None:
        from filelock import FileLock, Timeout

        self._lock = FileLock(self._state / "lock")  # the system drops it when the process dies, however it dies
        note = self._state / "owner"
        try:
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                if not self._wait:
                    raise
                log.log(NOTICE, "waiting: %s writes to %r", _read_text(note) or "another rtprune", str(self.root))
                self._lock.acquire()
        except Timeout:
            who = _read_text(note) or "another rtprune"
            raise OutputError(
                f"{who} writes to {str(self.root)!r}", "Wait for it (or use --wait), or choose another folder with -o"
            ) from None
        except OSError as error:
            raise output_error(self.root, error) from None
        started = datetime.now(timezone.utc).isoformat(sep=" ", timespec="seconds")
        atomic_write(
            note, f"rtprune process {os.getpid()} on {socket.gethostname()}, since {started},".encode(), self._scratch
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        rows = self._rows
        assert rows is not None
        try:
            with rows:
                self._append_unfinished()
            self._rows = None
            if self._written:
                self._write_report()
        except OSError as problem:
            if kind is None:  # else the exception under way is the one to report
                raise output_error(self.root / REPORT, problem) from None
        except OutputError:
            if kind is None:
                raise
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)
            remove(self._state / "owner")
            self._lock.release()

    def _append_unfinished(self) -> None:
        """What is known of documents that the run leaves unfinished: pages that were read, and those that failed."""
        for own in self._journals.values():
            self._append_rows([entry.record for entry in own.entries(sorted(own.pages))])
            own.close()
        self._append_rows(list(self._lost.values()))
        self._journals.clear()
        self._lost.clear()

    def _write_report(self) -> None:
        """Records of the documents that were not in this run, as they were, then those of this run in its order."""
        if self._options.md_only:
            return
        temporary = temporary_path(self.root / REPORT, self._scratch)
        try:
            with open(temporary, "xb") as report:
                for line in self._other_rows():
                    report.write(line)
                with open(self._rows_path, "rb") as rows:
                    shutil.copyfileobj(rows, report)
                report.flush()
                os.fsync(report.fileno())
            os.replace(temporary, self.root / REPORT)
        except BaseException:
            remove(temporary)
            raise

    def _other_rows(self) -> Iterator[bytes]:
        try:
            old = open(self.root / REPORT, "rb")  # noqa: SIM115
        except FileNotFoundError:
            return
        with old:
            for line in old:
                try:
                    folder = json.loads(line)["folder"]
                except (ValueError, LookupError, TypeError):
                    continue  # torn by hand, or not a record
                if folder not in self._written:
                    yield line

    # --- What is there already

    def occupancy(self, document: Document, content: Callable[[], str]) -> Occupancy:
        """Whether the document's place is free, its own from an earlier run, or held by something else: the text of
        another document, or a file that is not the tool's.

        A document is the same when its path is, or when the recorded path is gone (or was standard input) and its
        ``content``, a SHA-256, is the recorded one.
        """
        header = journal.owner(self._journal_path(document))
        if header is None:
            markdown = self._markdown(document)
            if not markdown.exists():
                return "free"
            return "own" if _read_text(markdown, 5) == "<!-- " else "other"  # a page marker, its journal deleted
        path = _absolute(document)
        if path is not None and header.path == path:
            return "own"
        gone = header.path is None or not os.path.exists(header.path)
        return "own" if gone and header.sha256 == content() else "other"

    def earlier(self, document: Document, fingerprint: str) -> Earlier:
        """What is left of an earlier run under the same content, settings, model and version. Nothing is written."""
        past = journal.read(self._journal_path(document))
        if past is None or past.header.fingerprint != fingerprint:
            return Earlier()
        if past.finished:
            whole = all(path.exists() for path in self._files(document))
            return Earlier(True, frozenset(past.places), tuple(past.records)) if whole else Earlier()
        images = self._images(document)
        there = (page for page, crops in past.crops.items() if all((images / name).exists() for name in crops))
        return Earlier(pages=frozenset(there))

    def place(self, document: Document) -> str:
        """Where the document's markdown goes."""
        return str(self._markdown(document))

    # --- A document

    def start(self, document: Document, fingerprint: str, content: str, keep: frozenset[int]) -> None:
        """Open the document's journal; the ``keep`` pages of an earlier run stay.

        Raises:
            OutputError: it cannot be written.
        """
        header = Header(_absolute(document), content, fingerprint)
        self._journals[document.folder] = Journal(self._journal_path(document), header, keep or None, self._scratch)

    def add(self, result: PageResult) -> None:
        """Save the crops of a page, then its text and record: from then on it is done.

        Raises:
            OutputError: something cannot be written.
        """
        document = result.document
        if result.record["page"] is None:
            self._lost[document.folder] = result.record
            return
        if self._options.md_only:
            entry = Entry(result.record, _without_crops(result))
        else:
            raw = result.raw if self._options.raw else None
            entry = Entry(result.record, result.markdown.text, raw, tuple(self._save_crops(result)))
        self._journals[document.folder].append(entry)

    def finish(self, document: Document, pages: Sequence[int], settings: Mapping[str, Any]) -> None:
        """Write the markdown, report and raw text of a document whose ``pages`` are all added, in that order.

        A document that failed as a whole keeps the text that it has from an earlier run.

        Raises:
            OutputError: one of them cannot be written.
        """
        own = self._journals.pop(document.folder, None)
        lost = self._lost.pop(document.folder, None)
        if own is None and journal.owner(self._journal_path(document)) is not None:
            self._append_rows([lost] if lost else [])
            return
        entries = list(own.entries(page for page in pages if page in own.pages)) if own else []
        if lost is not None:
            entries.append(Entry(lost, "", ""))
        records = [entry.record for entry in entries]
        self._write_document(document, entries, settings)
        self._append_rows(records)
        if own:
            own.close()
            if all(record["status"] == "ok" for record in records):
                own.finish(records)

    def skip(self, document: Document, records: Sequence[Record]) -> None:
        """A document that an earlier run finished: its records go to the report of this run too."""
        self._append_rows(records)

    def _write_document(self, document: Document, entries: Sequence[Entry], settings: Mapping[str, Any]) -> None:
        markdown = self._markdown(document)
        make_folder(markdown.parent)
        atomic_write(markdown, _join([_page_text(entry.record, entry.text) for entry in entries]), self._scratch)
        if self._options.md_only:
            return
        raw = markdown.with_name(f"{document.stem}.raw.txt")
        if self._options.raw:
            atomic_write(raw, _join([_page_text(entry.record, entry.raw or "") for entry in entries]), self._scratch)
        else:
            remove(raw)  # of an earlier run, and no longer the source of this markdown
        self._remove_other_crops(document, {name for entry in entries for name in entry.crops})
        records = [entry.record for entry in entries]
        about = {
            "name": document.name,
            "path": None if document.path is None else str(document.path),
            "folder": str(document.folder),
        }
        report = {
            "schema_version": SCHEMA_VERSION,
            "document": about,
            "pages": records,
            "summary": summarise(records),
            "settings": settings,
        }
        atomic_write(markdown.with_name(f"{document.stem}.report.json"), to_json(report, indent=2), self._scratch)

    def _append_rows(self, records: Sequence[Record]) -> None:
        if self._rows is None:
            raise RuntimeError("FolderOutput was not entered")
        try:
            self._rows.write(b"".join(map(to_json, records)))
            self._rows.flush()
        except OSError as error:
            raise output_error(self.root / REPORT, error) from None
        self._written.update(record["folder"] for record in records)

    # --- Places

    @property
    def _state(self) -> Path:
        return self.root / STATE

    @property
    def _scratch(self) -> Path:
        return self._state / "tmp"

    @property
    def _rows_path(self) -> Path:
        """The records of this run's documents until it ends."""
        return self._scratch / "rows.jsonl"

    def _journal_path(self, document: Document) -> Path:
        return self._state / "journal" / self._inside(document).with_name(f"{document.stem}.jsonl")

    def _markdown(self, document: Document) -> Path:
        folder = self._inside(document)
        name = f"{document.stem}.md"
        return self.root / (folder.with_name(name) if self._options.md_only else folder / name)

    def _images(self, document: Document) -> Path:
        return self._markdown(document).with_name("images")

    def _files(self, document: Document) -> list[Path]:
        """What a finished document has at least."""
        markdown = self._markdown(document)
        wanted = {".report.json": not self._options.md_only, ".raw.txt": self._options.raw}
        return [markdown, *(markdown.with_name(document.stem + suffix) for suffix, on in wanted.items() if on)]

    def _inside(self, document: Document) -> PurePosixPath:
        if document.folder.is_absolute() or ".." in document.folder.parts or not document.folder.parts:
            raise OutputError(f"{str(document.folder)!r} is not a place inside the output folder", "Report this bug")
        return document.folder

    # --- Crops

    def _save_crops(self, result: PageResult) -> list[str]:
        if not result.markdown.crops or result.image is None:
            return []
        from PIL import Image

        folder = self._images(result.document)
        make_folder(folder)
        names = []
        for name, box in result.markdown.crops.items():
            size = (box[2] - box[0], box[3] - box[1])
            # The same pixels as crop(), which has a size limit of its own that large pages would meet.
            crop = result.image.resize(size, Image.Resampling.NEAREST, box=box)
            buffer = io.BytesIO()
            crop.save(buffer, "PNG")
            names.append(PurePosixPath(name).name)
            atomic_write(folder / names[-1], buffer.getvalue(), self._scratch)
        return names

    def _remove_other_crops(self, document: Document, names: set[str]) -> None:
        """Crops of an earlier run that this one did not make; files with other names are not ours."""
        folder = self._images(document)
        if folder.is_dir():
            for path in folder.iterdir():
                if _CROP_NAME.fullmatch(path.name) and path.name not in names:
                    remove(path)


def _absolute(document: Document) -> str | None:
    return None if document.path is None else os.path.abspath(document.path)


def _read_text(path: Path, size: int = 200) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(size)
    except OSError:
        return ""


# --- Standard output ---------------------------------------------------------------------------------------------


class StreamOutput:
    """The same markdown page by page on a text stream (``-o -``): no folder, no report, no crops, nothing to resume."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._first = True

    def __enter__(self) -> StreamOutput:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def occupancy(self, document: Document, content: Callable[[], str]) -> Occupancy:
        """A stream has room for every document."""
        return "free"

    def earlier(self, document: Document, fingerprint: str) -> Earlier:
        """A stream remembers nothing."""
        return Earlier()

    def place(self, document: Document) -> str:
        """Standard output, for every document."""
        return STDOUT

    def start(self, document: Document, fingerprint: str, content: str, keep: frozenset[int]) -> None:
        """Nothing to open."""

    def add(self, result: PageResult) -> None:
        """Write one page and flush.

        Raises:
            BrokenPipeError: the reader has gone.
            OutputError: any other failure to write.
        """
        page = _page_text(result.record, _without_crops(result))
        self._write(b"" if self._first else b"\n", _join([page]))
        self._first = False

    def finish(self, document: Document, pages: Sequence[int], settings: Mapping[str, Any]) -> None:
        """Nothing is left to write: pages went out as they came."""

    def skip(self, document: Document, records: Sequence[Record]) -> None:
        """Never called: nothing is finished earlier."""

    def _write(self, *chunks: bytes) -> None:
        data = b"".join(chunks)
        try:
            buffer = getattr(self._stream, "buffer", None)
            self._stream.flush()
            if buffer is None:
                self._stream.write(data.decode())
            else:  # UTF-8 and bare newlines whatever the locale and the platform
                buffer.write(data)
                buffer.flush()
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise output_error("standard output", error) from None


Output = FolderOutput | StreamOutput


def open_output(options: OutputOptions, *, wait: bool = False) -> Output:
    """The output that ``options.output`` names; enter it to use it. ``wait``: for another run to leave the folder."""
    return StreamOutput() if options.output == STDOUT else FolderOutput(Path(options.output), options, wait=wait)
