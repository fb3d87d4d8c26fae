"""The files of one document: markdown, blocks, report, raw text, crops."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rtprune_cli.options import OutputOptions
from rtprune_cli.outputs.html import remove_other_views
from rtprune_cli.outputs.joining import joined
from rtprune_cli.outputs.journal import Entry
from rtprune_cli.outputs.layout import DocumentFiles, Layout, crop_page
from rtprune_cli.outputs.pages import join, page_text
from rtprune_cli.records import (
    SCHEMA_VERSION,
    BlocksSource,
    Document,
    DocumentBlocks,
    PageResult,
)
from rtprune_cli.report import page_blocks, summarise
from rtprune_cli.storage import atomic_write, make_folder, remove, to_json

_NUMBERS = re.compile(rb"\[\n[\d\s.,-]+\]")  # no text has a bare line end in JSON


class DocumentWriter:
    """Writes documents whose pages are all read, into the places that the layout has for them.

    Raises:
        OutputError: from each method: a file cannot be written.
    """

    def __init__(self, layout: Layout, options: OutputOptions) -> None:
        self._layout, self._options = layout, options

    def write(self, document: Document, entries: Sequence[Entry], settings: Mapping[str, Any]) -> None:
        """Write a document of these pages, in their order."""
        files = self._files(document)
        make_folder(files.markdown.parent)
        texts = joined(entries) if self._options.join_pages else [page_text(each.record, each.text) for each in entries]
        atomic_write(files.markdown, join(texts), self._layout.scratch)
        if self._options.md_only:
            return
        if self._options.raw:
            atomic_write(
                files.raw, join([page_text(each.record, each.raw or "") for each in entries]), self._layout.scratch
            )
        else:
            remove(files.raw)  # of an earlier run, and no longer the source of this markdown
        if self._options.json:
            atomic_write(files.blocks, _blocks(document, entries), self._layout.scratch)
        else:
            remove(files.blocks)
        self._remove_other_crops(files, {name for entry in entries for name in entry.crops})
        remove_other_views(files.views, {entry.record.page for entry in entries})
        atomic_write(files.records, _report(document, entries, settings), self._layout.scratch)

    def save_crops(self, result: PageResult) -> list[str]:
        """Save the pictures of a page; the names of their files."""
        folder = self._files(result.document).images
        names = []
        for name, picture in result.crop_files():
            make_folder(folder)
            names.append(name)
            atomic_write(folder / name, picture, self._layout.scratch)
        return names

    def renew_source(self, document: Document) -> None:
        """Write into the blocks and the report of a document that is not read again where it lies now."""
        files = self._files(document)
        for path, to_bytes in ((files.blocks, _blocks_json), (files.records, _report_json)):
            try:
                value = json.loads(path.read_bytes())
                value["document"] |= {"name": document.name, "path": absolute(document)}
            except (OSError, ValueError, LookupError, TypeError):
                continue  # it was deleted or changed by hand
            atomic_write(path, to_bytes(value), self._layout.scratch)

    def _files(self, document: Document) -> DocumentFiles:
        return self._layout.of(document.folder)

    def _remove_other_crops(self, files: DocumentFiles, names: set[str]) -> None:
        """Crops of an earlier run that this one did not make; files with other names are not ours."""
        if files.images.is_dir():
            for path in files.images.iterdir():
                if crop_page(path.name) is not None and path.name not in names:
                    remove(path)


def _blocks(document: Document, entries: Sequence[Entry]) -> bytes:
    about = next((entry.record for entry in entries if entry.record.input_sha256 or entry.record.input_version), None)
    source = BlocksSource(
        name=document.name,
        path=absolute(document),
        folder=str(document.folder),
        sha256=about.input_sha256 if about else None,
        version=about.input_version if about else None,
    )
    pages = tuple(
        page_blocks(entry.record, entry.text, entry.blocks) for entry in entries if entry.record.page is not None
    )
    return _blocks_json(DocumentBlocks(document=source, pages=pages))


def _blocks_json(value: object) -> bytes:
    """Indented, but for boxes, which stand in a line each."""
    return _NUMBERS.sub(_in_a_line, to_json(value, indent=1))


def _in_a_line(numbers: re.Match[bytes]) -> bytes:
    return re.sub(rb"(?<=\[)\s+|\s+(?=\])", b"", re.sub(rb",\s+", b", ", numbers[0]))


def _report(document: Document, entries: Sequence[Entry], settings: Mapping[str, Any]) -> bytes:
    records = [entry.record for entry in entries]
    report = {
        "schema_version": SCHEMA_VERSION,
        "document": {"name": document.name, "path": absolute(document), "folder": str(document.folder)},
        "pages": records,
        "summary": summarise(records),
        "settings": settings,
    }
    return _report_json(report)


def _report_json(value: object) -> bytes:
    return to_json(value, indent=2)


def absolute(document: Document) -> str | None:
    """Where the document lies, a path or a URL; None for what was read from a pipe, whose name says nothing. Bytes that
    are no text are escaped, as JSON would lose them."""
    if document.remote is not None:
        return document.remote.shown
    if document.path is None or document.data is not None:
        return None
    return os.fsencode(os.path.abspath(document.path)).decode("utf-8", "backslashreplace")
