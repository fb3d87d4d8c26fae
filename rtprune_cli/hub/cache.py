"""Owns what the Hugging Face cache holds of models and datasets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

RepositoryKind = Literal["model", "dataset"]


@dataclass(frozen=True)
class CachedRevision:
    """A revision of a repository that is in the cache, whole or in part.

    ``refs`` are the branches and tags that it was fetched as, sorted; ``size`` is in bytes.
    """

    repository: str
    commit: str
    refs: tuple[str, ...]
    folder: Path
    size: int

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that leads to it."""
        return (*self.refs, self.commit)


def cached_revisions(kind: RepositoryKind, repository: str | None = None) -> Iterator[CachedRevision]:
    """What is here of a kind, or of one repository, by name and commit."""
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        found = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except CacheNotFound:
        return
    for repo in sorted(found, key=lambda repo: repo.repo_id):
        if repo.repo_type == kind and repository in (None, repo.repo_id):
            for each in sorted(repo.revisions, key=lambda each: each.commit_hash):
                yield CachedRevision(
                    repo.repo_id, each.commit_hash, tuple(sorted(each.refs)), each.snapshot_path, each.size_on_disk
                )


def delete(revisions: list[CachedRevision]) -> int:
    """Delete revisions, and with the last of a repository whatever else is there of it; the bytes freed."""
    from huggingface_hub import constants, scan_cache_dir

    strategy = scan_cache_dir(constants.HF_HUB_CACHE).delete_revisions(*(each.commit for each in revisions))
    strategy.execute()
    return strategy.expected_freed_size
