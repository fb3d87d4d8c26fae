"""The bytes of a document: what can be wrong with a file before anything looks inside."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from rtprune_cli import stopping
from rtprune_cli.errors import InputError, UnsupportedFileError
from rtprune_cli.inputs.fetching import fetcher
from rtprune_cli.inputs.formats import READS, reason
from rtprune_cli.records import Document

HEAD = 1024  # readers of PDF accept junk before the header, within so many bytes
CHUNK = 2**20


def read_head(document: Document) -> bytes:
    """The first bytes, which say what a document is.

    Raises:
        UnsupportedFileError: not a regular file.
        InputError: missing or forbidden.
    """
    with _opened(document) as file:
        return file.read(HEAD)


@contextmanager
def here(document: Document) -> Iterator[Document]:
    """A document at a URL as a file of this machine, as long as this lasts; any other as it is.

    Raises:
        InputError: it cannot be fetched.
    """
    if document.remote is None:
        yield document
        return
    with fetcher().have(document.remote) as path:
        yield replace(document, path=path, remote=None)


def where(document: Document) -> Path | bytes:
    """Where libraries find a document that is :func:`here`: its path, or the bytes of standard input."""
    if document.data is not None:
        return document.data
    assert document.path is not None
    return document.path


def content_hash(document: Document) -> str:
    """The SHA-256 of a document's bytes, as lower-case hexadecimal digits; of a file at a URL its size and version,
    where its server tells one.

    Raises:
        UnsupportedFileError: not a regular file.
        InputError: missing or forbidden, or it cannot be fetched.
    """
    if document.remote is not None:
        if document.remote.version is not None:
            return f"{document.remote.size} bytes, version {document.remote.version}"
        with here(document) as fetched:
            return content_hash(fetched)
    digest = hashlib.sha256()
    with _opened(document) as file:
        while chunk := file.read(CHUNK):
            stopping.check()
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def _opened(document: Document) -> Iterator[BinaryIO]:
    place = where(document)
    if isinstance(place, bytes):
        yield io.BytesIO(place)
        return
    try:
        # Looked at before it is opened: opening a named pipe would wait for its writer.
        if not stat.S_ISREG(os.stat(place).st_mode):
            raise UnsupportedFileError(f"{document.name} is not a file", f"rtprune reads {READS}")
        with open(place, "rb") as file:
            yield file
    except OSError as error:
        hint = "Check its permissions" if isinstance(error, PermissionError) else "Check that it still exists"
        raise InputError(f"{document.name} cannot be opened: {reason(error)}", hint) from None
