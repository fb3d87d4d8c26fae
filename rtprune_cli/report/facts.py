"""Owns what reports say of a run beside its results: versions, model, machine, command and time."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rtprune_cli import __version__

if TYPE_CHECKING:
    import torch

ENGINE = ("torch", "transformers")  # what a text depends on
TIMED = (*ENGINE, "numpy", "pillow")  # what can change a time


def versions(packages: tuple[str, ...] = ENGINE) -> dict[str, str | None]:
    """Of rtprune, Python and packages; None where one is not installed."""
    return {"rtprune": __version__, "python": platform.python_version(), **{name: _version(name) for name in packages}}


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def now() -> str:
    """The time, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def dtype_name(dtype: torch.dtype) -> str:
    """As --dtype takes it."""
    return str(dtype).removeprefix("torch.")


class ModelLike(Protocol):
    """What is said of a model: a Checkpoint has it."""

    @property
    def name(self) -> str: ...
    @property
    def revision(self) -> str: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def attention(self) -> str: ...
    @property
    def experts(self) -> str: ...


def model_facts(checkpoint: ModelLike) -> dict[str, Any]:
    """Which checkpoint, where, and how it is computed."""
    import torch

    device = checkpoint.device
    return {
        "name": checkpoint.name,
        "revision": checkpoint.revision,
        "dtype": dtype_name(checkpoint.dtype),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "attention": checkpoint.attention,
        "experts": checkpoint.experts,
    }


def machine_facts(device: torch.device) -> dict[str, Any]:
    """CPU, memory and, on a GPU, its name, memory and driver; what cannot be found out is None."""
    import torch

    found: dict[str, Any] = {
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": memory_gib(),
        "load_before": load(),
        "gpu": None,
    }
    if device.type == "cuda":
        found["gpu"] = {**gpu_facts(device), "driver": _driver(), "cuda": torch.version.cuda}
    return found


def gpu_facts(device: torch.device) -> dict[str, Any]:
    """Name and memory of a GPU."""
    import torch

    properties = torch.cuda.get_device_properties(device)
    return {"name": properties.name, "memory_gib": round(properties.total_memory / 2**30, 1)}


def load() -> float:
    """Processes that ran or wanted to, the mean of the last minute."""
    return os.getloadavg()[0]


def memory_gib() -> float | None:
    """The machine's."""
    with suppress(ValueError, OSError, AttributeError):  # not on every platform
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    return None


def _cpu_name() -> str | None:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or None


def _driver() -> str | None:
    if (program := shutil.which("nvidia-smi")) is None:
        return None
    command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.split()[0]
    return None
