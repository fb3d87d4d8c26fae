"""The kernels of a decoding step against their twins, and steps of them against the network's own layers.

Without a GPU they run in Triton's interpreter.
"""
# ruff: noqa: E402  (without Triton there is nothing to import)

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Hashable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import GOLDEN, GOLDEN2, OCR2, UNLIMITED, for_every, load_script
from torch import Tensor

ON_GPU = torch.cuda.is_available()
pytest.importorskip("triton", reason="Triton is not installed")

from rtprune_cli.decoding import decode
from rtprune_cli.decoding.fused import FusedStep, fused_step, sizes_of
from rtprune_cli.decoding.kernels import attention, choosing, chosen, experts, norm
from rtprune_cli.decoding.scheduler import Scheduler, rows_bucket
from rtprune_cli.device.graphs import Graphs
from rtprune_cli.model import OcrModel, load
from rtprune_cli.options import DecodeOptions, ModelOptions
from rtprune_cli.records import Decoded, DecoderInput

DEVICE = torch.device("cuda:0" if ON_GPU else "cpu")
pytestmark = [pytest.mark.cuda] if ON_GPU else []
FREE = DecodeOptions(max_new_tokens=32, no_repeat_ngram=3, no_repeat_window=12, loop_window=0)
# Triton's interpreter cuts float32 to bfloat16 where a GPU rounds.
NAMES = ("add_norm", "attend", "route", "experts", "pick")
CLOSE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 4e-2}


def assert_as_twin(kernel: Callable[..., Any], twin: Callable[..., Any], *arguments: Any, dtype: torch.dtype) -> None:
    """The kernel says what its twin says in float64; whole tensors are compared."""
    said = kernel(*(each.clone() if isinstance(each, Tensor) else each for each in arguments))
    wide = [each.double() if isinstance(each, Tensor) and each.is_floating_point() else each for each in arguments]
    right = twin(*wide)
    for own, other in zip(chosen._tensors(said), chosen._tensors(right), strict=True):
        assert own.shape == other.shape
        assert float((own.double() - other.double()).norm()) <= CLOSE[dtype] * max(1.0, float(other.double().norm()))


@cache
def model_of(folder: Path) -> OcrModel:
    return load(ModelOptions(model=str(folder / "checkpoint"), device=str(DEVICE), dtype="float32"))


@pytest.fixture
def model() -> OcrModel:
    """DeepSeek-OCR's layout at reduced sizes, where the kernels run."""
    return model_of(GOLDEN)


class Some:
    """Random tensors of one dtype, by a seed."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.dtype = self.draw.choice([torch.float32, torch.bfloat16, torch.float16])
        self._random = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int, spread: float = 1.0) -> Tensor:
        return (torch.randn(*shape, generator=self._random) * spread).to(DEVICE, self.dtype)

    def between(self, least: int, most: int) -> int:
        return self.draw.randint(least, most)


@for_every("seed", range(6))
def test_a_sum_and_its_norm(seed: int) -> None:
    some = Some(seed)
    rows, parts, size = some.between(1, 8), some.between(0, 4), some.between(3, 150)
    arguments = some(rows, size), some(rows, parts, size), some(size), 1e-6
    assert_as_twin(norm.add_norm, norm.add_norm_twin, *arguments, dtype=some.dtype)


@for_every("seed", range(5))
def test_attention_over_ragged_rows(seed: int) -> None:
    """Rows of one token and of a full slot, new tokens anywhere before the last, and several splits."""
    some = Some(seed)
    rows, groups, size = some.between(1, 8), some.between(1, 3), 2 * some.between(2, 16)
    heads, capacity = groups * some.between(1, 2), some.between(40, 130)
    last = torch.tensor([some.draw.choice([0, capacity - 1, some.between(0, capacity - 1)]) for _ in range(rows)])
    places = torch.tensor([some.draw.choice([int(each), some.between(0, int(each))]) for each in last])
    angles = torch.rand(rows, size // 2).repeat(1, 2)
    qkv = some(rows, (heads + 2 * groups) * size)
    keys, values = some(rows + 1, groups, capacity, size), some(rows + 1, groups, capacity, size)
    cos, sin = (each.to(DEVICE, some.dtype) for each in (angles.cos(), angles.sin()))
    own, twin = [[keys.clone(), values.clone()] for _ in range(2)]
    places, last = places.to(DEVICE), last.to(DEVICE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "splits_for", lambda *_: 1 + seed % 4)
        said = attention.attend(qkv, cos, sin, *own, places, last, heads)
    right = attention.attend_twin(qkv.double(), cos.double(), sin.double(), *[each.double() for each in twin],
                                  places, last, heads)  # fmt: skip
    torch.testing.assert_close(said.double(), right, rtol=0, atol=CLOSE[some.dtype])
    attention.attend_twin(qkv, cos, sin, *twin, places, last, heads)
    for mine, other in zip(own, twin, strict=True):
        torch.testing.assert_close(mine, other, rtol=CLOSE[some.dtype], atol=CLOSE[some.dtype] / 4)
        changed = (mine != keys if mine is own[0] else mine != values).flatten(2).any(-1).any(-1)
        assert not changed[rows:].any()  # slots beyond the rows


@for_every("seed", range(4))
def test_routing(seed: int) -> None:
    some = Some(seed)
    rows, size, count = some.between(1, 8), some.between(3, 80), some.between(4, 20)
    arguments = some(rows, size), some(count, size), some.between(1, 4), 1.5, some.between(0, 2)
    mine, other = experts.route(*arguments), experts.route_twin(*arguments)
    assert torch.equal(mine[0], other[0])
    torch.testing.assert_close(mine[1], other[1])


@for_every("seed", range(5))
def test_experts_of_any_number_of_rows(seed: int) -> None:
    some = Some(seed)
    rows, size, inner = some.draw.choice([1, 3, 20]), some.between(3, 90), some.between(3, 70)
    count, shared, top_k = some.between(4, 8), some.between(0, 2), some.between(1, 3)
    gate = torch.randn(count, size)
    where, weights = experts.route_twin(torch.randn(rows, size), gate, top_k, 1.0, shared)
    arguments = (
        some(rows, size), where.to(DEVICE), weights.to(DEVICE),
        some(count, 2 * inner, size, spread=size**-0.5), some(count, size, inner, spread=inner**-0.5),
        some(shared * inner, size, spread=size**-0.5), some(shared * inner, size, spread=size**-0.5),
        some(size, shared * inner, spread=inner**-0.5),
    )  # fmt: skip
    assert_as_twin(experts.experts, experts.experts_twin, *arguments, dtype=some.dtype)


@for_every("seed", range(6))
def test_the_best_token_that_is_not_banned(seed: int) -> None:
    """Rows whose best is banned, exempt, or in no run; rows with a NaN, and windows that are not full."""
    some = Some(seed)
    rows, size, window = some.between(1, 6), some.between(20, 3000), some.between(1, 20)
    logits = some(rows, size, spread=3.0)
    second, first = torch.stack([torch.randperm(size)[:2] for _ in range(rows)]).T.to(DEVICE)
    at = torch.arange(rows, device=DEVICE)
    logits[at, second], logits[at, first] = 30.0, 33.0  # one best, and one behind it
    seen = torch.randint(-1, size, (rows, window)).to(DEVICE)
    seen[:, -1] = torch.where(torch.rand(rows).to(DEVICE) < 0.7, first, seen[:, -1])
    runs = torch.randint(0, 4, (rows, window), dtype=torch.int32).to(DEVICE)
    bannable = (torch.rand(size) < 0.8).to(DEVICE)
    follows = (torch.arange(window) >= window // 3).to(DEVICE)
    if seed == 5:
        logits[0, size // 2] = float("nan")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choosing, "splits_for", lambda *_: 1 + seed % 3)
        mine = choosing.pick(logits, seen, runs, follows, bannable, 2)
    best, token, logprob = choosing.pick_twin(logits, seen, runs, follows, bannable, 2)
    torch.testing.assert_close(mine[0], best.float(), equal_nan=True)
    sound = ~best.isnan()
    assert torch.equal(mine[1][sound], token[sound])
    torch.testing.assert_close(mine[2][sound], logprob[sound], rtol=1e-4, atol=1e-4)


@for_every("splits", range(1, 5))
def test_of_equal_logits_the_first_is_taken(splits: int) -> None:
    logits = torch.zeros(2, 5000, device=DEVICE)
    logits[0, [1500, 3200, 4999]] = 7.0
    nothing = torch.full((2, 1), -1, device=DEVICE)
    facts = (
        nothing.int(),
        torch.zeros(1, dtype=torch.bool, device=DEVICE),
        torch.ones(5000, dtype=torch.bool).to(DEVICE),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choosing, "splits_for", lambda *_: splits)
        assert choosing.pick(logits, nothing, *facts, 2)[1].tolist() == [1500, 0]


# --- Which are chosen


def sizes(model: OcrModel) -> chosen.Sizes:
    found = sizes_of(model.network)
    assert found is not None
    return found


def test_sound_kernels_are_all_taken(model: OcrModel) -> None:
    found = chosen.sound(chosen.kernels(), sizes(model), DEVICE, torch.float32)
    assert found is not None and found.names == NAMES


def wrong(kernel: Callable[..., Any]) -> Callable[..., Any]:
    def slightly(*arguments: Any) -> Any:
        said = kernel(*arguments)
        return (*said[:-1], said[-1] * 1.01) if isinstance(said, tuple) else said * 1.01

    return slightly


@pytest.mark.parametrize("name", ["add_norm", "route", "experts", "pick"])
def test_a_kernel_that_is_wrong_is_left_out_by_name(
    name: str, model: OcrModel, caplog: pytest.LogCaptureFixture
) -> None:
    stub = replace(chosen.twins(), names=NAMES)
    stub = replace(stub, **{name: wrong(getattr(stub, name))})  # type: ignore[arg-type]
    found = chosen.sound(stub, sizes(model), DEVICE, torch.float32)
    assert found is not None and name not in found.names and len(found.names) == 4
    assert f"the kernel {name} is left out: it is 0.0" in caplog.text
    assert getattr(found, name) == (None if name in ("experts", "pick") else getattr(chosen.twins(), name))


def test_without_attention_none_is_used(model: OcrModel, caplog: pytest.LogCaptureFixture) -> None:
    def fails(*_: Any) -> Tensor:
        raise RuntimeError("no such instruction")

    stub = replace(chosen.twins(), attend=fails)
    assert chosen.sound(stub, sizes(model), DEVICE, torch.float32) is None
    assert "the kernel attend is left out: it fails (RuntimeError)" in caplog.text


def test_there_are_none_on_a_cpu(model: OcrModel) -> None:
    assert fused_step(model.network) is None or ON_GPU


def test_a_decoder_of_other_layers_is_left_to_itself(model: OcrModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model.network.config.text_config, "hidden_act", "gelu")
    assert sizes_of(model.network) is None


# --- Steps of them


def fused(model: OcrModel, kernels: chosen.Kernels | None = None) -> FusedStep:
    return FusedStep(model.network, kernels or chosen.twins(), sizes(model))


def prompts_of(model: OcrModel, count: int) -> list[DecoderInput]:
    """Prompts of several lengths; what they say does not matter."""
    torch.manual_seed(0)
    dimension = sizes(model).hidden
    lengths = [5 + 7 * number % 23 for number in range(count)]
    return [DecoderInput((torch.randn(n, dimension) * 0.5).to(DEVICE), torch.arange(n), n) for n in lengths]


@pytest.mark.parametrize("folder", [GOLDEN, GOLDEN2 / OCR2, GOLDEN2 / UNLIMITED])
def test_fused_steps_write_what_the_networks_own_layers_write(folder: Path) -> None:
    """Ragged rows that end at different times, and for Unlimited-OCR a window that slides."""
    model = model_of(folder)
    prompts = prompts_of(model, 5)
    plain = decode(model.network, prompts, FREE, eos_token_id=7, rows=3)
    found = decode(model.network, prompts, FREE, eos_token_id=7, rows=3, fused=fused(model))
    assert [each.token_ids for each in found] == [each.token_ids for each in plain]
    assert any(len(each.token_ids) > 16 for each in plain)


@pytest.mark.slow
def test_steps_of_kernels_write_what_the_networks_own_layers_write(model: OcrModel) -> None:
    options = replace(FREE, max_new_tokens=100 if ON_GPU else 4)
    plain = decode(model.network, prompts_of(model, 2), options, eos_token_id=-1)
    found = decode(model.network, prompts_of(model, 2), options, eos_token_id=-1, fused=fused(model, chosen.kernels()))
    assert [each.token_ids for each in found] == [each.token_ids for each in plain]


def test_the_network_computes_what_it_did_before(model: OcrModel) -> None:
    before = [each.detach().clone() for each in model.network.parameters()]
    fused(model)
    assert all(torch.equal(*pair) for pair in zip(before, model.network.parameters(), strict=True))


class Recordings(Graphs):
    """Says that it records, and remembers what."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[Hashable] = []

    def recording(self, device: torch.device) -> bool:
        return True

    def run(self, key: Hashable, function: Callable[..., Any], *inputs: Tensor) -> Any:
        self.keys.append(key)
        return function(*inputs)


def test_no_more_is_recorded_than_one_step_a_number_of_rows(model: OcrModel) -> None:
    """Over a long run of pages of all lengths, in slots that are large enough from the start."""
    graphs = Recordings()
    scheduler = Scheduler(
        model.network, replace(FREE, max_new_tokens=60), eos_token_id=3, rows=6, steps=4, buckets=True,
        longest=128, graphs=graphs, fused=fused(model),
    )  # fmt: skip
    for key, prompt in enumerate(prompts_of(model, 25)):
        scheduler.add(key, prompt)
    done: list[Any] = []
    while scheduler.busy:
        done += scheduler.step()
    assert len(done) == 25 and all(isinstance(result, Decoded) for _, result in done)
    assert set(graphs.keys) <= {(min(rows_bucket(rows), 6),) for rows in range(1, 7)}


def test_a_step_takes_few_launches() -> None:
    """Of the 12 layers of the published models, the choice of a token included."""
    step, layer = load_script("step_launches").launches(fused=True)
    assert layer == 10  # of a layer with experts
    assert step <= 150


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Triton compiles on Linux")
def test_the_kernels_compile_for_the_oldest_card_that_they_are_for() -> None:
    """Without a GPU, to its machine code; in a process of its own, since here the interpreter has them."""
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    script = Path(__file__).parent / "compile_kernels.py"
    done = subprocess.run([sys.executable, script, "80"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    spilt = [line for line in done.stdout.splitlines() if not line.endswith(" 0 bytes spilt")]
    assert len(done.stdout.splitlines()) == 10 and not spilt


@pytest.mark.slow
def test_whole_pages_read_the_same_and_the_report_says_with_what(
    rtprune: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run on a GPU finds the kernels by itself; here it is given their twins under their names."""
    sample = Path(__file__).parents[1] / "samples" / "notice.pdf"
    options = ("--model", "tiny", "--device", str(DEVICE), "--dtype", "float32", "--max-pages", "2")
    used: list[FusedStep] = []

    def given(network: Any) -> FusedStep:
        facts = sizes_of(network)
        assert facts is not None
        used.append(FusedStep(network, replace(chosen.twins(), names=NAMES), facts))
        return used[-1]

    monkeypatch.setattr("rtprune_cli.engine.prompts.fused_step", given)
    for kernels, count in (("off", 0), ("auto", 1)):
        assert rtprune("ocr", sample, "-o", tmp_path / kernels, "--kernels", kernels, *options).exit_code == 0
        assert len(used) == count
    assert (tmp_path / "off/notice/notice.md").read_bytes() == (tmp_path / "auto/notice/notice.md").read_bytes()
    if ON_GPU:  # on a CPU nothing is said of steps
        report = json.loads((tmp_path / "auto/notice/notice.report.json").read_bytes())
        assert report["settings"]["model"]["kernels"] == list(NAMES)
