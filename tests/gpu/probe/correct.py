"""Step correct: the golden numbers on the GPU, and that recorded, batched and every way of experts give the same."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file

from probe import families, recordings
from probe.common import GOLDEN, GPU, Parts, keep, say
from probe.material import (
    AMPERE,
    WAYS,
    as_card,
    by_way,
    decode_all,
    golden,
    make_views,
    prompts,
    tf32,
    told,
    with_kernels,
)
from rtprune_cli.device.graphs import Graphs
from rtprune_cli.model import OcrModel
from rtprune_cli.model.network import assemble
from rtprune_cli.options import PruneOptions
from rtprune_cli.pruning import Pruner, prune_pages
from rtprune_cli.records import DecoderInput, Views, VisualTokens

RATIOS = {"none": 1.0, "dynamic": None, "0.9": 0.9, "0.75": 0.75, "0.5": 0.5}
AFTER = [5, 17, 33, 210, 9]  # ids of the text after the image in the golden runs
NEW = 16  # tokens of the golden runs
DTYPES = ("bfloat16", "float16", "float32")
# A CPU tries the script, for which the small cases do.
PAGES, LONG, COPIES = (8, 300, 8) if GPU else (3, 24, 2)


def run() -> None:
    parts = Parts()
    parts.run("golden numbers", 30, golden_numbers)
    parts.run("golden numbers of other models", 33, families.golden_numbers)
    parts.run("encoding, recorded", 35, encoding)
    parts.run("pruning, recorded", 38, pruning)
    for dtype in DTYPES if GPU else ("float32",):
        parts.run(f"decoding in {dtype}", 46, decoding, dtype)
    for dtype in DTYPES if GPU else ("bfloat16",):
        parts.run(f"experts in {dtype}", 52, ways, dtype)
    parts.run("a recording that fails", 55, recordings.failing)


def cases() -> dict[str, Any]:
    """The golden cases by page and mode; a CPU takes the quickest."""
    every: dict[str, Any] = json.loads((GOLDEN / "expected.json").read_text())["cases"]
    return every if GPU else {name: case for name, case in every.items() if name.endswith("/tiny")}


def views_of(name: str) -> Views:
    page, mode = name.split("/")
    return make_views(Image.open(GOLDEN / "pages" / f"{page}.png").convert("RGB"), mode)


def encoded(model: OcrModel, name: str) -> tuple[list[VisualTokens], torch.Tensor]:
    """A golden page: its visual tokens and its pixels."""
    views = [views_of(name)]
    pixels = model.pixels(views)
    return model.encode(views, pixels), pixels


def golden_numbers() -> None:
    model, expected = golden("float32"), load_file(GOLDEN / "expected.safetensors")
    for on in (False, True) if GPU else (False,):
        with tf32(on):
            _golden_numbers(model, expected, on)


def _golden_numbers(model: OcrModel, expected: dict[str, torch.Tensor], on: bool) -> None:
    worst, wrong_keep, wrong_tokens, recorded = 0.0, [], [], 0
    runs: list[tuple[str, DecoderInput, list[int]]] = []
    for name, case in cases().items():
        tokens, pixels = encoded(model, name)
        worst = max(worst, (tokens[0].tokens.float().cpu() - expected[f"{name}/features"]).abs().max().item())
        for label, ratio in RATIOS.items():
            (pruned,) = prune_pages(tokens, pixels, PruneOptions(ratio=ratio))
            if label != "none" and not torch.equal(pruned.keep, expected[f"{name}/{label}/keep"]):
                wrong_keep.append(f"{name}/{label}")
            prompt = assemble(model.embed([0]), [pruned], model.embed(AFTER))
            runs.append((f"{name}/{label}", prompt, case["results"][label]["tokens"]))
    for fused, graphs in product((None, with_kernels(model)), (True, False)):
        inputs = [prompt for _, prompt, _ in runs]
        found, seen = decode_all(model, inputs, NEW, rows=8, no_repeat_ngram=0, cuda_graphs=graphs, fused=fused)
        recorded += seen.recorded
        pairs = zip(runs, found, strict=True)
        way = f"graphs={graphs} kernels={fused is not None}"
        wrong_tokens += [f"{name} {way}" for (name, _, tokens), own in pairs if own != tokens]
    say(
        f"golden float32, TF32 convolutions {on}: features within {worst:.1e}, kept indices differ in "
        f"{len(wrong_keep)} of {4 * len(cases())}, tokens in {len(wrong_tokens)} of {4 * len(runs)}, "
        f"steps recorded {recorded}: {wrong_keep[:4]} {wrong_tokens[:4]}"
    )
    keep("correct", **{f"golden_tf32_{on}": [worst, wrong_keep, wrong_tokens], f"golden_tf32_{on}_recorded": recorded})


def encoding() -> None:
    """The encoder recorded and replayed, against the plain one."""
    out = {}
    names = ("note_small/base", "slide_wide/gundam")
    for dtype, name in product(DTYPES, names) if GPU else [("float32", "note_small/tiny")]:
        model, graphs = golden(dtype), Graphs()
        views = [views_of(name)]
        (plain,) = model.encode(views)
        for _ in range(3):
            (found,) = model.encode(views, graphs=graphs)
        apart = (found.tokens.float() - plain.tokens.float()).abs().max().item()
        scale = plain.tokens.float().abs().max().item()
        say(f"encoding {name} in {dtype}: recorded within {apart:.1e} of plain (of {scale:.1f}); {told(graphs)}")
        out[f"{name}/{dtype}"] = [apart, scale, graphs.recorded, graphs.failed]
    keep("correct", encode_recorded=out)


def pruning() -> None:
    """The prune step recorded and replayed, against the plain one."""
    tokens, pixels = encoded(golden("float32"), "note_small/base" if GPU else "note_small/tiny")
    graphs, views = Graphs(), torch.cat([pixels] * 3)
    plain = prune_pages(tokens * 3, views, PruneOptions())
    pruner = Pruner(PruneOptions(), graphs=graphs)
    runs = [pruner.start(tokens * 3, views).result() for _ in range(4)]
    same = all(
        torch.equal(a.keep, b.keep) and torch.allclose(a.tokens, b.tokens, rtol=0, atol=1e-5)
        for found in runs
        for a, b in zip(found, plain, strict=True)
    )
    say(f"pruning recorded and replayed equals the plain run: {same}; {told(graphs)}")
    keep("correct", prune_recorded=[same, graphs.recorded, graphs.failed])


def decoding(dtype: str) -> None:
    """Recorded steps against plain ones, and pages together against each alone."""
    model = golden(dtype)
    pages = [page for count in range(PAGES) for page in prompts(model, 1, 60 + 13 * count)]
    recorded, graphs = decode_all(model, pages, LONG, no_repeat_ngram=5)
    plain, _ = decode_all(model, pages, LONG, no_repeat_ngram=5, cuda_graphs=False)
    alone = [decode_all(model, [page], LONG, no_repeat_ngram=5)[0][0] for page in pages]
    as_plain = sum(a == b for a, b in zip(recorded, plain, strict=True))
    as_alone = sum(a == b for a, b in zip(recorded, alone, strict=True))
    say(
        f"{dtype}: recorded = plain on {as_plain} of {len(pages)} pages, together = alone on {as_alone}; {told(graphs)}"
    )
    keep("correct", **{f"decode_{dtype}": [as_plain, as_alone, len(pages), graphs.recorded, graphs.failed]})


def ways(dtype: str) -> None:
    """Each way of experts, and those of an Ampere card: the same tokens? And can the steps be recorded?"""
    model = golden(dtype)
    inputs = prompts(model, COPIES, 60)
    plain, _ = decode_all(model, inputs, LONG, no_repeat_ngram=5, cuda_graphs=False)
    out = {}
    for rows in (1, COPIES):
        for name in (*WAYS, "as on Ampere"):
            with as_card(model, AMPERE) if name not in WAYS else by_way(model, name):
                found, graphs = decode_all(model, inputs, LONG, rows=rows, no_repeat_ngram=5)
            same = sum(a == b for a, b in zip(found, plain, strict=True))
            out[f"{name}/{rows}"] = [same, len(inputs), graphs.recorded, graphs.failed]
            say(f"experts {name} in {dtype}, {rows} rows: tokens as usual on {same} of {len(inputs)}; {told(graphs)}")
            keep("correct", **{f"experts_{dtype}": out})
