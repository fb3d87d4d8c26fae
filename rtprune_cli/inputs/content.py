"""The bytes of a document: what can be wrong with a file before anything looks inside."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from rtprune_cli.errors import InputError, UnsupportedFileError
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


def content_hash(document: Document) -> str:
    """The SHA-256 of a document's bytes, as lower-case hexadecimal digits.

    Raises:
        UnsupportedFileError: not a regular file.
        InputError: missing or forbidden.
    """
    digest = hashlib.sha256()
    with _opened(document) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def _opened(document: Document) -> Iterator[BinaryIO]:
    if document.data is not None:
        yield io.BytesIO(document.data)
        return
    assert document.path is not None
    try:
        # Looked at before it is opened: opening a named pipe would wait for its writer.
        if not stat.S_ISREG(os.stat(document.path).st_mode):
            raise UnsupportedFileError(f"{document.name} is not a file", f"rtprune reads {READS}")
        with open(document.path, "rb") as file:
            yield file
    except OSError as error:
        hint = "Check its permissions" if isinstance(error, PermissionError) else "Check that it still exists"
        raise InputError(f"{document.name} cannot be opened: {reason(error)}", hint) from None
