"""Where the decoder looks: exact attention, the numbers of a page, means over pages, and the command."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import GOLDEN, Case, Encoded, golden_cases
from PIL import Image

from rtprune_cli.analysis.attention import last_row, token_groups, watch
from rtprune_cli.analysis.depth import SIZES, measure_depth
from rtprune_cli.analysis.estimates import estimate
from rtprune_cli.analysis.findings import findings, summary
from rtprune_cli.analysis.recorder import GROUPS, TokenGroups, Watched
from rtprune_cli.analysis.report import ALL, Analysed, summarise
from rtprune_cli.analysis.run import group_names
from rtprune_cli.analysis.trajectory import (
    DRAWS,
    NULLS,
    PageMeasures,
    bin_weights,
    change_points,
    coverage,
    draws,
    first_reads,
    halves,
    measure,
    p_value,
)
from rtprune_cli.analysis.webpage import analysis_page
from rtprune_cli.decoding import decode
from rtprune_cli.model import OcrModel
from rtprune_cli.model.network import assemble
from rtprune_cli.options import DecodeOptions, PruneOptions
from rtprune_cli.pruning import prune_pages, untouched
from rtprune_cli.records import DecoderInput, Document

CASE = golden_cases(GOLDEN)["note_small/tiny"]
AFTER = [5, 17, 33, 210, 9]
STEPS = 12
OPTIONS = DecodeOptions(max_new_tokens=STEPS, cuda_graphs=False)


@pytest.fixture(scope="module")
def golden(golden_model: OcrModel, encode_case: Callable[[Case], Encoded]) -> tuple[DecoderInput, TokenGroups, Watched]:
    """A golden page, read and watched."""
    seen = encode_case(CASE)
    keep = prune_pages(seen.tokens, seen.pixels, PruneOptions(ratio=0.25))[0].keep
    groups = token_groups(seen.tokens[0], keep, draws(0))
    prompt = assemble(golden_model.embed([0]), [untouched(seen.tokens[0])], golden_model.embed(AFTER))
    return prompt, groups, watch(golden_model.network, prompt, 1, groups, OPTIONS, eos_token_id=-1)


# --- Attention --------------------------------------------------------------------------------------------------------
def test_every_step_and_layer_sums_to_one(golden: tuple[DecoderInput, TokenGroups, Watched]) -> None:
    masses = golden[2].masses
    assert masses.shape == (STEPS, 3, len(GROUPS))
    np.testing.assert_allclose(masses.sum(-1), 1, atol=1e-4)
    assert (masses[0, :, -1] == 0).all() and (masses[1:, :, -1] > 0).all()  # nothing is written before step 1


def test_attention_equals_that_of_the_whole_text_at_once(
    golden_model: OcrModel, golden: tuple[DecoderInput, TokenGroups, Watched]
) -> None:
    prompt, groups, watched = golden
    written = golden_model.embed(watched.token_ids[:-1])
    embeds = torch.cat([prompt.embeds, written])[None]
    decoder = golden_model.network.model.language_model
    mask = torch.full((embeds.shape[1],) * 2, float("-inf")).triu(1)[None, None]
    decoder.set_attn_implementation("eager")
    hidden: list[torch.Tensor] = []
    hooks = [layer.register_forward_hook(lambda _layer, _in, out: hidden.append(out[0])) for layer in decoder.layers]
    try:
        with torch.inference_mode():
            output = decoder(
                inputs_embeds=embeds, attention_mask={"full_attention": mask}, use_cache=False, output_attentions=True,
                position_ids=torch.arange(embeds.shape[1])[None],
            )  # fmt: skip
    finally:
        decoder.set_attn_implementation("sdpa")
        for hook in hooks:
            hook.remove()
    weights = torch.stack(output.attentions)[:, 0].mean(1)[:, len(prompt.embeds) - 1 :].transpose(0, 1).numpy()
    visual = weights[..., 1 : 1 + len(groups.prunable)]
    high = visual[..., groups.prunable][..., groups.high].sum(-1)
    low = visual[..., groups.prunable][..., ~groups.high].sum(-1)
    layout = visual[..., ~groups.prunable].sum(-1)
    text = weights[..., 0] + weights[..., 1 + len(groups.prunable) : len(prompt.embeds)].sum(-1)
    expected = np.stack([high, low, layout, text, weights[..., len(prompt.embeds) :].sum(-1)], axis=-1)
    np.testing.assert_allclose(watched.masses, expected, atol=1e-4)
    drawn = visual[..., groups.prunable].mean(1) @ groups.draws.T
    np.testing.assert_allclose(watched.drawn, drawn, atol=1e-4)
    most = visual[..., groups.prunable].mean(1).argmax(-1)
    assert (watched.read[:, 0] == most).all()
    prunable = visual[..., groups.prunable]
    np.testing.assert_allclose(watched.prefill, prunable[0], atol=1e-4)
    np.testing.assert_allclose(watched.decoding, prunable.mean(0), atol=1e-4)
    norms = torch.stack(hidden)[:, 1 : 1 + len(groups.prunable)].norm(dim=-1).numpy()[:, groups.prunable]
    np.testing.assert_allclose(watched.layer_norms, norms, rtol=1e-4)


def test_overlaps_of_a_golden_page_are_those_of_its_sets(golden: tuple[DecoderInput, TokenGroups, Watched]) -> None:
    _, groups, watched = golden
    norms = np.random.default_rng(0).random(len(groups.high))
    found = measure_depth(watched, groups, norms, draws(0))
    for row, looks in (("prefill", watched.prefill), ("decoding", watched.decoding)):
        for size, share in SIZES.items():
            count = int(share * len(norms))
            highest = set(np.argsort(norms)[-count:])
            most = [set(np.argsort(layer)[-count:]) for layer in looks]
            curves = found.overlaps[row][size].curves[..., 0]
            assert curves[0].tolist() == [len(highest & each) / count for each in most]
            assert curves[1].tolist() == [len(highest & set.union(*most[: n + 1])) / count for n in range(len(most))]


def test_watching_changes_neither_the_text_nor_the_model(
    golden_model: OcrModel, golden: tuple[DecoderInput, TokenGroups, Watched]
) -> None:
    prompt, _, watched = golden
    assert watched.token_ids == decode(golden_model.network, [prompt], OPTIONS, eos_token_id=-1)[0].token_ids
    assert golden_model.network.model.language_model.config._attn_implementation == "sdpa"


def test_the_eos_is_a_step(golden_model: OcrModel, golden: tuple[DecoderInput, TokenGroups, Watched]) -> None:
    prompt, groups, whole = golden
    last = next(i for i, token in enumerate(whole.token_ids) if i and token not in whole.token_ids[:i])
    seen = watch(golden_model.network, prompt, 1, groups, OPTIONS, eos_token_id=whole.token_ids[last])
    assert seen.finish_reason == "eos" and len(seen.masses) == last + 1
    np.testing.assert_array_equal(seen.masses, whole.masses[: last + 1])


def test_a_page_that_ends_at_once_is_one_step(
    golden_model: OcrModel, golden: tuple[DecoderInput, TokenGroups, Watched]
) -> None:
    prompt, groups, whole = golden
    seen = watch(golden_model.network, prompt, 1, groups, OPTIONS, eos_token_id=whole.token_ids[0])
    assert seen.token_ids == [] and len(seen.masses) == 1
    np.testing.assert_array_equal(seen.decoding, seen.prefill)


def test_what_is_cut_of_a_loop_is_in_no_mean(
    golden_model: OcrModel, golden: tuple[DecoderInput, TokenGroups, Watched]
) -> None:
    prompt, groups, _ = golden
    options = replace(OPTIONS, max_new_tokens=120, no_repeat_ngram=0, loop_window=16)
    seen = watch(golden_model.network, prompt, 1, groups, options, eos_token_id=-1)
    assert seen.finish_reason == "loop" and len(seen.masses) == len(seen.token_ids)
    until = replace(options, max_new_tokens=len(seen.token_ids), loop_window=0)
    whole = watch(golden_model.network, prompt, 1, groups, until, eos_token_id=-1)
    np.testing.assert_allclose(seen.decoding, whole.decoding, atol=1e-6)
    np.testing.assert_allclose(seen.masses, whole.masses, atol=1e-6)


def test_half_precision_takes_its_softmax_in_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 1, 4, 3, 16, generator=generator).bfloat16()
    row = last_row(query, key[:, :2], None, 0.25)  # two key heads serve four
    expected = (query[0, :, -1:].float() @ key[0, :2].repeat_interleave(2, 0).float().mT * 0.25).softmax(-1)
    torch.testing.assert_close(row, expected.mean(0)[0])


def test_a_page_whose_tokens_are_all_high_is_refused(encode_case: Callable[[Case], Encoded]) -> None:
    tokens = encode_case(CASE).tokens[0]
    with pytest.raises(ValueError, match="high norm"):
        token_groups(tokens, torch.arange(len(tokens.tokens)), draws(0))


# --- One page ---------------------------------------------------------------------------------------------------------
def made_page(share: np.ndarray[Any, Any], order: list[int], tokens: int = 8) -> PageMeasures:
    """A page with this share of high norm at each step, where the tokens of ``order`` are read one a step."""
    return measure(*made_watch(share, order, tokens))


def made(name: str, group: str, finish: Any, share: np.ndarray[Any, Any], order: list[int]) -> Analysed:
    """The same as a page of a document."""
    watched, groups, norms = made_watch(share, order)
    return Analysed(
        name, 1, group, finish, measure(watched, groups, norms), measure_depth(watched, groups, norms, draws(0))
    )


def made_watch(
    share: np.ndarray[Any, Any], order: list[int], tokens: int = 8
) -> tuple[Watched, TokenGroups, np.ndarray[Any, Any]]:
    high = np.arange(tokens) % 4 < 2
    groups = TokenGroups(np.array([True] * tokens + [False]), high, draws(0)(high))
    rest = np.full_like(share, 0.1)
    masses = np.stack([0.7 * share, 0.7 * (1 - share), rest, rest, rest], axis=-1)[:, None].repeat(2, 1)
    drawn = np.full((len(share), len(groups.draws)), 0.35)
    read = np.array(order)[:, None]
    norms = np.where(high, 2.0, 1.0)
    layers = np.tile(norms, (2, 1)).astype(np.float32)
    watched = Watched(
        [], "eos", masses.astype(np.float32), drawn.astype(np.float32), read, layers, layers[:, ::-1], layers
    )
    return watched, groups, norms


FALLING = np.array([0.9] * 6 + [0.2] * 4)
HIGH_FIRST = [0, 1, 4, 5, 0, 1, 2, 3, 6, 7]


def test_a_page_read_in_two_passes_turns_where_it_turns() -> None:
    page = made_page(FALLING, HIGH_FIRST)
    assert page.turn_step == page.change_step == 6
    assert page.statistics["drop"] == pytest.approx(0.9 - (0.9 + 4 * 0.2) / 5, abs=1e-6)
    assert page.statistics["lead"] > 0 > page.statistics["first_read"]
    assert page.p["drop"] == dict.fromkeys(NULLS, pytest.approx(1 / (1 + DRAWS)))


def test_a_page_read_the_other_way_round_does_not_turn() -> None:
    page = made_page(FALLING[::-1], [2, 3, 6, 7, 2, 0, 1, 4, 5, 0])
    assert page.turn_step is None
    assert page.statistics["drop"] < 0 < page.statistics["first_read"]
    assert page.p["drop"] == dict.fromkeys(NULLS, 1.0)


def test_a_short_text_has_no_turn() -> None:
    page = made_page(FALLING[4:9], HIGH_FIRST[:5])
    assert page.change_step is None and page.turn_step is None and np.isnan(page.statistics["turn"])


def test_the_change_is_where_least_squares_puts_it() -> None:
    shares = np.random.default_rng(1).random((30, 4)) + np.where(np.arange(30) < 17, 1.0, 0.0)[:, None]
    gain, step = change_points(shares)
    for column in range(4):
        errors = [
            shares[:t, column].var() * t + shares[t:, column].var() * (30 - t) for t in range(1, 30)
        ]  # fmt: skip
        assert step[column] == 1 + int(np.argmin(errors))
        assert gain[column] ** 2 == pytest.approx(shares[:, column].var() * 30 - min(errors))


@pytest.mark.parametrize("steps", [1, 3, 20, 47, 512])
def test_bins_share_out_the_steps(steps: int) -> None:
    weights = bin_weights(steps)
    np.testing.assert_allclose(weights.sum(1), 1)
    np.testing.assert_allclose(weights.mean(0), 1 / steps)  # every step counts as much


def test_halves_split_a_middle_step() -> None:
    assert halves(np.array([[1.0], [0.5], [0.0]])) == pytest.approx((1 + 0.25) / 1.5 - 0.25 / 1.5)


def test_tokens_are_read_once() -> None:
    first = first_reads(np.array([[2, 0], [2, 1]]), 4)
    assert first.tolist() == [1, 2, 1, np.inf]
    assert coverage(first, 3).tolist() == [0.5, 0.75, 0.75]


def test_draws_keep_what_their_null_keeps() -> None:
    high = np.arange(30) < 9
    drawn = draws(3)(high)
    assert drawn.shape == (2 * DRAWS, 30) and (drawn.sum(1) == 9).all()
    runs = np.abs(np.diff(drawn.astype(int), axis=1, append=drawn[:, :1].astype(int))).sum(1)
    assert (runs[DRAWS:] == 2).all() and runs[:DRAWS].mean() > 6  # moved in one piece; torn apart
    assert (drawn[DRAWS:] != high).any(1).all()
    assert (draws(3)(high) == drawn).all() and (draws(4)(high) != drawn).any()


def test_p_counts_the_page_itself() -> None:
    null = np.array([0.1, 0.2, 0.3, np.nan])
    assert p_value(0.25, null) == 0.5 and p_value(0.25, null, low=True) == 0.75
    assert np.isnan(p_value(float("nan"), null))


# --- Pages together ---------------------------------------------------------------------------------------------------
def test_the_interval_holds_the_mean_and_is_that_of_a_bootstrap() -> None:
    values = np.random.default_rng(0).normal(5, 2, (100, 2))
    found = estimate(values, 0)
    assert found["value"] == pytest.approx(values.mean(0).tolist())
    half = (np.array(found["high"]) - np.array(found["low"])) / 2
    np.testing.assert_allclose(half, 1.96 * values.std(0) / 10, rtol=0.1)
    assert estimate(values, 0) == found and estimate(values, 1) != found


def test_one_page_has_no_interval_and_what_is_unknown_is_left_out() -> None:
    assert estimate(np.array([3.0]), 0) == {"value": 3.0, "low": None, "high": None}
    assert estimate(np.array([3.0, np.nan, 5.0]), 0)["value"] == 4
    assert estimate(np.array([3.0, np.nan]), 0) == {"value": 3.0, "low": None, "high": None}
    assert estimate(np.array([np.nan]), 0)["value"] is None


def test_groups_are_summed_up_apart_and_together() -> None:
    pages = [made("a", "x", "eos", FALLING, HIGH_FIRST), made("b", "y", "length", FALLING[::-1], HIGH_FIRST)]
    both, x, y = summarise(pages, 0)["groups"]
    assert [both["name"], x["name"], y["name"]] == [ALL, "x", "y"]
    assert both["statistics"]["drop"]["value"] == pytest.approx(0, abs=1e-6)
    assert (x["turned"]["pages"], y["turned"]["pages"], both["turned"]["pages"]) == (1, 0, 1)
    assert x["turned"]["time"]["value"] == 0.6 and y["cut_short"] == 1
    assert sum(both["norms"]["high"]) == 8 and x["preference"]["value"] == pytest.approx(0.62 / 0.38)


def test_a_null_is_over_the_pages_that_have_the_statistic() -> None:
    short = made("a", "x", "eos", FALLING[4:9], HIGH_FIRST[:5])
    whole = made("a", "x", "eos", FALLING, HIGH_FIRST)
    alone, both = (summarise(pages, 0)["groups"][0]["statistics"]["turn"] for pages in ([whole], [whole, short]))
    assert (alone["pages"], both["pages"]) == (1, 1)
    assert both["value"] == alone["value"] and both["null"] == alone["null"]


def test_documents_are_grouped_by_their_folders() -> None:
    paths = [Path("/p/a/1.png"), Path("/p/b/1.png"), Path("/q/b/1.png")]
    documents: list[Document] = [Document(path, path.name, path) for path in paths]  # type: ignore[arg-type]
    assert group_names(documents, None) == ["a", "/p/b", "/q/b"]
    assert group_names(documents[:1], None) == ["pages"] and group_names(documents[:1], "folder") == ["a"]
    assert group_names(documents, "none") == ["pages"] * 3


# --- The command ------------------------------------------------------------------------------------------------------
@pytest.fixture
def analyze(rtprune: Any) -> Any:
    """A function that runs the command in this process."""
    return lambda *arguments: rtprune("analyze", *arguments, "--model", "tiny", "--device", "cpu")


@pytest.mark.slow
def test_the_command_writes_what_it_says(analyze: Any, make_pdf: Any, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir(), (tmp_path / "y").mkdir()
    paths = [make_pdf("Fine\nprint", name="x/a.pdf"), make_pdf("Large print", "Other", name="y/b.pdf")]
    result = analyze(*paths, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert [(group["name"], group["pages"]) for group in found["groups"]] == [(ALL, 3), ("x", 1), ("y", 2)]
    assert sum(each["value"] for each in found["groups"][0]["mass"].values()) == pytest.approx(1, abs=1e-4)
    lines = [json.loads(line) for line in (tmp_path / "out" / "pages.jsonl").read_text().splitlines()]
    assert [(line["group"], line["page"]) for line in lines] == [("x", 1), ("y", 1), ("y", 2)]
    assert lines[0]["steps"] == len("Fine\nprint") + 1  # a token a character, and the eos
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "analysis.html",
        "analysis.json",
        "pages.jsonl",
    ]
    assert found["groups"][0]["depth"]["layers"] == len(lines[0]["depth"]["prefill"]["3/8"]["overlap"]) == 3
    assert analysis_page(found) == (tmp_path / "out" / "analysis.html").read_text()
    assert summary(findings(found["groups"][0])) in " ".join(result.output.split())


@pytest.mark.slow
def test_the_same_seed_gives_the_same_numbers(analyze: Any, make_pdf: Any, tmp_path: Path) -> None:
    path = make_pdf(*"abcdef")
    for name in ("one", "two"):
        assert analyze(path, "-o", tmp_path / name, "--sample", 3, "--seed", 5).exit_code == 0
    one, two = ((tmp_path / name / "pages.jsonl").read_bytes() for name in ("one", "two"))
    assert one == two and len(one.splitlines()) == 3
    first, second = (json.loads((tmp_path / name / "analysis.json").read_text()) for name in ("one", "two"))
    assert first["groups"] == second["groups"]


@pytest.mark.slow
def test_a_page_that_fails_is_told_and_the_others_go_on(analyze: Any, make_pdf: Any, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    result = analyze(broken, make_pdf("Print"), "-o", tmp_path / "out")
    assert result.exit_code == 4
    lines = [json.loads(line) for line in (tmp_path / "out" / "pages.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["failed", "ok"]
    assert json.loads((tmp_path / "out" / "analysis.json").read_text())["failed"] == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--high", "1"), "high 1 is out of range"),
        (("--high", "many"), "neither 'dynamic' nor a number"),
        (("--group-by", "size"), "unknown grouping 'size'"),
        (("--limit", "0"), "limit is 0"),
        (("--limit", "1", "--sample", "1"), "--limit and --sample exclude each other"),
        (("--max-tokens", "0"), "max-tokens is 0"),
    ],
)
def test_what_is_wrong_with_the_command_is_one_line(analyze: Any, tmp_path: Path, flags: Any, message: str) -> None:
    Image.new("RGB", (64, 64), "white").save(tmp_path / "a.png")
    result = analyze(tmp_path / "a.png", "-o", tmp_path / "out", *flags)
    assert result.exit_code == 2 and message in result.output
    assert len(result.output.strip().splitlines()) == 1 and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_without_matplotlib_there_are_numbers_and_one_warning(
    analyze: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    Image.effect_noise((64, 64), 40).save(tmp_path / "a.png")
    result = analyze(tmp_path / "a.png", "-o", tmp_path / "out", "--max-tokens", 8)
    assert result.exit_code == 0 and result.stderr.count("warning") == 1
    assert "For pictures: pip install 'matplotlib>=" in result.stderr
    made = (tmp_path / "out/analysis.html").read_text("utf-8")
    assert made.count("<table") > 3 and "<svg" not in made and "matplotlib was not installed" in made
    assert json.loads((tmp_path / "out/analysis.json").read_text("utf-8"))["groups"]
