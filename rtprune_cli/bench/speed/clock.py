"""Owns repeated timing: warm-up, turns, medians and spread, peak memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

import torch

from rtprune_cli.bench.speed.machine import PeakMemory
from rtprune_cli.device.timing import Stopwatch

# A GPU's kernels are loaded by the first run of a shape, its graph is recorded in the second, replayed from the third.
WARM_UP = {"cuda": 2, "cpu": 1}

Work = Callable[[], Any]


@dataclass
class Times:
    """Seconds of each repeat, in order, and the most memory that was in use meanwhile."""

    seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0

    @property
    def median(self) -> float:
        return median(self.seconds)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, extremes and quartiles; of one value all are that value."""
    first, _, third = quantiles(values, n=4, method="inclusive") if len(values) > 1 else (values[0],) * 3
    return {"median": median(values), "min": min(values), "quartile_1": first, "quartile_3": third, "max": max(values)}


def take_turns(works: Sequence[Work], device: torch.device, repeats: int) -> list[Times]:
    """Time several works, one after the other and again, so that a drift of the machine meets them all.

    Each second round goes backwards, so that none always follows the same one. Each starts and ends with the device's
    queue empty.
    """
    times = [Times() for _ in works]
    for _ in range(WARM_UP[device.type]):
        for work in works:
            work()
    for repeat in range(repeats):
        order = list(range(len(works)))
        for place in reversed(order) if repeat % 2 else order:
            memory, watch = PeakMemory(device), Stopwatch(device)
            works[place]()
            times[place].seconds.append(watch.stop() / 1000)
            times[place].peak_bytes = max(times[place].peak_bytes, memory.bytes())
    return times
