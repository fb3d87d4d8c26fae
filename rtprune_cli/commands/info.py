"""The command `rtprune info`: what this machine has and lacks, versions, devices, memory, models."""

from __future__ import annotations

import json
import os
import platform
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtprune_cli.commands.flags import Quiet, Verbose
from rtprune_cli.commands.frame import reporting
from rtprune_cli.hub import cached_models
from rtprune_cli.options import BUNDLED_MODEL, DEFAULT_MODEL, LogOptions
from rtprune_cli.report.facts import dtype_name, gpu_facts, memory_gib, versions

if TYPE_CHECKING:
    import torch

    from rtprune_cli.options import Mode

PACKAGES = ("torch", "transformers", "huggingface_hub", "tokenizers", "pymupdf", "pillow", "pot")
PARAMETERS = 3_335_504_128  # of the default model


def info(
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Say what this machine has, what is missing, and how to get it.

    Versions, devices, memory and models.
    """
    with reporting(LogOptions(quiet, verbose)):
        facts = collect()
        typer.echo(json.dumps(facts, indent=2, ensure_ascii=False) if as_json else as_text(facts))


def collect() -> dict[str, Any]:
    """Facts as plain values, ready for JSON. ``missing`` lists what keeps the default model from running well."""
    import torch

    found = versions(PACKAGES)
    gpus = [_gpu(index) for index in range(torch.cuda.device_count())]
    models: list[dict[str, Any]] = [
        {"name": m.name, "revision": m.revision, "size_mib": round(m.size / 2**20, 1), "folder": str(m.folder)}
        for m in cached_models()
    ]
    return {
        **{name: found.pop(name) for name in ("rtprune", "python")},
        "platform": platform.platform(),
        "packages": found,
        "cpu_cores": os.cpu_count(),
        "memory_gib": memory_gib(),
        "cuda": torch.version.cuda,
        "gpus": gpus,
        "models": models,
        "missing": _missing(gpus, [m["name"] for m in models], torch.version.cuda),
    }


def _gpu(index: int) -> dict[str, Any]:
    """A GPU and what it is good for, by the plan that a run would make where nothing else uses it."""
    import torch

    from rtprune_cli.device.hardware import capability, pick_dtype
    from rtprune_cli.model.experts import describe

    device, properties = torch.device("cuda", index), torch.cuda.get_device_properties(index)
    dtype, found = pick_dtype("auto", device), capability(device)
    pages, words = good_for(properties.total_memory, dtype)
    return {
        "device": f"cuda:{index}",
        **gpu_facts(device),
        "capability": None if found is None else f"{found[0]}.{found[1]}",
        "dtype": dtype_name(dtype),
        "experts": describe(device, dtype),
        "pages_together": pages,
        "good_for": words,
    }


def good_for(memory: int, dtype: torch.dtype) -> tuple[dict[Mode, int], str]:
    """Pages that a card of so many bytes decodes together in each mode that it holds, and that in words.

    An estimate: it counts what rtprune plans, on a card that nothing else uses.
    """
    from rtprune_cli.bench.speed.arch import read_arch
    from rtprune_cli.engine.memory import CONTEXT_BYTES, Workload, fit, needed_bytes
    from rtprune_cli.model.adapters import adapter_of, network_config
    from rtprune_cli.options import MODES, DecodeOptions
    from rtprune_cli.records import ViewSpec

    options, raw = DecodeOptions(), read_arch("deepseek-ocr")
    config, layout = network_config(raw), adapter_of(raw).layout
    work = {mode: Workload(config, ViewSpec(mode, layout)) for mode in MODES}
    weights = PARAMETERS * dtype.itemsize
    usable = int(options.memory_fraction * memory) - CONTEXT_BYTES - weights
    plans = {mode: fit(work[mode], options, "cuda", dtype, usable) for mode in MODES}
    pages = {mode: plan.rows for mode, plan in plans.items() if not plan.lacking}
    least = (weights + CONTEXT_BYTES + needed_bytes(work["base"], dtype)) / options.memory_fraction
    name = DEFAULT_MODEL.partition("/")[2]
    if not pages:
        return (
            pages,
            f"too small for {name}, which takes {least / 1e9:.1f} GB in mode base; this has {memory / 1e9:.1f}",
        )
    words = ", ".join(f"{rows} in {mode}" for mode, rows in pages.items())
    without = "".join(f"; too small for mode {mode}" for mode in MODES if mode not in pages)
    return pages, f"{name} in {dtype_name(dtype)}, pages together: {words}{without}"


def _missing(gpus: list[dict[str, Any]], models: list[str], cuda: str | None) -> list[str]:
    lacks = []
    if not gpus and cuda is None:
        lacks.append("a CUDA build of torch (this one is for the CPU only): see pytorch.org, then pip install it")
    elif not gpus:
        lacks.append("an NVIDIA GPU that torch can see: check nvidia-smi; without one use --device cpu")
    elif all(gpu["pages_together"] == {} for gpu in gpus):
        lacks.append(f"a GPU that holds {DEFAULT_MODEL}: {gpus[0]['good_for']}")
    if DEFAULT_MODEL not in models:
        lacks.append(f"the default model: rtprune models pull {DEFAULT_MODEL} (6.7 GB), or use --model {BUNDLED_MODEL}")
    return lacks


def as_text(facts: dict[str, Any]) -> str:
    """The facts as aligned lines."""
    lines = [("rtprune", facts["rtprune"]), ("python", facts["python"]), ("platform", facts["platform"])]
    lines += [(name, found or "not installed") for name, found in facts["packages"].items()]
    memory = "unknown" if facts["memory_gib"] is None else f"{facts['memory_gib']} GiB memory"
    lines.append(("cpu", f"{facts['cpu_cores']} cores, {memory}"))
    for gpu in facts["gpus"]:
        lines.append(("gpu", f"{gpu['device']}: {gpu['name']}, {gpu['memory_gib']} GiB, {gpu['dtype']}"))
        lines += [("", gpu["good_for"]), ("", f"experts: {gpu['experts']}")]
    if not facts["gpus"]:
        lines.append(("gpu", "none"))
    lines += [("model", f"{m['name']} ({m['revision']}, {m['size_mib']} MiB)") for m in facts["models"]]
    lines += [("missing", lack) for lack in facts["missing"]]
    return "\n".join(f"{name:<16} {value}" for name, value in lines)
