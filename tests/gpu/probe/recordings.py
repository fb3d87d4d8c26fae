"""Recordings that fail on purpose: what becomes of the stream, the allocator, and the pool's memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from probe.common import DEVICE, GPU, WORTH_TELLING, first_line, give_back, keep, on_default_stream, say
from rtprune_cli.device.graphs import Graphs

SCRATCH = 2**28  # bytes that a recording allocates before it fails: lost, where its pool is
SPARE = 4 * 2**30  # bytes that this process may still take in the drills of short memory


def failing() -> None:
    """A function that asks the device for a number when it is recorded."""

    def asks(own: Tensor) -> Tensor:
        scratch = torch.ones(SCRATCH // 4, device=DEVICE)
        return own * (scratch.sum() > own.sum()).item()

    if not GPU:
        return
    before = reserved()
    graphs, own = Graphs(), torch.ones(4, device=DEVICE)
    right = [torch.equal(graphs.run("asks", asks, own), own) for _ in range(3)]
    _tell("a recording that fails", "failed_on_purpose", before, graphs, right=right)


def short() -> None:
    """A recording for which memory is short for good, and one for which others leave enough when they are asked to."""
    if not GPU:
        return
    total = torch.cuda.mem_get_info()[1]
    try:
        torch.cuda.set_per_process_memory_fraction(min(1.0, (reserved() + SPARE) / total))
        _too_large()
        _crowded()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def _too_large() -> None:
    before, graphs, raised = reserved(), Graphs(), "nothing"
    work = _growing(2**20, 2 * SPARE)
    own = torch.ones(4, device=DEVICE)
    graphs.run("grows", work, own)
    try:
        graphs.run("grows", work, own)
    except Exception as error:
        raised = first_line(error)
    _tell("memory short in a recording", "short", before, graphs, raised=raised)


def _crowded() -> None:
    """Three quarters of what is left are cached by the default pool, a half is needed to record."""
    before, graphs = reserved(), Graphs()
    cached = torch.empty(SPARE * 3 // 4, dtype=torch.uint8, device=DEVICE)
    del cached
    work = _growing(SPARE // 2, SPARE // 2)
    own = torch.ones(4, device=DEVICE)
    right = [torch.equal(graphs.run("needs", work, own), own) for _ in range(3)]
    _tell("memory cached by others in a recording", "crowded", before, graphs, right=right, recorded=graphs.recorded)


def _growing(first: int, later: int) -> Callable[[Tensor], Tensor]:
    """A function that needs so many bytes in its first call, and in those that follow."""
    sizes = [first]

    def work(own: Tensor) -> Tensor:
        size = sizes.pop() if sizes else later
        return torch.empty(size, dtype=torch.uint8, device=DEVICE)[:1].fill_(1) * own

    return work


def _tell(what: str, key: str, before: int, graphs: Graphs, **more: Any) -> None:
    """The state that it leaves: said and kept."""
    facts = {
        "failed": graphs.failed,
        "default_stream": on_default_stream(),
        "empty_cache": give_back() or "ok",
        "later": _later(),
        **more,
    }
    graphs.clear()
    give_back()
    lost = reserved() - before
    facts["lost_bytes"] = lost
    words = f"{lost / 2**20:.0f} MiB lost" if lost > WORTH_TELLING else "no memory lost"
    say(f"{what}: {', '.join(f'{name} {value}' for name, value in facts.items())}: {words}")
    keep("recordings", **{key: facts})


def _later() -> str:
    """Whether something that can be recorded is, in Graphs of its own."""
    graphs, own = Graphs(), torch.arange(4.0, device=DEVICE)
    right = [torch.equal(graphs.run("later", lambda each: each * 2, own), own * 2) for _ in range(3)]
    found = "right" if all(right) else "WRONG"
    return f"{found}, {graphs.recorded} recorded" + (" FAILED" if graphs.failed else "")


def reserved() -> int:
    """Bytes of the GPU's memory that torch holds, after it gave back what it need not."""
    give_back()
    return int(torch.cuda.memory_reserved())
