"""Owns the way out: the output folder and who may write there, and markdown on standard output."""

from __future__ import annotations

from pathlib import Path

from rtprune_cli.errors import UsageError
from rtprune_cli.options import OutputOptions
from rtprune_cli.outputs.bucket import BucketOutput, spool_of
from rtprune_cli.outputs.folder import FolderOutput
from rtprune_cli.outputs.naming import find_documents, name_documents
from rtprune_cli.outputs.shards import take_shard
from rtprune_cli.outputs.stream import STDOUT, StreamOutput
from rtprune_cli.remote import is_url, shown

__all__ = [
    "STDOUT",
    "BucketOutput",
    "FolderOutput",
    "Output",
    "StreamOutput",
    "find_documents",
    "name_documents",
    "open_output",
    "take_shard",
]

Output = FolderOutput | StreamOutput  # a BucketOutput is a folder's too


FILES = frozenset((".md", ".txt", ".html", ".json", ".jsonl", ".pdf", ".docx"))  # what a folder is hardly called


def open_output(
    options: OutputOptions, *, wait: bool = False, several: bool = False, shard: str | None = None
) -> Output:
    """The output that ``options.output`` names; enter it to use it. ``wait``: for another run to leave the folder.
    ``several``: documents, to be told apart on standard output. ``shard``: which one the run is.

    Raises:
        UsageError: it looks like a file, or is a URL that is not written to.
        EnvironmentFault: it is a URL, and the library for it is not installed.
        OutputError: there is no place for what goes to a bucket.
    """
    if options.output == STDOUT:
        return StreamOutput(several=several)
    folder, url = Path(options.output), options.output if is_url(options.output) else None
    if folder.suffix.lower() in FILES and (url or not folder.is_dir()):
        hint = f"Name a folder, or give -o - > {folder.name} for one text"
        raise UsageError(f"-o {shown(options.output)!r} looks like a file, and output is a folder", hint)
    if url is None:
        return FolderOutput(folder, options, wait=wait, shard=shard)
    if url.lower().startswith("http"):
        raise UsageError(f"nothing can be written to {shown(url)!r}", "Give -o a folder, or s3://, gs:// or az://")
    return BucketOutput(url, options, spool_of(url, options.spool), wait=wait, shard=shard)
