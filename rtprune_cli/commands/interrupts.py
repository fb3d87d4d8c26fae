"""Owns Ctrl-C and termination: the first asks the run to end, and is answered at once; the second ends it at once."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from rtprune_cli import stopping
from rtprune_cli.logs import NOTICE
from rtprune_cli.stopping import Interrupted, Terminated

log = logging.getLogger("rtprune")

ANSWERED = 0.3  # seconds for which the first signal waits until it is answered
SIGNALS = (signal.SIGINT, signal.SIGTERM)
# struct sigaction of glibc and musl: handler, 128 bytes of mask, flags
FLAGS_AT, SIGACTION_BYTES = 8 + 128, 256
SA_RESETHAND = 0x80000000


@contextmanager
def stoppable(*, at_once: bool = False) -> Iterator[None]:
    """Inside, SIGINT and SIGTERM ask the run to stop (stopping.py), once; the second of them ends the process.

    A page that is done is in the journal, so ending needs no more than to leave: what is raised drops the pages in
    flight, and a second signal during the way out costs no more than a kill. Who sent the first is told so at once.

    Args:
        at_once: the first raises where it arrives: for commands whose work does not look at the flag.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers; a program that embeds this has its own
        return

    def stop(number: int, _: FrameType | None) -> None:
        stopping.ask(Terminated if number == signal.SIGTERM else Interrupted)
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        if not at_once:
            answered.wait(ANSWERED)  # what is said on the way out comes after it
        if stopping.raises_at_once():
            stopping.check()

    answered = threading.Event()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}  # nohup, `&`
    stopping.clear()
    try:
        with stopping.at_once() if at_once else _answering(answered, before):
            for number in before:
                signal.signal(number, stop)
                _end_by_the_second(number)
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        stopping.clear()


@contextmanager
def _answering(answered: threading.Event, numbers: Collection[int]) -> Iterator[None]:
    """Inside, the first of the signals is answered on standard error, and that is noted.

    A thread does it, which the system's own handler wakes: Python's waits until the code in C at hand is through.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def listen() -> None:
        while said := os.read(reader, 1):
            if said[0] in numbers and not answered.is_set():
                again = "SIGTERM" if said[0] == signal.SIGTERM else "Ctrl-C"
                log.log(NOTICE, "stopping; %s again ends at once", again)
                answered.set()

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writer)
        thread.join(ANSWERED)
        if not thread.is_alive():
            os.close(reader)


def _end_by_the_second(number: int) -> None:
    """Have the system forget the handler at the first signal: Python runs it when the code in C at hand is through,
    which may be never, and until then the second would change nothing."""
    if sys.platform != "linux" or sys.maxsize < 2**32:
        return
    import ctypes

    with suppress(Exception):
        libc, action = ctypes.CDLL(None), ctypes.create_string_buffer(SIGACTION_BYTES)
        if libc.sigaction(number, None, action) == 0:
            flags = ctypes.c_uint.from_buffer(action, FLAGS_AT)
            flags.value |= SA_RESETHAND
            libc.sigaction(number, action, None)
