"""The output folder of a run whose place is a bucket."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from rtprune_cli.errors import OutputError, UploadError
from rtprune_cli.failures import tell
from rtprune_cli.logs import NOTICE
from rtprune_cli.options import OutputOptions
from rtprune_cli.outputs import journal
from rtprune_cli.outputs.bucket.index import Index, Known
from rtprune_cli.outputs.bucket.lease import Lease
from rtprune_cli.outputs.bucket.objects import Objects
from rtprune_cli.outputs.bucket.spool import Spool
from rtprune_cli.outputs.bucket.syncing import fetch_for_html, fetch_state
from rtprune_cli.outputs.bucket.uploads import Uploads
from rtprune_cli.outputs.folder import FolderOutput
from rtprune_cli.outputs.journal import Past
from rtprune_cli.outputs.layout import HTML, REPORT, STATE, DocumentFiles
from rtprune_cli.outputs.lock import SHARD, FolderLock
from rtprune_cli.outputs.naming import Occupancy
from rtprune_cli.outputs.shards import ShardNote, note_path
from rtprune_cli.records import Document, Earlier, PageRecord, PageResult, failed
from rtprune_cli.remote import RemoteError, shown

log = logging.getLogger("rtprune")

MOST_FAILED = 5  # documents in a row that do not get there, and it is no matter of the documents


class BucketOutput(FolderOutput):
    """A folder in a bucket, which looks as one on a disk does.

    Documents are made in the spool, as in any output folder, uploaded when they are finished, their journals last, and
    then removed from the spool. Entering it takes the bucket's folder for this run alone, and fetches the journals that
    the spool does not know: what they say is done is done. Leaving it uploads what is left, and the report.
    """

    def __init__(
        self, url: str, options: OutputOptions, spool: Path, *, wait: bool = False, shard: str | None = None
    ) -> None:
        """``spool`` is the folder for this URL. ``wait``, ``shard``: as in :class:`FolderOutput`.

        Raises:
            UsageError: no library is known for such URLs.
            EnvironmentFault: the library is not installed.
        """
        self._spool = Spool(spool, md_only=options.md_only)
        super().__init__(self._spool.folder, options)
        self._url = shown(url).rstrip("/")
        self._objects = Objects(url)
        self._what, self._wait = f"{SHARD}{shard}" if shard else "", wait
        self._spool_lock = FolderLock(spool, wait=wait, what=self._what)
        self._index: Index | None = None  # until it is known what the bucket has
        self._lease: Lease | None = None
        self._uploads: Uploads | None = None

    # --- Taking and leaving the folder

    def __enter__(self) -> BucketOutput:
        """
        Raises:
            OutputError: the bucket or the spool cannot be written, or another run has the folder.
        """
        spool = self._spool.make()
        self._spool_lock.acquire(self._url)
        try:
            with self._as_output():
                lease = Lease(self._objects, self._url, spool, what=self._what, wait=self._wait)
                lease.take()
                self._lease = lease
                self._index = Index(self._spool.index)
                found = fetch_state(self._objects, self._index, self._spool.layout)
                fresh = not found and self._objects.is_empty(but=STATE)
            super().__enter__()
            self._uploads = Uploads(self._objects, self._index, lease, self._layout, sweep=not fresh, keeps=self._stays)
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        uploads, index = self._uploads, self._index
        assert uploads is not None and index is not None
        try:
            if uploads.on_their_way:
                log.log(NOTICE, "uploading what is finished; to leave it to the next run, press Ctrl-C again")
            uploads.close(drop=kind is not None and issubclass(kind, OutputError))
            for result in self._take_failures(uploads):  # of which no other hears
                assert result.error is not None
                tell(result.document, None, result.error)
        finally:
            try:
                super().__exit__(kind, error, trace)
                with self._quiet(kind):
                    self._upload_report(index)
            finally:
                self._leave()

    def _write_html(self) -> None:
        with self._as_output():
            fetch_for_html(self._objects, self._layout)
        super()._write_html()

    def _leave(self) -> None:
        """Let others have the folder."""
        try:
            if self._lease is not None:
                self._lease.release()
        except (RemoteError, KeyboardInterrupt) as error:
            log.info("other runs must wait some minutes before they can write to %r: %s", self._url, error)
        finally:
            self._objects.close()
            self._spool_lock.release()

    def _upload_report(self, index: Index) -> None:
        assert self._lease is not None
        self._lease.assure()
        for path in (self._layout.report, *([self._layout.html] if self._options.html else [])):
            if path.is_file():
                self._objects.put(path, self._layout.name(path))
        stored = self._objects.stat(REPORT)
        if stored is not None:
            index.set(REPORT, Known(stored.version))

    @contextmanager
    def _as_output(self) -> Iterator[None]:
        """Inside, what is wrong with the bucket is what is wrong with the output."""
        try:
            yield
        except RemoteError as error:
            missing = isinstance(error.__cause__, FileNotFoundError)
            reason = "there is no such bucket" if missing else error.reason
            raise OutputError(f"cannot write {self._url!r}: {reason}", error.hint) from error

    @contextmanager
    def _quiet(self, kind: type[BaseException] | None) -> Iterator[None]:
        """Inside, what goes wrong on the way out is told; it is raised where no exception is under way."""
        try:
            with self._as_output():
                yield
        except (OutputError, KeyboardInterrupt) as error:
            if kind is None:
                raise
            log.warning("the report was not uploaded; the next run does: %s", error)

    # --- What is there already

    def _known(self) -> Index:
        """What the bucket has; looked at when it is first asked for, where the output is not entered (--dry-run)."""
        if self._index is None:
            self._spool.make()
            with self._as_output():
                self._index = self._looked_at()
        return self._index

    def _looked_at(self) -> Index:
        lock = FolderLock(self._spool.root, wait=False)
        try:
            lock.acquire(self._url)
        except OutputError:  # the run that has it has looked, and its spool says what is done
            return Index(self._spool.index)
        try:
            index = Index(self._spool.index)
            fetch_state(self._objects, index, self._spool.layout)
            return index
        finally:
            lock.release()

    def occupancy(self, document: Document, content: Callable[[], str]) -> Occupancy:
        """As in a folder, by the journals in the bucket; files without one are not seen."""
        self._known()
        return super().occupancy(document, content)

    def earlier(self, document: Document, fingerprint: str) -> Earlier:
        """As in a folder. What the bucket has counts without being fetched."""
        self._known()
        return super().earlier(document, fingerprint)

    def _pages_there(self, files: DocumentFiles, past: Past) -> frozenset[int]:
        return super()._pages_there(files, past) | self._pages_in_bucket(files, past)

    def _texts_there(self, files: DocumentFiles, past: Past) -> bool:
        if self._is_uploaded(files):
            return past.files is None or past.files.issuperset(self._endings)
        return super()._texts_there(files, past)

    def _pages_in_bucket(self, files: DocumentFiles, past: Past) -> frozenset[int]:
        known = self._known().get(self._layout.name(files.journal))
        if known is None:
            return frozenset()
        return frozenset(page for page, place in past.places.items() if place < known.size or page in known.pages)

    def _is_uploaded(self, files: DocumentFiles) -> bool:
        """Whether the bucket has the journal that the spool has; it was uploaded last."""
        known = self._known().get(self._layout.name(files.journal))
        return known is not None and not known.begun and known.size >= files.journal.stat().st_size

    def _has_text(self, files: DocumentFiles) -> bool:
        past = journal.read(files.journal)
        known = self._known().get(self._layout.name(files.journal))
        return (known is not None and past is not None and bool(past.records)) or super()._has_text(files)

    def place(self, document: Document) -> str:
        """As in a folder, as a URL."""
        return f"{self._url}/{self._files(document).text_path}"

    def report_place(self) -> str | None:
        """As in a folder, as a URL."""
        return f"{self._url}/{HTML}" if self._layout.html.exists() else None

    # --- A document

    def begin_shard(self, note: ShardNote) -> None:
        """As in a folder, and in the bucket at once."""
        super().begin_shard(note)
        path = note_path(self._layout, note)
        with self._as_output():
            self._objects.put(path, self._layout.name(path))

    def start(self, document: Document, fingerprint: str, content: str, keep: frozenset[int]) -> None:
        """As in a folder."""
        files = self._files(document)
        name, index = self._layout.name(files.journal), self._known()
        known = index.get(name)
        past = journal.read(files.journal) if known and keep else None
        pages = sorted(keep & self._pages_in_bucket(files, past)) if past else []
        super().start(document, fingerprint, content, keep)
        if known is not None:  # the journal in the spool is another from now on
            index.set(name, Known(known.version, 0, tuple(pages), known.begun))

    def finish(self, document: Document, pages: Sequence[int], settings: Mapping[str, Any]) -> None:
        """As in a folder; then it is on its way to the bucket.

        Raises:
            OutputError: it cannot be written into the spool.
        """
        was_read = document.folder in self._journals
        files = self._files(document)
        stays = not was_read and (document.folder in self._refused or self._has_text(files))
        super().finish(document, pages, settings)
        if not stays:
            self._send(document, files)

    def skip(self, document: Document, records: Sequence[PageRecord]) -> None:
        """A document that an earlier run finished; where that could not upload it, it is on its way now. The path that
        it was read from stays: machines see the same inputs under different ones."""
        files = self._files(document)
        if not self._is_uploaded(files):
            self._send(document, files)
        self._append_rows(records)

    def _send(self, document: Document, files: DocumentFiles) -> None:
        assert self._uploads is not None
        self._uploads.add(document, files)

    def _stays(self, path: Path) -> bool:
        """Whether a file stays in the spool when it is in the bucket: what report.html is made of, without pictures."""
        return self._options.html and (path.suffix == ".json" or not (self._options.json or path.suffix != ".md"))

    def unsaved(self, *, wait: bool = False) -> Sequence[PageResult]:
        """Documents that cannot be uploaded, or with ``wait`` all that cannot.

        Raises:
            OutputError: one after another, or another run has taken over.
        """
        assert self._uploads is not None and self._lease is not None
        self._lease.check()
        results = self._take_failures(self._uploads, wait=wait)
        self._lease.check()
        if self._uploads.failed_in_a_row >= MOST_FAILED:
            reason = f": {results[-1].error.message}" if results and results[-1].error else ""
            message = f"{MOST_FAILED} documents one after another could not be uploaded to {self._url!r}{reason}"
            raise OutputError(message, "They are kept on this machine: run the same command again, and they go there")
        return results

    def _take_failures(self, uploads: Uploads, *, wait: bool = False) -> list[PageResult]:
        results = []
        for failure in uploads.failures(wait=wait):
            reason = failure.error.reason if isinstance(failure.error, RemoteError) else failure.error.message
            message = f"{failure.document.name} could not be uploaded: {reason}"
            error = UploadError(message, "It is kept on this machine: run the same command again, and it goes there")
            results.append(failed(failure.document, None, error))
            self.add(results[-1])
        for files in uploads.uploaded():
            files.tidy()
        return results
