"""Owns what a machine's last runs were like, by which --dry-run says how long another will take.

One small file, last-runs.json, in the user's folder for such things. A run whose pages were read twice to compare, or
by others on a cluster, says nothing of an ordinary one.
"""

from __future__ import annotations

import json
import logging
import os
import platform
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rtprune_cli.errors import OutputError
from rtprune_cli.options import OcrOptions
from rtprune_cli.records import parse
from rtprune_cli.report import Totals
from rtprune_cli.storage import atomic_write, make_folder, to_json

if TYPE_CHECKING:
    from rtprune_cli.model import Checkpoint

log = logging.getLogger("rtprune")

REMEMBERED = 32  # runs, of as many models, modes and devices
# What a page waits for; pages are drawn and resized beside it, ahead of their turn.
READING = ("encode_ms", "prune_ms", "prefill_ms", "decode_ms", "retry_ms")


@dataclass(frozen=True)
class RunKey:
    """Runs of one key are about as fast: of one machine (a home folder may be many machines'), model, mode, device."""

    machine: str
    model: str
    mode: str
    device: str


@dataclass(frozen=True)
class LastRun:
    """``pages`` were read in ``reading`` seconds of the ``seconds`` of the whole run; the rest went before the first
    of them, for the most part. The tokens are sums."""

    key: RunKey
    pages: int
    seconds: float
    reading: float
    visual_tokens_before: int
    visual_tokens_after: int
    output_tokens: int

    @property
    def starting(self) -> float:
        """Seconds that a run takes whatever it reads."""
        return self.seconds - self.reading


def remember(checkpoint: Checkpoint, options: OcrOptions, totals: Totals, seconds: float) -> None:
    """Note a run that came to its end, in the place of the one before of its key. A failure to is no failure."""
    key, read = _key(checkpoint, options), totals.summary()["milliseconds"]
    if key is None or options.measure_baseline or options.compare or totals.stopped or not totals.visual_tokens_before:
        return
    reading = sum(read[name.removesuffix("_ms")] for name in READING) / 1000
    run = LastRun(
        key, totals.pages, round(seconds, 3), round(min(reading, seconds), 3), totals.visual_tokens_before,
        totals.visual_tokens_after, totals.output_tokens,
    )  # fmt: skip
    try:
        path = _path()
        others = [other for other in _runs(path) if other.key != key]
        make_folder(path.parent)
        atomic_write(path, to_json([run, *others][:REMEMBERED], indent=1))
    except (OutputError, RuntimeError):  # the latter: there is no home
        log.debug("this run cannot be remembered", exc_info=True)


def last_run(checkpoint: Checkpoint, options: OcrOptions) -> LastRun | None:
    """The last run of this machine with this model, mode and device; None where none is known."""
    with suppress(RuntimeError):
        key = _key(checkpoint, options)
        return next((run for run in _runs(_path()) if run.key == key), None)
    return None


def _key(checkpoint: Checkpoint, options: OcrOptions) -> RunKey | None:
    if options.run.cluster is not None:
        return None
    device = checkpoint.device
    return RunKey(platform.node(), checkpoint.name, checkpoint.resolve(options).mode, str(device))


def _path() -> Path:
    """As the XDG base directory specification has it.

    Raises:
        RuntimeError: there is no home folder.
    """
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state, "rtprune", "last-runs.json")


def _runs(path: Path) -> list[LastRun]:
    """What is remembered; nothing where it cannot be read, or another version wrote it otherwise."""
    try:
        found: list[LastRun] = [parse(LastRun, each) for each in json.loads(path.read_bytes())]
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return []
    return [run for run in found if run.pages > 0 and run.reading > 0]
