"""Owns `rtprune view`: the report of an output folder served to one person on this machine, while a run may go on.

Nothing is ever written. files.py says what may be read, following.py reads what is there and comes, search.py looks
through the texts, page.py makes the page, server.py hands it out and holds off everybody else.
"""

from __future__ import annotations

from rtprune_cli.viewing.server import LOOPBACK, ViewServer
from rtprune_cli.viewing.watching import FolderWatch

__all__ = ["LOOPBACK", "FolderWatch", "ViewServer"]
