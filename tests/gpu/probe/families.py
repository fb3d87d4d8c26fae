"""Of step correct: the golden numbers of DeepSeek-OCR-2 and Unlimited-OCR, whose cache is a ring behind the prompt."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file

from probe.common import GOLDEN, GOLDEN2, GPU, keep, say
from probe.material import decode_all, told, with_kernels
from rtprune_cli import views as seeing
from rtprune_cli.model import OcrModel, load
from rtprune_cli.model.network import assemble
from rtprune_cli.options import ModelOptions, PruneOptions
from rtprune_cli.pruning import prune_pages, untouched
from rtprune_cli.records import DecoderInput, PrunedTokens, VisualTokens

FAMILIES = ("deepseek_ocr2", "unlimited_ocr")
RATIOS = {"dynamic": None, "0.75": 0.75}
AFTER = [5, 17, 33, 210, 9]  # ids of the text after the images in the golden runs
NEW = 32  # tokens of the golden runs, four times the window


def golden_numbers() -> None:
    """Features, kept tokens and texts in float32: recorded and plain, together and alone."""
    for family in FAMILIES:
        folder = GOLDEN2 / family
        model = load(
            ModelOptions(model=str(folder / "checkpoint"), device=os.environ.get("DEVICE", "cuda"), dtype="float32")
        )
        _golden_numbers(family, model, load_file(folder / "expected.safetensors"))


def _golden_numbers(family: str, model: OcrModel, expected: dict[str, torch.Tensor]) -> None:
    worst, wrong_keep, wrong_tokens, recorded = 0.0, [], [], 0
    names: list[str] = []
    prompts: list[DecoderInput] = []
    texts: list[list[int]] = []
    for name, case in cases(family).items():
        tokens, pixels = encoded(model, name)
        features = torch.cat([page.tokens for page in tokens]).float().cpu()
        worst = max(worst, (features - expected[f"{name}/features"]).abs().max().item())
        for label, result in case["results"].items():
            pages = [untouched(page) for page in tokens]
            if label in RATIOS:
                pages = prune_pages(tokens, pixels, PruneOptions(ratio=RATIOS[label]))
                if not torch.equal(kept(pages), expected[f"{name}/{label}/keep"].long()):
                    wrong_keep.append(f"{name}/{label}")
            names.append(f"{name}/{label}")
            prompts.append(assemble(model.embed([0]), pages, model.embed(AFTER)))
            texts.append(result["tokens"])
    kernels = with_kernels(model)
    ways = {"recorded": (4, True, None), "plain": (4, False, None), "alone": (1, True, None),
            "kernels": (4, True, kernels), "kernels, plain": (4, False, kernels)}  # fmt: skip
    for way, (rows, graphs, fused) in ways.items():
        found, seen = decode_all(model, prompts, NEW, rows=rows, no_repeat_ngram=0, cuda_graphs=graphs, fused=fused)
        recorded += seen.recorded
        wrong_tokens += [f"{name} {way}" for name, own, text in zip(names, found, texts, strict=True) if own != text]
        say(f"{family}, {way}: tokens as golden on {sum(map(list.__eq__, found, texts))} of {len(texts)}; {told(seen)}")
    say(
        f"{family}: features within {worst:.1e}, kept indices differ in {len(wrong_keep)}, tokens in "
        f"{len(wrong_tokens)} of {len(ways) * len(texts)}: {wrong_keep[:4]} {wrong_tokens[:4]}"
    )
    keep("correct", **{f"golden_{family}": [worst, wrong_keep, wrong_tokens, recorded]})


def cases(family: str) -> dict[str, Any]:
    """The golden cases by pages and mode; a CPU takes one."""
    every: dict[str, Any] = json.loads((GOLDEN2 / family / "expected.json").read_text())["cases"]
    return every if GPU else {name: case for name, case in every.items() if name == "note_small/gundam"}


def encoded(model: OcrModel, name: str) -> tuple[list[VisualTokens], torch.Tensor]:
    """The golden pages of a case: their visual tokens and their pixels."""
    pages, mode = name.split("/")
    spec = model.view_spec("base" if mode == "multi" else mode)
    views = [seeing.make_views(Image.open(_picture(page)).convert("RGB"), spec) for page in pages.split("+")]
    pixels = model.pixels(views)
    return model.encode(views, pixels), pixels


def _picture(page: str) -> Path:
    own = GOLDEN2 / "pages" / f"{page}.png"
    return own if own.exists() else GOLDEN / "pages" / f"{page}.png"


def kept(pages: list[PrunedTokens]) -> torch.Tensor:
    """The indices of what is left among all tokens of a context."""
    starts = [0, *torch.tensor([page.total for page in pages]).cumsum(0).tolist()]
    return torch.cat([page.keep + start for page, start in zip(pages, starts, strict=False)])
