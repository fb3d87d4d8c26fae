"""Who is at the other end of a connection on this machine, where the system tells: Linux does, of whose user it is.

The page's address is known to more than one expects: the command line that opens a browser is read by every user of the
machine. What they connect with is not let in.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

TABLES = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))  # a client may speak IPv6 of an IPv4 address
ROOT = 0  # may read everything anyway, and carries the connections of some machines' forwarding
_LOCAL, _REMOTE, _USER = 1, 2, 7  # columns
_MAPPED = {"little": "0000000000000000FFFF0000", "big": "00000000000000000000FFFF"}[sys.byteorder]


def of_another_user(client: tuple[str, int], server: tuple[str, int], tables: Sequence[Path] = TABLES) -> bool:
    """Whether a connection to ``server`` comes from a ``client``, both IPv4 address and port, of another user; also
    where the system tells of the connection, and not whose its other end is."""
    if sys.platform != "linux":
        return False
    near, far = _as_in_table(server), _as_in_table(client)
    users, told = set[int](), False
    for row in map(str.split, _lines(tables)):
        ends = [end.removeprefix(_MAPPED) for end in row[_LOCAL : _REMOTE + 1]]
        told |= ends == [near, far]
        if ends == [far, near]:
            users.add(int(row[_USER]))
    return not users <= {ROOT, os.getuid()} or (told and not users)


def _lines(tables: Sequence[Path]) -> Iterator[str]:
    for table in tables:
        with suppress(OSError, ValueError):  # a system without it
            yield from table.read_text("ascii").splitlines()[1:]


def _as_in_table(end: tuple[str, int]) -> str:
    """An address as four bytes in the machine's order, and the port, in hexadecimal."""
    number = int.from_bytes(socket.inet_aton(end[0]), sys.byteorder)
    return f"{number:08X}:{end[1]:04X}"
