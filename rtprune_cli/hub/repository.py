"""Owns talking to the hub: files of a repository fetched or listed, and what can go wrong with it in one line."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rtprune_cli.errors import HubError, UnreachableError
from rtprune_cli.hub.cache import RepositoryKind, cached_revisions
from rtprune_cli.logs import NOTICE

log = logging.getLogger("rtprune")


@dataclass(frozen=True)
class Repository:
    """A repository on the hub, and what to do next where it fails.

    ``releases``: names that we give to revisions, beside its branches and tags: name -> commit. ``pull`` is the command
    that fetches it, ``flag`` the one that names a revision. The next steps: ``or_else`` where it cannot be had at all,
    ``other_revision`` where a revision is unknown, ``other_name`` where the repository is. ``terms`` are said
    where files are fetched, a sentence without its point.
    """

    id: str
    kind: RepositoryKind
    pull: str
    flag: str = "--revision"
    releases: Mapping[str, str] = field(default_factory=dict)
    or_else: str = ""
    other_revision: str = ""
    other_name: str = ""
    terms: str = ""

    def commit_of(self, revision: str | None) -> str | None:
        """What the hub calls the revision."""
        return self.releases.get(revision, revision) if revision else None

    def release_of(self, commit: str) -> str | None:
        """The release that a commit is, where we know one."""
        return next((name for name, known in self.releases.items() if known == commit), None)

    def next_step(self, revision: str | None) -> str:
        """How to get it."""
        command = f"{self.pull} --revision {revision}" if revision else self.pull
        return ". ".join(filter(None, (f"On a machine with network: {command}", self.or_else)))


@dataclass(frozen=True)
class Listing:
    """The files of a revision as the hub tells them: path -> bytes."""

    commit: str
    sizes: Mapping[str, int]


def fetch(
    repository: Repository,
    revision: str | None,
    patterns: Sequence[str],
    *,
    ignored: Sequence[str] = (),
    offline: bool = False,
) -> Path:
    """The folder of a revision in the cache, with those of its files that match ``patterns`` and none that is
    ``ignored``; those that are there stay as they are.

    Without an answer of the hub, or ``offline``, the folder is as it was, perhaps without some of them. With --quiet
    the library shows no progress.

    Raises:
        HubError: there is no such repository or revision, or it cannot be had.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if log.level >= logging.ERROR:
        disable_progress_bars()
    with _told(repository, revision, offline=offline):
        return Path(
            snapshot_download(
                repository.id,
                repo_type=repository.kind,
                revision=repository.commit_of(revision),
                cache_dir=constants.HF_HUB_CACHE,
                allow_patterns=list(patterns),
                ignore_patterns=list(ignored),
                local_files_only=offline,
            )
        )


def listing(repository: Repository, revision: str | None) -> Listing:
    """What the hub has at a revision; nothing is fetched.

    Raises:
        UnreachableError: no answer.
        HubError: there is no such repository or revision, or it may not be read.
    """
    from huggingface_hub import HfApi

    with _told(repository, revision):
        info = HfApi().repo_info(
            repository.id,
            repo_type=repository.kind,
            revision=repository.commit_of(revision),
            files_metadata=True,
        )
    siblings = getattr(info, "siblings", None) or ()
    return Listing(info.sha or "", {each.rfilename: each.size or 0 for each in siblings})


@contextmanager
def _told(repository: Repository, revision: str | None, *, offline: bool = False) -> Iterator[None]:
    """Turn what the hub's library raises into one line with a next step."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name = repository.id
    try:
        yield
    except HFValidationError:
        message = f"{repository.kind} {name!r} is neither a folder nor a hub id"
        raise HubError(message, repository.other_name) from None
    except RevisionNotFoundError:
        raise HubError(f"{name} has no revision {revision!r}", repository.other_revision) from None
    except GatedRepoError:
        raise HubError(f"{name} needs permission", "Accept its terms on the hub, then: hf auth login") from None
    except RepositoryNotFoundError:
        raise HubError(f"the hub knows no {repository.kind} {name!r}", repository.other_name) from None
    except LocalEntryNotFoundError:
        raise absent(repository, revision, offline=offline) from None
    except KeyboardInterrupt:
        log.log(NOTICE, "files that have arrived are kept: the same command fetches the rest")
        raise
    except (
        Exception
    ) as error:  # the hub's HTTP and storage clients raise types of their own, which change with versions
        if _no_space(error):
            raise HubError(
                f"the disk of {constants.HF_HUB_CACHE} is full: {name} is here in part",
                "Free some space, or set HF_HUB_CACHE to a folder on another disk; the same command fetches the rest",
            ) from error
        message = f"{name} could not be fetched ({type(error).__name__})"
        if _no_answer(error):
            raise UnreachableError(message, repository.next_step(revision)) from error
        raise HubError(message, repository.next_step(revision)) from error


def absent(repository: Repository, revision: str | None, *, offline: bool) -> HubError:
    """Why a revision cannot be had without the hub, and which there are."""
    from huggingface_hub import constants

    name, how = repository.id, repository.next_step(revision)
    place = "is not on this machine" if offline else "is not on this machine and the hub cannot be reached"
    here = [
        repository.release_of(known) or known
        for each in cached_revisions(repository.kind, name)
        for known in each.names
    ]
    wanted = revision or constants.DEFAULT_REVISION
    if wanted in here or not (here or revision):
        return HubError(f"{name} {place}", how)
    others = f"Here is {repository.flag} {', '.join(sorted(here))}. " if here else ""
    return HubError(f"revision {wanted!r} of {name} {place}", others + how)


def _no_space(error: BaseException | None) -> bool:
    """Whether the disk is full; storage clients in other languages have no more than the system's words for it."""
    while error is not None:
        if getattr(error, "errno", None) == errno.ENOSPC or "No space left on device" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _no_answer(error: Exception) -> bool:
    """Whether nothing came back: neither an answer of the hub, nor a refusal."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if isinstance(error, HfHubHTTPError):
        return error.response is not None and error.response.status_code >= 500
    return isinstance(error, OfflineModeIsEnabled) or type(error).__module__.partition(".")[0].startswith("httpx")
