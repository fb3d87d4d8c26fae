"""RTPrune's steps, each on its own."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from conftest import GOLDEN, golden_cases, make_views

from rtprune_cli.errors import UsageError
from rtprune_cli.model import OcrModel
from rtprune_cli.model.network import normalise
from rtprune_cli.options import PruneOptions, parse_ratio
from rtprune_cli.pruning import merge, prune, prune_pages, transport_plan
from rtprune_cli.pruning.rtprune import (
    budget,
    choose,
    cosines,
    drop_repeated_newlines,
    dynamic_ratio,
    similarity_ratio,
    text_density,
)
from rtprune_cli.pruning.transport import pot_plan, sinkhorn
from rtprune_cli.records import VisualTokens


def grid(side: int, width: int = 16) -> VisualTokens:
    """Random tokens of a side x side view with its newlines and separator."""
    newline = torch.zeros(side, side + 1, dtype=torch.bool)
    newline[:, -1] = True
    newline = torch.cat([newline.flatten(), torch.zeros(1, dtype=torch.bool)])
    generator = torch.Generator().manual_seed(side)
    return VisualTokens(torch.randn(len(newline), width, generator=generator), newline)


def test_ratio_one_returns_the_tokens_to_the_bit() -> None:
    page = grid(8)
    pruned = prune_pages([page], [torch.zeros(3, 512, 512)], PruneOptions(ratio=1.0))[0]
    assert torch.equal(pruned.tokens, page.tokens)
    assert pruned.merged == pruned.newlines_dropped == 0


def chosen(norms: list[float], prunable: list[bool], ratio: float) -> list[int]:
    count = budget(torch.tensor(prunable), torch.tensor([ratio], dtype=torch.float64))
    kept = choose(torch.tensor([norms]), torch.tensor(prunable), count)
    return kept[0].nonzero().flatten().tolist()


def test_the_prunable_tokens_of_highest_norm_stay() -> None:
    assert chosen([1.0, 5.0, 2.0, 4.0, 9.0], [True, True, True, True, False], 0.5) == [1, 3]


def test_the_number_kept_is_rounded_down_and_at_least_one() -> None:
    assert chosen([1.0, 2.0, 3.0], [True] * 3, 0.99) == [1, 2]
    assert chosen([1.0, 2.0, 3.0], [True] * 3, 0.05) == [2]


def test_of_equal_norms_the_later_stay() -> None:
    assert chosen([1.0, 1.0, 1.0, 0.5], [True] * 4, 0.5) == [1, 2]


def test_each_page_of_a_batch_keeps_its_own_number() -> None:
    norms, prunable = torch.tensor([[1.0, 2.0, 3.0, 4.0]] * 2), torch.ones(4, dtype=torch.bool)
    kept = choose(norms, prunable, budget(prunable, torch.tensor([0.25, 0.75], dtype=torch.float64)))
    assert kept.tolist() == [[False, False, False, True], [False, True, True, True]]


def test_of_newlines_in_a_row_the_first_stays() -> None:
    # four rows of one token and its newline, then the separator; the second and third row go
    newline = torch.tensor([False, True] * 4 + [False])
    stay = torch.tensor([[True, True, False, True, False, True, True, True, True]])
    assert drop_repeated_newlines(stay, newline)[0].nonzero().flatten().tolist() == [0, 1, 6, 7, 8]


def test_a_newline_without_a_token_before_it_stays() -> None:
    stay = torch.tensor([[False, True, True, True, True]])
    assert drop_repeated_newlines(stay, torch.tensor([False, True, False, True, False])).sum() == 4


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (50, 7), (200, 150)])
def test_five_iterations_reach_the_reference_solver(shape: tuple[int, int]) -> None:
    count = sum(shape)
    unit = torch.nn.functional.normalize(torch.randn(count, 4, generator=torch.Generator().manual_seed(0)), dim=-1)
    scores = unit @ unit.T
    kept = torch.randperm(count, generator=torch.Generator().manual_seed(1)) < shape[0]
    u, kernel, v = (each[0] for each in sinkhorn(scores[None], kept[None].float(), (~kept)[None].float(), 0.2, 5))
    reference = pot_plan(scores[kept][:, ~kept].double(), 0.2).float()
    torch.testing.assert_close((u[:, None] * kernel * v)[kept][:, ~kept], reference, rtol=1e-5, atol=1e-6)


def test_solvers_merge_to_the_same_tokens() -> None:
    page = grid(8)
    view = torch.zeros(3, 512, 512)
    by_sinkhorn, by_pot = (
        prune_pages([page], [view], PruneOptions(ratio=0.5, solver=s))[0].tokens for s in ("sinkhorn", "pot")
    )
    torch.testing.assert_close(by_sinkhorn, by_pot, rtol=0, atol=1e-5)


def test_pages_of_a_batch_do_not_touch_each_other() -> None:
    pages = [grid(8), grid(10)]
    views = [torch.rand(3, 512, 512), torch.rand(3, 640, 640)]
    together = prune_pages(pages, views, PruneOptions())
    for page, view, result in zip(pages, views, together, strict=True):
        alone = prune_pages([page], [view], PruneOptions())[0]
        assert torch.equal(alone.tokens, result.tokens)
        assert torch.equal(alone.keep, result.keep)


def test_input_tokens_are_not_changed() -> None:
    page = grid(8)
    before = page.tokens.clone()
    prune_pages([page], [torch.zeros(3, 512, 512)], PruneOptions(ratio=0.5))
    assert torch.equal(page.tokens, before)


def r_sim(tokens: torch.Tensor) -> float:
    prunable = torch.ones(len(tokens), dtype=torch.bool)
    return similarity_ratio(cosines(tokens[None], tokens[None].norm(dim=-1), prunable), prunable).item()


def test_equal_tokens_have_similarity_ratio_zero_and_orthogonal_ones_one() -> None:
    assert r_sim(torch.ones(9, 4)) == pytest.approx(0, abs=1e-6)
    assert r_sim(torch.eye(6)) == pytest.approx(1)
    assert r_sim(torch.ones(1, 4)) == 1


def test_blank_white_paper_scores_its_cell_borders_only() -> None:
    # a 64 x 64 cell padded with mid-gray: its 252 border pixels are edges
    assert text_density(torch.ones(1, 3, 128, 128), 0.2).item() == pytest.approx(252 / 4096)


def test_density_equals_one_convolution_a_cell() -> None:
    case = golden_cases(GOLDEN)["note_small/small"]
    view = normalise(make_views(case.image, "small").global_view[None], torch.device("cpu"))[0]
    gray = 0.299 * view[0] + 0.587 * view[1] + 0.114 * view[2]
    horizontal = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])[None, None]
    shares = []
    for row in range(10):
        for column in range(10):
            cell = gray[None, None, row * 64 : row * 64 + 64, column * 64 : column * 64 + 64]
            gx = torch.nn.functional.conv2d(cell, horizontal, padding=1)
            gy = torch.nn.functional.conv2d(cell, horizontal.transpose(2, 3), padding=1)
            shares.append(((gx**2 + gy**2).sqrt() > 0.2).float().mean())
    assert text_density(view[None], 0.2).item() == pytest.approx(torch.stack(shares).mean().item(), abs=1e-6)


def test_dynamic_ratio_is_the_probabilistic_sum() -> None:
    assert dynamic_ratio(torch.tensor([0.5, 1.0]).double(), torch.tensor([0.5, 0.3]).double()).tolist() == [0.75, 1.0]


def test_low_precision_tokens_keep_their_dtype(golden_model: OcrModel) -> None:
    page = grid(8)
    half = VisualTokens(page.tokens.bfloat16(), page.newline)
    assert prune_pages([half], [torch.zeros(3, 512, 512)], PruneOptions(ratio=0.5))[0].tokens.dtype == torch.bfloat16


@pytest.mark.parametrize("text", ["0", "1.5", "-1", "nan", "0.01"])
def test_ratios_out_of_range_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="out of range"):
        PruneOptions(ratio=parse_ratio(text))


def test_a_ratio_that_is_no_number_is_refused() -> None:
    with pytest.raises(UsageError, match="neither 'dynamic' nor a number"):
        parse_ratio("half")


# One page as tensors


@pytest.mark.parametrize("ratio", ["dynamic", 0.5])
def test_a_page_as_tensors_is_pruned_like_one_of_the_encoder(ratio: Any) -> None:
    page, view = grid(8), torch.rand(3, 512, 512)
    (expected,) = prune_pages([page], [view], PruneOptions(ratio=ratio))
    found = prune(page.tokens, ratio=ratio, pixels=view, newline=page.newline, prunable=page.prunable)
    assert torch.equal(found.tokens, expected.tokens) and torch.equal(found.keep, expected.keep)
    assert (found.ratio, found.r_density, found.kept) == (expected.ratio, expected.r_density, expected.kept)


def test_without_newlines_all_tokens_are_prunable() -> None:
    found = prune(torch.randn(20, 8), ratio=0.25)
    assert (found.prunable, found.kept, len(found.tokens), found.merged) == (20, 5, 5, 15)
    assert math.isnan(found.r_density)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "give pixels, or a ratio"),
        ({"ratio": 0.5, "method": "random"}, "give pixels, or a ratio"),
        ({"ratio": 0.5, "pixels": torch.rand(3, 64, 128)}, r"give \(3, S, S\)"),
        ({"ratio": 0.5, "newline": torch.zeros(3, dtype=torch.bool)}, "newline is"),
        ({"ratio": 0.5, "prunable": torch.zeros(20, dtype=torch.bool)}, "no token is prunable"),
        ({"ratio": 0.5, "method": "visionzip"}, "needs the encoder's attention"),
    ],
)
def test_a_page_that_lacks_something_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        prune(torch.randn(20, 8), **given)


def test_the_plan_is_that_of_the_merge() -> None:
    tokens, kept = torch.randn(1, 30, 8), torch.arange(30)[None] % 3 == 0
    scores = cosines(tokens, tokens.norm(dim=-1), torch.ones(30, dtype=torch.bool))
    plan = transport_plan(scores, kept, ~kept)
    options = PruneOptions()
    torch.testing.assert_close(tokens + options.alpha * plan @ tokens, merge(tokens, scores, kept, ~kept, options))
    assert plan[:, ~kept[0]].count_nonzero() == 0 and (plan.sum(1) <= 1 + 1e-5).all()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_cuda_prunes_like_the_cpu() -> None:
    page, view = grid(16, 1280), torch.rand(3, 1024, 1024)
    on_cpu = prune_pages([page], [view], PruneOptions())[0]
    on_gpu = prune_pages([VisualTokens(page.tokens.cuda(), page.newline)], [view.cuda()], PruneOptions())[0]
    assert torch.equal(on_cpu.keep, on_gpu.keep)
    torch.testing.assert_close(on_cpu.tokens, on_gpu.tokens.cpu(), rtol=0, atol=1e-3)
