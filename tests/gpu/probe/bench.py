"""The full-size model, what the machine reaches, and what it has to spare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from probe.clock import seconds
from probe.common import DEVICE, GPU, keep, say
from probe.material import full_size
from rtprune_cli.bench.speed import floors
from rtprune_cli.bench.speed.machine import measure_rates
from rtprune_cli.engine.memory import Workload, plan
from rtprune_cli.model import OcrModel
from rtprune_cli.options import DecodeOptions, Mode

TRIED_RATES = floors.Rates(1e10, 1e11)  # of no machine: a CPU only tries the script


@dataclass(frozen=True)
class Bench:
    """The model, and what the machine reaches."""

    model: OcrModel
    rates: floors.Rates

    @property
    def text(self) -> Any:
        return self.model.text_config

    @property
    def config(self) -> Any:
        return self.model.network.config

    @property
    def weight_bytes(self) -> int:
        return sum(parameter.nbytes for parameter in self.model.network.parameters())

    def floor_ms(self, cost: floors.Cost) -> float:
        return cost.seconds(self.rates) * 1e3

    def work(self, mode: Mode) -> Workload:
        """What a run in this mode reads at a time."""
        return Workload(self.config, self.model.view_spec(mode))

    def rows(self, mode: Mode = "base") -> int:
        """Pages that a run would decode together now."""
        return plan(self.work(mode), DecodeOptions(), DEVICE, self.model.dtype).rows


def make_bench() -> Bench:
    made: list[OcrModel] = []
    took = seconds(lambda: made.append(full_size()))
    rates = measure_rates(DEVICE, made[0].dtype) if GPU else TRIED_RATES
    bench = Bench(made[0], rates)
    say(f"model built in {took:.1f} s, {bench.weight_bytes / 1e9:.2f} GB; experts: {bench.model.experts}")
    say(f"rates: {rates.bandwidth / 1e12:.2f} TB/s, {rates.matmul / 1e12:.0f} TFLOP/s")
    keep("arch", rates=[rates.bandwidth, rates.matmul], model_seconds=took)
    return bench


def outside_bytes() -> int:
    """The GPU's memory in use that torch's allocator does not know of: CUDA itself, code of kernels, recordings."""
    free, total = torch.cuda.mem_get_info()
    return int(total - free - torch.cuda.memory_reserved())
