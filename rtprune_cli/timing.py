"""A stopwatch that waits for a GPU's queue, so that a stage's time is its own."""

from __future__ import annotations

import time

import torch


class Stopwatch:
    """Milliseconds of work on a device since the watch was made."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._start = self._now()

    def stop(self) -> float:
        """Milliseconds until now; may be called again."""
        return (self._now() - self._start) * 1000

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()
