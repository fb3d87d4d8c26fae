"""Owns the reading of pages for the glyph probe: each encoded once, pruned in every way, and read from each.

Letters: G glyphs of a page, N visual tokens, K prunable ones that are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import torch

from rtprune_cli.bench.accuracy.synthetic.glyphs import glyph_boxes
from rtprune_cli.bench.accuracy.synthetic.write import make_page, make_pages, page_name
from rtprune_cli.bench.glyphs.places import Place, places
from rtprune_cli.bench.glyphs.plan import GlyphPlan, Reading
from rtprune_cli.bench.scoring.alignment import right_glyphs
from rtprune_cli.bench.scoring.flatten import plain
from rtprune_cli.bench.scoring.text import normalised
from rtprune_cli.engine.prompts import PromptDecoder
from rtprune_cli.errors import InputError
from rtprune_cli.failures import Failure, at_page, page_error
from rtprune_cli.failures import page_name as name_of
from rtprune_cli.markdown import as_written
from rtprune_cli.model import OcrModel
from rtprune_cli.options import ResolvedOptions
from rtprune_cli.prepare import read_pages
from rtprune_cli.pruning import Pruner, untouched
from rtprune_cli.records import Decoded, DecoderInput, Document, PageFault, PageImage, PrunedTokens, VisualTokens
from rtprune_cli.views import make_views
from rtprune_cli.views.grid import token_grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNPRUNED: tuple[Reading, str] = ("unpruned", "")
GlyphConfig = tuple[Reading, str]  # a reading and its ratio
ReadingKey = tuple[str, int, GlyphConfig]  # words, the page's number, configuration


@dataclass(frozen=True)
class Movement:
    """How far merging moved each kept token: ``change`` (K,) is the length of what was added over the token's own
    length, ``cosine`` (K,) that between before and after."""

    change: NDArray[np.float64]
    cosine: NDArray[np.float64]


@dataclass
class PageProbe:
    """One page, read in every way. ``boxes`` (G, 4) in page pixels; ``stays`` (N,) and the places of the glyphs by
    ratio; ``right`` (G,) by configuration: which glyphs came out."""

    words: str
    number: int
    name: str
    groups: dict[str, str]
    truth: str
    boxes: NDArray[np.float64]
    stays: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    places: dict[str, dict[Place, NDArray[np.bool_]]] = field(default_factory=dict)
    movement: dict[str, Movement] = field(default_factory=dict)
    right: dict[GlyphConfig, NDArray[np.bool_]] = field(default_factory=dict)
    texts: dict[GlyphConfig, str] = field(default_factory=dict)


@dataclass(frozen=True)
class UnreadPage:
    """A page that failed in one of its readings, and counts in none."""

    document: Document
    error: InputError


class GlyphProbe:
    """Reads the pages of a plan with one model; they are written below ``folder``."""

    def __init__(self, model: OcrModel, options: ResolvedOptions, plan: GlyphPlan, folder: Path) -> None:
        self._model, self._options, self._plan, self._folder = model, options, plan, folder
        self._configs: list[GlyphConfig] = [
            UNPRUNED,
            *((reading, ratio) for ratio in plan.ratios for reading in plan.pruning(ratio)),
        ]
        self._pruners = {
            (reading, ratio): Pruner(each) for ratio in plan.ratios for reading, each in plan.pruning(ratio).items()
        }
        self._open: dict[tuple[str, int], tuple[PageProbe, Document]] = {}
        self._failed: list[UnreadPage] = []

    def read(self) -> Iterator[PageProbe | UnreadPage]:
        """Every page, in the order in which they end.

        Raises:
            OutputError: the pages cannot be written.
            EnvironmentFault: the GPU failed.
        """
        for (words, number, config), result in PromptDecoder(self._model, self._options).decode(self._prompts()):
            yield from self._take_failed()
            if (words, number) not in self._open:
                continue  # failed in another reading
            page, document = self._open[words, number]
            if isinstance(result, Failure):
                del self._open[words, number]
                yield UnreadPage(document, page_error(name_of(document, 1), result))
                continue
            self._add(page, config, result)
            if len(page.right) == len(self._configs):
                del self._open[words, number]
                yield page
        yield from self._take_failed()

    def _take_failed(self) -> Iterator[UnreadPage]:
        failed, self._failed = self._failed, []
        yield from failed

    def _add(self, page: PageProbe, config: GlyphConfig, result: Decoded) -> None:
        text = as_written(self._model.decode_text(result.token_ids))
        page.texts[config] = text
        page.right[config] = right_glyphs(page.truth, normalised(plain(text)))

    def _prompts(self) -> Iterator[tuple[ReadingKey, DecoderInput]]:
        """Every page under every configuration."""
        for page, document in self._pages():
            try:
                found = self._prepared(page, document)
            except InputError as error:
                self._failed.append(UnreadPage(document, error))
                continue
            self._open[page.words, page.number] = page, document
            for config, prompt in found:
                yield (page.words, page.number, config), prompt

    def _pages(self) -> Iterator[tuple[PageProbe, Document]]:
        plan = self._plan
        for words in plan.words:
            folder = self._folder / words
            make_pages(folder, plan.limit, plan.seed, plan.sheet, plan.layouts, words)
            for number in range(plan.limit):
                name = page_name(number, plan.layouts)
                drawing, groups = make_page(number, plan.seed, plan.sheet, plan.layouts, words)
                path = folder / f"{name}.png"
                document = Document(path, f"{words}/{path.name}", PurePosixPath(words, name))
                yield PageProbe(words, number, name, groups, normalised(drawing.text), glyph_boxes(drawing)), document

    def _prepared(self, page: PageProbe, document: Document) -> list[tuple[GlyphConfig, DecoderInput]]:
        """A page's prompts; what is known of it without reading it is noted."""
        (image,) = read_pages(document, self._options.input)
        if isinstance(image, PageFault):
            raise image.error
        with at_page(document, 1):
            return self._pruned(page, image)

    @torch.inference_mode()
    def _pruned(self, page: PageProbe, image: PageImage) -> list[tuple[GlyphConfig, DecoderInput]]:
        model, prompt = self._model, self._options.prompt
        views = make_views(image.image, self._model.view_spec(self._options.mode))
        pixels = model.pixels([views])
        (tokens,) = model.encode([views], pixels)
        cells = token_grid(views).boxes(image.size)
        prompts = [(UNPRUNED, model.make_prompt(untouched(tokens), prompt))]
        for (reading, ratio), pruner in self._pruners.items():
            (pruned,) = pruner.start([tokens], pixels).result()
            stays = np.zeros(len(tokens.tokens), dtype=np.bool_)
            stays[pruned.keep.numpy()] = True
            page.stays[ratio] = stays
            page.places[ratio] = places(page.boxes, cells, stays)
            if reading == "merged":
                page.movement[ratio] = movement(tokens, pruned)
            prompts.append(((reading, ratio), model.make_prompt(pruned, prompt)))
        return prompts


def movement(tokens: VisualTokens, pruned: PrunedTokens) -> Movement:
    """How far a page's kept prunable tokens are from what they were before merging."""
    own = tokens.prunable[pruned.keep]
    before = tokens.tokens[pruned.keep.to(tokens.tokens.device)].double().cpu()[own]
    after = pruned.tokens.double().cpu()[own]
    lengths = before.norm(dim=-1).clamp_min(1e-12)
    cosine = torch.nn.functional.cosine_similarity(before, after, dim=-1)
    return Movement(((after - before).norm(dim=-1) / lengths).numpy(), cosine.numpy())
