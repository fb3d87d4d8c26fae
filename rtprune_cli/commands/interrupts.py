"""Owns Ctrl-C and termination: the first asks the run to end, the second ends it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM, as schedulers and ``docker stop`` send it."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Inside, SIGINT raises KeyboardInterrupt and SIGTERM raises :class:`Terminated`, once; then both kill.

    A page that is done is in the journal, so ending needs no more than to leave: what is raised drops the pages in
    flight, and a second signal during the way out costs no more than a kill.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers; a program that embeds this has its own
        return

    def stop(number: int, _: FrameType | None) -> None:
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}  # nohup, `&`
    try:
        for number in before:
            signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
