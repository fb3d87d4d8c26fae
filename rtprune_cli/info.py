"""What this machine has and lacks: versions, devices, memory, models."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rtprune_cli import __version__
from rtprune_cli.hub import cached_models
from rtprune_cli.options import BUNDLED_MODEL, DEFAULT_MODEL

PACKAGES = ("torch", "transformers", "huggingface_hub", "tokenizers", "pymupdf", "pillow", "pot")
GPU_MEMORY_GIB = 8  # the weights take 6.7 GB in bfloat16


def collect() -> dict[str, Any]:
    """Facts as plain values, ready for JSON. ``missing`` lists what keeps the default model from running well."""
    import torch

    gpus: list[dict[str, Any]] = [
        {"device": f"cuda:{i}", "name": properties.name, "memory_gib": round(properties.total_memory / 2**30, 1)}
        for i in range(torch.cuda.device_count())
        for properties in [torch.cuda.get_device_properties(i)]
    ]
    models: list[dict[str, Any]] = [
        {"name": m.name, "revision": m.revision, "size_mib": round(m.size / 2**20, 1), "folder": str(m.folder)}
        for m in cached_models()
    ]
    return {
        "rtprune": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "cpu_cores": os.cpu_count(),
        "memory_gib": _memory_gib(),
        "cuda": torch.version.cuda,
        "gpus": gpus,
        "models": models,
        "missing": _missing(gpus, [m["name"] for m in models], torch.version.cuda),
    }


def _missing(gpus: list[dict[str, Any]], models: list[str], cuda: str | None) -> list[str]:
    lacks = []
    if not gpus and cuda is None:
        lacks.append("a CUDA build of torch (this one is for the CPU only): see pytorch.org, then pip install it")
    elif not gpus:
        lacks.append("an NVIDIA GPU that torch can see: check nvidia-smi; without one use --device cpu")
    elif max(gpu["memory_gib"] for gpu in gpus) < GPU_MEMORY_GIB:
        lacks.append(f"a GPU with {GPU_MEMORY_GIB} GiB or more for {DEFAULT_MODEL}")
    if DEFAULT_MODEL not in models:
        lacks.append(f"the default model: rtprune models pull {DEFAULT_MODEL} (6.7 GB), or use --model {BUNDLED_MODEL}")
    return lacks


def render(facts: dict[str, Any]) -> str:
    """The facts as aligned lines."""
    lines = [("rtprune", facts["rtprune"]), ("python", facts["python"]), ("platform", facts["platform"])]
    lines += [(name, found or "not installed") for name, found in facts["packages"].items()]
    memory = "unknown" if facts["memory_gib"] is None else f"{facts['memory_gib']} GiB memory"
    lines.append(("cpu", f"{facts['cpu_cores']} cores, {memory}"))
    lines += [("gpu", f"{gpu['device']}: {gpu['name']}, {gpu['memory_gib']} GiB") for gpu in facts["gpus"]] or [
        ("gpu", "none")
    ]
    lines += [("model", f"{m['name']} ({m['revision']}, {m['size_mib']} MiB)") for m in facts["models"]]
    lines += [("missing", lack) for lack in facts["missing"]]
    return "\n".join(f"{name:<16} {value}" for name, value in lines)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):  # not on every platform
        return None
