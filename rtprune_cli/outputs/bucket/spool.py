"""The folder on this machine in which documents for a bucket are made, and wait until they are there."""

from __future__ import annotations

import hashlib
import os
import uuid
from pathlib import Path

from rtprune_cli.errors import OutputError
from rtprune_cli.outputs.layout import Layout
from rtprune_cli.remote import shown
from rtprune_cli.storage import atomic_write, make_folder, read_start


class Spool:
    """SPOOL/DIGEST/, for one URL.

    folder/        the output folder
    index.jsonl    what is known of the bucket (index.py)
    id             stands for the spool in leases
    lock, owner    one run at a time (lock.py)
    """

    def __init__(self, root: Path, *, md_only: bool) -> None:
        self.root = root
        self.folder = root / "folder"
        self.index = root / "index.jsonl"
        self.layout = Layout(self.folder, md_only)

    def make(self) -> str:
        """Make it, unless it is there; its id.

        Raises:
            OutputError: it cannot be made.
        """
        try:
            make_folder(self.layout.state)
            place = self.root / "id"
            if not read_start(place):
                atomic_write(place, uuid.uuid4().hex.encode())
        except OutputError as error:
            error.hint = "Give another folder for it with --spool"
            raise
        return read_start(place)


def spool_of(url: str, folder: str | None) -> Path:
    """Where documents wait for the bucket at a URL: below ``folder``, else in the user's cache.

    Raises:
        OutputError: there is no home for a cache.
    """
    digest = hashlib.sha256(shown(url).rstrip("/").encode()).hexdigest()[:32]
    if folder is not None:
        return Path(folder) / digest
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        raise OutputError("no home folder has room for what goes to a bucket", "Give a folder with --spool") from None
    return cache / "rtprune" / "spool" / digest
