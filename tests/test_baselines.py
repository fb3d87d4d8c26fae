"""Other methods than RTPrune, and its ablations: as many tokens as RTPrune keeps, and the right ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path, PurePosixPath
from typing import Any, get_args

import pytest
import torch
from conftest import GOLDEN, for_every, golden_cases, make_views
from PIL import Image

from rtprune_cli.errors import UsageError
from rtprune_cli.model import OcrModel
from rtprune_cli.model.network import normalise
from rtprune_cli.options import DecodeOptions, Merge, Method, Mode, OcrOptions, PruneOptions, Variant, affecting
from rtprune_cli.pipeline import run
from rtprune_cli.pruning import Pruner, prune_pages
from rtprune_cli.pruning.baselines import divprune, random_importance, visionzip
from rtprune_cli.pruning.determinants import cdpruner, instruction_relevance
from rtprune_cli.pruning.merging import merge
from rtprune_cli.pruning.methods import METHODS, Batch, prune_batch, recordable
from rtprune_cli.pruning.rtprune import dynamic_ratio
from rtprune_cli.pruning.transport import pot_plan, sinkhorn
from rtprune_cli.records import Document, PrunedTokens, Views, VisualTokens
from rtprune_cli.tiny.drawing import render
from rtprune_cli.tiny.evaluate import held_out

RATIOS = (None, 0.75, 0.3, 0.05)
METHOD_NAMES = get_args(Method)
Pages = tuple[list[VisualTokens], torch.Tensor, torch.Tensor]  # tokens, pixels, the prompt's embeddings


@pytest.fixture(scope="module")
def pages(tiny: OcrModel) -> Pages:
    """Three printed pages as the bundled model sees them."""
    views = [make_views(render(page), "tiny") for page in held_out(seed=500_000, count=3)]
    pixels = tiny.pixels(views)
    return tiny.encode(views, pixels, attention=True), pixels, tiny.embed(tiny.prompt_ids("free")[1])


def pruned(pages: Pages, **options: Any) -> list[PrunedTokens]:
    tokens, pixels, instruction = pages
    return prune_pages(tokens, pixels, PruneOptions(**options), instruction)


# --- All methods -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("method", METHOD_NAMES)
def test_every_method_keeps_as_many_as_rtprune(method: Method, ratio: float | None, pages: Pages) -> None:
    for page, other in zip(pruned(pages, ratio=ratio), pruned(pages, ratio=ratio, method=method), strict=True):
        assert (other.kept, other.merged, other.ratio) == (page.kept, page.merged, page.ratio)
        assert len(other.tokens) == len(other.keep) == page.total - page.merged - other.newlines_dropped
        assert other.keep.tolist() == sorted(set(other.keep.tolist()))


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_at_ratio_one_every_method_returns_the_tokens_to_the_bit(method: Method, pages: Pages) -> None:
    for page, whole in zip(pages[0], pruned(pages, ratio=1.0, method=method), strict=True):
        assert torch.equal(whole.tokens, page.tokens)
        assert whole.merged == whole.newlines_dropped == 0


@pytest.mark.parametrize("value", get_args(Merge))
def test_at_ratio_one_every_merge_returns_the_tokens_to_the_bit(value: Merge, pages: Pages) -> None:
    assert torch.equal(pruned(pages, ratio=1.0, merge=value)[0].tokens, pages[0][0].tokens)


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_pages_of_a_batch_are_pruned_as_they_are_alone(method: Method, pages: Pages) -> None:
    # one stack, as on a GPU; on a CPU the pruner takes each page by itself
    tokens, pixels, instruction = pages
    masks = torch.stack([tokens[0].newline, tokens[0].prunable])

    def stacked(rows: slice) -> Batch:
        attention = [(page.cls_attention, page.keys) for page in tokens[rows]]
        cls, keys = (torch.stack(each) for each in zip(*attention, strict=True))  # type: ignore[arg-type]
        return Batch(torch.stack([page.tokens for page in tokens[rows]]), pixels[rows], masks, cls, keys, instruction)

    options = PruneOptions(method=method)  # dynamic: each page keeps its own number
    together = prune_batch(stacked(slice(0, 3)), options)
    for row in range(3):
        alone = prune_batch(stacked(slice(row, row + 1)), options)
        assert torch.equal(together.stay[row], alone.stay[0])
        torch.testing.assert_close(together.tokens[row], alone.tokens[0], rtol=0, atol=1e-4)


def test_methods_choose_differently(pages: Pages) -> None:
    others = [name for name in METHOD_NAMES if name != "norm-only"]
    chosen = {tuple(pruned(pages, ratio=0.5, method=name)[0].keep.tolist()) for name in others}
    assert len(chosen) == len(others)


def test_norm_only_is_rtprune_without_merging(pages: Pages) -> None:
    page, other = (pruned(pages, ratio=0.5, **kind)[0] for kind in ({"merge": "none"}, {"method": "norm-only"}))
    assert torch.equal(page.tokens, other.tokens)
    assert torch.equal(page.keep, other.keep)


def test_a_method_without_what_it_looks_at_is_refused(pages: Pages) -> None:
    tokens, pixels, _ = pages
    bare = [replace(page, cls_attention=None, keys=None) for page in tokens]
    with pytest.raises(ValueError, match="attention"):
        Pruner(PruneOptions(method="visionzip")).start(bare, pixels)
    with pytest.raises(ValueError, match="instruction"):
        Pruner(PruneOptions(method="cdpruner")).start(tokens, pixels)


def test_every_method_has_its_function_and_only_the_transport_is_recorded() -> None:
    assert set(METHODS) == set(METHOD_NAMES)
    assert recordable(PruneOptions(ratio=0.5))
    others: list[dict[str, Any]] = [{"method": name} for name in METHOD_NAMES if name != "rtprune"]
    for changed in [*others, {"merge": "mean"}, {"ot_reg": 0.5}, {"solver": "pot"}]:
        assert not recordable(PruneOptions(**changed))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"method": "magic"}, "unknown pruning method"),
        ({"merge": "sum"}, "unknown merge"),
        ({"importance": "size"}, "unknown importance"),
        ({"variant": "theirs"}, "unknown baseline variant"),
        ({"ratio_terms": "norm"}, "unknown ratio terms"),
        ({"ot_reg": 0.001}, "ot-reg 0.001 is out of range"),
        ({"ot_reg": float("nan")}, "ot-reg nan is out of range"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_values_that_do_not_exist_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PruneOptions(**changed)


def test_a_rerun_with_another_method_starts_again() -> None:
    plain = affecting(OcrOptions())
    for changed in (
        {"method": "random"}, {"merge": "none"}, {"ratio_terms": "density"}, {"ot_reg": 0.5}, {"seed": 1},
        {"importance": "entropy"}, {"variant": "authors"},
    ):  # fmt: skip
        assert affecting(OcrOptions(prune=PruneOptions(**changed))) != plain  # type: ignore[arg-type]


# In mode gundam one of each kind: what they look at has an order of its own there.
READ: list[tuple[Method, Variant, Mode]] = [
    *((name, "ours", "tiny") for name in METHOD_NAMES),
    ("cdpruner", "authors", "tiny"),
    ("rtprune", "ours", "gundam"),
    ("visionzip", "authors", "gundam"),
    ("vispruner", "ours", "gundam"),
    ("cdpruner", "authors", "gundam"),
    ("dart", "ours", "gundam"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "variant", "mode"), READ)
def test_the_tool_reads_pages_with_every_method(
    method: Method, variant: Variant, mode: Mode, tiny: OcrModel, make_pdf: Callable[..., Path]
) -> None:
    document = Document(make_pdf("one", "two"), "doc.pdf", PurePosixPath("doc"))
    options = OcrOptions(
        prune=PruneOptions(ratio=0.5, method=method, variant=variant),
        decode=DecodeOptions(max_new_tokens=2),
        mode=mode,
    )
    for page in run([document], tiny, options):
        assert page.error is None
        assert page.record.kept == page.record.prunable // 2


# --- random ------------------------------------------------------------------------------------------------------


def test_a_page_has_one_random_pattern_wherever_it_stands(pages: Pages) -> None:
    pixels = pages[1]
    alone = random_importance(pixels[1:2], 73, 0)
    assert torch.equal(random_importance(pixels, 73, 0)[1], alone[0])
    assert torch.equal(random_importance(pixels.flip(0), 73, 0)[1], alone[0])
    # rounding of another device's arithmetic
    assert torch.equal(random_importance(pixels[1:2] + 1e-6, 73, 0), alone)


def test_other_pages_and_seeds_have_other_random_patterns(pages: Pages) -> None:
    pixels = pages[1]
    patterns = [*random_importance(pixels, 73, 0), *random_importance(pixels, 73, 1)]
    assert not any(torch.equal(one, other) for one, other in combinations(patterns, 2))


def test_a_random_choice_is_uniform() -> None:
    views = torch.linspace(-1, 1, 256)[:, None, None, None].expand(256, 3, 2, 2).contiguous()
    highest = random_importance(views, 8, 0).topk(2).indices.flatten().bincount(minlength=8)
    assert highest.sum() == 512
    assert highest.min() >= 35 and highest.max() <= 95  # 64 each, standard deviation 7


# --- visionzip ---------------------------------------------------------------------------------------------------


def test_visionzip_keeps_what_the_class_token_looks_at_and_merges_the_rest_by_key() -> None:
    # Of 8 tokens 7 stay: 6 dominant (7 * 54 / 64, rounded up), one contextual. The last is a newline.
    prunable = torch.tensor([True] * 8 + [False])
    attention = torch.tensor([[0.9, 0.8, 0.1, 0.7, 0.6, 0.2, 0.5, 0.4, 0.0]])
    values = torch.arange(9.0)[None, :, None].expand(1, 9, 2)
    kept, merged = visionzip(values, attention, torch.ones(1, 9, 3), prunable, torch.tensor([7.0]))
    assert kept[0].nonzero().flatten().tolist() == [0, 1, 2, 3, 4, 6, 7]
    assert merged[0, :, 0].tolist() == [0, 1, 3.5, 3, 4, 5, 6, 7, 8]  # 2 and 5 are one


def test_visionzip_spaces_contextual_tokens_evenly_and_fills_them_by_the_nearest_key() -> None:
    # 26 tokens, 13 stay: 11 dominant ones of attention, 2 contextual of the 15 others, every 7th of them
    prunable = torch.ones(26, dtype=torch.bool)
    attention = torch.cat([torch.full((11,), 0.5), torch.full((15,), 0.1)])[None]
    keys = torch.tensor([1.0, 0.0]).repeat(26, 1)
    keys[18] = keys[20] = keys[25] = torch.tensor([0.0, 3.0])  # 18 = 11 + 7 is the second
    values = torch.eye(26)[None]
    kept, merged = visionzip(values, attention, keys[None], prunable, torch.tensor([13.0]))
    assert kept[0].nonzero().flatten().tolist() == [*range(11), 11, 18]
    assert merged[0, 18].nonzero().flatten().tolist() == [18, 20, 25]
    torch.testing.assert_close(merged[0, 18, 18].item(), 1 / 3)
    assert merged[0, 11].count_nonzero() == 12
    assert torch.equal(merged[0, :11], values[0, :11])


def eager_attention(model: OcrModel, pixels: torch.Tensor) -> torch.Tensor:
    """CLS attention (V, T) of the penultimate CLIP layer as transformers' own eager attention has it."""
    tower = model.network.model.vision_tower
    encoder = tower.vision_encoder
    way = encoder.config._attn_implementation
    encoder.config._attn_implementation = "eager"
    try:
        with torch.inference_mode():
            found = encoder(tower.sam_encoder(pixels).last_hidden_state, output_attentions=True).attentions
    finally:
        encoder.config._attn_implementation = way
    return found[-2][:, :, 0, 1:].mean(1)


def golden_views(name: str) -> Views:
    case = golden_cases(GOLDEN)[name]
    return make_views(case.image, case.mode)


def test_the_attention_of_a_page_is_that_of_the_clip_layer(golden_model: OcrModel) -> None:
    views = [golden_views("note_small/small")]
    pixels = golden_model.pixels(views)
    (page,) = golden_model.encode(views, pixels, attention=True)
    assert page.cls_attention is not None
    rows = page.cls_attention[:-1].unflatten(0, (10, 11))
    assert not rows[:, -1].any() and page.cls_attention[-1] == 0  # newlines, separator
    torch.testing.assert_close(rows[:, :-1].flatten(), eager_attention(golden_model, pixels)[0], rtol=1e-4, atol=1e-7)


@pytest.mark.slow
def test_tiles_have_their_attention_and_keys_in_the_order_of_the_tokens(golden_model: OcrModel) -> None:
    views = golden_views("slide_wide/gundam")
    plain = golden_views("note_small/base")  # a page of the batch without tiles
    pages = golden_model.encode([plain, views], attention=True)
    assert views.tiles is not None
    columns, rows = views.grid
    by_tile = eager_attention(golden_model, normalise(views.tiles, golden_model.device))
    own = eager_attention(golden_model, golden_model.pixels([plain, views]))
    page = pages[1].cls_attention
    assert page is not None
    tiled, whole = page[: rows * 10 * (columns * 10 + 1)], page[rows * 10 * (columns * 10 + 1) : -1]
    grid = tiled.unflatten(0, (rows * 10, columns * 10 + 1))[:, :-1]
    for number, wanted in enumerate(by_tile):
        top, left = number // columns * 10, number % columns * 10
        part = grid[top : top + 10, left : left + 10]
        torch.testing.assert_close(part.flatten(), wanted, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(whole.unflatten(0, (16, 17))[:, :-1].flatten(), own[1], rtol=1e-4, atol=1e-7)
    assert pages[0].cls_attention is not None
    torch.testing.assert_close(
        pages[0].cls_attention[:-1].unflatten(0, (16, 17))[:, :-1].flatten(), own[0], rtol=1e-4, atol=1e-7
    )


@pytest.mark.slow
def test_in_rows_of_tiles_attention_lies_where_the_tokens_do(golden_model: OcrModel) -> None:
    # All tiles but one are alike: its tokens differ from the others', and its keys at the same places.
    views = make_views(Image.new("RGB", (1000, 1500), (127, 127, 127)), "gundam")
    assert views.tiles is not None and views.grid == (2, 3)
    views.tiles[3, :320] = 255  # second row, right
    (page,) = golden_model.encode([views], attention=True)
    assert page.keys is not None
    for table in (page.tokens, page.keys):
        grid = table[: 30 * 21].unflatten(0, (30, 21))[:, :-1]
        differs = (grid - grid[:10, :10].repeat(3, 2, 1)).norm(dim=-1) > 1e-3
        assert differs.nonzero().amin(0).tolist() == [10, 10]
        assert differs.nonzero().amax(0).tolist() == [19, 19]


def test_watching_the_attention_changes_no_token_and_leaves_nothing_behind(golden_model: OcrModel) -> None:
    def hooks() -> int:
        return sum(len(module._forward_hooks) for module in golden_model.network.modules())

    views, before = [golden_views("note_small/tiny")], hooks()
    watched, plain = golden_model.encode(views, attention=True)[0], golden_model.encode(views)[0]
    assert torch.equal(watched.tokens, plain.tokens)
    assert plain.cls_attention is None and plain.keys is None
    assert hooks() == before


# --- divprune ----------------------------------------------------------------------------------------------------


def cosine_matrix(vectors: torch.Tensor) -> torch.Tensor:
    unit = torch.nn.functional.normalize(vectors, dim=-1)
    return (unit @ unit.T)[None]


def test_divprune_takes_one_token_of_each_cluster() -> None:
    generator = torch.Generator().manual_seed(0)
    clusters = torch.eye(4).repeat_interleave(5, 0) + 0.05 * torch.randn(20, 4, generator=generator)
    kept = divprune(cosine_matrix(clusters), torch.ones(20, dtype=torch.bool), torch.tensor([4.0]))
    assert kept[0].unflatten(0, (4, 5)).sum(1).tolist() == [1, 1, 1, 1]


def test_divprune_starts_with_the_loneliest_token_and_goes_on_with_the_farthest() -> None:
    degrees = torch.tensor([0.0, 10.0, 25.0, 80.0, 90.0])  # 25 is 15 from its nearest
    scores = (degrees[:, None] - degrees).deg2rad().cos()[None]
    everything = torch.ones(5, dtype=torch.bool)
    chosen = [divprune(scores, everything, torch.tensor([float(n)]))[0].nonzero().flatten().tolist() for n in (1, 2, 3)]
    assert chosen == [[2], [2, 4], [0, 2, 4]]


def test_divprune_keeps_its_number_among_equal_tokens() -> None:
    prunable = torch.tensor([True] * 6 + [False])
    kept = divprune(torch.ones(1, 7, 7), prunable, torch.tensor([4.0]))
    assert kept.sum() == 4 and not kept[0, 6]


# --- cdpruner ----------------------------------------------------------------------------------------------------


def best_subset(kernel: torch.Tensor, size: int) -> Sequence[int]:
    return max(combinations(range(len(kernel)), size), key=lambda s: torch.linalg.det(kernel[list(s)][:, list(s)]))


def test_cdpruner_of_equal_relevance_takes_one_token_of_each_orthogonal_group() -> None:
    groups = torch.eye(5).repeat_interleave(3, 0)
    kept = cdpruner(cosine_matrix(groups), torch.ones(1, 15), torch.ones(15, dtype=torch.bool), torch.tensor([5.0]))
    assert kept[0].unflatten(0, (5, 3)).sum(1).tolist() == [1] * 5


@for_every("seed", range(5))
def test_each_greedy_step_has_the_largest_determinant(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = cosine_matrix(torch.randn(8, 6, generator=generator))
    relevance = torch.rand(1, 8, generator=generator) + 0.1
    kernel = (relevance[..., None] * scores * relevance[:, None])[0].double()
    chosen: list[int] = []
    for size in range(1, 6):
        now = cdpruner(scores, relevance, torch.ones(8, dtype=torch.bool), torch.tensor([float(size)]))[0]
        added = set(now.nonzero().flatten().tolist()) - set(chosen)
        assert len(added) == 1
        options = {
            i: float(torch.linalg.det(kernel[[*chosen, i]][:, [*chosen, i]])) for i in range(8) if i not in chosen
        }
        assert added == {max(options, key=options.__getitem__)}
        chosen += added


def test_the_greedy_set_is_the_best_one_where_relevance_rules() -> None:
    scores = cosine_matrix(torch.randn(7, 7, generator=torch.Generator().manual_seed(0)))
    relevance = torch.tensor([[1.0, 0.1, 0.8, 0.1, 0.9, 0.1, 0.1]])
    kept = cdpruner(scores, relevance, torch.ones(7, dtype=torch.bool), torch.tensor([3.0]))
    kernel = (relevance[..., None] * scores * relevance[:, None])[0].double()
    assert kept[0].nonzero().flatten().tolist() == list(best_subset(kernel, 3)) == [0, 2, 4]


def test_more_tokens_than_dimensions_are_filled_up_by_relevance() -> None:
    vectors = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    relevance = torch.linspace(0.5, 1, 12)[None]
    prunable = torch.tensor([True] * 11 + [False])
    spanning, more = (cdpruner(cosine_matrix(vectors), relevance, prunable, torch.tensor([n])) for n in (3.0, 6.0))
    rest = [i for i in range(11) if not spanning[0, i]]
    assert (more & ~spanning)[0].nonzero().flatten().tolist() == rest[-3:]


def test_relevance_is_the_mean_cosine_with_the_instruction_from_0_to_1() -> None:
    values = torch.tensor([[[2.0, 0], [1, 1], [0, 3], [9, 9]]])
    prunable = torch.tensor([True, True, True, False])
    found = instruction_relevance(values, values.norm(dim=-1), torch.tensor([[5.0, 0], [1, 0]]), prunable)
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.5**0.5, 0, 0]]), rtol=0, atol=1e-5)
    assert (found > 0).all()


def test_an_instruction_that_is_equally_near_to_all_tokens_leaves_diversity() -> None:
    values = torch.eye(3)[None]
    found = instruction_relevance(values, values.norm(dim=-1), torch.ones(1, 3), torch.ones(3, dtype=torch.bool))
    torch.testing.assert_close(found, torch.ones(1, 3))


# --- Ablations of RTPrune ----------------------------------------------------------------------------------------


def merged_by(value: Merge) -> list[float]:
    """Tokens 0 and 1 are kept, 2 and 3 pruned, 4 is a newline; 2 is like 0, 3 like 1 and a little like 0."""
    values = torch.tensor([[[10.0], [20], [1], [3], [7]]])
    scores = torch.zeros(1, 5, 5)
    scores[0, 0, 2], scores[0, 1, 3], scores[0, 0, 3] = 0.9, 0.8, 0.7
    kept = torch.tensor([[True, True, False, False, False]])
    pruned = torch.tensor([[False, False, True, True, False]])
    merged = merge(values, scores + scores.transpose(1, 2), kept, pruned, PruneOptions(merge=value))
    assert merged[0, 4] == 7
    return merged[0, :2, 0].tolist()


def test_merging_is_a_plan_times_alpha() -> None:
    assert merged_by("none") == [10, 20]
    assert merged_by("mean") == pytest.approx([10.2, 20.2])
    assert merged_by("nearest") == pytest.approx([10.1, 20.3])
    taken = [after - before for before, after in zip((10, 20), merged_by("ot"), strict=True)]
    assert taken[0] > 0 and taken[1] > 0 and sum(taken) < 0.4  # the dustbins take the rest


def test_a_small_regularisation_comes_near_to_the_nearest_token() -> None:
    kept, pruned = torch.tensor([[True, True, False, False]]), torch.tensor([[False, False, True, True]])
    scores = torch.eye(2).repeat(2, 2)[None]
    options = PruneOptions(ot_reg=0.05)
    ot, nearest = (
        merge(torch.eye(4)[None], scores, kept, pruned, replace(options, merge=value)) for value in ("ot", "nearest")
    )
    torch.testing.assert_close(ot, nearest, rtol=0, atol=1e-3)


@pytest.mark.parametrize("reg", [0.05, 0.1, 0.5, 2.0, 10.0])
@pytest.mark.parametrize("width", [4, 64])
def test_other_regularisations_reach_the_reference_solver(reg: float, width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = cosine_matrix(torch.randn(120, width, generator=generator) + 0.3)
    kept = (torch.randperm(120, generator=generator) < 70)[None]
    u, kernel, v = (each[0] for each in sinkhorn(scores, kept.float(), (~kept).float(), 0.2, 5, reg))
    reference = pot_plan(scores[0][kept[0]][:, ~kept[0]].double(), 0.2, reg)
    ours = (u[:, None] * kernel * v)[kept[0]][:, ~kept[0]].double()
    torch.testing.assert_close(ours, reference, rtol=1e-4, atol=5e-6)


def test_both_solvers_take_the_regularisation(pages: Pages) -> None:
    ours, theirs = (pruned(pages, ratio=0.5, ot_reg=0.1, solver=solver)[0] for solver in ("sinkhorn", "pot"))
    torch.testing.assert_close(ours.tokens, theirs.tokens, rtol=0, atol=1e-4)
    assert not torch.allclose(ours.tokens, pruned(pages, ratio=0.5)[0].tokens, rtol=0, atol=1e-4)


def test_either_measure_alone_makes_the_dynamic_ratio(pages: Pages) -> None:
    for both, similar, dense in zip(
        pruned(pages), pruned(pages, ratio_terms="similarity"), pruned(pages, ratio_terms="density"), strict=True
    ):
        assert (similar.ratio, dense.ratio) == (both.r_similarity, both.r_density)
        assert similar.kept == int(similar.prunable * both.r_similarity)
    half, quarter = torch.tensor([0.5]), torch.tensor([0.25])
    assert dynamic_ratio(half, quarter, "similarity") == 0.5
    assert dynamic_ratio(half, quarter, "density") == 0.25
