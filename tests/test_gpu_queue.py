"""What a GPU does over and over asks the host for nothing: else its queue runs dry, and no graph can be recorded.

The real architecture runs on the meta device, which has shapes and no numbers, under a watch that sees every operation.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rtprune_cli.bench.speed.arch import read_arch, skeleton
from rtprune_cli.decoding.cache import KvCache, window_of
from rtprune_cli.decoding.forward import run_decoder
from rtprune_cli.decoding.repeats import RepeatRule
from rtprune_cli.decoding.runner import ModelRunner
from rtprune_cli.device.graphs import Graphs
from rtprune_cli.device.hardware import Capability
from rtprune_cli.model import experts
from rtprune_cli.model.adapters import Adapter, adapter_of
from rtprune_cli.model.loading import finish
from rtprune_cli.options import PruneOptions
from rtprune_cli.pruning.methods import Batch as Pages
from rtprune_cli.pruning.methods import prune_batch

META, CUDA = torch.device("meta"), torch.device("cuda")


class Watch(TorchDispatchMode):
    """Notes where an operation asks the device for a number, or takes tensors of the host and of the device."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0
        self.waits: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called for each operation."""
        kwargs = kwargs or {}
        self.operations += 1
        tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
        # A number of Python's own goes with the launch.
        kinds = {each.device.type for each in tensors if each.dim() or each.device.type != "cpu"}
        if "_to_copy" in str(func) and kwargs.get("device") is not None:
            kinds.add(torch.device(kwargs["device"]).type)
        if len(kinds) > 1 or any(name in str(func) for name in ("_local_scalar_dense", "nonzero")):
            calls = [call for call in traceback.extract_stack()[:-1] if "/torch/" not in call.filename]
            frame = calls[-1]
            self.waits.append(f"{func} at {Path(frame.filename).name}:{frame.lineno}")
        return func(*args, **kwargs)


@pytest.fixture(scope="module", params=[torch.bfloat16, torch.float32], ids=str)
def network(request: pytest.FixtureRequest) -> Iterator[Any]:
    with torch.inference_mode():
        yield finish(skeleton(read_arch("deepseek-ocr"), CUDA, request.param))


@pytest.mark.slow
@pytest.mark.parametrize("card", [(9, 0), (8, 0), (7, 5)], ids=str)
@pytest.mark.parametrize("rows", [1, 256])
def test_a_step(network: Any, card: Capability, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experts, "capability", lambda _: card)
    assert watched_step(network, rows).operations > 500


def watched_step(network: Any, rows: int) -> Watch:
    """A step that waits for nothing."""
    text = network.config.text_config
    cache = KvCache(text, rows * 512, META, network.dtype)
    rule = RepeatRule(30, 90, frozenset(), rows=rows, vocabulary=text.vocab_size, device=META)
    graphs, window = Graphs(False), window_of(text)
    batch = ModelRunner(network, cache, rule, rows=rows, device=META, graphs=graphs, window=window)
    cache.lay_out(rows, 512, 0, 0)
    with torch.inference_mode(), Watch() as seen:
        assert batch._step(rows, 256).shape == (2, rows)
    assert not seen.waits
    return seen


@pytest.fixture
def short(request: pytest.FixtureRequest) -> tuple[Adapter, Any]:
    """Another family's network with few layers of each kind."""
    raw = read_arch(request.param)
    width = raw["vision_config"]["width"]
    raw["language_config"]["num_hidden_layers"] = 2
    width["sam_vit_b"] |= {"layers": 2, "global_attn_indexes": [1]}
    for tower in width.keys() - {"sam_vit_b"}:
        width[tower]["layers"] = 2
    with torch.inference_mode():
        return adapter_of(raw), finish(skeleton(raw, CUDA, torch.bfloat16))


@pytest.mark.parametrize("short", ["deepseek-ocr-2", "unlimited-ocr"], indirect=True)
def test_a_step_and_an_encoding_of_other_families(short: tuple[Adapter, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    adapter, network = short
    monkeypatch.setattr(experts, "capability", lambda _: (9, 0))
    assert watched_step(network, 2).operations > 80
    pixels = torch.empty(1, 3, 1024, 1024, device=META, dtype=network.dtype)
    tiles = torch.empty(2, 3, adapter.layout.tile, adapter.layout.tile, device=META, dtype=network.dtype)
    with torch.inference_mode():
        adapter.image_features(network, pixels, tiles, [2], [(1, 2)])  # works SAM's relative positions out
        with Watch() as seen:
            adapter.image_features(network, pixels, tiles, [2], [(1, 2)])
    assert not seen.waits


def test_a_prompt(network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On cards whose grouped product waits, it alone does: here the other way stands in for it."""
    monkeypatch.setattr(experts, "choose", lambda *_: "dense")
    embeds = torch.empty(4, 288, 1280, device=META, dtype=network.dtype)
    positions = torch.empty(4, 288, device=META, dtype=torch.long)
    with torch.inference_mode(), Watch() as seen:
        run_decoder(network, embeds, positions, None, None)
    assert not seen.waits


@pytest.mark.slow
def test_an_encoding(network: Any) -> None:
    pixels = torch.empty(1, 3, 1024, 1024, device=META, dtype=network.dtype)
    tiles = torch.empty(2, 3, 640, 640, device=META, dtype=network.dtype)
    waits = []
    for _ in range(2):
        with torch.inference_mode(), Watch() as seen:
            network.get_image_features(pixels, tiles, num_local_patches=[2], patches_grid=[[1, 2]])
        waits.append(len(seen.waits))
    # The first pass works SAM's relative positions out: 12 layers for the view, and for tiles the 4 global ones.
    assert waits == [2 * (12 + 4), 0]


def test_a_pruning(network: Any) -> None:
    tokens = torch.empty(2, 273, 1280, device=META, dtype=network.dtype)
    masks = torch.empty(2, 273, device=META, dtype=torch.bool)
    with torch.inference_mode(), Watch() as seen:
        prune_batch(Pages(tokens, torch.empty(2, 3, 1024, 1024, device=META), masks), PruneOptions())
    assert not seen.waits


def test_the_watch_sees_what_waits() -> None:
    table = torch.empty(5, 3, device=META)
    with Watch() as seen:
        table[torch.arange(3)]
    assert len(seen.waits) == 1
    assert "test_gpu_queue.py" in seen.waits[0]
