"""Owns the way out: the output folder and who may write there, and markdown on standard output."""

from __future__ import annotations

from pathlib import Path

from rtprune_cli.options import OutputOptions
from rtprune_cli.outputs.folder import FolderOutput
from rtprune_cli.outputs.naming import find_documents, name_documents
from rtprune_cli.outputs.stream import STDOUT, StreamOutput

__all__ = ["STDOUT", "FolderOutput", "Output", "StreamOutput", "find_documents", "name_documents", "open_output"]

Output = FolderOutput | StreamOutput


def open_output(options: OutputOptions, *, wait: bool = False) -> Output:
    """The output that ``options.output`` names; enter it to use it. ``wait``: for another run to leave the folder."""
    return StreamOutput() if options.output == STDOUT else FolderOutput(Path(options.output), options, wait=wait)
