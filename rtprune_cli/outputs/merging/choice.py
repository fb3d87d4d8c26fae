"""Which document is taken for each place, decided before anything is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rtprune_cli.errors import OutputError
from rtprune_cli.outputs.layout import Layout
from rtprune_cli.outputs.merging.found import FolderDocument, same_file
from rtprune_cli.outputs.naming import name_documents
from rtprune_cli.records import Document

APART = "Nothing was written. Merge them into different folders, or leave one of them out"


@dataclass(frozen=True)
class Taking:
    """A document of the whole; ``written`` is False where it is there already, and only its records are taken over.
    ``renewed``: an earlier state of it is there."""

    found: FolderDocument
    written: bool
    renewed: bool = False


def choose(sources: Iterable[FolderDocument], there: Iterable[FolderDocument], whole: Layout) -> list[Taking]:
    """The documents of the whole: those that are ``there`` first, each where it was in its list.

    Raises:
        OutputError: two documents want one place, or a file stands in a place that is not the document's.
    """
    wanted = one_each(sources)
    old = {each.place: each for each in there}
    chosen = {place: Taking(each, False) for place, each in old.items()}
    for place, source in wanted.items():
        target = old.get(place)
        if target is None or target.head is None:  # a merge that was interrupted left files without their journal
            _check_room(source, whole)
            chosen[place] = Taking(source, True)
        elif not (_same(target, source) or _goes_on(target, source)):
            if not _goes_on(source, target):
                raise _refusal(target, source)
            chosen[place] = Taking(source, True, renewed=True)
    _check_names([choice.found for choice in chosen.values()])
    return list(chosen.values())


def one_each(sources: Iterable[FolderDocument]) -> dict[str, FolderDocument]:
    """The documents by their places; one that is in two folders, read to its end in both, is one.

    Raises:
        OutputError: as for :func:`choose`.
    """
    wanted: dict[str, FolderDocument] = {}
    for source in sources:
        other = wanted.setdefault(source.place, source)
        if other is not source and not _same(other, source):
            raise _refusal(other, source)
    _check_names(list(wanted.values()))
    return wanted


def _same(one: FolderDocument, other: FolderDocument) -> bool:
    """Whether two documents are the same text: finished under one fingerprint, or the same files."""
    if one.finished and other.finished:
        return one.fingerprint == other.fingerprint
    names = one.names()
    same_head = one.head is None or other.head is None or same_file(one.files.journal, other.files.journal)
    return (
        same_head
        and names == other.names()
        and all(same_file(one.root / name, other.root / name) for name in names)
        and one.rows() == other.rows()
    )


def _goes_on(one: FolderDocument, other: FolderDocument) -> bool:
    """Whether ``one`` is a later state of ``other``, which has nothing that ``one`` lacks."""
    if one.head is None or other.head is None:
        return False
    if not other.fingerprint:  # it could not be opened, and a comment says so
        return one.head.header.path == other.head.header.path
    if one.fingerprint != other.fingerprint or other.finished:
        return False
    return one.finished or one.pages() >= other.pages()


def _check_room(source: FolderDocument, whole: Layout) -> None:
    """Files that are there must be what would be written."""
    for name in source.names():
        place = whole.root / name
        above = next((folder for folder in _above(name, whole.root) if folder.is_file()), None)
        if above is not None or (place.exists() and not same_file(source.root / name, place)):
            raise OutputError(
                f"{str(above or place)!r} is in the way of {source.place!r} of {str(source.root)!r}", APART
            )


def _above(name: PurePosixPath, root: Path) -> Iterable[Path]:
    return (root / folder for folder in name.parents if folder.parts)


def _check_names(found: list[FolderDocument]) -> None:
    """No document's file may be the folder of one from elsewhere, nor the same where file systems ignore case."""
    owners = {each.files.folder: each for each in found}
    wanting = [Document(None, str(folder), folder) for folder in owners]
    for given, named in zip(wanting, name_documents(wanting, tell=False), strict=True):
        if given.folder != named.folder:
            own = owners[given.folder]
            for folder, other in owners.items():
                if other.root != own.root and _meet(folder, given.folder):
                    raise _refusal(other, own)


def _meet(one: PurePosixPath, other: PurePosixPath) -> bool:
    pair = [Document(None, str(folder), folder) for folder in (one, other)]
    return one != other and name_documents(pair, tell=False) != pair


def _refusal(one: FolderDocument, other: FolderDocument) -> OutputError:
    return OutputError(f"two documents for one place: {_described(one)}, and {_described(other)}", APART)


def _described(found: FolderDocument) -> str:
    path = found.head.header.path if found.head else None
    of = f" of {path!r}" if path else ""
    return f"{found.place!r} in {str(found.root)!r}{of} ({'finished' if found.finished else 'not finished'})"
