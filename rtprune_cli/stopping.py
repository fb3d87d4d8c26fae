"""Owns that a run was asked to stop: a flag that signals set, and at which every wait and every step looks.

Nothing is raised where a signal happens to arrive: a library's callback would swallow it, and the run go on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Interrupted(KeyboardInterrupt):
    """SIGINT, as Ctrl-C sends it. A class of its own: where C code that runs a text of Python's meets KeyboardInterrupt
    itself, as imports of libraries do, CPython ends the process by the signal whatever becomes of the exception."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, as schedulers and ``docker stop`` send it."""


_asked: type[KeyboardInterrupt] | None = None
_at_once = 0

TICK = 0.05  # seconds for which a wait may look away


def ask(how: type[KeyboardInterrupt]) -> None:
    """Ask the run to stop; the first to ask says how."""
    global _asked
    _asked = _asked or how


def clear() -> None:
    """Forget that it was asked: another run begins."""
    global _asked
    _asked = None


def asked() -> bool:
    """Whether the run was asked to stop."""
    return _asked is not None


def check() -> None:
    """
    Raises:
        KeyboardInterrupt: the run was asked to stop.
    """
    if _asked is not None:
        raise _asked


def pause(seconds: float) -> None:
    """Wait.

    Raises:
        KeyboardInterrupt: the run was asked to stop meanwhile.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        check()
        time.sleep(TICK)


@contextmanager
def at_once() -> Iterator[None]:
    """Inside, a signal raises where it arrives: for long work of others that cannot look at the flag. What swallows it
    changes nothing: the flag is up, and is looked at afterwards."""
    global _at_once
    _at_once += 1
    try:
        yield
    finally:
        _at_once -= 1
    check()


def raises_at_once() -> bool:
    """Whether a signal may raise where it arrives."""
    return _at_once > 0
