"""How long work takes, what memory it needs at its peak, and where it waits for the device."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch

from probe.common import GPU
from rtprune_cli.device.graphs import Graphs

Work = Callable[[], Any]
GROUPS = 5  # of replays that are timed together, so that no launch is part of the time
GROUP_SECONDS = 0.03


class Timed(NamedTuple):
    """Milliseconds of the first call and the median of later ones; bytes that they took at most."""

    first: float
    usual: float
    peak: int


def sync() -> None:
    if GPU:
        torch.cuda.synchronize()


def seconds(work: Work) -> float:
    """Of one call, the device's queue empty before and after."""
    sync()
    began = time.perf_counter()
    work()
    sync()
    return time.perf_counter() - began


def timed(work: Work, repeats: int = 5) -> Timed:
    """Time the first call and, after one more, ``repeats`` others."""
    before = torch.cuda.memory_allocated() if GPU else 0
    if GPU:
        torch.cuda.reset_peak_memory_stats()
    first = seconds(work) * 1e3
    if GPU:
        seconds(work)
    usual = median(seconds(work) for _ in range(repeats if GPU else 1)) * 1e3
    return Timed(first, usual, torch.cuda.max_memory_allocated() - before if GPU else 0)


def graph_ms(work: Work, calls: int = 1) -> float:
    """Milliseconds of one of the ``calls`` that ``work`` is, in a recorded graph: what kernels take without the host.

    Raises:
        RuntimeError: the work cannot be recorded.
    """
    if not GPU:
        return seconds(work) * 1e3 / calls
    graphs = Graphs()
    for _ in range(3):  # plain, recorded, replayed
        graphs.run("work", work)
    if graphs.failed:
        raise RuntimeError("cannot be recorded")
    repeats = max(1, min(100, int(GROUP_SECONDS / seconds(lambda: graphs.run("work", work)))))
    times = [_replays_ms(graphs, work, repeats) for _ in range(GROUPS)]
    graphs.clear()
    return median(times) / calls


def _replays_ms(graphs: Graphs, work: Work, repeats: int) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(repeats):
        graphs.run("work", work)
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / repeats


def recorded_ms(work: Work, calls: int = 1) -> tuple[float, bool]:
    """:func:`graph_ms` and True; of work that cannot be recorded, milliseconds of plain calls and False."""
    try:
        return graph_ms(work, calls), True
    except RuntimeError as error:
        if "cannot be recorded" not in str(error):
            raise
    return timed(work, 3).usual / calls, False


def syncs(work: Work) -> dict[str, int]:
    """Where the host waits for the device in this call: times by folder/file:line."""
    if not GPU:
        work()
        return {}
    sync()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    waits = [each for each in caught if "synchroniz" in str(each.message).lower()]
    places = ((Path(each.filename), each.lineno) for each in waits)
    return dict(Counter(f"{path.parent.name}/{path.name}:{line}" for path, line in places).most_common(12))
