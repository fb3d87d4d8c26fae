"""Owns the files of one revision: which are here, what the rest weighs, and fetching those that are needed."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from glob import escape
from pathlib import Path

from rtprune_cli.errors import EnvironmentFault, HubError, UnreachableError
from rtprune_cli.hub.repository import Repository, absent, fetch, listing
from rtprune_cli.logs import NOTICE

log = logging.getLogger("rtprune")

SPARE = 100_000_000  # bytes that a download leaves free: a full disk hurts more than this run


@dataclass(frozen=True)
class Snapshot:
    """A revision of a repository and the folder of its files, of which some are here.

    ``revision`` is what was asked for, ``commit`` what that was; ``sizes`` what the hub has of it, path -> bytes, None
    where the hub was not asked: then what is here is all there is.
    """

    repository: Repository
    revision: str | None
    commit: str
    folder: Path
    sizes: Mapping[str, int] | None

    def has(self, path: str) -> bool:
        """Whether the file is here."""
        return (self.folder / path).is_file()

    def matching(self, patterns: Sequence[str]) -> list[str]:
        """Those of the hub's files that match, in order of their names."""
        return sorted(path for path in self.sizes or () if any(fnmatch(path, pattern) for pattern in patterns))

    def need(self, paths: Iterable[str], among: Sequence[str], what: str) -> None:
        """Have these files here, which are ``among`` those that match these patterns.

        How many they are, and how large, is said first; ``what`` they are: "page images".

        Raises:
            HubError: they cannot be had.
            EnvironmentFault: the disk has no room for them.
        """
        wanted = list(paths)
        missing = [path for path in wanted if not self.has(path)]
        if missing and self.sizes is not None:
            _tell(self.repository, self.commit, [self.sizes.get(path, 0) for path in missing], what)
            self._fetch(missing, among)
            missing = [path for path in missing if not self.has(path)]  # the network can have gone meanwhile
        if missing:
            raise HubError(
                f"{len(missing)} of {len(wanted)} {what} of {self.repository.id} are not on this machine",
                self.repository.next_step(self.revision),
            )

    def _fetch(self, missing: Sequence[str], among: Sequence[str]) -> None:
        """Fetch files by name, or all others by pattern but for those that are not wanted, whichever are fewer names:
        the library compares each name with every file, which takes seconds for a whole dataset.

        A commit is asked for, so that a branch that moves meanwhile does not mix two revisions.
        """
        wanted = set(missing)
        others = [path for path in self.matching(among) if path not in wanted and not self.has(path)]
        if len(others) < len(missing):
            fetch(self.repository, self.commit, among, ignored=[escape(path) for path in others])
        else:
            fetch(self.repository, self.commit, [escape(path) for path in missing])


def open_snapshot(
    repository: Repository, revision: str | None, first: Sequence[str], what: str, *, offline: bool = False
) -> Snapshot:
    """A revision with its ``first`` files here, given as patterns; ``what`` they are, for what is said.

    Where the hub does not answer, what is here is used.

    Raises:
        HubError: there is no such repository or revision, or it cannot be had.
        EnvironmentFault: the disk has no room for them.
    """
    from huggingface_hub import constants

    if offline or constants.HF_HUB_OFFLINE:
        folder = fetch(repository, revision, first, offline=True)
        return Snapshot(repository, revision, folder.name, folder, None)
    try:
        there = listing(repository, revision)
    except UnreachableError:
        try:
            folder = fetch(repository, revision, first, offline=True)
        except HubError:
            raise absent(repository, revision, offline=False) from None
        log.log(NOTICE, "the hub cannot be reached: %s is read as it is on this machine", repository.id)
        return Snapshot(repository, revision, folder.name, folder, None)
    matching = [path for path in there.sizes if any(fnmatch(path, pattern) for pattern in first)]
    if not matching:
        raise HubError(
            f"revision {revision or there.commit!r} of {repository.id} holds no {what}", repository.other_revision
        )
    here = _folder(repository, there.commit, matching)
    if here is None or not all((here / path).is_file() for path in matching):
        _tell(repository, there.commit, [there.sizes[path] for path in matching], what)
    folder = fetch(repository, revision, first)
    return Snapshot(repository, revision, folder.name, folder, there.sizes)


def _folder(repository: Repository, commit: str, paths: Sequence[str]) -> Path | None:
    """Where the files of a commit are, if one of these is here."""
    from huggingface_hub import constants, try_to_load_from_cache

    for path in paths:
        found = try_to_load_from_cache(
            repository.id, path, cache_dir=constants.HF_HUB_CACHE, revision=commit, repo_type=repository.kind
        )
        if isinstance(found, str):
            return Path(found).parents[path.count("/")]
    return None


def _tell(repository: Repository, commit: str, sizes: Sequence[int], what: str) -> None:
    """Say what is fetched and where to.

    Raises:
        EnvironmentFault: there is no room for it.
    """
    from huggingface_hub import constants

    size, cache = sum(sizes), Path(constants.HF_HUB_CACHE)
    files = f"{len(sizes):,} file{'' if len(sizes) == 1 else 's'}, {in_words(size)}"
    release = repository.release_of(commit) or commit[:12]
    terms = f". {repository.terms}" if repository.terms else ""
    log.log(NOTICE, "fetching %s of %s %s into %s: %s%s", what, repository.id, release, cache, files, terms)
    place = next(folder for folder in (cache, *cache.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    if free < size + SPARE:
        raise EnvironmentFault(
            f"no room for {in_words(size)} of {repository.id}: {cache} has {in_words(free)} free",
            "Free some space, or set HF_HUB_CACHE to a folder on another disk",
        )


def in_words(size: int) -> str:
    """Bytes as people write them: "1.2 GB", "42.2 MB", "3.0 kB"."""
    unit, name = next(((unit, name) for unit, name in ((1e9, "GB"), (1e6, "MB")) if size >= unit), (1e3, "kB"))
    return f"{size / unit:.1f} {name}"
