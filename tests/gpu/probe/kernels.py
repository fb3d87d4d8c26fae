"""Which kernels a call runs, and how long the device is idle between them."""

from __future__ import annotations

import gzip
import shutil
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from torch.profiler import ProfilerActivity
from torch.profiler import profile as profiler

from probe.clock import Work, sync
from probe.common import GPU, say

KEPT, TOLD = 22, 8  # kernels by name, those that take most first
NAME = 110  # characters


def profile(work: Work, trace: Path | None = None) -> dict[str, Any]:
    """Kernels of a call: how many, busy and wall milliseconds on the device, and (name, times, ms) of the largest."""
    sync()
    with profiler(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if GPU else [])]) as seen:
        work()
        sync()
    if trace:
        _pack(seen, trace)
    spans = [
        (event.time_range.start, event.time_range.end, event.name[:NAME])
        for event in seen.events()
        if str(event.device_type).endswith("CUDA") and not event.name.startswith(("ProfilerStep", "void*"))
    ]
    if not spans:
        return {"kernels": 0, "top": []}
    total: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])
    for start, end, name in spans:
        total[name][0] += 1
        total[name][1] += (end - start) / 1e3
    top = sorted(total.items(), key=lambda item: -item[1][1])[:KEPT]
    return {
        "kernels": len(spans),
        "busy_ms": _covered(sorted(span[:2] for span in spans)) / 1e3,
        "wall_ms": (max(end for _, end, _ in spans) - min(start for start, *_ in spans)) / 1e3,
        "top": [(name, count, round(ms, 3)) for name, (count, ms) in top],
    }


def tell(name: str, found: dict[str, Any], calls: int = 1) -> None:
    """A profile's main lines, for one of so many calls."""
    if not found["kernels"]:
        return
    busy, wall = found["busy_ms"] / calls, found["wall_ms"] / calls
    say(f"profile of {name}: {found['kernels'] / calls:.0f} kernels, busy {busy:.2f} of {wall:.2f} ms")
    for kernel, count, ms in found["top"][:TOLD]:
        say(f"    {ms / calls:8.3f} ms {count / calls:6.0f} x {kernel[:90]}")


def _covered(spans: list[tuple[float, float]]) -> float:
    """Length of the union of spans in order of their starts."""
    length, last = 0.0, spans[0][0]
    for start, end in spans:
        length += max(0.0, end - max(start, last))
        last = max(last, end)
    return length


def _pack(seen: Any, trace: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "trace.json"
        seen.export_chrome_trace(str(plain))
        with open(plain, "rb") as source, gzip.open(trace, "wb") as packed:
            shutil.copyfileobj(source, packed)
