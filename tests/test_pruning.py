"""RTPrune's steps, each on its own."""

from __future__ import annotations

import pytest
import torch
from conftest import GOLDEN, golden_cases

from rtprune_cli.errors import UsageError
from rtprune_cli.model import OcrModel
from rtprune_cli.options import PruneOptions, parse_ratio
from rtprune_cli.pruning import prune
from rtprune_cli.pruning.rtprune import choose, dynamic_ratio, similarity_ratio, text_density
from rtprune_cli.pruning.transport import transport_plan
from rtprune_cli.records import VisualTokens
from rtprune_cli.views import make_views


def grid(side: int, width: int = 16) -> VisualTokens:
    """Random tokens of a side x side view with its newlines and separator."""
    newline = torch.zeros(side, side + 1, dtype=torch.bool)
    newline[:, -1] = True
    newline = torch.cat([newline.flatten(), torch.zeros(1, dtype=torch.bool)])
    generator = torch.Generator().manual_seed(side)
    return VisualTokens(torch.randn(len(newline), width, generator=generator), newline)


def test_ratio_one_returns_the_tokens_to_the_bit() -> None:
    page = grid(8)
    pruned = prune([page], [torch.zeros(3, 512, 512)], PruneOptions(ratio=1.0))[0]
    assert torch.equal(pruned.tokens, page.tokens)
    assert pruned.merged == pruned.newlines_dropped == 0


def test_tokens_of_highest_norm_stay_in_page_order() -> None:
    norms = torch.tensor([1.0, 5.0, 2.0, 4.0])
    prunable = torch.tensor([True, True, True, True, False])
    choice = choose(norms, prunable, torch.zeros(5, dtype=torch.bool), 0.5)
    assert choice.keep.tolist() == [1, 3, 4]
    assert choice.pruned.tolist() == [0, 2]


def test_of_newlines_in_a_row_the_first_stays() -> None:
    # three rows of one token and its newline, then the separator; the second row goes
    newline = torch.tensor([False, True, False, True, False, True, False])
    prunable = torch.tensor([True, False, True, False, True, False, False])
    choice = choose(torch.tensor([3.0, 1.0, 2.0]), prunable, newline, 0.7)
    assert choice.keep.tolist() == [0, 1, 4, 5, 6]
    assert choice.newlines_dropped == 1


def test_at_least_one_token_stays() -> None:
    newline = torch.tensor([False, False, True, False])
    choice = choose(torch.tensor([1.0, 2.0]), torch.tensor([True, True, False, False]), newline, 0.05)
    assert choice.kept.tolist() == [1]


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (50, 7), (200, 150)])
def test_five_iterations_reach_the_reference_solver(shape: tuple[int, int]) -> None:
    scores = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    fast = transport_plan(scores, 0.2, iterations=5, solver="sinkhorn")
    reference = transport_plan(scores.double(), 0.2, iterations=5, solver="pot").float()
    torch.testing.assert_close(fast, reference, rtol=1e-5, atol=1e-6)


def test_solvers_merge_to_the_same_tokens() -> None:
    page = grid(8)
    view = torch.zeros(3, 512, 512)
    by_sinkhorn, by_pot = (
        prune([page], [view], PruneOptions(ratio=0.5, solver=s))[0].tokens for s in ("sinkhorn", "pot")
    )
    torch.testing.assert_close(by_sinkhorn, by_pot, rtol=0, atol=1e-5)


def test_pages_of_a_batch_do_not_touch_each_other() -> None:
    pages = [grid(8), grid(10)]
    views = [torch.rand(3, 512, 512), torch.rand(3, 640, 640)]
    together = prune(pages, views, PruneOptions())
    for page, view, result in zip(pages, views, together, strict=True):
        alone = prune([page], [view], PruneOptions())[0]
        assert torch.equal(alone.tokens, result.tokens)
        assert torch.equal(alone.keep, result.keep)


def test_input_tokens_are_not_changed() -> None:
    page = grid(8)
    before = page.tokens.clone()
    prune([page], [torch.zeros(3, 512, 512)], PruneOptions(ratio=0.5))
    assert torch.equal(page.tokens, before)


def test_equal_tokens_have_similarity_ratio_zero_and_orthogonal_ones_one() -> None:
    assert similarity_ratio(torch.ones(9, 4)).item() == pytest.approx(0, abs=1e-6)
    assert similarity_ratio(torch.eye(6)).item() == pytest.approx(1)
    assert similarity_ratio(torch.ones(1, 4)).item() == 1


def test_blank_white_paper_scores_its_cell_borders_only() -> None:
    # a 64 x 64 cell padded with mid-gray: its 252 border pixels are edges
    assert text_density(torch.ones(3, 128, 128), 0.2).item() == pytest.approx(252 / 4096)


def test_density_equals_one_convolution_a_cell() -> None:
    case = golden_cases(GOLDEN)["note_small/small"]
    view = make_views(case.image, "small").global_view
    gray = 0.299 * view[0] + 0.587 * view[1] + 0.114 * view[2]
    horizontal = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])[None, None]
    shares = []
    for row in range(10):
        for column in range(10):
            cell = gray[None, None, row * 64 : row * 64 + 64, column * 64 : column * 64 + 64]
            gx = torch.nn.functional.conv2d(cell, horizontal, padding=1)
            gy = torch.nn.functional.conv2d(cell, horizontal.transpose(2, 3), padding=1)
            shares.append(((gx**2 + gy**2).sqrt() > 0.2).float().mean())
    assert text_density(view, 0.2).item() == pytest.approx(torch.stack(shares).mean().item(), abs=1e-6)


def test_dynamic_ratio_is_the_probabilistic_sum() -> None:
    assert dynamic_ratio(0.5, 0.5) == 0.75
    assert dynamic_ratio(1.0, 0.3) == 1.0


def test_low_precision_tokens_keep_their_dtype(golden_model: OcrModel) -> None:
    page = grid(8)
    half = VisualTokens(page.tokens.bfloat16(), page.newline)
    assert prune([half], [torch.zeros(3, 512, 512)], PruneOptions(ratio=0.5))[0].tokens.dtype == torch.bfloat16


@pytest.mark.parametrize("text", ["0", "1.5", "-1", "nan", "0.01"])
def test_ratios_out_of_range_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="out of range"):
        PruneOptions(ratio=parse_ratio(text))


def test_a_ratio_that_is_no_number_is_refused() -> None:
    with pytest.raises(UsageError, match="neither 'dynamic' nor a number"):
        parse_ratio("half")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_cuda_prunes_like_the_cpu() -> None:
    page, view = grid(16, 1280), torch.rand(3, 1024, 1024)
    on_cpu = prune([page], [view], PruneOptions())[0]
    on_gpu = prune([VisualTokens(page.tokens.cuda(), page.newline)], [view.cuda()], PruneOptions())[0]
    assert torch.equal(on_cpu.keep, on_gpu.keep)
    torch.testing.assert_close(on_cpu.tokens, on_gpu.tokens.cpu(), rtol=0, atol=1e-3)
