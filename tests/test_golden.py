"""Parity with the official code and the authors' pruning, in float32 on the CPU."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from conftest import GOLDEN, SHARED_GOLDEN, Case, Encoded, case_params, make_views

from rtprune_cli.decoding import decode, prefill
from rtprune_cli.model import OcrModel
from rtprune_cli.model.network import assemble, normalise
from rtprune_cli.options import DecodeOptions, PruneOptions
from rtprune_cli.pruning import prune_pages

CASES = case_params(GOLDEN, SHARED_GOLDEN)
RATIOS = {"none": 1.0, "dynamic": None, "0.9": 0.9, "0.75": 0.75, "0.5": 0.5}
AFTER = [5, 17, 33, 210, 9]
CPU = torch.device("cpu")


@pytest.mark.parametrize("case", CASES)
def test_views_equal_the_official_preprocessing(case: Case) -> None:
    views = make_views(case.image, case.mode)
    assert list(views.grid) == case.values["grid"]
    pixels = normalise(views.global_view[None], CPU)[0]
    assert torch.equal(pixels[:, ::16, ::16], case.tensor("pixels_sample"))
    assert (views.tiles is not None) == case.values["tiled"]
    if views.tiles is not None:
        assert torch.equal(normalise(views.tiles, CPU)[:, :, ::32, ::32], case.tensor("tiles_sample"))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_visual_tokens_equal_the_official_ones(case: Case, encode_case: Callable[[Case], Encoded]) -> None:
    (tokens,) = encode_case(case).tokens
    assert len(tokens.tokens) == case.values["n_tokens"]
    torch.testing.assert_close(tokens.tokens, case.tensor("features"), rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_pruning_and_decoding_equal_the_published_ones(
    case: Case, golden_model: OcrModel, encode_case: Callable[[Case], Encoded]
) -> None:
    seen = encode_case(case)
    for name, ratio in RATIOS.items():
        expected = case.values["results"][name]
        pruned = prune_pages(seen.tokens, seen.pixels, PruneOptions(ratio=ratio))[0]
        if name != "none":
            assert pruned.r_similarity == pytest.approx(expected["r_similarity"], abs=1e-5)
            assert pruned.r_density == pytest.approx(expected["r_density"], abs=1e-5)
            assert pruned.ratio == pytest.approx(expected["ratio"], abs=1e-5)
            assert (pruned.prunable, pruned.kept) == (expected["prunable"], expected["kept"])
            assert torch.equal(pruned.keep, case.tensor(f"{name}/keep"))
            torch.testing.assert_close(pruned.tokens, case.tensor(f"{name}/embeds"), rtol=0, atol=1e-4)
        page = assemble(golden_model.embed([0]), [pruned], golden_model.embed(AFTER))
        logits = prefill(golden_model.network, [page])[0]
        torch.testing.assert_close(logits, case.tensor(f"{name}/first_logits"), rtol=0, atol=1e-3)
        options = DecodeOptions(max_new_tokens=16, no_repeat_ngram=0)
        decoded = decode(golden_model.network, [page], options, eos_token_id=-1)[0]
        assert decoded.token_ids == expected["tokens"], name
