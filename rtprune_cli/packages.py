"""Owns which optional packages are here, and how one that is missing is installed.

rtprune is on no package index, so that pip finds none of its extras by name: messages name the packages themselves, as
rtprune's own metadata asks for them.
"""

from __future__ import annotations

import re
import shlex
from functools import cache
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec

MODULES = {"beautifulsoup4": "bs4"}  # of packages that are imported by another name than theirs
_REQUIREMENT = re.compile(r"([\w.-]+)\s*(?:\[[^\]]*\])?[^;]*")


def missing(*packages: str) -> list[str]:
    """Those that are not installed, by the names that pip knows them by."""
    return [name for name in packages if find_spec(MODULES.get(name, name.replace("-", "_"))) is None]


def pip_install(*packages: str) -> str:
    """The command that installs them, in versions that rtprune works with."""
    asked = _asked()
    return shlex.join(["pip", "install", *(asked.get(name, name) for name in packages)])


@cache
def _asked() -> dict[str, str]:
    """Package -> what rtprune asks for, of all its extras; empty where rtprune runs without being installed."""
    try:
        lines = requires("rtprune") or []
    except PackageNotFoundError:
        return {}
    found = filter(None, map(_REQUIREMENT.match, lines))
    return {each[1]: each[0].strip() for each in found if each[1] != "rtprune"}
