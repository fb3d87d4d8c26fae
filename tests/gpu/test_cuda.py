"""What only a GPU can show, as tests: recordings that were made and are right, short memory, workers beside CUDA."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import GOLDEN, Case, Encoded, decode_rows, golden_cases, make_views
from torch import Tensor

from rtprune_cli.device.graphs import Graphs
from rtprune_cli.model import OcrModel, experts, load
from rtprune_cli.model.network import assemble
from rtprune_cli.options import DecodeOptions, ModelOptions, PruneOptions
from rtprune_cli.pruning import Pruner, prune_pages
from rtprune_cli.records import DecoderInput

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
]
AFTER = [5, 17, 33, 210, 9]
DTYPES = pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
CASES = pytest.mark.parametrize("name", golden_cases(GOLDEN))


@pytest.fixture
def on_gpu() -> Callable[[str], OcrModel]:
    """A function that loads the golden checkpoint in a precision."""
    return lambda dtype: load(ModelOptions(model=str(GOLDEN / "checkpoint"), device="cuda", dtype=dtype))


@pytest.fixture
def ampere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Experts are computed as on an Ampere card, whatever this one is."""
    monkeypatch.setattr(experts, "capability", lambda _: (8, 0))


def decode(
    model: OcrModel, prompts: list[DecoderInput], new: int = 64, rows: int = 4, **options: Any
) -> tuple[list[list[int]], Graphs]:
    return decode_rows(model, prompts, DecodeOptions(max_new_tokens=new, loop_window=0, **options), rows=rows)


def pages(model: OcrModel, count: int = 6) -> list[DecoderInput]:
    """Prompts of text, each of its own length."""
    lengths = [60 + 13 * number for number in range(count)]
    return [
        DecoderInput(model.embed([5 + n] * length), torch.arange(length), length) for n, length in enumerate(lengths)
    ]


# --- Equal to the CPU ------------------------------------------------------------------------------------------------


@CASES
def test_golden_numbers_are_those_of_the_cpu(
    name: str, on_gpu: Callable[[str], OcrModel], encode_case: Callable[[Case], Encoded]
) -> None:
    model, case = on_gpu("float32"), golden_cases(GOLDEN)[name]
    views = [make_views(case.image, case.mode)]
    pixels = model.pixels(views)
    tokens = model.encode(views, pixels)
    torch.testing.assert_close(tokens[0].tokens.cpu(), encode_case(case).tokens[0].tokens, rtol=0, atol=1e-4)
    (pruned,) = prune_pages(tokens, pixels, PruneOptions())
    assert torch.equal(pruned.keep, case.tensor("dynamic/keep"))
    prompt = assemble(model.embed([0]), [pruned], model.embed(AFTER))
    (found,), graphs = decode(model, [prompt], 16, rows=1, no_repeat_ngram=0)
    assert found == case.values["results"]["dynamic"]["tokens"]
    assert graphs.recorded > 0


# --- Recorded as plain -----------------------------------------------------------------------------------------------


@DTYPES
def test_steps_are_recorded_and_write_what_plain_ones_do(dtype: str, on_gpu: Callable[[str], OcrModel]) -> None:
    model = on_gpu(dtype)
    recorded, graphs = decode(model, pages(model))
    plain, without = decode(model, pages(model), cuda_graphs=False)
    assert recorded == plain
    assert (graphs.recorded > 0, graphs.failed, without.recorded) == (True, False, 0)


@DTYPES
@pytest.mark.usefixtures("ampere")
def test_steps_are_recorded_as_on_an_ampere_card(dtype: str, on_gpu: Callable[[str], OcrModel]) -> None:
    model = on_gpu(dtype)
    for rows in (1, 6):
        recorded, graphs = decode(model, pages(model), rows=rows)
        assert recorded == decode(model, pages(model), rows=rows, cuda_graphs=False)[0]
        assert (graphs.recorded > 0, graphs.failed) == (True, False)


@DTYPES
@pytest.mark.parametrize("way", ["batched_mm", "dense"])
def test_every_way_of_experts_that_steps_take_can_be_recorded(
    way: str, dtype: str, on_gpu: Callable[[str], OcrModel]
) -> None:
    model = on_gpu(dtype)
    model.network.set_experts_implementation(way)
    _, graphs = decode(model, pages(model))
    assert (graphs.recorded > 0, graphs.failed) == (True, False)


def test_in_float32_pages_together_write_what_each_does_alone(on_gpu: Callable[[str], OcrModel]) -> None:
    model = on_gpu("float32")
    together, _ = decode(model, pages(model))
    assert together == [decode(model, [page], rows=1)[0][0] for page in pages(model)]


@DTYPES
@pytest.mark.parametrize("name", ["note_small/base", "slide_wide/gundam"])
def test_an_encoding_is_recorded_and_equal(name: str, dtype: str, on_gpu: Callable[[str], OcrModel]) -> None:
    model, case, graphs = on_gpu(dtype), golden_cases(GOLDEN)[name], Graphs()
    views = [make_views(case.image, case.mode)]
    (plain,) = model.encode(views)
    for _ in range(3):
        (found,) = model.encode(views, graphs=graphs)
        torch.testing.assert_close(found.tokens, plain.tokens, rtol=0, atol=1e-5 if dtype == "float32" else 0.05)
    assert (graphs.recorded, graphs.failed) == (1, False)


def test_a_pruning_is_recorded_and_equal(on_gpu: Callable[[str], OcrModel]) -> None:
    model, case, graphs = on_gpu("float32"), golden_cases(GOLDEN)["note_small/base"], Graphs()
    views = [make_views(case.image, case.mode)] * 3
    pixels = model.pixels(views)
    tokens = model.encode(views, pixels)
    plain, pruner = prune_pages(tokens, pixels, PruneOptions()), Pruner(PruneOptions(), graphs=graphs)
    for _ in range(3):
        for found, expected in zip(pruner.start(tokens, pixels).result(), plain, strict=True):
            assert torch.equal(found.keep, expected.keep)
            torch.testing.assert_close(found.tokens, expected.tokens, rtol=0, atol=1e-5)
    assert (graphs.recorded, graphs.failed) == (1, False)


# --- Recordings that fail --------------------------------------------------------------------------------------------


def fine_afterwards() -> bool:
    """Whether stream and allocator are in order, and something else can be recorded."""
    torch.cuda.empty_cache()
    graphs, own = Graphs(), torch.arange(4.0, device="cuda")
    right = [torch.equal(graphs.run("double", lambda each: each * 2, own), own * 2) for _ in range(3)]
    on_default = torch.cuda.current_stream() == torch.cuda.default_stream()
    return on_default and all(right) and graphs.recorded == 1


def test_a_recording_that_fails_leaves_everything_in_order() -> None:
    graphs, own = Graphs(), torch.ones(4, device="cuda")

    def asks(tensor: Tensor) -> Tensor:
        return tensor * (tensor.sum() > 0).item()

    for _ in range(3):
        assert torch.equal(graphs.run("asks", asks, own), own)
    assert graphs.failed
    assert fine_afterwards()


def test_short_memory_in_a_recording_is_short_memory_and_leaves_everything_in_order() -> None:
    graphs, own, sizes = Graphs(), torch.ones(4, device="cuda"), [2**20]

    def grows(tensor: Tensor) -> Tensor:
        size = sizes.pop() if sizes else 2 * torch.cuda.mem_get_info()[1]
        return torch.empty(size, dtype=torch.uint8, device="cuda")[:1] * tensor

    graphs.run("grows", grows, own)
    with pytest.raises(torch.OutOfMemoryError):
        graphs.run("grows", grows, own)
    assert not graphs.failed
    assert fine_afterwards()


def test_memory_that_others_leave_unused_is_taken_for_a_recording() -> None:
    spare = 2 * 2**30
    torch.cuda.empty_cache()
    share = (torch.cuda.memory_reserved() + spare) / torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction(min(1.0, share))
    try:
        unused = torch.empty(spare * 3 // 4, dtype=torch.uint8, device="cuda")
        del unused  # torch keeps it, in a pool that recordings do not take from
        graphs, own = Graphs(), torch.ones(4, device="cuda")

        def needs(tensor: Tensor) -> Tensor:
            return torch.empty(spare // 2, dtype=torch.uint8, device="cuda")[:1].fill_(1) * tensor

        for _ in range(3):
            assert torch.equal(graphs.run("needs", needs, own), own)
        assert (graphs.recorded, graphs.failed) == (1, False)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


# --- A run -----------------------------------------------------------------------------------------------------------


def test_workers_beside_a_gpu_give_the_same_text(make_pdf: Callable[..., Path], rtprune: Any, tmp_path: Path) -> None:
    path, texts = make_pdf(*(f"page {number}\nof twenty" for number in range(20))), []
    for count in ("0", "2"):
        out = tmp_path / f"workers-{count}"
        command = ["ocr", path, "-o", out, "--model", "tiny", "--device", "cuda", "--dtype", "float32"]
        assert rtprune(*command, "--workers", count).exit_code == 0
        texts.append((out / "doc" / "doc.md").read_text())
    assert texts[0] == texts[1]
