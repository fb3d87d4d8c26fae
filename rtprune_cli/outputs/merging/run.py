"""The merge itself: folders locked, documents put into the whole one by one, then the report over all of them.

A document's files come first, then its records, its journal last: what a merge that was cut short has done is found by
the next one, and what is not whole is no document yet. The folders that are merged stay as they are.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath

from rtprune_cli.errors import UsageError
from rtprune_cli.options import OutputOptions
from rtprune_cli.outputs.folder import FolderOutput
from rtprune_cli.outputs.layout import Layout
from rtprune_cli.outputs.lock import FolderLock
from rtprune_cli.outputs.merging.choice import Taking, choose, one_each
from rtprune_cli.outputs.merging.found import FolderDocument, documents_in, is_results
from rtprune_cli.outputs.shards import ShardNote, read_notes, write_note
from rtprune_cli.storage import link_or_copy, make_folder, remove

log = logging.getLogger("rtprune")


@dataclass(frozen=True)
class MergeResult:
    """What became of a merge: documents in the whole, those of them that were ``added`` or brought up to date now, and
    what is ``missing`` of the shards, in words."""

    documents: int
    added: int
    missing: tuple[str, ...]


def merge(folders: Sequence[Path], whole: Path, *, link: bool = True, wait: bool = False) -> MergeResult:
    """Join output folders into ``whole``, which may have documents already. ``link``: hard links rather than copies.
    ``wait``: for runs that have one of the folders.

    Raises:
        UsageError: a folder is no output folder.
        OutputError: another run has a folder, documents collide (then nothing was written), or the disk is full.
    """
    sources = _distinct(folders, whole)
    with ExitStack() as stack:
        for source in sorted(sources, key=os.path.realpath):  # in one order, or two merges could wait for each other
            stack.enter_context(_held(source, wait))
        found = [document for source in sources for document in documents_in(source)]
        one_each(found)  # before the whole is made
        html = any(Layout(folder).html.is_file() for folder in (*sources, whole))
        options = OutputOptions(output=str(whole), html=html)
        output = stack.enter_context(FolderOutput(whole, options, wait=wait))
        layout = Layout(whole)
        chosen = choose(found, documents_in(whole), layout)
        notes = [note for folder in (whole, *sources) for note in read_notes(Layout(folder))]
        order = {folder: at for note in notes for folder, at in note.places.items()}
        chosen.sort(key=lambda choice: order.get(str(choice.found.files.folder), -1))  # as one run would have them
        for choice in chosen:
            _take(choice, layout, output, link)
        for note in notes:
            write_note(layout, note)
        added = sum(choice.written for choice in chosen)
        return MergeResult(len(chosen), added, tuple(_missing(notes, [choice.found for choice in chosen])))


def _distinct(folders: Sequence[Path], whole: Path) -> list[Path]:
    found: dict[str, Path] = {}
    for folder in folders:
        if not is_results(folder):
            what = "holds no results of rtprune" if folder.is_dir() else "is no folder"
            raise UsageError(f"{str(folder)!r} {what}", "Name output folders of rtprune ocr")
        found.setdefault(os.path.realpath(folder), folder)
    found.pop(os.path.realpath(whole), None)  # OUT/* may name the whole of an earlier merge
    return list(found.values())


@contextmanager
def _held(folder: Path, wait: bool) -> Iterator[None]:
    """Keep runs out of a folder that is merged."""
    state = Layout(folder).state
    if not state.is_dir():
        yield  # it was deleted, and no run is there: it would have made it
        return
    if not os.access(state, os.W_OK):
        log.warning("%r cannot be locked, as it is read-only: see that no run writes to it", str(folder))
        yield
        return
    lock = FolderLock(state, wait=wait, what="merging it", hint="Merge again when it has ended, or use --wait")
    lock.acquire(folder)
    try:
        yield
    finally:
        lock.release()


def _take(choice: Taking, whole: Layout, output: FolderOutput, link: bool) -> None:
    """Have a document in the whole."""
    found = choice.found
    if not choice.written:
        output.adopt(found.files.folder, found.rows())
        return
    names = found.names()
    files = found.other(whole)
    for name in names:
        make_folder((whole.root / name).parent)
        link_or_copy(found.root / name, whole.root / name, whole.scratch, link=link)
    if choice.renewed:
        for path in [path for path in files.own() if path.parent in (files.images, files.views)]:
            if PurePosixPath(path.relative_to(whole.root).as_posix()) not in names:
                remove(path)
    output.adopt(found.files.folder, found.rows())
    if found.head is not None:
        make_folder(files.journal.parent)
        # A journal is appended to: a link would change the shard's.
        link_or_copy(found.files.journal, files.journal, whole.scratch, link=False)


def _missing(notes: Sequence[ShardNote], found: Sequence[FolderDocument]) -> Iterator[str]:
    """What of the shards is not in the whole, by what their notes say."""
    for count, group in groupby(sorted(notes, key=lambda note: note.count), key=lambda note: note.count):
        own = list(group)
        if len({note.inputs for note in own}) > 1:
            yield f"the shards of {count} were not given the same inputs: documents may be missing"
        there = {note.number for note in own}
        absent = [f"{number}/{count}" for number in range(1, count + 1) if number not in there]
        if absent:
            more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
            yield f"shards are missing: {', '.join(absent[:5])}{more}"
    unread = {folder for note in notes for folder in note.folders} - {str(each.files.folder) for each in found}
    left = len(unread) + sum(each.begun for each in found)
    if left:
        yield f"documents that are not read to their end: {left}"
