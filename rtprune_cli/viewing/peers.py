"""Who is at the other end of a connection on this machine, where the system tells: Linux does, of whose user it is.

The page's address is known to more than one expects: the command line that opens a browser is read by every user of the
machine. What they connect with is not let in.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

TABLE = Path("/proc/self/net/tcp")
ROOT = 0  # may read everything anyway, and carries the connections of some machines' forwarding
_LOCAL, _REMOTE, _USER = 1, 2, 7  # columns


def of_another_user(client: tuple[str, int], server: tuple[str, int], table: Path = TABLE) -> bool:
    """Whether a connection to ``server`` comes from a ``client``, both IPv4 address and port, of another user."""
    if sys.platform != "linux":
        return False
    try:
        lines = table.read_text("ascii").splitlines()[1:]
    except (OSError, ValueError):
        return False
    ends = [_as_in_table(client), _as_in_table(server)]
    users = [int(row[_USER]) for row in map(str.split, lines) if row[_LOCAL : _REMOTE + 1] == ends]
    return any(user not in (ROOT, os.getuid()) for user in users)


def _as_in_table(end: tuple[str, int]) -> str:
    """An address as four bytes in the machine's order, and the port, in hexadecimal."""
    number = int.from_bytes(socket.inet_aton(end[0]), sys.byteorder)
    return f"{number:08X}:{end[1]:04X}"
