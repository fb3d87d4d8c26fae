"""What of an output folder may be read: regular files that lie in it, wherever links in it lead.

The folder may be anybody's: one that was copied or unpacked can hold links to any place, and pipes that never end.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from rtprune_cli.outputs.layout import IMAGES, MARKDOWN, VIEWS, DocumentFiles, crop_page, view_page

TYPES = {".jpg": "image/jpeg", ".png": "image/png", MARKDOWN: "text/plain; charset=utf-8"}
_FLAGS = ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY", "O_NOCTTY")  # as far as the system has them


def open_inside(root: Path, path: Path) -> IO[bytes] | None:
    """A regular file in the folder ``root``, a real path, open for reading; None for what is none, or is elsewhere."""
    flags = os.O_RDONLY
    for name in _FLAGS:
        flags |= getattr(os, name, 0)
    try:
        real = Path(os.path.realpath(path, strict=True))
        if not real.is_relative_to(root):
            return None
        descriptor = os.open(real, flags)
    except (OSError, ValueError):
        return None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return open(descriptor, "rb")
    os.close(descriptor)
    return None


def may_read(root: Path, *paths: Path) -> bool:
    """Whether each of ``paths`` is a regular file in ``root``, a real path, or is not there."""
    for path in paths:
        if os.path.lexists(path):
            file = open_inside(root, path)
            if file is None:
                return False
            file.close()
    return True


def asked_file(path: str, documents: Mapping[str, DocumentFiles]) -> Path | None:
    """The file that a URL's ``path`` below the report names: a picture or crop of one of the ``documents``, by the
    folders that the report has of them, or its markdown; None for anything else."""
    folder, _, name = unquote(path).rpartition("/")
    above, _, kind = folder.rpartition("/")
    if (files := documents.get(above)) is not None:
        if kind == VIEWS and view_page(name) is not None and name.endswith(".jpg"):
            return files.views / name
        if kind == IMAGES and crop_page(name) is not None:
            return files.images / name
    for each in (documents.get(folder), documents.get(unquote(path).removesuffix(MARKDOWN))):
        if each is not None and each.text_path == unquote(path):
            return each.markdown
    return None
