"""Runs steps by name, each a module with a function `run`."""

from __future__ import annotations

import sys
from importlib import import_module

STEPS = ("smoke", "correct", "arch", "oom", "workers", "summary")


def main(names: list[str]) -> None:
    unknown = [name for name in names if name not in STEPS]
    if unknown or not names:
        sys.exit(f"usage: python -m probe STEP..., of {', '.join(STEPS)}")
    for name in names:
        import_module(f"probe.{name}").run()  # imported one by one: summary goes without torch


if __name__ == "__main__":
    main(sys.argv[1:])
