"""Owns what the stages are run on: the pages of one mode, encoded, pruned and assembled into prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath

import torch
from PIL import Image
from torch import Tensor

from rtprune_cli.bench.speed.arch import architecture_of, prompt_ids
from rtprune_cli.bench.speed.plan import SpeedPlan
from rtprune_cli.model import OcrModel
from rtprune_cli.model.network import assemble
from rtprune_cli.options import Mode
from rtprune_cli.prepare import available_cores, worker_count
from rtprune_cli.pruning import Pruner, untouched
from rtprune_cli.records import DecoderInput, Document, PageImage, PreparedPage, PrunedTokens, Views, VisualTokens
from rtprune_cli.views import make_views

UNPRUNED = "1"
DOCUMENT = Document(None, "pages", PurePosixPath("pages"))


@dataclass(frozen=True)
class Encoded:
    """A page that is ready to be pruned: ``pixels`` (3, S, S) float32 and its visual tokens."""

    views: Views
    pixels: Tensor
    tokens: VisualTokens


class Material:
    """Pages for one model in one mode; each is encoded when it is first needed."""

    def __init__(self, model: OcrModel, plan: SpeedPlan, mode: Mode, images: Sequence[Image.Image]) -> None:
        self.model, self.mode, self.images = model, mode, images
        self.spec = model.view_spec(mode)
        self._plan = plan
        self._encoded: list[Encoded] = []

    def encoded(self, count: int) -> list[Encoded]:
        """The first pages, encoded one by one: a batch may need more memory than the stages that are timed."""
        for image in self.images[len(self._encoded) : count]:
            views = [make_views(image, self.spec)]
            pixels = self.model.pixels(views)
            self._encoded.append(Encoded(views[0], pixels[0], self.model.encode(views, pixels)[0]))
        return self._encoded[:count]

    def prompts(self, ratio: str, batch_size: int, together: int | None = None) -> list[DecoderInput]:
        """The prompts of the first B pages, or of B contexts of so many pages ``together``."""
        return self.assembled(self.pruned(ratio, batch_size * (together or 1)), together)

    def pruned(self, ratio: str, count: int) -> list[PrunedTokens]:
        """The first pages after pruning."""
        pages = self.encoded(count)
        if ratio == UNPRUNED:
            return [untouched(page.tokens) for page in pages]
        pruner = Pruner(self._plan.prune[ratio])
        return pruner.start([page.tokens for page in pages], [page.pixels for page in pages]).result()

    def assembled(self, pages: Sequence[PrunedTokens], together: int | None = None) -> list[DecoderInput]:
        """The prompts of the first pages as they are now, or of contexts of so many ``together``."""
        if together is None:
            return [self.prompt(number, [page]) for number, page in enumerate(pages)]
        groups = [pages[start : start + together] for start in range(0, len(pages), together)]
        after = architecture_of(self.model).context_text_after
        return [self.prompt(number, group, after) for number, group in enumerate(groups)]

    def prompt(self, number: int, pages: Sequence[PrunedTokens], text_after: int | None = None) -> DecoderInput:
        """The prompt of page ``number``, from 0, or of a context, which has ``text_after`` its pages."""
        count = architecture_of(self.model).text_after if text_after is None else text_after
        before, after = prompt_ids(number, self.model.text_config.vocab_size, count)
        return assemble(self.model.embed(before), pages, self.model.embed(after))

    def prepared(self, images: Sequence[Image.Image]) -> Iterator[PreparedPage]:
        """The pages made ready, ahead in as many threads as a run has processes: here the pages are in memory.

        As in a run, a small model on a CPU leaves them their cores meanwhile.
        """
        on_gpu, cores, threads = self.model.device.type == "cuda", available_cores(), torch.get_num_threads()
        workers = worker_count(None, cores, on_gpu=on_gpu, small_model=self.model.is_small)
        numbered = list(enumerate(images, 1))
        if not workers:
            yield from map(self._prepare, numbered)
            return
        try:
            if not on_gpu:
                torch.set_num_threads(max(1, min(threads, cores - workers)))
            with ThreadPoolExecutor(workers) as pool:
                yield from pool.map(self._prepare, numbered)
        finally:
            torch.set_num_threads(threads)

    def _prepare(self, numbered: tuple[int, Image.Image]) -> PreparedPage:
        number, image = numbered
        return PreparedPage(PageImage(DOCUMENT, number, image, None, 0.0), make_views(image, self.spec), 0.0)
