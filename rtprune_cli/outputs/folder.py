"""The output folder: what earlier runs left in it, and how documents get there page by page. Its names: layout.py."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, Any

from rtprune_cli.errors import OutputError, OutputNameError, RtpruneError
from rtprune_cli.options import OutputOptions
from rtprune_cli.outputs import journal
from rtprune_cli.outputs.document import DocumentWriter, absolute
from rtprune_cli.outputs.html import ReportFile, save_view
from rtprune_cli.outputs.journal import Entry, Header, Journal, Past
from rtprune_cli.outputs.layout import BLOCKS, MARKDOWN, RAW, RECORDS, DocumentFiles, Layout, remove_empty
from rtprune_cli.outputs.lock import SHARD, FolderLock
from rtprune_cli.outputs.naming import Occupancy
from rtprune_cli.outputs.pages import without_crops
from rtprune_cli.outputs.shards import ShardNote, write_note
from rtprune_cli.records import Document, Earlier, PageRecord, PageResult
from rtprune_cli.remote import is_url
from rtprune_cli.storage import (
    make_folder,
    output_error,
    read_start,
    remove,
    sync,
    temporary_path,
    to_json,
)

REFUSED_NAMES = (errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ)
LOST = "<!-- document failed"


class FolderOutput:
    """A folder with one subfolder a document, and ``report.jsonl`` over all of them.

    Nothing is written before it is entered; entering takes the folder for this run alone, leaving it (also by an
    exception) brings the report up to date. A document goes through :meth:`start`, :meth:`add` for each page, and
    :meth:`finish`; or through :meth:`skip`.
    """

    def __init__(self, root: Path, options: OutputOptions, *, wait: bool = False, shard: str | None = None) -> None:
        """``wait``: for another run to leave the folder. ``shard``: which one this run is, for others to know."""
        self.root = root
        self._options = options
        self._layout = Layout(root, options.md_only)
        self._writer = DocumentWriter(self._layout, options)
        self._journals: dict[PurePosixPath, Journal] = {}
        self._lost: dict[PurePosixPath, PageRecord] = {}  # documents that failed as a whole
        self._refused: set[PurePosixPath] = set()  # places whose names the file system does not take
        self._rows: IO[bytes] | None = None
        self._written: set[str] = set()  # folders of the documents in the rows
        self._lock = FolderLock(self._layout.state, wait=wait, what=f"{SHARD}{shard}" if shard else "")

    # --- Taking and leaving the folder

    def __enter__(self) -> FolderOutput:
        """
        Raises:
            OutputError: the folder cannot be created or written, or another run has it.
        """
        make_folder(self._layout.state)
        for path in (self._layout.report, *([self._layout.html] if self._options.html else [])):
            if path.is_dir():  # found before pages are read for it
                raise output_error(path, IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)))
        self._lock.acquire(self.root)
        try:
            self._recover_rows()
            shutil.rmtree(self._layout.scratch, ignore_errors=True)  # what a killed run left
            self._layout.scratch.mkdir()
            self._rows = open(self._layout.rows, "wb")
        except OSError as error:
            self._lock.release()
            raise output_error(self.root, error) from None
        return self

    def _recover_rows(self) -> None:
        """Bring the rows of a run that was killed to the report."""
        try:
            lines = self._layout.rows.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return
        whole = {line: folder for line in lines if (folder := folder_of(line))}
        self._layout.rows.write_bytes(b"".join(whole))
        self._written = set(whole.values())
        self._write_report()
        self._written = set()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        rows = self._rows
        assert rows is not None
        try:
            with rows:
                self._append_unfinished()
            self._rows = None
            self._write_report()
            try:
                if self._options.html:  # when all else is safe
                    self._write_html()
            finally:
                shutil.rmtree(self._layout.scratch, ignore_errors=True)  # else the rows wait for the next run
        except OSError as problem:
            if kind is None:  # else the exception under way is the one to report
                raise output_error(self._layout.report, problem) from None
        except OutputError:
            if kind is None:
                raise
        finally:
            self._lock.release()

    def _write_html(self) -> None:
        ReportFile(self._layout).write()

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
        if not self._written:
            return
        temporary = temporary_path(self._layout.report, self._layout.scratch)
        try:
            with open(temporary, "xb") as report:
                for line in self._other_rows():
                    report.write(line)
                with open(self._layout.rows, "rb") as rows:
                    shutil.copyfileobj(rows, report)
                sync(report)
            os.replace(temporary, self._layout.report)
        except BaseException:
            remove(temporary)
            raise

    def _other_rows(self) -> Iterator[bytes]:
        try:
            old = open(self._layout.report, "rb")  # noqa: SIM115
        except FileNotFoundError:
            return
        with old:
            for line in old:
                folder = folder_of(line)
                if folder and folder not in self._written:
                    yield line

    # --- What is there already

    def occupancy(self, document: Document, content: Callable[[], str]) -> Occupancy:
        """Whether the document's place is free, its own from an earlier run, or held by something else: the text of
        another document, or a file that is not the tool's.

        A document is the same when its path is, or when the recorded path is gone (or was standard input) and its
        ``content``, a SHA-256, is the recorded one. Of a URL nobody knows here whether it is gone.
        """
        path = absolute(document)
        header = journal.owner(self._files(document).journal)
        if header is None:
            if not self._files(document).any_exists():
                return "free"
            return "own" if path is not None and self._reported_path(document) == path else "other"
        if path is not None and header.path == path:
            return "own"
        try:
            moved = _is_gone(header.path) and header.sha256 == content()
        except RtpruneError:  # what cannot be read cannot be known; the run will say why
            moved = False
        return "own" if moved else "other"

    def _reported_path(self, document: Document) -> str | None:
        """Whose text lies there according to its report, where the journal was deleted."""
        try:
            report = json.loads(self._files(document).records.read_bytes())
            return str(report["document"]["path"])
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def earlier(self, document: Document, fingerprint: str) -> Earlier:
        """What is left of an earlier run under the same content, settings, model and version. Nothing is written."""
        past = journal.read(self._files(document).journal)
        if past is None or past.header.fingerprint != fingerprint:
            return Earlier()
        files = self._files(document)
        there = self._pages_there(files, past)
        if not past.finished:
            return Earlier(pages=there, failed=past.failed)
        whole = len(there) == len(past.records) and self._texts_there(files, past)
        return Earlier(True, there, records=tuple(past.records)) if whole else Earlier()

    def _pages_there(self, files: DocumentFiles, past: Past) -> frozenset[int]:
        """The pages of a journal whose crops are there."""
        images = files.images
        return frozenset(page for page, crops in past.crops.items() if all((images / name).exists() for name in crops))

    def _texts_there(self, files: DocumentFiles, past: Past) -> bool:
        """Whether a finished document has the files that are written of one."""
        return all(files.file(ending).exists() for ending in self._endings)

    @property
    def _endings(self) -> list[str]:
        """Of the files that are written of a document."""
        options = self._options
        wanted = {MARKDOWN: True, BLOCKS: options.json, RECORDS: True, RAW: options.raw}
        return [MARKDOWN] if options.md_only else [ending for ending, on in wanted.items() if on]

    def place(self, document: Document) -> str:
        """Where the document's markdown goes."""
        return str(self._files(document).markdown)

    def text_path(self, document: Document) -> str | None:
        """The same, relative to the folder."""
        return self._files(document).text_path

    # --- A document

    def begin_shard(self, note: ShardNote) -> None:
        """Remember which part of the inputs the run reads, for `rtprune merge`.

        Raises:
            OutputError: it cannot be written.
        """
        write_note(self._layout, note)

    def start(self, document: Document, fingerprint: str, content: str, keep: frozenset[int]) -> None:
        """Open the document's journal; the ``keep`` pages of an earlier run stay.

        Raises:
            OutputNameError: the file system does not take its name.
            OutputError: it cannot be written.
        """
        self._check_name(document)
        header = Header(absolute(document), content, fingerprint)
        self._journals[document.folder] = Journal(
            self._files(document).journal, header, keep or None, self._layout.scratch
        )

    def _check_name(self, document: Document) -> None:
        """Found before pages are read: shares refuse names that other file systems take."""
        files = self._files(document)
        longest = max((files.markdown, files.records), key=lambda path: len(path.name))
        try:
            longest.parent.mkdir(parents=True, exist_ok=True)
            if not longest.exists():
                with open(longest, "xb"):
                    pass
                longest.unlink()
            remove_empty(longest.parent, self.root)
        except OSError as error:
            if error.errno not in REFUSED_NAMES:
                return  # no matter of the name: writing says what is wrong
            self._refused.add(document.folder)
            remove_empty(longest.parent, self.root)
            reason = (error.strerror or type(error).__name__).lower()
            message = f"{document.name} cannot be written under its name: {reason}"
            raise OutputNameError(message, "Rename it, or write to another file system with -o") from None

    def add(self, result: PageResult) -> None:
        """Save the crops and the view of a page, then its text and record: from then on it is done.

        Raises:
            OutputError: something cannot be written.
        """
        document = result.document
        if result.record.page is None:
            self._lost[document.folder] = result.record
            return
        if self._options.md_only:
            entry = Entry(result.record, without_crops(result), blocks=result.markdown.blocks)
        else:
            raw = result.raw if self._options.raw else None
            crops = tuple(self._writer.save_crops(result))
            entry = Entry(result.record, result.markdown.text, raw, crops, result.markdown.blocks)
            save_view(self._files(document).views, result.record.page, result.view, self._layout.scratch)
        self._journals[document.folder].append(entry)

    def finish(self, document: Document, pages: Sequence[int], settings: Mapping[str, Any]) -> None:
        """Write the markdown, report and raw text of a document whose ``pages`` are all added, in that order.

        A document that failed as a whole keeps the text that it has from an earlier run.

        Raises:
            OutputError: one of them cannot be written.
        """
        own = self._journals.pop(document.folder, None)
        lost = self._lost.pop(document.folder, None)
        if own is None and lost is not None:
            self._finish_lost(document, lost, settings)
            return
        entries = list(own.entries(page for page in pages if page in own.pages)) if own else []
        if lost is not None:
            entries.append(Entry(lost, "", ""))
        self._writer.write(document, entries, settings)
        self._append_rows([entry.record for entry in entries])
        if own:
            own.close()
            if len(entries) == len(pages) and not any(entry.record.failed for entry in entries):
                own.finish(entries, self._endings)

    def _finish_lost(self, document: Document, record: PageRecord, settings: Mapping[str, Any]) -> None:
        """A document that could not be opened: a comment takes its place, unless there is text of an earlier run."""
        if document.folder in self._refused:
            self._append_rows([record])
            return
        if not self._has_text(self._files(document)):
            self._writer.write(document, [Entry(record, "", "")], settings)
            if journal.owner(self._files(document).journal) is None:  # whose comment it is
                self.start(document, "", "", frozenset())
                self._journals.pop(document.folder).close()
        self._append_rows([record])

    def _has_text(self, files: DocumentFiles) -> bool:
        """Whether there is text of an earlier run."""
        return files.markdown.exists() and not read_start(files.markdown).startswith(LOST)

    def unsaved(self, *, wait: bool = False) -> Sequence[PageResult]:
        """Documents that were finished and do not get where they should, since this was last asked, each as one result
        that failed. A folder has none: what cannot be written ends the run. ``wait``: for all that are on their way."""
        return ()

    def report_place(self) -> str | None:
        """Where report.html is, if there is one."""
        return str(self._layout.html) if self._layout.html.exists() else None

    def skip(self, document: Document, records: Sequence[PageRecord]) -> None:
        """A document that an earlier run finished: its records go to the report of this run too.

        Raises:
            OutputError: something cannot be written.
        """
        path, place = absolute(document), self._files(document).journal
        header = journal.owner(place)
        if header is not None and path is not None and header.path != path:  # it was moved since
            journal.rename_owner(place, path, self._layout.scratch)
            self._writer.renew_source(document)
        self._append_rows(records)

    def adopt(self, folder: PurePosixPath, lines: bytes) -> None:
        """Take the records of a document into the report, as lines of another folder's.

        Raises:
            OutputError: they cannot be written.
        """
        if lines:
            self._append_lines(lines)
            self._written.add(str(folder))

    def _append_rows(self, records: Sequence[PageRecord]) -> None:
        if not self._options.md_only:
            self._append_lines(b"".join(map(to_json, records)))
            self._written.update(record.folder for record in records)

    def _append_lines(self, lines: bytes) -> None:
        if self._rows is None:
            raise RuntimeError("FolderOutput was not entered")
        try:
            self._rows.write(lines)
            self._rows.flush()
        except OSError as error:
            raise output_error(self._layout.report, error) from None

    # --- Places

    def _files(self, document: Document) -> DocumentFiles:
        return self._layout.of(document.folder)


def _is_gone(path: str | None) -> bool:
    return path is None or not (is_url(path) or os.path.exists(path))


def folder_of(line: bytes) -> str | None:
    """The document of a line of the report; None for one that is torn or no record."""
    try:
        folder = json.loads(line)["folder"]
    except (ValueError, LookupError, TypeError):
        return None
    return folder if isinstance(folder, str) and line.endswith(b"\n") else None
