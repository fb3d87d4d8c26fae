"""Documents on their way to a bucket, in threads: the reading of pages does not wait for it."""

from __future__ import annotations

import hashlib
import logging
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread

from rtprune_cli import stopping
from rtprune_cli.errors import RtpruneError
from rtprune_cli.outputs import journal
from rtprune_cli.outputs.bucket.index import Index, Known
from rtprune_cli.outputs.bucket.lease import Lease
from rtprune_cli.outputs.bucket.objects import Objects
from rtprune_cli.outputs.layout import BLOCKS, RAW, DocumentFiles, Layout, crop_page, view_page
from rtprune_cli.records import Document
from rtprune_cli.remote import RemoteError
from rtprune_cli.storage import remove

log = logging.getLogger("rtprune")

DOCUMENTS = 4  # that are uploaded at a time
WAITING = 64  # documents at most, so that the spool does not fill the disk


@dataclass(frozen=True)
class NotUploaded:
    """A document that does not get to the bucket."""

    document: Document
    error: RemoteError | RtpruneError


class Uploads:
    """Takes documents to the bucket. Those that fail stay in the spool, and so do their journals."""

    def __init__(
        self,
        objects: Objects,
        index: Index,
        lease: Lease,
        layout: Layout,
        *,
        sweep: bool,
        keeps: Callable[[Path], bool],
    ) -> None:
        """``sweep``: the bucket may hold files of documents that this run did not write. ``keeps``: which files stay in
        the spool."""
        self._objects, self._index, self._lease, self._layout = objects, index, lease, layout
        self._sweep, self._keeps = sweep, keeps
        self._queue: queue.Queue[tuple[Document, DocumentFiles] | None] = queue.Queue(WAITING)
        self._lock = Lock()
        self._failures: list[NotUploaded] = []
        self._uploaded: list[DocumentFiles] = []
        self._bug: Exception | None = None
        self._on_their_way = 0
        self._dropped = self._closing = False
        self.failed_in_a_row = 0
        self._threads = [Thread(target=self._work, daemon=True, name=f"upload-{n}") for n in range(DOCUMENTS)]
        for thread in self._threads:
            thread.start()

    def add(self, document: Document, files: DocumentFiles) -> None:
        """Take a document there; waits for room where many wait already."""
        with self._lock:
            self._on_their_way += 1
        while True:
            stopping.check()
            try:
                self._queue.put((document, files), timeout=stopping.TICK)
                return
            except queue.Full:
                continue

    def failures(self, *, wait: bool = False) -> list[NotUploaded]:
        """Those since this was last asked. ``wait``: for all that are on their way."""
        while wait and self._on_their_way and self._bug is None:
            stopping.check()
            time.sleep(stopping.TICK)
        if self._bug is not None:
            raise self._bug
        with self._lock:
            found, self._failures = self._failures, []
        return found

    def uploaded(self) -> list[DocumentFiles]:
        """Documents that are there since this was last asked; folders that they leave may be removed."""
        with self._lock:
            found, self._uploaded = self._uploaded, []
        return found

    @property
    def on_their_way(self) -> int:
        """Documents that are not there yet."""
        return self._on_their_way

    def close(self, *, drop: bool) -> None:
        """End the threads when all is there; with ``drop``, and where the bucket does not answer, when they are through
        with what they have at hand: the rest stays in the spool."""
        self._dropped, self._closing = drop, True
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                if not (self._dropped or (self._closing and self.failed_in_a_row)):
                    self._upload(item[1])
                    self.failed_in_a_row = 0
            except (RemoteError, RtpruneError) as error:
                with self._lock:
                    self._failures.append(NotUploaded(item[0], error))
                    self.failed_in_a_row += 1
            except KeyboardInterrupt:  # a wait before another try; the next run takes it there
                log.info("%s was not uploaded: the run was stopped", item[0].name)
            except Exception as error:
                self._bug = error
            with self._lock:
                self._on_their_way -= 1

    def _upload(self, files: DocumentFiles) -> None:
        """Its files, then what else was there of it away, then the journal, which says that it is whole."""
        self._lease.assure()
        name = self._layout.name(files.journal)
        known = self._index.get(name) or Known("")
        if known.version:  # or a kill in the middle would leave it to vouch for files of two runs
            self._index.set(name, Known(known.version, known.size, known.pages, begun=True))
            self._objects.remove(name)
        own = list(files.own())
        names = [self._layout.name(path) for path in own]
        self._objects.each(self._objects.put, own, names)
        if self._sweep and not self._layout.md_only:
            self._objects.each(self._objects.remove, sorted(self._stale(files, known.pages, set(names))))
        data = files.journal.read_bytes()
        self._objects.write(name, data)
        self._index.set(name, Known(hashlib.md5(data, usedforsecurity=False).hexdigest(), len(data)))
        for path in own:
            if not self._keeps(path):
                remove(path)
        with self._lock:
            self._uploaded.append(files)

    def _stale(self, files: DocumentFiles, kept: tuple[int, ...], uploaded: set[str]) -> set[str]:
        """What the bucket has of the document and this reading has not; ``kept`` are pages of an earlier one."""
        past = journal.read(files.journal)
        crops = past.crops if past else {}
        names = {name for each in crops.values() for name in each}
        places = {self._layout.name(files.file(ending)) for ending in (BLOCKS, RAW)}
        images, views = (f"{self._layout.name(folder)}/" for folder in (files.images, files.views))
        stale = set()
        for place in self._objects.listed(self._layout.name(files.markdown.parent)).keys() - uploaded:
            folder, name = place[: place.rfind("/") + 1], place.rpartition("/")[2]
            is_old_crop = folder == images and crop_page(name) is not None and name not in names
            page = view_page(name) if folder == views else None
            is_old_view = page is not None and not (page in crops and page in kept)
            if place in places or is_old_crop or is_old_view:
                stale.add(place)
        return stale
