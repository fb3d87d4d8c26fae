"""Owns what is measured of the machine: the rates that it reaches, and its peak memory."""

from __future__ import annotations

import platform
import resource
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from rtprune_cli.bench.speed.floors import Rates
from rtprune_cli.device.timing import Stopwatch

COPY_BYTES = {"cuda": 2**30, "cpu": 2**28}  # far more than any cache holds
MATMUL_SIDE = {"cuda": 8192, "cpu": 2048}
RATE_REPEATS = 10
PEAK_RESET = "5"  # what /proc/self/clear_refs takes to begin a new peak; see proc(5)


def measure_rates(device: torch.device, dtype: torch.dtype) -> Rates:
    """The best of several large copies, counted as bytes read and written, and of several square matrix products."""
    size, side = COPY_BYTES[device.type], MATMUL_SIDE[device.type]
    source, target = torch.zeros(2, size // 4, device=device)
    left, right = torch.randn(2, side, side, device=device).to(dtype)
    bandwidth = 2 * size / _best(lambda: target.copy_(source), device)
    return Rates(bandwidth, 2 * side**3 / _best(lambda: left @ right, device))


def _best(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds. What a floor divides by is the best that the machine can do, so not the median."""
    times = []
    for _ in range(RATE_REPEATS):
        watch = Stopwatch(device)
        work()
        times.append(watch.stop() / 1000)
    return min(times)


class PeakMemory:
    """The most memory that was in use since this was made: allocated on a GPU, else resident in the process.

    Where the system cannot begin a new peak, it is that of the whole process so far.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            with suppress(OSError):
                Path("/proc/self/clear_refs").write_text(PEAK_RESET)

    def bytes(self) -> int:
        """Until now."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        with suppress(OSError, LookupError, ValueError):
            lines = Path("/proc/self/status").read_text().splitlines()
            return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
        unit = 1 if platform.system() == "Darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
