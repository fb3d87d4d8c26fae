"""Owns how transformers is imported: ahead of its use, and in rtprune's own process without what reading never uses.

Its model classes import torch's compiler, distributed tensors and SciPy, for decorators and for training, which is more
than half of the time that they take (docs/benchmarks.md).
"""

from __future__ import annotations

import importlib
import logging
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType
from typing import Any

from rtprune_cli import stopping

log = logging.getLogger("rtprune")

COMPILER = "torch._dynamo"
UNUSED = ("is_torch_distributed_available", "is_scipy_available")  # transformers works where these are not there

_own_process = False
_ahead: threading.Thread | None = None


def own_process() -> None:
    """Nothing but rtprune runs in this process: nobody misses what it does not import."""
    global _own_process
    _own_process = True


def import_ahead(name: str) -> None:
    """Begin to import the class ``name`` of transformers, while this thread waits for something else."""
    global _ahead
    if _ahead is None:
        _ahead = threading.Thread(target=_try, args=(name,), daemon=True)
        _ahead.start()


def network_class(name: str) -> Any:
    """A class of transformers.

    Raises:
        KeyboardInterrupt: the run was asked to stop meanwhile.
    """
    while _ahead is not None and _ahead.is_alive():
        _ahead.join(stopping.TICK)
        stopping.check()
    return _imported(name)


def _try(name: str) -> None:
    try:
        _imported(name)
    except Exception:  # whoever needs it meets it again
        log.debug("importing ahead", exc_info=True)


def _imported(name: str) -> Any:
    if not _own_process or "transformers" in sys.modules:
        return getattr(importlib.import_module("transformers"), name)
    try:
        with without_compiler():
            for place in ("transformers.utils.import_utils", "transformers.utils"):
                for each in UNUSED:
                    setattr(importlib.import_module(place), each, lambda: False)
            return getattr(importlib.import_module("transformers"), name)
    except Exception:
        log.debug("transformers cannot do without what is not used", exc_info=True)
        for each in [each for each in sys.modules if each.partition(".")[0] == "transformers"]:
            del sys.modules[each]
        return getattr(importlib.import_module("transformers"), name)


@contextmanager
def without_compiler() -> Iterator[None]:
    """Inside, in rtprune's own process, stand-ins are imported for torch's compiler: torch itself imports it for a
    decorator when weights get their first values, which are overwritten."""
    if not _own_process or COMPILER in sys.modules:
        yield
        return
    import torch

    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        finder.done = True
        sys.meta_path.remove(finder)
        for name in [name for name, module in sys.modules.items() if isinstance(module, _StandIn)]:
            del sys.modules[name]
        vars(torch).pop(COMPILER.rpartition(".")[2], None)  # torch imports the real one when it is asked for


class _Finder(MetaPathFinder, Loader):
    """Finds stand-ins for the compiler and its modules, until it is ``done``."""

    done = False

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        """What the import asks."""
        return spec_from_loader(fullname, self, is_package=True) if f"{fullname}.".startswith(f"{COMPILER}.") else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """An empty one."""
        return _StandIn(spec.name, self)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing in it."""


class _StandIn(ModuleType):
    def __init__(self, name: str, finder: _Finder) -> None:
        super().__init__(name)
        self._finder = finder

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        finder, module = self._finder, self.__name__

        def use(*arguments: Any, **keywords: Any) -> Any:
            """As a decorator, with arguments or without, nothing; when it is called later, what it stands for."""
            if arguments and callable(arguments[0]):
                return arguments[0]
            if not finder.done:
                return lambda function: function
            return getattr(importlib.import_module(module), name)(*arguments, **keywords)

        return use
