"""All that is Ray's own: a cluster that is started or joined, actors, and which errors mean what."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rtprune_cli.errors import EnvironmentFault
from rtprune_cli.packages import pip_install

log = logging.getLogger("rtprune")

LOCAL = "local"
OBJECT_STORE = 300 * 2**20  # bytes, of a cluster that is started here: results are kilobytes
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def import_ray() -> Any:
    """
    Raises:
        EnvironmentFault: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a reader without GPUs leaves the variable alone
    try:
        import ray
    except ImportError:
        hint = f"Install it on every machine: {pip_install('ray')}"
        raise EnvironmentFault("--cluster needs Ray, which is not installed", hint) from None
    return ray


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Ray, connected to a cluster: one that is started for the time being (``local``), or one that is there.

    Raises:
        EnvironmentFault: Ray is not installed, or there is no such cluster.
    """
    ray = import_ray()
    with _quiet():
        with _own_signals():
            try:
                ray.init(**_arguments(address))
            except Exception as error:
                reason = str(error).strip().partition("\n")[0] or type(error).__name__
                hint = "Start one with: ray start --head, or give --cluster local" if address != LOCAL else ""
                raise EnvironmentFault(f"no cluster at {address}: {reason}", hint) from error
        try:
            yield ray
        finally:
            with contextlib.suppress(Exception):
                ray.shutdown()


def _arguments(address: str) -> dict[str, Any]:
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if address != LOCAL:
        return {"address": address, **quiet}
    # Readers have the cores that they are given (remote.py), and Ray starts a process for each that it counts.
    own = {"include_dashboard": False, "object_store_memory": OBJECT_STORE, "num_cpus": 1}
    return {"address": "local", **own, **quiet}


@contextmanager
def _quiet() -> Iterator[None]:
    """What Ray prints on standard output, in its own processes too, is dropped, or with -vv goes to standard error."""
    sys.stdout.flush()
    kept, dropped = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(2 if log.isEnabledFor(logging.DEBUG) else dropped, 1)
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
        os.close(dropped)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray sets handlers of its own; those of this process come back."""
    try:
        before = {number: signal.getsignal(number) for number in SIGNALS}
    except ValueError:
        before = {}
    yield
    for number, handler in before.items():
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(number, handler)


def is_passing(ray: Any, error: Exception) -> bool:
    """Whether an actor may answer when it is asked again."""
    return isinstance(error, ray.exceptions.ActorUnavailableError)
