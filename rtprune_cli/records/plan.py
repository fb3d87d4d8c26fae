"""What is to be done with a document."""

from __future__ import annotations

from dataclasses import dataclass, field

from rtprune_cli.errors import RtpruneError
from rtprune_cli.records.stages import Document, Earlier


@dataclass(frozen=True)
class DocumentPlan:
    """What is to be done with a document.

    ``pages`` are those that were asked for, in order; ``earlier`` what is done already; ``error`` why nothing can be.
    ``content`` is the SHA-256 of the file, or what stands for it at a URL, and ``fingerprint`` stands for all that its
    text depends on; both are empty when the file cannot be read. ``goes_on``: others of its pages are read elsewhere,
    and with one of them it is said what concerns the whole document.
    """

    document: Document
    pages: tuple[int, ...] = ()
    earlier: Earlier = field(default_factory=Earlier)
    content: str = ""
    fingerprint: str = ""
    error: RtpruneError | None = None
    goes_on: bool = False
