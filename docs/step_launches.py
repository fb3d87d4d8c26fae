"""How many operations a GPU would run as launches of their own in one decoding step, without a GPU: by what a layer of
each kind dispatches, for the 12 layers of the published models. python docs/step_launches.py
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rtprune_cli.decoding.cache import KvCache
from rtprune_cli.decoding.fused import FusedStep, sizes_of
from rtprune_cli.decoding.kernels import chosen
from rtprune_cli.decoding.repeats import RepeatRule
from rtprune_cli.decoding.runner import ModelRunner
from rtprune_cli.device.graphs import Graphs
from rtprune_cli.model import experts, load
from rtprune_cli.options import ModelOptions

CHECKPOINT = Path(__file__).parents[1] / "tests" / "golden" / "checkpoint"
LAYERS = 12  # of which the first is dense
ROWS, CAPACITY = 4, 64  # more rows than experts would be copied for
NO_WORK = ("empty", "empty_like", "new_empty", "_unsafe_view", "detach")
LAUNCHES = {"add_norm": 1, "attend": 2, "route": 1, "experts": 3, "pick": 3}  # of each kernel's function


class Launches(TorchDispatchMode):
    """Counts what is dispatched, but views and what only takes memory."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not (function.is_view or function.overloadpacket.__name__ in NO_WORK)
        return function(*args, **(kwargs or {}))

    def counted(self, number: int, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, which counts as so many launches."""

        def run(*arguments: Any) -> Any:
            before = self.count
            said = function(*arguments)
            self.count = before + number
            return said

        return run


def launches(fused: bool) -> tuple[int, int]:
    """Of a step of 12 layers, and of one of its layers with experts."""
    model = load(ModelOptions(model=str(CHECKPOINT), device="cpu"))
    experts.implementation(torch.device("cuda"))  # makes the ways known by name
    model.network.set_experts_implementation("dense")
    decoder = model.network.model.language_model
    layers = list(decoder.layers)
    dense = next(layer for layer in layers if not hasattr(layer.mlp, "experts"))
    sparse = next(layer for layer in layers if hasattr(layer.mlp, "experts"))
    sizes = sizes_of(model.network)
    assert sizes is not None
    counts = []
    for number in (0, 1, 2):
        decoder.layers = torch.nn.ModuleList([dense, *[sparse] * number])
        watch = Launches()
        twins = chosen.twins()
        kernels = chosen.Kernels(**{name: watch.counted(n, getattr(twins, name)) for name, n in LAUNCHES.items()})
        cache = KvCache(model.text_config, ROWS * CAPACITY, torch.device("cpu"), model.dtype)
        rule = RepeatRule(20, 90, frozenset(), rows=ROWS, vocabulary=sizes.vocabulary, device=torch.device("cpu"))
        runner = ModelRunner(
            model.network, cache, rule, rows=ROWS, device=torch.device("cpu"), graphs=Graphs(),
            fused=FusedStep(model.network, kernels, sizes) if fused else None,
        )  # fmt: skip
        cache.lay_out(ROWS, CAPACITY, 0, 0)
        runner.step(ROWS, CAPACITY)
        watch.count = 0
        with torch.inference_mode(), watch:
            runner.step(ROWS, CAPACITY)
        counts.append(watch.count)
    one, other = (after - before for before, after in pairwise(counts))
    assert one == other
    return counts[0] + (LAYERS - 1) * one, one


def main() -> None:
    print("| a step of 12 layers | launches | of them a layer with experts |\n|---|---|---|")
    for name, fused in (("the network's own layers, experts all at once", False), ("kernels", True)):
        print(f"| {name} | {' | '.join(map(str, launches(fused)))} |")


if __name__ == "__main__":
    main()
