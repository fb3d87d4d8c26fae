"""rtprune bench speed: architecture, the authors' formulation, floors, the result and its page. No time is judged."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import DOCS, GOLDEN, GOLDEN2, OCR2, UNLIMITED, golden_cases, make_views

from rtprune_cli.bench.speed import arch, authors, floors, machine
from rtprune_cli.bench.speed.clock import spread, take_turns
from rtprune_cli.bench.speed.floors import Cost, Rates
from rtprune_cli.bench.speed.machine import PeakMemory
from rtprune_cli.bench.speed.pages import make_page
from rtprune_cli.bench.speed.plan import ARCHITECTURES, SpeedPlan
from rtprune_cli.bench.speed.run import run
from rtprune_cli.bench.speed.stages import Stages, generate
from rtprune_cli.bench.speed.table import print_result
from rtprune_cli.decoding import decode
from rtprune_cli.logs import make_console
from rtprune_cli.model import OcrModel
from rtprune_cli.model.adapters import ADAPTERS, FAMILIES, network_config
from rtprune_cli.options import DecodeOptions, PruneOptions
from rtprune_cli.pruning import prune_pages
from rtprune_cli.records import DecoderInput

CPU = torch.device("cpu")
SMALL = {"modes": ("tiny",), "batch_sizes": (1, 2), "output_tokens": 6, "repeats": 2, "whole_repeats": 1}
CHECKPOINTS = [GOLDEN / "checkpoint", GOLDEN2 / OCR2 / "checkpoint", GOLDEN2 / UNLIMITED / "checkpoint"]
each_small = pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=ARCHITECTURES)


SLOW_FIXTURES = {"result", "contexts"}  # what uses one of them is slow


@pytest.fixture(scope="module", autouse=True)
def _small_copies() -> Iterator[None]:
    """The rates of the machine need not be right here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "COPY_BYTES", {"cpu": 2**20})
        patch.setattr(machine, "MATMUL_SIDE", {"cpu": 64})
        yield


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    """All stages of the reduced architecture."""
    return run(SpeedPlan(model=str(GOLDEN / "checkpoint"), device="cpu", ratios=("1", "dynamic"), pages=3, **SMALL))


def rows(result: dict[str, Any], stage: str, **values: Any) -> list[dict[str, Any]]:
    return [row for row in result["rows"] if row["stage"] == stage and values.items() <= row.items()]


# --- Architecture ------------------------------------------------------------------------------------------------


def test_every_family_has_an_architecture() -> None:
    assert {adapter.name.lower() for adapter in FAMILIES} == set(ARCHITECTURES)


# Of the 3,336,106,240 parameters of DeepSeek-OCR and Unlimited-OCR 602,112 are CLIP's patch embedding: not used
@pytest.mark.parametrize(
    ("name", "count"),
    [("deepseek-ocr", 3_335_504_128), ("deepseek-ocr-2", 3_389_119_360), ("unlimited-ocr", 3_336_106_240 - 602_112)],
)
def test_the_architecture_has_the_real_parameter_count(name: str, count: int) -> None:
    network = arch.skeleton(arch.read_arch(name), CPU, torch.bfloat16)
    assert sum(p.numel() for p in network.parameters()) == count
    assert {p.dtype for p in network.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_it_can_see_the_modes_that_are_timed_where_none_are_asked_for(name: str) -> None:
    found = arch.describe(name, CPU, torch.float32)
    for mode in ARCHITECTURES[name].modes:
        found.view_spec(mode)
    assert (ARCHITECTURES[name].context_text_after > 0) == (found.adapter.contexts is not None)


def test_its_config_is_the_official_one() -> None:
    assert arch.read_arch("deepseek-ocr") == json.loads((GOLDEN / "deepseek_ocr_config.json").read_text())


def filled(checkpoint: Path) -> Any:
    network = arch.skeleton(json.loads((checkpoint / "config.json").read_text()), CPU, torch.float32)
    arch.fill(network, CPU, seed=1)
    return network


@each_small
def test_filled_weights_are_finite_and_follow_the_seed(checkpoint: Path) -> None:
    before = torch.random.get_rng_state()
    one, other = filled(checkpoint), filled(checkpoint)
    assert torch.equal(before, torch.random.get_rng_state())
    for (name, weight), again in zip(one.named_parameters(), other.parameters(), strict=True):
        assert bool(weight.isfinite().all()) and torch.equal(weight, again)
        if weight.ndim > 1 and "pos" not in name:  # nothing that is seen is lost on the way
            assert weight.std() > 1e-3, name


@each_small
def test_buffers_are_those_of_a_network_that_was_made_with_memory(checkpoint: Path) -> None:
    network = filled(checkpoint)
    raw = json.loads((checkpoint / "config.json").read_text())
    made = dict(type(network)(network_config(raw)).named_buffers())
    buffers = dict(network.named_buffers())
    assert buffers.keys() == made.keys() and len(made) >= 3
    assert all(torch.equal(buffers[name], made[name]) for name in made)


@each_small
def test_the_baseline_writes_what_the_engine_does(checkpoint: Path) -> None:
    """transformers' generate with positions of which some are left out, and past the window where there is one."""
    network = filled(checkpoint)
    positions = torch.arange(40)[torch.arange(40) % 3 != 1]
    embeds = network.get_input_embeddings()(torch.arange(100, 100 + len(positions))).detach()
    prompt = DecoderInput(embeds, positions, int(positions[-1]) + 1)
    options = DecodeOptions(max_new_tokens=16, no_repeat_ngram=0, loop_window=0)
    with torch.inference_mode():
        (found,) = decode(network.eval(), [prompt], options, eos_token_id=-1)
        assert generate(network, prompt, 16) == found.token_ids


def test_each_page_has_its_own_words_and_the_same_length() -> None:
    prompts = [arch.prompt_ids(page, 112, 9) for page in range(4)]
    assert {len(before) + len(after) for before, after in prompts} == {10}
    assert len({tuple(after) for _, after in prompts}) == 4
    assert prompts[0] == arch.prompt_ids(0, 112, 9)


# --- The authors' formulation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [None, 0.9, 0.5, 1.0])
def test_the_authors_formulation_gives_our_tokens(ratio: float | None, golden_model: OcrModel) -> None:
    case = golden_cases(GOLDEN)["note_small/tiny"]
    views = [make_views(case.image, case.mode)]
    pixels = golden_model.pixels(views)
    (page,) = golden_model.encode(views, pixels)
    options = PruneOptions(ratio=ratio)
    (ours,) = prune_pages([page], pixels, options)
    tokens, keep = authors.prune(page, pixels[0], options)
    assert torch.equal(keep, ours.keep)
    torch.testing.assert_close(tokens, ours.tokens, rtol=1e-4, atol=1e-5)


# --- Floors ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def config() -> Any:
    """The real one."""
    return network_config(arch.read_arch("deepseek-ocr"))


def test_the_slower_of_bytes_and_flops_is_the_floor() -> None:
    rates = Rates(bandwidth=10.0, matmul=100.0)
    assert Cost(bytes=50, flops=100).seconds(rates) == 5
    assert (Cost(bytes=50) + Cost(flops=700)).seconds(rates) == 7


@pytest.mark.parametrize(("tokens", "hit"), [(0, 0), (1, 2), (2, 3), (1000, 4)])
def test_two_of_four_experts(tokens: int, hit: float) -> None:
    assert floors.experts_hit(tokens, top_k=2, experts=4) == pytest.approx(hit)


def test_a_step_of_a_decoder_that_can_be_counted_by_hand() -> None:
    text = SimpleNamespace(
        hidden_size=4, num_attention_heads=2, num_key_value_heads=2, head_dim=2, num_hidden_layers=2, vocab_size=10,
        intermediate_size=8, moe_intermediate_size=3, n_routed_experts=4, n_shared_experts=1, num_experts_per_tok=2,
        mlp_layer_types=["dense", "sparse"],
    )  # fmt: skip
    # attention 4 * 4 * 4 a layer, dense 3 * 4 * 8, an expert 3 * 4 * 3, the router 4 * 4, the output layer 4 * 10
    one = 2 * 64 + 96 + 36 * (2 + 1) + 16 + 40
    cache = 2 * 2 * 4  # keys and values of two layers
    assert floors.decoder_weights(text, 1) == one
    assert floors.step_cost(text, 1, context=5, item=2) == Cost(2 * (one + 5 * cache), 2 * one + 2 * 4 * 4 * 5)
    assert floors.decoder_weights(text, 2) == one + 36
    assert floors.prefill_cost(text, [1], item=2) == Cost(2 * (one + 4 + cache), 2 * one + 2 * 4 * 4)


def test_a_long_text_costs_no_more_where_the_decoder_has_a_window() -> None:
    full = SimpleNamespace(layer_types=None)
    ring = SimpleNamespace(layer_types=["reference_sliding_attention"], sliding_window=8)
    assert [floors.in_cache(full, 20, written) for written in (1, 8, 100)] == [21, 28, 120]
    assert [floors.in_cache(ring, 20, written) for written in (1, 8, 100)] == [21, 28, 28]


def test_queries_behind_the_cells_can_be_counted_by_hand() -> None:
    """The encoder of DeepSeek-OCR-2 in the least size, over one cell."""
    sam = SimpleNamespace(
        hidden_size=4, output_channels=3, downsample_channels=[5, 6], num_hidden_layers=1, global_attn_indexes=[0],
        patch_size=16, window_size=14, mlp_dim=8,
    )  # fmt: skip
    qwen = SimpleNamespace(
        hidden_size=6, num_attention_heads=3, num_key_value_heads=1, num_hidden_layers=2, intermediate_size=7
    )
    sizes = SimpleNamespace(hidden_size=10)
    config = SimpleNamespace(vision_config=SimpleNamespace(sam_config=sam, encoder_config=qwen), text_config=sizes)
    # patches, a layer of attention and MLP, the neck; then the two convolutions
    seen = 768 * 4 + (4 * 16 + 2 * 4 * 8) + 4 * 3 + 9 * 3 * 3
    halved, quartered = 9 * 3 * 5, 9 * 5 * 6
    # queries and output of 6 x 6, keys and values for one head of 2, three matrices of 6 x 7, in two layers
    tower = 2 * (2 * 36 + 2 * 6 * 2 + 3 * 6 * 7)
    weights = seen + halved + quartered + tower + 6 * 10
    rows = 16 * seen + 4 * halved + quartered + 2 * tower + 6 * 10
    # 16 patches that see 16 with 4 terms of positions; the cell sees itself, its query both: 1 + 2 pairs
    attention = 16 * 4 * (4 * 4 * 4 + 4 * 4) + 2 * 4 * 3 * 6
    assert floors.encode_cost(config, [64], item=2) == Cost(2 * (weights + 3 * 64 * 64 + 10), 2 * rows + attention)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_network_has_the_weights_that_the_floors_read(name: str) -> None:
    network = arch.skeleton(arch.read_arch(name), CPU, torch.bfloat16)
    sizes = {name: p.numel() for name, p in network.named_parameters()}
    encoder = sum(size for name, size in sizes.items() if "vision_tower" in name or "projector" in name)
    read = floors.encode_cost(network.config, [], item=1).bytes
    assert 0.98 * encoder < read < encoder  # without biases, norms, positions and learned queries
    decoder = sum(size for name, size in sizes.items() if "language_model" in name)
    assert floors.decoder_weights(network.config.text_config, 1e9) == pytest.approx(decoder, rel=1e-4)


def test_a_second_view_is_read_with_the_same_weights(config: Any) -> None:
    one, two = (floors.encode_cost(config, [1024] * count, item=2) for count in (1, 2))
    assert two.flops == 2 * one.flops
    assert two.bytes < 1.01 * one.bytes


def test_pruning_nothing_still_looks_at_the_page() -> None:
    cost = floors.prune_cost(hidden=4, side=64, tokens=1, ratio=1.0, iterations=5, item=2)
    assert cost == Cost(3 * 64 * 64 * 4 + 2 * 4 * 2, 36 * 64 * 64 + 2 * 4)


# --- Time and memory ---------------------------------------------------------------------------------------------


def test_turns_go_forth_and_back_after_a_warm_up() -> None:
    calls: list[str] = []
    times = take_turns([lambda: calls.append("a"), lambda: calls.append("b")], CPU, repeats=2)
    assert "".join(calls) == "ab" + "ab" + "ba"
    assert [len(each.seconds) for each in times] == [2, 2]


def test_spread_of_five_and_of_one() -> None:
    assert spread([5.0, 1.0, 2.0, 4.0, 3.0]) == {"median": 3, "min": 1, "quartile_1": 2, "quartile_3": 4, "max": 5}
    assert set(spread([7.0]).values()) == {7.0}


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux only")
def test_peak_memory_begins_anew() -> None:
    first = PeakMemory(CPU)
    size = torch.ones(2**26).nbytes  # touched, and given back at once
    assert first.bytes() - PeakMemory(CPU).bytes() > size / 2


def test_pages_are_dense_and_follow_the_seed() -> None:
    assert make_page(3).tobytes() == make_page(3).tobytes() != make_page(4).tobytes()
    assert 0.02 < make_page(3).convert("L").histogram()[0] / (1654 * 2339) < 0.3


# --- The result --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_result_has_every_stage_of_every_configuration(result: dict[str, Any]) -> None:
    assert result["complete"] and result["kind"] == "speed" and result["schema_version"] == 1
    found = [(row["stage"], row["engine"], row["ratio"], row["batch_size"]) for row in result["rows"]]
    wanted = [("preprocess", "rtprune", None, 1), ("whole", "generate", "1", 1)]
    wanted += [("encode", "rtprune", None, size) for size in (1, 2)]
    wanted += [("prune", engine, "dynamic", size) for engine in ("rtprune", "authors") for size in (1, 2)]
    wanted += [(stage, "rtprune", ratio, size)
               for stage in ("prefill", "step", "whole") for ratio in ("1", "dynamic") for size in (1, 2)]  # fmt: skip
    assert sorted(map(str, found)) == sorted(map(str, wanted))
    assert json.loads(json.dumps(result)) == result | {"settings": json.loads(json.dumps(result["settings"]))}


def test_every_row_agrees_with_its_times(result: dict[str, Any]) -> None:
    for row in result["rows"]:
        assert len(row["seconds"]) == (1 if row["stage"] == "whole" else 2)
        assert spread(row["seconds"]).items() <= row.items()
        assert row["peak_memory_bytes"] > 0 and row["error"] is None
        if row["floor"]:
            assert row["times_floor"] == pytest.approx(row["median"] / row["floor"]["seconds"])


def test_the_result_says_where_and_how_it_was_made(result: dict[str, Any]) -> None:
    assert result["machine"]["cores"] and result["machine"]["gpu"] is None
    assert {"rtprune", "python", "torch", "transformers"} <= result["versions"].keys()
    assert result["model"]["parameters"] > 1e6 and result["model"]["dtype"] == "float32"
    assert all(rate > 0 for rate in result["rates"].values())
    assert result["settings"]["output_tokens"] == 6 and "prune" not in result["settings"]


def test_prefill_is_compared_in_turns(result: dict[str, Any]) -> None:
    for row in rows(result, "prefill", ratio="dynamic"):
        ratios = [a / b for a, b in zip(row["unpruned"]["seconds"], row["seconds"], strict=True)]
        assert row["times_unpruned"]["ratios"] == ratios
        assert len(row["prune"]["seconds"]) == 2
        assert 0 < row["retention"] < 1


def test_the_whole_is_compared_with_generate(result: dict[str, Any]) -> None:
    (generate,) = rows(result, "whole", engine="generate")
    assert generate["times_generate"] is None
    for row in rows(result, "whole", engine="rtprune"):
        assert row["pages"] == 3
        assert row["times_generate"] == pytest.approx(row["pages_per_second"] / generate["pages_per_second"])
        assert row["output_tokens_per_second"] == pytest.approx(6 * row["pages_per_second"])


def test_pages_need_different_experts(result: dict[str, Any]) -> None:
    for row in rows(result, "step"):
        assert 0 < row["experts_hit"] <= 8
        assert row["experts_hit_if_even"] == pytest.approx(floors.experts_hit(row["batch_size"], 2, 8))


@pytest.mark.slow
def test_what_does_not_fit_into_memory_leaves_the_rest_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    prefill = Stages.prefill

    def short_of_memory(self: Stages, ratio: str, batch_size: int) -> Any:
        if batch_size == 2:
            raise torch.OutOfMemoryError
        return prefill(self, ratio, batch_size)

    monkeypatch.setattr(Stages, "prefill", short_of_memory)
    told: list[int] = []
    plan = SpeedPlan(model=str(GOLDEN / "checkpoint"), device="cpu", ratios=("1.0",), stages=("prefill",), **SMALL)
    found = run(plan, lambda result: told.append(len(result["rows"])))
    assert [row["error"] for row in found["rows"]] == [None, "out_of_memory"]
    assert told == [1, 2, 2]


# --- Contexts of many pages --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def contexts() -> dict[str, Any]:
    """Contexts of one page and of three, in small views, the texts longer than the window of 8."""
    (name,) = (name for name in ADAPTERS if name.startswith("UnlimitedOCR"))
    rules = ADAPTERS[name].contexts
    assert rules is not None
    small = replace(ADAPTERS[name], contexts=replace(rules, mode="tiny"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ADAPTERS, name, small)
        return run(
            SpeedPlan(
                model=str(GOLDEN2 / UNLIMITED / "checkpoint"),
                device="cpu",
                ratios=("1", "0.5"),
                pages_per_context=(1, 3),
                output_tokens=20,
                repeats=2,
            )
        )


def test_contexts_are_timed_pruned_and_not(contexts: dict[str, Any]) -> None:
    found = [(row["stage"], row["pages_per_context"], row["ratio"], row["pages"]) for row in contexts["rows"]]
    assert found == [(f"context {stage}", pages, ratio, pages)
                     for stage in ("prefill", "step") for pages in (1, 3) for ratio in ("1", "0.5")]  # fmt: skip
    assert {row["mode"] for row in contexts["rows"]} == {"tiny"} == set(contexts["settings"]["modes"])
    assert contexts["settings"]["stages"] == ("prefill", "step")


def test_a_context_has_the_tokens_of_all_its_pages(contexts: dict[str, Any]) -> None:
    for stage in ("context prefill", "context step"):
        lengths = {(r["pages_per_context"], r["ratio"]): r["prompt_tokens"] for r in rows(contexts, stage)}
        assert (lengths[1, "1"], lengths[3, "1"]) == (73 + 5, 3 * 73 + 5)
        assert lengths[3, "0.5"] <= 3 * (32 + 8 + 1) + 5


def test_the_bytes_of_a_step_are_weights_prompt_and_ring(contexts: dict[str, Any]) -> None:
    config = network_config(json.loads((GOLDEN2 / UNLIMITED / "checkpoint" / "config.json").read_text())).text_config
    written = range(2, 19)  # of 20 tokens, those between the first and the last two steps
    for row in rows(contexts, "context step"):
        context = row["prompt_tokens"] + sum(min(8, count) for count in written) / len(written)
        assert row["context"] == pytest.approx(context)
        cache = 2 * config.num_hidden_layers * config.hidden_size * context
        assert row["step_bytes"] == pytest.approx(4 * (floors.decoder_weights(config, 1) + cache))
        if row["ratio"] != "1":
            assert row["times_unpruned_bytes"] == row["unpruned"]["step_bytes"] / row["step_bytes"] > 1
            pairs = zip(row["unpruned"]["seconds"], row["seconds"], strict=True)
            assert row["times_unpruned"]["ratios"] == [a / b for a, b in pairs]


def test_the_table_has_a_column_for_the_bytes_of_a_step(
    contexts: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    print_result(contexts, make_console())
    said = capsys.readouterr().err
    assert "GB a" in said and "step × = time of a step without pruning over that with it" in said
    print_result(contexts | {"rows": rows(contexts, "context prefill")}, make_console())
    said = capsys.readouterr().err
    assert "GB a" not in said and "step ×" not in said
    assert "prefill × = measured prefill, prune step included: time of the prefill" in said


# --- Command line ------------------------------------------------------------------------------------------------


def test_the_command_writes_json_and_a_table(rtprune: Any, tmp_path: Path) -> None:
    path = tmp_path / "new" / "result.json"
    flags = ["--device", "cpu", "--modes", "tiny", "--ratios", "0.5", "--batch-sizes", "1", "--repeats", "1"]
    flags += ["--stages", "prune,prefill", "--json", str(path)]
    given = rtprune("bench", "speed", "--model", GOLDEN / "checkpoint", *flags)
    assert given.exit_code == 0 and given.stdout == ""
    assert [row["stage"] for row in json.loads(path.read_text())["rows"]] == ["prune", "prune", "prefill"]
    assert "× ours" in given.stderr and "GB/s" in given.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        ([], 2, "neither an architecture nor a model to time. Give --arch"),
        (["--arch", "deepseek-ocr", "--model", "tiny"], 2, "exclude each other"),
        (["--arch", "gpt"], 2, "unknown architecture 'gpt'. Use one of deepseek-ocr"),
        (["--model", "tiny", "--modes", "huge"], 2, "unknown mode 'huge'"),
        (["--arch", "deepseek-ocr-2", "--modes", "large"], 2, "cannot see views of 1280 pixels (mode large)"),
        (["--arch", "deepseek-ocr-2", "--pages-per-context", "8"], 2, "deepseek-ocr-2 reads one page at a time"),
        (["--arch", "unlimited-ocr", "--pages-per-context", "8,120"], 2, "has room for 116 pages a context and 1000"),
        (["--arch", "unlimited-ocr", "--pages-per-context", "0"], 2, "pages-per-context is 0"),
        (["--arch", "unlimited-ocr", "--pages-per-context", ","], 2, "pages-per-context is empty"),
        (["--arch", "unlimited-ocr", "--pages-per-context", "8", "--stages", "whole"], 2, "unknown stage 'whole'"),
        (["--arch", "unlimited-ocr", "--pages-per-context", "8", "--modes", "base"], 2, "exclude each other"),
        (["--model", "tiny", "--stages", "think"], 2, "unknown stage 'think'"),
        (["--model", "tiny", "--dtype", "int3"], 2, "unknown dtype 'int3'"),
        (["--model", "tiny", "--ratios", "2"], 2, "ratio 2 is out of range"),
        (["--model", "tiny", "--ratios", "much"], 2, "neither 'dynamic' nor a number"),
        (["--model", "tiny", "--ratios", ","], 2, "ratios is empty"),
        (["--model", "tiny", "--batch-sizes", "1,x"], 2, "batch-sizes is '1,x'. Give whole numbers"),
        (["--model", "tiny", "--batch-sizes", "0"], 2, "batch-sizes is 0"),
        (["--model", "tiny", "--repeats", "0"], 2, "repeats is 0"),
        (["--model", "tiny", "--memory-fraction", "2"], 2, "memory-fraction 2 is out of range"),
        (["--model", "tiny", "--device", "cpu", "--memory-fraction", "0.5"], 3, "needs a GPU"),
        (["--model", "tiny", "--modes", "tiny", "--output-tokens", "9000"], 2, "leaves room for 8109 output tokens"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(rtprune: Any, flags: list[str], code: int, message: str) -> None:
    given = rtprune("bench", "speed", *flags)
    assert given.exit_code == code
    assert message in given.stderr and given.stderr.count("\n") == 1


# --- The page ----------------------------------------------------------------------------------------------------


@pytest.fixture
def write(make_benchmarks: ModuleType, tmp_path: Path) -> Callable[..., str]:
    """A function that makes the page of some results in a folder of its own."""

    def make(**results: dict[str, Any]) -> str:
        page = tmp_path / "benchmarks.md"
        page.write_text((DOCS / "benchmarks.md").read_text(encoding="utf-8"), encoding="utf-8")
        for name, result in results.items():
            folder = tmp_path / "accuracy" if "configurations" in result else tmp_path
            folder.mkdir(exist_ok=True)
            (folder / f"{name}.json").write_text(json.dumps(result))
        make_benchmarks.write(page, tmp_path, tmp_path)
        return page.read_text(encoding="utf-8")

    return make


def test_tables_and_picture_are_made_of_a_result(
    write: Callable[..., str], result: dict[str, Any], tmp_path: Path
) -> None:
    text = write(reduced=result)
    assert "### reduced" in text and "| generate | tiny | 1 | 1 |" in text and result["command"] in text
    assert "(images/stages-reduced.svg)" in text
    picture = (tmp_path / "stages-reduced.svg").read_text(encoding="utf-8")
    assert 'role="img"' in picture and "<title>Stages of" in picture
    assert "tiny, ratio dynamic, batch 2: preprocess" in picture


def test_contexts_have_tables_of_their_own(write: Callable[..., str], contexts: dict[str, Any]) -> None:
    text = write(many=contexts).partition("### many")[2].partition("<!-- end -->")[0]
    tables = [line for line in text.splitlines() if line.startswith("| prefill") or line.startswith("| decode")]
    assert [line.count("pages a context") for line in tables] == [1, 1]
    assert len([line for line in text.splitlines() if line.startswith(("| 1 | ", "| 3 | "))]) == 8


def test_what_contexts_cost_by_formula_can_be_counted_by_hand(make_benchmarks: ModuleType) -> None:
    costs = make_benchmarks.context_costs
    assert [costs.prompt_tokens(8, ratio) for ratio in (1.0, 0.5)] == [8 * 273 + 5, 8 * (273 - 128) + 5]
    one, ring = 2 * 12 * 1280 * 2, 128  # bytes of a token's keys and values in bfloat16
    cells = {(pages, ratio): cell for pages, ratio, _, cell, *_ in costs.lines()}
    whole, half = one * (8 * 273 + 5 + ring), one * (8 * (273 - 128) + 5 + ring)
    assert cells["8", "1"] == f"{whole / 1e6:.1f} MB"
    assert cells["8", "0.5"] == f"{half / 1e6:.1f} MB ({100 * half / whole:.1f} %)"


def test_making_the_page_again_changes_nothing(write: Callable[..., str], result: dict[str, Any]) -> None:
    assert write(reduced=result) == write()


def test_a_target_without_a_result_is_not_measured(write: Callable[..., str], result: dict[str, Any]) -> None:
    full = result | {"settings": result["settings"] | {"arch": "deepseek-ocr", "model": None}}
    cells = [line.split(" | ")[2:] for line in write(full=full).splitlines() if line.startswith("| prune step over")]
    assert cells[0][0] == "not measured" and cells[0][1].endswith(" % |")


def test_parts_that_failed_have_no_line(write: Callable[..., str], result: dict[str, Any]) -> None:
    failed = {"stage": "step", "engine": "rtprune", "mode": "large", "ratio": "1", "error": "out_of_memory"}
    text = write(reduced=result | {"rows": [*result["rows"], failed]})
    assert "large" not in text.partition("### reduced")[2].partition("<!-- end -->")[0]


def test_a_comparison_of_methods_has_its_table_and_picture(write: Callable[..., str], tmp_path: Path) -> None:
    summary = json.loads((DOCS / "benchmarks" / "accuracy" / "bundled-layouts.json").read_text(encoding="utf-8"))
    summary["configurations"][1]["metrics"]["cer"]["value"] = 0.4242
    text = write(own=summary).partition("### own")[2]
    assert "| 42.42 % |" in text and "| CER by layout | dense | form |" in text and "(images/accuracy-own.svg)" in text
    assert "<svg" in (tmp_path / "accuracy-own.svg").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_committed_page_is_fresh(make_benchmarks: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text((DOCS / "benchmarks.md").read_text(encoding="utf-8"), encoding="utf-8")
    make_benchmarks.write(page, images=tmp_path)
    assert page.read_text(encoding="utf-8") == (DOCS / "benchmarks.md").read_text(encoding="utf-8"), (
        "renew it: python docs/make_benchmarks.py"
    )
