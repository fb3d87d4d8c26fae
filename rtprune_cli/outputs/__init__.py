"""Owns the way out: the output folder and who may write there, and markdown on standard output."""

from __future__ import annotations

from pathlib import Path

from rtprune_cli.errors import UsageError
from rtprune_cli.options import OutputOptions
from rtprune_cli.outputs.folder import FolderOutput
from rtprune_cli.outputs.naming import find_documents, name_documents
from rtprune_cli.outputs.shards import take_shard
from rtprune_cli.outputs.stream import STDOUT, StreamOutput

__all__ = [
    "STDOUT",
    "FolderOutput",
    "Output",
    "StreamOutput",
    "find_documents",
    "name_documents",
    "open_output",
    "take_shard",
]

Output = FolderOutput | StreamOutput


FILES = frozenset((".md", ".txt", ".html", ".json", ".jsonl", ".pdf", ".docx"))  # what a folder is hardly called


def open_output(
    options: OutputOptions, *, wait: bool = False, several: bool = False, shard: str | None = None
) -> Output:
    """The output that ``options.output`` names; enter it to use it. ``wait``: for another run to leave the folder.
    ``several``: documents, to be told apart on standard output. ``shard``: which one the run is.

    Raises:
        UsageError: it looks like a file.
    """
    if options.output == STDOUT:
        return StreamOutput(several=several)
    folder = Path(options.output)
    if folder.suffix.lower() in FILES and not folder.is_dir():
        hint = f"Name a folder, or give -o - > {folder.name} for one text"
        raise UsageError(f"-o {str(folder)!r} looks like a file, and output is a folder", hint)
    return FolderOutput(folder, options, wait=wait, shard=shard)
