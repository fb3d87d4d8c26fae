"""What every step needs: the device, how things are told and kept, and parts that may fail."""

from __future__ import annotations

import gc
import json
import os
import re
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from probe import RESULT
from rtprune_cli.storage import atomic_write, to_json

DEVICE = torch.device("cpu" if os.environ.get("DEVICE") == "cpu" else "cuda:0")
GPU = DEVICE.type == "cuda"
GOLDEN = Path(__file__).parents[2] / "golden"
GOLDEN2 = GOLDEN.with_name("golden2")
WORTH_TELLING = 64 * 2**20  # bytes; what is lost or held below it is the allocator's rounding

torch.set_grad_enabled(False)


def say(text: str) -> None:
    """Tell something that belongs into the summary."""
    print(">", text, flush=True)


def keep(section: str, **values: Any) -> None:
    """Merge values into a section of result.json at once: a crash later must not cost what is known."""
    everything = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    everything["gpu"] = torch.cuda.get_device_name(DEVICE) if GPU else None
    everything.setdefault(section, {}).update(values)
    atomic_write(RESULT, to_json(everything, indent=1))


def first_line(error: BaseException, length: int = 160) -> str:
    """An error in one line."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:length] if text else ''}"


class Parts:
    """Runs the parts of a step. One that fails is told and the others go on; none begins when its time is over."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def run(self, name: str, limit: float, work: Callable[..., None], *arguments: Any) -> None:
        """Run ``work`` now, unless ``limit`` seconds of the step are over, or PARTS (a pattern) leaves it out."""
        if not re.search(os.environ.get("PARTS", ""), name):
            return
        if time.monotonic() - self._began > limit:
            say(f"{name}: skipped, {limit} s are over")
            return
        began = time.monotonic()
        try:
            work(*arguments)
        except Exception as error:
            traceback.print_exc()
            say(f"{name}: FAILED {first_line(error)}")
            keep("failed", **{name: first_line(error)})
        # Only here, outside of the handler, is the traceback gone that kept the part's tensors alive.
        trouble = give_back()
        if trouble:
            say(f"{name}: empty_cache afterwards: {trouble}")
        print(f"({name}: {time.monotonic() - began:.1f} s)", flush=True)


def give_back() -> str:
    """Free what is not in use, to the GPU too; what was wrong with that, or nothing."""
    gc.collect()
    if GPU:
        try:
            torch.cuda.empty_cache()
        except RuntimeError as error:
            return first_line(error)
    return ""


def on_default_stream() -> bool:
    """Whether what is queued now goes where it should."""
    return bool(torch.cuda.current_stream() == torch.cuda.default_stream())
