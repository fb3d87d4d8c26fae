"""Readers as the driver sees them: what each said, heard by a thread a reader, and how fast each reads."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from rtprune_cli.cluster.link import is_passing
from rtprune_cli.cluster.remote import Numbered, ReaderFacts
from rtprune_cli.engine import StepFacts
from rtprune_cli.errors import RtpruneError

PASSING = 60.0  # seconds for which a reader may not answer
RATE_SECONDS = 60.0  # the speed of a reader is that of the last minute


class ReaderEnded(Exception):
    """A reader said that it cannot go on, and why, with the kind of error first."""


@dataclass(eq=False)
class ReaderHandle:
    """A reader: its actor, its ``facts`` once it has found them, and how many pages it has read.

    ``confirmed``: how many of its words were heard; ``gone``: it is not to be listened to any more.
    """

    number: int
    actor: Any
    facts: ReaderFacts | None = None
    confirmed: int = 0
    gone: bool = False
    pages: int = 0
    steps: StepFacts = field(default_factory=StepFacts)
    _since: float = field(default_factory=time.monotonic)
    _recent: deque[float] = field(default_factory=deque)

    def has_read(self, now: float) -> None:
        """It has read a page; ``now`` in seconds, monotonic."""
        if not self.pages:
            self._since = now  # its start and the loading of the model are no reading
        self.pages += 1
        self._recent.append(now)

    def rate(self, now: float) -> float:
        """Pages a second, of the last minute."""
        while self._recent and self._recent[0] < now - RATE_SECONDS:
            self._recent.popleft()
        return len(self._recent) / max(1.0, min(RATE_SECONDS, now - self._since))


@dataclass(frozen=True)
class Heard:
    """What a reader said: facts, what it has, or why it says no more."""

    reader: ReaderHandle
    facts: ReaderFacts | None = None
    said: tuple[Numbered, ...] = ()
    error: Exception | None = None


def listen(ray: Any, reader: ReaderHandle, heard: queue.SimpleQueue[Heard]) -> threading.Thread:
    """Put into ``heard`` what the reader says, until it is gone; in a thread of its own."""
    thread = threading.Thread(target=_listen, args=(ray, reader, heard), daemon=True)
    thread.start()
    return thread


def _listen(ray: Any, reader: ReaderHandle, heard: queue.SimpleQueue[Heard]) -> None:
    try:
        heard.put(Heard(reader, facts=ray.get(reader.actor.facts.remote())))
        silent_since: float | None = None
        while not reader.gone:
            try:
                said = ray.get(reader.actor.take.remote(reader.confirmed))
            except Exception as error:
                silent_since = silent_since or time.monotonic()
                if not is_passing(ray, error) or time.monotonic() - silent_since > PASSING:
                    raise
                time.sleep(1.0)
                continue
            silent_since = None
            if said:
                reader.confirmed = said[-1].number + 1
                heard.put(Heard(reader, said=tuple(said)))
    except Exception as error:
        if not reader.gone:
            cause = getattr(error, "cause", None)
            heard.put(Heard(reader, error=cause if isinstance(cause, RtpruneError) else error))
