"""Owns what a result must say of the machine: its parts and versions, the rates that it reaches, its peak memory."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from rtprune_cli import __version__
from rtprune_cli.bench.floors import Rates
from rtprune_cli.device.timing import Stopwatch

COPY_BYTES = {"cuda": 2**30, "cpu": 2**28}  # far more than any cache holds
MATMUL_SIDE = {"cuda": 8192, "cpu": 2048}
RATE_REPEATS = 10
PEAK_RESET = "5"  # what /proc/self/clear_refs takes to begin a new peak; see proc(5)


def facts(device: torch.device) -> dict[str, Any]:
    """CPU, memory and, on a GPU, its name, memory and driver; what cannot be found out is None."""
    found: dict[str, Any] = {
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": _memory_gib(),
        "load_before": load(),
        "gpu": None,
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found["gpu"] = {
            "name": properties.name,
            "memory_gib": round(properties.total_memory / 2**30, 1),
            "driver": _driver(),
            "cuda": torch.version.cuda,
        }
    return found


def load() -> float:
    """Processes that ran or wanted to, the mean of the last minute."""
    return os.getloadavg()[0]


def versions() -> dict[str, str]:
    """Of everything that can change a time."""
    packages = {name: version(name) for name in ("torch", "transformers", "numpy", "pillow")}
    return {"rtprune": __version__, "python": platform.python_version(), **packages}


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


def _cpu_name() -> str | None:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or None


def _memory_gib() -> float | None:
    with suppress(ValueError, OSError, AttributeError):  # not on every platform
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    return None


def _driver() -> str | None:
    if (program := shutil.which("nvidia-smi")) is None:
        return None
    command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.split()[0]
    return None
