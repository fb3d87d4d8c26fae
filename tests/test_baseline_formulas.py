"""Baselines and ablations against their papers' formulas, written here page by page in float64 and as plainly as can
be, and against small cases by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from conftest import GOLDEN, for_every, golden_cases, make_views

from rtprune_cli.model import OcrModel
from rtprune_cli.options import WITH_VARIANTS, Importance, Merge, Method, PruneOptions, Variant
from rtprune_cli.pruning.baselines import scope
from rtprune_cli.pruning.determinants import otprune
from rtprune_cli.pruning.duplicates import dart, vispruner
from rtprune_cli.pruning.merging import merge
from rtprune_cli.pruning.methods import Batch, Merged, prune_batch
from rtprune_cli.pruning.rtprune import budget, importance

Array = np.ndarray[Any, np.dtype[np.float64]]
ROWS, COLUMNS, WIDTH = 6, 9, 16
ALL_FORMS: list[tuple[Method, Variant]] = [
    *((name, "ours") for name in get_args(Method)), *((name, "authors") for name in WITH_VARIANTS)
]  # fmt: skip


def batch(seed: int, pages: int = 3) -> Batch:
    """Random pages of 6 rows of 9 tokens with their newlines and separator, and all that methods look at."""
    generator = torch.Generator().manual_seed(seed)
    newline = torch.zeros(ROWS, COLUMNS + 1, dtype=torch.bool)
    newline[:, -1] = True
    newline = torch.cat([newline.flatten(), torch.zeros(1, dtype=torch.bool)])
    prunable = ~newline
    prunable[-1] = False
    tokens = torch.randn(pages, len(newline), WIDTH, generator=generator) + 0.4
    return Batch(
        tokens,
        torch.rand(pages, 3, 64, 64, generator=generator) * 2 - 1,
        torch.stack([newline, prunable]),
        torch.rand(pages, len(newline), generator=generator).softmax(-1) * prunable,
        torch.randn(pages, len(newline), 5, generator=generator) * prunable[:, None],
        torch.randn(7, WIDTH, generator=generator),
        torch.randn(pages, len(newline), 24, generator=generator) * prunable[:, None],
    )


def pruned(seen: Batch, method: Method, variant: Variant = "ours", ratio: float = 0.5) -> Merged:
    return prune_batch(seen, PruneOptions(ratio=ratio, method=method, variant=variant))


def prunable_rows(tensor: torch.Tensor | None, seen: Batch, page: int) -> Array:
    """What a method sees of a page's prunable tokens, in float64."""
    assert tensor is not None
    return tensor[page][seen.masks[1]].double().numpy()


def cosine(one: Array, other: Array) -> Array:
    return (one / np.linalg.norm(one, axis=-1, keepdims=True)) @ (
        other / np.linalg.norm(other, axis=-1, keepdims=True)
    ).T


# --- The papers' choices, for one page: tokens, attention, text, number -> indices kept


def plain_scope(tokens: Array, attention: Array, text: Array, count: int) -> set[int]:
    alike = np.maximum(cosine(tokens, tokens), 0)

    def coverage(chosen: list[int]) -> float:
        return float(alike[:, chosen].max(1).sum()) if chosen else 0.0

    chosen: list[int] = []
    while len(chosen) < count:
        left = [i for i in range(len(tokens)) if i not in chosen]
        chosen.append(max(left, key=lambda i: (coverage([*chosen, i]) - coverage(chosen)) * attention[i]))
    return set(chosen)


def plain_otprune(tokens: Array, attention: Array, text: Array, count: int) -> set[int]:
    scaled = tokens / np.linalg.norm(tokens, axis=0)
    similar = scaled @ scaled.T

    def value(chosen: list[int]) -> float:
        own = similar[chosen]
        return float(np.linalg.slogdet(np.eye(len(chosen)) + 0.01 * own @ own.T)[1])

    chosen: list[int] = []
    while len(chosen) < count:
        left = [i for i in range(len(tokens)) if i not in chosen]
        chosen.append(max(left, key=lambda i: value([*chosen, i])))
    return set(chosen)


def plain_vispruner(tokens: Array, attention: Array, text: Array, count: int) -> set[int]:
    order = sorted(range(len(tokens)), key=lambda i: -attention[i])
    important, rest = order[: count // 2], order[count // 2 :]
    alike = cosine(tokens, tokens)
    while len(rest) > count - count // 2:
        compared, others = rest[::2], rest[1::2]
        going = min(8, len(rest) - (count - count // 2))
        compared.sort(key=lambda i: -max(alike[i, j] for j in others))
        rest = compared[going:] + others
    return {*important, *rest}


def plain_dart(tokens: Array, attention: Array, text: Array, count: int) -> set[int]:
    def largest(vectors: Array, most: int) -> list[int]:
        return sorted(range(len(vectors)), key=lambda i: -np.abs(vectors[i]).sum())[:most]

    own = largest(tokens, min(4, count))
    pivots = [tokens[i] for i in own] + [text[i] for i in largest(text, 4)]
    chosen, missing = set(own), count - len(own)
    for number, pivot in enumerate(pivots):
        share = missing // len(pivots) + (number < missing % len(pivots))
        left = [i for i in range(len(tokens)) if i not in chosen]
        alike = cosine(tokens, pivot[None])[:, 0]
        chosen |= set(sorted(left, key=lambda i: alike[i])[:share])
    return chosen


PLAIN: dict[Method, Callable[[Array, Array, Array, int], set[int]]] = {
    "scope": plain_scope,
    "otprune": plain_otprune,
    "vispruner": plain_vispruner,
    "dart": plain_dart,
}


def kept_of(found: Merged, seen: Batch, page: int) -> list[int]:
    """Which of the prunable tokens are kept, counted among them."""
    return found.kept[page][seen.masks[1]].nonzero().flatten().tolist()


@for_every("ratio", (0.9, 0.5, 0.2, 0.05))
@pytest.mark.parametrize("method", PLAIN)
def test_a_method_chooses_what_its_formula_does(method: Method, ratio: float) -> None:
    seen = batch(seed=1)
    assert seen.instruction is not None
    found = pruned(seen, method, ratio=ratio)
    for page in range(3):
        tokens, attention = prunable_rows(seen.tokens, seen, page), prunable_rows(seen.cls_attention, seen, page)
        count = math.floor(len(tokens) * ratio)
        wanted = PLAIN[method](tokens, attention, seen.instruction.double().numpy(), count)
        assert kept_of(found, seen, page) == sorted(wanted)
        assert torch.equal(found.tokens[page], seen.tokens[page])  # none of the four merges


# --- The authors' forms


@for_every("ratio", (0.9, 0.6, 0.4))
def test_the_authors_cdpruner_takes_clip_features_and_what_is_least_like_the_prompt(ratio: float) -> None:
    seen = batch(seed=2)
    assert seen.instruction is not None
    found = pruned(seen, "cdpruner", "authors", ratio=ratio)
    for page in range(3):
        features, tokens = prunable_rows(seen.features, seen, page), prunable_rows(seen.tokens, seen, page)
        relevance = (-cosine(tokens, seen.instruction.double().numpy())).mean(1)
        relevance = (relevance - relevance.min() + 1e-6) / (relevance.max() - relevance.min())
        kernel = relevance[:, None] * cosine(features, features) * relevance
        chosen: list[int] = []
        while len(chosen) < min(math.floor(len(tokens) * ratio), 24):  # beyond its 24 dimensions the determinant is 0
            left = [i for i in range(len(tokens)) if i not in chosen]
            parts = {i: np.linalg.slogdet(kernel[np.ix_([*chosen, i], [*chosen, i])])[1] for i in left}
            chosen.append(max(left, key=parts.__getitem__))
        assert set(chosen) <= set(kept_of(found, seen, page))
        assert int(found.kept[page].sum()) == math.floor(len(tokens) * ratio)


@for_every("ratio", (0.9, 0.75, 0.6))
def test_the_authors_visionzip_keeps_30_contextual_tokens_and_adds_means_to_them(ratio: float) -> None:
    seen = batch(seed=3)
    found = pruned(seen, "visionzip", "authors", ratio=ratio)
    for page in range(3):
        tokens, attention = prunable_rows(seen.tokens, seen, page), prunable_rows(seen.cls_attention, seen, page)
        count = math.floor(len(tokens) * ratio)
        order = sorted(range(len(tokens)), key=lambda i: -attention[i])
        dominant = sorted(order[: max(0, count - 30)])
        others = sorted(set(range(len(tokens))) - set(dominant))
        contextual = others[:: max(1, len(others) // 30)][:30]
        assert kept_of(found, seen, page) == sorted([*dominant, *contextual])
        alike, wanted = cosine(tokens, tokens), tokens.copy()
        groups: dict[int, list[int]] = {}
        for i in set(others) - set(contextual):
            groups.setdefault(max(contextual, key=lambda c: alike[c, i]), []).append(i)
        for target, group in groups.items():
            wanted[target] += tokens[group].mean(0)
        merged = prunable_rows(found.tokens, seen, page)
        kept = kept_of(found, seen, page)
        np.testing.assert_allclose(merged[kept], wanted[kept], rtol=0, atol=1e-5)


@for_every("ratio", (0.05, 0.5, 0.75, 0.9, 1.0))
@pytest.mark.parametrize(("method", "variant"), ALL_FORMS)
def test_every_form_keeps_its_exact_number(method: Method, variant: Variant, ratio: float) -> None:
    found = pruned(batch(seed=4), method, variant, ratio)
    wanted = ROWS * COLUMNS * ratio
    rounded = (method, variant) == ("divprune", "authors")
    assert found.kept.sum(-1).tolist() == [round(wanted) if rounded else math.floor(wanted)] * 3


def test_a_rounded_budget_rounds_halves_as_python_does() -> None:
    shares = torch.tensor([0.25, 0.75, 0.7, 0.05], dtype=torch.float64)
    for count in (2, 6, 10):
        found = budget(torch.ones(count, dtype=torch.bool), shares, rounded=True)
        assert found.tolist() == [max(1, round(count * share)) for share in shares.tolist()]


# --- All forms at once


@pytest.mark.parametrize(("method", "variant"), ALL_FORMS)
def test_a_page_is_pruned_alike_alone_in_a_batch_and_in_half_precision(method: Method, variant: Variant) -> None:
    seen = batch(seed=5)
    pixels = seen.pixels.clone()
    pixels[1, :, 20:], pixels[2, :, 40:] = 0, 0
    seen = seen._replace(tokens=seen.tokens.bfloat16(), pixels=pixels)
    options = PruneOptions(method=method, variant=variant, ratio_terms="density")  # each page keeps its own number
    together, whole = prune_batch(seen, options), prune_batch(seen._replace(tokens=seen.tokens.float()), options)
    assert len(set(together.kept.sum(-1).tolist())) == 3
    assert together.tokens.dtype == torch.bfloat16
    assert torch.equal(together.kept, whole.kept)
    assert torch.equal(together.tokens, whole.tokens.bfloat16())
    for page in range(3):
        own = {
            name: value[page : page + 1]
            for name, value in seen._asdict().items()
            if value is not None and name not in ("masks", "instruction")
        }
        alone = prune_batch(seen._replace(**own), options)
        assert torch.equal(together.stay[page], alone.stay[0])
        torch.testing.assert_close(together.tokens[page], alone.tokens[0], rtol=0, atol=2e-2)


@pytest.mark.parametrize("method", PLAIN)
def test_other_tokens_than_the_prunable_ones_take_no_part(method: Method) -> None:
    seen = batch(seed=6)
    other = seen.tokens.clone()
    other[:, ~seen.masks[1]] = 1e3
    assert torch.equal(pruned(seen, method).kept, pruned(seen._replace(tokens=other), method).kept)


@pytest.mark.parametrize("method", PLAIN)
def test_of_equal_tokens_the_first_stay_and_of_one_token_that_one(method: Method) -> None:
    seen = batch(seed=7, pages=1)
    alike = Batch(
        torch.ones_like(seen.tokens), seen.pixels, seen.masks, torch.ones_like(seen.tokens[..., 0]), seen.keys,
        seen.instruction,
    )  # fmt: skip
    kept = kept_of(pruned(alike, method), alike, 0)
    if method == "vispruner":  # it takes duplicates out between those that attention, equal here, has last
        assert kept[: len(kept) // 2] == list(range(len(kept) // 2)) and len(kept) == ROWS * COLUMNS // 2
    else:
        assert kept == list(range(ROWS * COLUMNS // 2))
    lonely = seen._replace(masks=torch.stack([seen.masks[0], torch.arange(seen.tokens.shape[1]) == 5]))
    assert pruned(lonely, method).kept[0].nonzero().flatten().tolist() == [5]


# --- By hand


def test_scope_goes_for_what_is_not_covered_before_what_is_salient() -> None:
    # two tokens alike and salient, one apart and less so
    scores = torch.tensor([[[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    attention, everything = torch.tensor([[0.5, 0.4, 0.1]]), torch.ones(3, dtype=torch.bool)
    # gains at first 1.9, 1.9, 1 times saliency; then 0.1 * 0.4 against 1 * 0.1
    assert scope(scores, attention, everything, torch.tensor([2.0]))[0].tolist() == [True, False, True]
    assert scope(scores, torch.tensor([[0.5, 0.48, 0.02]]), everything, torch.tensor([2.0]))[0].tolist() == [1, 1, 0]


def test_otprune_keeps_one_token_of_each_direction_and_the_largest_first() -> None:
    values = torch.tensor([[[1.0, 0.0], [3.0, 0.0], [0.0, 1.0], [0.0, 2.0]]])
    everything = torch.ones(4, dtype=torch.bool)
    assert otprune(values, everything, torch.tensor([1.0]))[0].tolist() == [0, 1, 0, 0]
    assert otprune(values, everything, torch.tensor([2.0]))[0].tolist() == [0, 1, 0, 1]


def test_vispruner_takes_out_the_token_that_has_a_double() -> None:
    # by attention 0 1 2 3 4; 0 is important, and of 1 to 4 the second and fourth are what the others are compared with
    vectors = torch.nn.functional.one_hot(torch.tensor([0, 1, 2, 3, 3]), 5).float()
    attention = torch.tensor([[0.5, 0.2, 0.15, 0.1, 0.05]])
    kept = vispruner(vectors[None], attention, torch.ones(5, dtype=torch.bool), torch.tensor([3.0]))
    assert kept[0].tolist() == [True, False, True, False, True]


def test_dart_keeps_its_pivots_and_what_is_least_like_them() -> None:
    values = torch.zeros(1, 7, 3)
    values[0, :4, 0] = torch.tensor([9.0, 8, 7, 6])  # the pivots, all one way
    values[0, 4], values[0, 5], values[0, 6] = torch.tensor([1.0, 0.2, 0]), torch.tensor([0, 1.0, 0]), torch.ones(3)
    text = torch.tensor([[1.0, 0, 0]])
    everything = torch.ones(7, dtype=torch.bool)
    found = [dart(values, values.norm(dim=-1), text, everything, torch.tensor([float(n)])) for n in (2, 5)]
    assert found[0][0].nonzero().flatten().tolist() == [0, 1]
    assert found[1][0].nonzero().flatten().tolist() == [0, 1, 2, 3, 5]


# --- Importance and merges


def test_importances_are_their_formulas() -> None:
    values = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    exact = values.double().numpy()
    shares = np.exp(exact) / np.exp(exact).sum(-1, keepdims=True)
    wanted: dict[Importance, Array] = {
        "norm": np.sqrt((exact**2).sum(-1)),
        "variance": ((exact - exact.mean(-1, keepdims=True)) ** 2).mean(-1),
        "entropy": -(shares * np.log(shares)).sum(-1),
    }
    assert set(wanted) == set(get_args(Importance))
    for kind, numbers in wanted.items():
        np.testing.assert_allclose(importance(values, kind).numpy(), numbers, rtol=1e-5)


@pytest.mark.parametrize("kind", get_args(Importance))
def test_the_tokens_of_highest_importance_stay(kind: Importance) -> None:
    seen = batch(seed=8)
    found = prune_batch(seen, PruneOptions(ratio=0.5, importance=kind))
    most = importance(seen.tokens, kind)
    for page in range(3):
        kept = found.kept[page]
        assert most[page][kept].min() >= most[page][seen.masks[1] & ~kept].max()


def plain_merge(kind: Merge, tokens: Array, places: Array, kept: list[int], alpha: float) -> Array:
    """The kept tokens after merging."""
    pruned = [i for i in range(len(tokens)) if i not in kept]
    alike, merged = np.maximum(cosine(tokens, tokens), 0), tokens.copy()
    distance = np.linalg.norm(tokens[:, None] - tokens, axis=-1)
    if kind in ("sparsevlm", "visionzip"):
        best = -distance if kind == "sparsevlm" else cosine(tokens, tokens)
        into = {j: max(kept, key=lambda i: best[i, j]) for j in pruned}
        for i in kept:
            group = [j for j in pruned if into[j] == i]
            merged[i] += alpha * tokens[group].mean(0) if group else 0
    elif kind == "gtp":
        graph = alike - np.diag(np.diag(alike))
        degree = graph.sum(1)
        for i in kept:
            merged[i] += alpha * sum(graph[i, j] / math.sqrt(degree[i] * degree[j]) * tokens[j] for j in pruned)
    else:
        norms = np.linalg.norm(tokens, axis=-1)
        for i in kept:
            near = [j for j in pruned if ((places[i] - places[j]) ** 2).sum() <= 280]
            taken = sum(alike[i, j] * tokens[j] for j in near) / (sum(alike[i, j] for j in near) + 1e-8)
            merged[i] += alpha * (tokens[i] if norms[i] >= np.quantile(norms[kept], 0.55) else taken)
    return merged[kept]


@pytest.mark.parametrize("kind", ["gtp", "sparsevlm", "nuwa", "visionzip"])
def test_a_merge_is_its_formula(kind: Merge) -> None:
    # one row of 40 tokens, so that nuwa's neighbours do not reach over all of it, beside the rows of the batch
    newline = torch.zeros(42, dtype=torch.bool)
    newline[40] = True
    tokens = torch.randn(2, 42, 8, generator=torch.Generator().manual_seed(9)) + 0.3
    row = batch(seed=9)._replace(tokens=tokens, masks=torch.stack([newline, ~newline & (torch.arange(42) < 41)]))
    for seen, places in (
        (batch(seed=9), np.array([(i // COLUMNS, i % COLUMNS) for i in range(ROWS * COLUMNS)], dtype=np.float64)),
        (row._replace(pixels=row.pixels[:2]), np.array([(0, i) for i in range(40)], dtype=np.float64)),
    ):
        found = prune_batch(seen, PruneOptions(ratio=0.6, merge=kind, alpha=0.3))
        for page in range(len(seen.tokens)):
            kept = kept_of(found, seen, page)
            wanted = plain_merge(kind, prunable_rows(seen.tokens, seen, page), places, kept, 0.3)
            np.testing.assert_allclose(prunable_rows(found.tokens, seen, page)[kept], wanted, rtol=0, atol=2e-5)


def test_nuwa_finds_neighbours_within_a_view_only() -> None:
    # two rows of 2, as of tiles, then one row of 1, as of another view; all tokens alike
    newline = torch.tensor([0, 0, 1, 0, 0, 1, 0, 1], dtype=torch.bool)
    kept = torch.tensor([[1, 0, 0, 0, 0, 0, 0, 0]], dtype=torch.bool)
    pruned_tokens = torch.tensor([[0, 1, 0, 1, 1, 0, 1, 0]], dtype=torch.bool)
    values = torch.arange(1.0, 9)[None, :, None]
    more = kept.clone()
    more[0, 6], fewer = True, pruned_tokens & ~torch.tensor([[0, 0, 0, 0, 0, 0, 1, 0]], dtype=torch.bool)
    options = PruneOptions(merge="nuwa", alpha=1.0)
    merged = merge(values, torch.ones(1, 8, 8), more, fewer, options, newline=newline)
    assert merged[0, 0, 0] == pytest.approx(1 + (2 + 4 + 5) / 3)
    assert merged[0, 6, 0] == pytest.approx(14)  # the larger norm of the two kept: itself again


def test_a_token_without_neighbours_takes_nothing_in() -> None:
    values, kept = torch.eye(3)[None], torch.tensor([[True, False, False]])
    for kind in ("gtp", "nuwa"):
        # a second kept token, of higher norm, has nuwa's quantile
        merged = merge(values, torch.eye(3)[None], kept, ~kept, PruneOptions(merge=kind))  # type: ignore[arg-type]
        assert torch.isfinite(merged).all()
        assert torch.equal(merged[0, 0], values[0, 0] * (1 if kind == "gtp" else 1.1))


# --- What methods look at


def test_clip_features_are_what_the_projector_takes_of_them(golden_model: OcrModel) -> None:
    case = golden_cases(GOLDEN)["note_small/small"]
    views = [make_views(case.image, case.mode)]
    page = golden_model.encode(views, features=True)[0]
    tower = golden_model.network.model.vision_tower
    with torch.inference_mode():
        taken = tower(golden_model.pixels(views)).last_hidden_state[0]  # CLIP's features, then SAM's
    assert page.features is not None and page.cls_attention is None
    torch.testing.assert_close(page.features[page.prunable], taken[:, : page.features.shape[1]], rtol=0, atol=1e-6)
    assert not page.features[~page.prunable].any()
    assert torch.equal(page.tokens, golden_model.encode(views)[0].tokens)


@pytest.mark.parametrize(("method", "variant"), ALL_FORMS)
def test_the_options_say_what_a_method_looks_at(method: Method, variant: Variant) -> None:
    options, seen = PruneOptions(ratio=0.5, method=method, variant=variant), batch(seed=10)
    read = {
        "attention": {"cls_attention": None, "keys": None},
        "features": {"features": None},
        "instruction": {"instruction": None},
    }
    unread: dict[str, None] = {}
    for what, fields in read.items():
        if getattr(options, f"reads_{what}"):
            with pytest.raises(ValueError, match=f"{method} needs"):
                prune_batch(seen._replace(**fields), options)
        else:
            unread |= fields
    whole, bare = prune_batch(seen, options), prune_batch(seen._replace(**unread), options)
    assert torch.equal(whole.tokens, bare.tokens) and torch.equal(whole.kept, bare.kept)


def test_a_method_without_another_form_has_one() -> None:
    seen = batch(seed=11)
    for method in set(get_args(Method)) - set(WITH_VARIANTS):
        options = PruneOptions(ratio=0.5, method=method)
        ours, authors = (prune_batch(seen, replace(options, variant=variant)) for variant in get_args(Variant))
        assert torch.equal(ours.tokens, authors.tokens) and torch.equal(ours.kept, authors.kept)
    for method in WITH_VARIANTS:
        ours, authors = (pruned(seen, method, variant, ratio=0.9) for variant in get_args(Variant))
        assert not torch.equal(ours.kept, authors.kept)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_chooses_and_merges_as_the_cpu_does() -> None:
    seen = batch(seed=12)
    on_gpu = Batch(*(None if each is None else each.cuda() for each in seen))  # type: ignore[arg-type]
    forms = [PruneOptions(ratio=0.6, method=method, variant=variant) for method, variant in ALL_FORMS]
    forms += [PruneOptions(ratio=0.6, merge=kind) for kind in get_args(Merge)]
    forms += [PruneOptions(ratio=0.6, importance=kind) for kind in get_args(Importance)]
    for options in forms:
        here, there = prune_batch(seen, options), prune_batch(on_gpu, options)
        assert torch.equal(here.kept, there.kept.cpu()), options
        torch.testing.assert_close(here.tokens, there.tokens.cpu(), rtol=0, atol=1e-3)
