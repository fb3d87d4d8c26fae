"""One run at a time in a bucket: a lease, which its owner renews.

Leases are objects with a number each, of which the highest counts; a lease that nobody has is empty. To take it is to
create the next number, which a bucket lets only one do. Ages are by the server's clock.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from threading import Event, Thread

from rtprune_cli import stopping
from rtprune_cli.errors import OutputError
from rtprune_cli.logs import NOTICE
from rtprune_cli.outputs.bucket.objects import Objects, Stored
from rtprune_cli.outputs.layout import STATE
from rtprune_cli.outputs.lock import ANOTHER, OTHER_FOLDER, WAITING, held_by, this_run
from rtprune_cli.remote import RemoteError
from rtprune_cli.storage import to_json

log = logging.getLogger("rtprune")

FOLDER = f"{STATE}/lease"
EXPIRES = 300.0  # seconds after which a lease that was not renewed is over
RENEWED = 60.0  # seconds between renewals
LOOKED_AT = 10.0  # seconds between looks at the lease of another run that is waited for


class Lease:
    """The lease of one run."""

    def __init__(self, objects: Objects, url: str, spool: str, *, what: str, wait: bool) -> None:
        """``spool`` stands for the spool: what a killed run on it has left is taken over at once. ``what`` and
        ``wait``: as in :class:`~rtprune_cli.outputs.lock.FolderLock`."""
        self._objects, self._url, self._spool = objects, url, spool
        self._what, self._wait = what, wait
        self._number = 0
        self._renewed = 0.0
        self._lost = False
        self._ended = Event()
        self._thread = Thread(target=self._keep, daemon=True, name="lease")

    def take(self) -> None:
        """
        Raises:
            OutputError: another run has it.
            RemoteError: the bucket cannot be written.
        """
        said = False
        while True:
            number, lease = self._highest()
            if lease is not None and lease.size:
                note = self._note(number)
                if note.get("spool") != self._spool and not self._is_over(number):
                    who = str(note.get("who") or ANOTHER)
                    if not self._wait:
                        raise self._refused(who)
                    if not said:
                        log.log(NOTICE, WAITING, who, self._url)
                    said = True
                    stopping.pause(LOOKED_AT)
                    continue
            if self._takes(number + 1):
                break
        self._thread.start()

    def _takes(self, number: int) -> bool:
        """Whether we could take that one; others may have been quicker."""
        self._number, self._renewed = number, time.monotonic()
        if not self._objects.create(self._name(number), self._text()):
            return False
        numbers = self._numbers()
        if max(numbers, default=0) > number:  # we looked long ago
            self._objects.remove(self._name(number))
            return False
        for other in numbers.keys() - {number}:
            self._objects.remove(self._name(other))
        return True

    def _refused(self, who: str) -> OutputError:
        error = held_by(who, self._url, self._what)
        if error.hint == OTHER_FOLDER:
            error.hint = f"{OTHER_FOLDER}. A run that was killed keeps it for {EXPIRES / 60:.0f} minutes"
        return error

    def check(self) -> None:
        """
        Raises:
            OutputError: another run has taken it over.
        """
        if self._lost:
            message = f"another run has taken over {self._url!r}, since this one had not been heard from for too long"
            raise OutputError(message, "Wait for it to end and run the same command again: what was read is kept")

    def assure(self) -> None:
        """Before something is written: where it was not renewed in time, as when the machine slept, look first.

        Raises:
            OutputError: another run has taken it over.
            RemoteError: that cannot be known.
        """
        if time.monotonic() - self._renewed > EXPIRES - RENEWED:
            self._renew()
        self.check()

    def release(self) -> None:
        """Let others have it.

        Raises:
            RemoteError: it cannot be written; they have to wait until it is over.
        """
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._number and not self._lost:
            self._objects.write(self._name(self._number), b"")  # not removed: numbers only grow

    def _keep(self) -> None:
        while not self._ended.wait(RENEWED) and not self._lost:
            try:
                self._renew()
            except (RemoteError, KeyboardInterrupt):  # said by whatever is written next
                log.debug("the lease could not be renewed", exc_info=True)

    def _renew(self) -> None:
        began = time.monotonic()
        if max(self._numbers(), default=0) > self._number:
            self._lost = True
            return
        self._objects.write(self._name(self._number), self._text())
        self._renewed = began

    def _text(self) -> bytes:
        # No two texts are alike: whose it is can be told by it.
        return to_json({"who": this_run(self._what), "spool": self._spool, "id": uuid.uuid4().hex})

    def _note(self, number: int) -> dict[str, object]:
        try:
            value = json.loads(self._objects.read(self._name(number)) or b"{}")
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    def _is_over(self, number: int) -> bool:
        """Whether a lease was not renewed for too long: by the server's clock, which what was just written tells."""
        now = f"{FOLDER}/now-{uuid.uuid4().hex}"
        self._objects.write(now, b"")
        try:
            found = self._objects.listed(FOLDER)
        finally:
            self._objects.remove(now)
        lease, clock = found.get(self._name(number)), found.get(now)
        if lease is None or clock is None:
            return lease is None
        return None not in (lease.modified, clock.modified) and clock.modified - lease.modified > EXPIRES  # type: ignore[operator]

    def _highest(self) -> tuple[int, Stored | None]:
        numbers = self._numbers()
        number = max(numbers, default=0)
        return number, numbers.get(number)

    def _numbers(self) -> dict[int, Stored]:
        found = self._objects.listed(FOLDER)
        names = {name.rpartition("/")[2]: stored for name, stored in found.items()}
        return {int(name): stored for name, stored in names.items() if name.isdecimal()}

    def _name(self, number: int) -> str:
        return f"{FOLDER}/{number}"
