"""What a run fetches from its bucket before it begins, and before it writes report.html."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path, PurePosixPath

from rtprune_cli.outputs import journal
from rtprune_cli.outputs.bucket.index import Index, Known
from rtprune_cli.outputs.bucket.objects import BATCH, Objects
from rtprune_cli.outputs.html import rows_of
from rtprune_cli.outputs.layout import REPORT, RESERVED, Layout, view_names
from rtprune_cli.storage import remove


def fetch_state(objects: Objects, index: Index, layout: Layout) -> bool:
    """Bring the spool up to date with the journals and the report in the bucket; whether it has a journal.

    A journal is fetched where the bucket has another than was seen last. One that was begun to be uploaded counts for
    more than the one that it replaces; one that was deleted in the bucket is forgotten.

    Raises:
        RemoteError: the bucket cannot be read.
        OutputError: the spool cannot be written.
    """
    found = objects.listed(layout.name(layout.journals))
    new = {}
    for name, stored in found.items():
        known = index.get(name)
        if known is None or known.version != stored.version:
            new[name] = stored
    _forget(layout, [layout.root / name for name in new])
    objects.fetch({name: layout.root / name for name in new})
    for name, stored in new.items():
        index.set(name, Known(stored.version, (layout.root / name).stat().st_size))
    _forget(layout, [layout.root / name for name in new])
    for name in list(index.names()):
        known = index.get(name)
        if name != REPORT and name not in found and known is not None and not known.begun:
            _forget(layout, [layout.root / name])
            remove(layout.root / name)
            index.set(name, None)
    _fetch_report(objects, index, layout)
    return bool(found)


def _fetch_report(objects: Objects, index: Index, layout: Layout) -> None:
    stored, known = objects.stat(REPORT), index.get(REPORT)
    if stored is None:
        if known is not None:  # it was deleted there
            remove(layout.report)
            index.set(REPORT, None)
    elif known is None or known.version != stored.version:
        objects.fetch({REPORT: layout.report})
        index.set(REPORT, Known(stored.version))


def _forget(layout: Layout, journals: list[Path]) -> None:
    """Remove the files in the spool that journals there are about: the bucket has others."""
    if set(os.listdir(layout.root)) <= set(RESERVED):
        return  # there are no documents
    for path in journals:
        head = journal.head(path)
        if head is not None and head.folder is not None:
            files = layout.of(PurePosixPath(head.folder))
            if files.journal == path:
                for own in files.own():
                    remove(own)
                files.tidy()


def fetch_for_html(objects: Objects, layout: Layout) -> None:
    """Fetch what report.html is made of where the spool has not got it: texts, settings, tokens, but no pictures.

    Raises:
        RemoteError: it cannot be had.
    """
    if not layout.report.exists():
        return
    wanted: dict[Path, Path] = {}  # a file, and what there is in its place where it is not there
    for folder, records in groupby(rows_of(layout.report), key=lambda record: record.folder):
        files = layout.of(PurePosixPath(folder))
        pages = {record.page for record in records if record.page is not None}
        tokens = [files.views / view_names(page)[2] for page in sorted(pages)]
        wanted |= {path: path for path in (files.records, *tokens)} | {files.blocks: files.markdown}
        if len(wanted) >= BATCH:
            _fetch(objects, layout, wanted)
            wanted = {}
    _fetch(objects, layout, wanted)


def _fetch(objects: Objects, layout: Layout, wanted: Mapping[Path, Path]) -> None:
    missing = [path for path, instead in wanted.items() if not path.exists() and not instead.exists()]
    objects.fetch_there({layout.name(path): path for path in missing})
    instead = [wanted[path] for path in missing if not path.exists() and wanted[path] != path]
    objects.fetch_there({layout.name(path): path for path in instead})
