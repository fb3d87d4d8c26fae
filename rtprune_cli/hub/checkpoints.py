"""Where a checkpoint lives: the bundled one, a local folder, or the Hugging Face cache."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rtprune_cli import __version__
from rtprune_cli.errors import HubError, ModelError
from rtprune_cli.forms import HEADER_LIMIT, refuse
from rtprune_cli.hub.cache import cached_revisions, delete
from rtprune_cli.hub.repository import Repository, fetch
from rtprune_cli.options import BUNDLED_MODEL, DEFAULT_MODEL

# What a run needs of a hub repository: remote code, pictures and papers stay there.
PATTERNS = ["*.json", "*.safetensors", "LICENSE*"]
SAMPLE = 256  # bytes of a tensor
BUNDLED_CHECKPOINT = Path(__file__).parents[1] / "tiny" / "checkpoint"


@dataclass(frozen=True)
class Origin:
    """A folder that holds a checkpoint, and the revision to report for it."""

    folder: Path
    revision: str


@dataclass(frozen=True)
class CachedModel:
    """A checkpoint that is on this machine."""

    name: str
    revision: str
    folder: Path
    size: int


def checkpoint_folder(model: str, revision: str | None = None, *, offline: bool = False) -> Origin:
    """Find or fetch the checkpoint and check that its weights are in a form that is loaded.

    Raises:
        ModelError: not found, not reachable, incomplete, or in a form that is not loaded.
    """
    origin = local(model)
    if origin is None:
        return pull(model, revision, offline=offline)
    check_weights(origin.folder, str(origin.folder))
    return origin


def local(model: str) -> Origin | None:
    """The checkpoint where its name leads to it without the hub: the bundled one, or a folder's path."""
    folder = Path(os.path.expanduser(model))  # in a file or a variable no shell has done it
    if model == BUNDLED_MODEL:
        return _bundled()
    return Origin(folder, f"local-{_stamp(folder)}") if folder.is_dir() else None


def _bundled() -> Origin:
    return Origin(BUNDLED_CHECKPOINT, f"bundled-{__version__}")


def pull(model: str, revision: str | None = None, *, offline: bool = False) -> Origin:
    """Fetch a hub checkpoint into the cache, or find it there.

    Raises:
        ModelError: the name is no hub id, the repository or revision is unknown, the hub is out of reach, or the
            checkpoint is in a form that is not loaded.
    """
    _check_name(model)
    if not offline:  # gigabytes that config.json shows to be of no use are not fetched
        first = _fetch(model, revision, ["config.json"])
        refuse(first, model)
        revision = first.name
    folder = _fetch(model, revision, PATTERNS, offline=offline)
    check_weights(folder, model)
    return Origin(folder, folder.name)


def _check_name(model: str) -> None:
    """Refuse what the hub need not be asked for.

    Raises:
        ModelError: a file's path, or the bundled model in other letters.
    """
    if model.lower() == BUNDLED_MODEL:
        raise ModelError(f"model {model!r} is neither a folder nor a hub id", f"Did you mean {BUNDLED_MODEL}?")
    place = Path(os.path.expanduser(model))
    if place.is_file():
        refuse(place, str(place))
        raise ModelError(f"{place} is a file, not a checkpoint's folder", f"Give the folder: --model {place.parent}")


def _fetch(model: str, revision: str | None, patterns: list[str], *, offline: bool = False) -> Path:
    """The snapshot of a hub repository in the cache, with those of its files that match.

    Raises:
        ModelError: the name is no hub id, the repository or revision is unknown, or the hub is out of reach.
    """
    repository = Repository(
        model,
        "model",
        pull=f"rtprune models pull {model}",
        or_else=f"To try the tool without: rtprune ocr FILE --model {BUNDLED_MODEL}",
        other_revision="Leave --revision out for the newest",
        other_name=f"Check the name, or use {DEFAULT_MODEL}, {BUNDLED_MODEL}, or a folder's path",
    )
    try:
        return fetch(repository, revision, patterns, offline=offline)
    except HubError as error:
        raise ModelError(error.message, error.hint) from error


def check_weights(folder: Path, name: str) -> None:
    """Refuse a folder whose weights are in a form that is not loaded, or that has none. Pickle can run code when it is
    loaded. ``name`` is what the checkpoint is called in the error.

    Raises:
        ModelError: no safetensors weights of a full model.
    """
    refuse(folder, name)
    if any(folder.glob("*.safetensors")):
        return
    if any(path for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for path in folder.glob(pattern)):
        raise ModelError(
            f"{name} holds pickle weights only, which can run code when loaded",
            "Convert them to safetensors with safetensors.torch.save_file",
        )
    raise ModelError(
        f"{name} holds no model.safetensors",
        f"Give a checkpoint that does, such as {DEFAULT_MODEL}, or pull it again if it was cut short",
    )


def cached_models() -> list[CachedModel]:
    """The bundled checkpoint and those in the Hugging Face cache that are in a known layout, by name."""
    bundled = _bundled()
    found = [CachedModel(BUNDLED_MODEL, bundled.revision, bundled.folder, _size(bundled.folder))]
    for each in cached_revisions("model"):
        if "ocr" in each.repository.lower() and any(each.folder.glob("*.safetensors")):
            found.append(CachedModel(each.repository, each.commit, each.folder, each.size))
    return found


def remove(model: str) -> int:
    """Delete every cached revision of a hub model; the bytes freed.

    Raises:
        ModelError: it is not in the cache, or is the bundled model.
    """
    if model == BUNDLED_MODEL:
        raise ModelError("the bundled model is part of the package", "Uninstall rtprune to remove it")
    here = list(cached_revisions("model", model))
    if not here:
        raise ModelError(f"{model} is not in the cache", "See: rtprune models list")
    return delete(here)


def _stamp(folder: Path) -> str:
    """The same for every copy of a checkpoint, and another when its content is.

    Reading gigabytes of weights to hash them would take longer than loading them: of a tensor its name, type, shape and
    first bytes stand for the content, which training changes everywhere.
    """
    digest = hashlib.sha256()
    for path in sorted({path for pattern in PATTERNS for path in folder.glob(pattern)}):
        digest.update(f"{path.name}\n{path.stat().st_size}\n".encode())
        for part in _samples(path) if path.suffix == ".safetensors" else [path.read_bytes()]:
            digest.update(part)
    return digest.hexdigest()[:12]


def _samples(path: Path) -> Iterator[bytes]:
    """What a safetensors file begins with, and the first bytes of each of its tensors."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(min(length, HEADER_LIMIT))
        yield header
        try:
            tensors = [about for name, about in json.loads(header).items() if name != "__metadata__"]
            starts = sorted(int(about["data_offsets"][0]) for about in tensors)
        except (ValueError, LookupError, TypeError, AttributeError):
            return  # loading it will say what is wrong
        for start in starts:
            file.seek(8 + length + start)
            yield file.read(SAMPLE)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*") if path.is_file())
