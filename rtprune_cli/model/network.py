"""A loaded checkpoint: pages' views to visual tokens, tokens and text to prompts, token ids to text."""

from __future__ import annotations

import itertools
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rtprune_cli.decoding.loops import TokenKinds
from rtprune_cli.device.graphs import Graphs, send
from rtprune_cli.errors import ModelError
from rtprune_cli.markdown import DET, END_DET, END_REF, REF, TAGS, opening_tag
from rtprune_cli.model.adapters import IMAGE, PromptTexts
from rtprune_cli.model.attention import watched, with_sights
from rtprune_cli.model.checkpoint import SMALL_MODEL, Checkpoint
from rtprune_cli.records import DecoderInput, PrunedTokens, Views, VisualTokens
from rtprune_cli.views.grid import token_grid

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel


# A special token, or what a reader of the text could take for one
_LIKE_A_TOKEN = re.compile(r"<(?:\|/?\w{1,40}(?:\|>)?|｜[\w▁]{0,40}(?:｜>)?)")


@dataclass(frozen=True)
class OcrModel(Checkpoint):
    """A loaded checkpoint."""

    network: PreTrainedModel = field(repr=False)

    def load(self) -> OcrModel:
        """It is loaded."""
        return self

    @property
    def is_small(self) -> bool:
        return sum(parameter.nbytes for parameter in self.network.parameters()) < SMALL_MODEL

    @property
    def text_config(self) -> Any:
        return self.network.config.text_config

    @property
    def eos_token_id(self) -> int:
        return int(self.network.config.eos_token_id)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The checkpoint's own tokenizer.

        Raises:
            ModelError: ``tokenizer.json`` is missing or broken.
        """
        from tokenizers import Tokenizer

        path = self.folder / "tokenizer.json"
        if not path.is_file():
            raise ModelError(f"{self.name} has no tokenizer.json", "Pull the checkpoint again: rtprune models pull")
        try:
            return Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises a bare Exception for a broken file
            raise ModelError(f"{path} cannot be read", "Pull the checkpoint again: rtprune models pull") from error

    @cached_property
    def ngram_exempt(self) -> frozenset[int]:
        """Ids of the tokens that the no-repeat rule never bans."""
        ids = (self.tokenizer.token_to_id(token) for token in self.adapter.ngram_exempt)
        return frozenset(i for i in ids if i is not None)

    @cached_property
    def token_kinds(self) -> TokenKinds:
        """What the loop guard has to know of the vocabulary."""
        return TokenKinds.of(self.tokenizer.get_vocab())

    def prompt_ids(self, prompt: str) -> tuple[list[int], list[int]]:
        """Token ids before the image (bos first) and after it."""
        return self._ids_of(self.adapter.prompt_texts(prompt))

    def _ids_of(self, texts: PromptTexts) -> tuple[list[int], list[int]]:
        before, after = (self.tokenizer.encode(text, add_special_tokens=False).ids for text in texts)
        return [int(self.network.config.bos_token_id), *before], after

    def prompt_embeds(self, prompt: str) -> tuple[Tensor, Tensor]:
        """Embeddings of a prompt's text before the image, (b, D), and after it, (a, D); made once for each prompt."""
        return self._embeds_of(self.adapter.prompt_texts(prompt))

    def _embeds_of(self, texts: PromptTexts) -> tuple[Tensor, Tensor]:
        if texts not in self._prompts:
            before, after = (self.embed(ids) for ids in self._ids_of(texts))
            self._prompts[texts] = before, after
        return self._prompts[texts]

    def make_prompt(self, visual: PrunedTokens, prompt: str) -> DecoderInput:
        """The prompt of one page: its kept visual tokens between the texts of a prompt."""
        before, after = self.prompt_embeds(prompt)
        return assemble(before, [visual], after)

    def make_context(self, pages: Sequence[PrunedTokens]) -> DecoderInput:
        """The prompt of several pages that are read as one text.

        Raises:
            UsageError: the model reads one page at a time.
        """
        before, after = self._embeds_of(self.context_rules.prompt)
        return assemble(before, pages, after)

    def page_texts(self, token_ids: Sequence[int]) -> list[slice]:
        """Where the text of each page lies among the tokens of a context.

        A page break stands at the beginning of a line before every page; before the first it may be missing. Tokens
        that share a break with other text would be lost, so that those are no break.

        Raises:
            UsageError: the model reads one page at a time.
        """
        pieces = [self._decode([token]) for token in token_ids]
        starts = [0, *itertools.accumulate(map(len, pieces))]  # of each token in the text
        text = "".join(pieces)
        edges = [0]
        for found in re.finditer(rf"^{re.escape(self.context_rules.page_break)}", text, re.M):
            first, after = bisect_right(starts, found.start()) - 1, bisect_left(starts, found.end())
            around = text[starts[first] : found.start()] + text[found.end() : starts[after]]
            if not around.strip():
                edges += [first, after]
        edges.append(len(token_ids))
        parts = [slice(*pair) for pair in zip(edges[::2], edges[1::2], strict=True)]
        leading = text[starts[parts[0].start] : starts[parts[0].stop]]
        return parts if leading.strip() or len(parts) == 1 else parts[1:]

    def instruction(self, prompt: str) -> Tensor:
        """Embeddings (M, D) of a prompt's text, without its bos."""
        before, after = self.prompt_embeds(prompt)
        return torch.cat([before[1:], after])

    @cached_property
    def _prompts(self) -> dict[PromptTexts, tuple[Tensor, Tensor]]:
        return {}

    def decode_text(self, token_ids: Sequence[int]) -> str:
        """Text of generated ids with the tags of regions; the checkpoint's other special tokens are left out.

        What only looks like a special token was printed on the page, and is escaped (``&lt;|``): from here on, a tag in
        the text is one.
        """
        ids = [token for token in token_ids if token not in self._unwritten]
        text = self._decode(ids)
        if _LIKE_A_TOKEN.findall(text) == [self._tags[token] for token in ids if token in self._tags]:
            return text
        runs = itertools.groupby(ids, key=lambda token: self._tags.get(token, ""))
        return "".join(tag * len(list(run)) if tag else _escaped(self._decode(list(run))) for tag, run in runs)

    def _decode(self, token_ids: list[int]) -> str:
        return str(self.tokenizer.decode(token_ids, skip_special_tokens=False))

    @cached_property
    def _tags(self) -> dict[int, str]:
        """Ids of the tags of regions."""
        ids = {self.tokenizer.token_to_id(tag): tag for tag in TAGS}
        return {token: tag for token, tag in ids.items() if token is not None}

    @cached_property
    def _unwritten(self) -> frozenset[int]:
        """Ids of special tokens that are no text: all that the tokenizer adds in bars, and the image's place."""
        added = self.tokenizer.get_added_tokens_decoder()
        return frozenset(
            token
            for token, about in added.items()
            if token not in self._tags and (_LIKE_A_TOKEN.match(about.content) or about.content == IMAGE)
        )

    def confidences(self, token_ids: Sequence[int], logprobs: Sequence[float]) -> list[float | None]:
        """Mean log-probability of the tokens before the first opening of a region, and after each up to the next: what
        :func:`~rtprune_cli.markdown.to_markdown` takes. None where there are none.

        Of the text alone: the digits of boxes, of which no model is sure, would outweigh short texts. Where there is
        none, as for a picture, of the tags.
        """
        tags = [self._tags.get(token) for token in token_ids]
        opening = opening_tag(tags)
        parts: list[tuple[list[float], list[float]]] = [([], [])]  # of the text, of the tags
        inside = False
        for tag, logprob in zip(tags, logprobs, strict=True):
            if tag == opening:
                parts.append(([], []))
            inside = tag in (REF, DET) or (inside and tag not in (END_REF, END_DET))
            parts[-1][inside or tag is not None].append(logprob)
        return [fmean(text or own) if text or own else None for text, own in parts]

    @torch.inference_mode()
    def embed(self, token_ids: Sequence[int]) -> Tensor:
        """Token embeddings, (n, D)."""
        ids = send(torch.tensor(token_ids, dtype=torch.long), self.device)
        return self.network.get_input_embeddings()(ids)

    @torch.inference_mode()
    def pixels(self, views: Sequence[Views]) -> Tensor:
        """The global views of B pages of one mode as the model sees them, (B, 3, S, S), float32 in [-1, 1]."""
        return normalise(np.stack([v.global_view for v in views]), self.device)

    @torch.inference_mode()
    def encode(
        self,
        views: Sequence[Views],
        pixels: Tensor | None = None,
        *,
        attention: bool = False,
        features: bool = False,
        graphs: Graphs | None = None,
    ) -> list[VisualTokens]:
        """Projected visual tokens of each page. All pages must have global views of one side (one mode).

        ``pixels``: what :meth:`pixels` gives for them, where it is at hand. ``attention``: with the class token's
        attention and the patches' keys; ``features``: with CLIP's features; both are taken beside the ordinary work.
        ``graphs``: record the work where it can be; work that is watched is not.
        """
        tiles = [v.tiles for v in views if v.tiles is not None]
        inputs = [(self.pixels(views) if pixels is None else pixels).to(self.dtype)]
        if tiles:
            inputs.append(normalise(np.concatenate(tiles), self.device).to(self.dtype))
        counts, grids = [0 if v.tiles is None else len(v.tiles) for v in views], [v.grid for v in views]

        def see(own: Tensor, own_tiles: Tensor | None = None) -> list[Tensor]:
            return self.adapter.image_features(self.network, own, own_tiles, counts, grids)

        watching = watched(self.network, attention=attention, features=features)
        with watching if attention or features else nullcontext() as seen:
            if graphs is None or seen is not None or not graphs.recording(self.device):
                found = see(*inputs)
            else:
                found = [each.clone() for each in graphs.run((inputs[0].shape, *counts, *grids), see, *inputs)]
        pages = [VisualTokens(tokens, _newlines(v)) for tokens, v in zip(found, views, strict=True)]
        return pages if seen is None else with_sights(pages, views, seen)


def _escaped(text: str) -> str:
    return _LIKE_A_TOKEN.sub(lambda found: f"&lt;{found[0][1:]}", text)


def assemble(before: Tensor, pages: Sequence[PrunedTokens], after: Tensor) -> DecoderInput:
    """Prompt of one page, or of several: text before the images (b, D), the kept visual tokens of each, text after them
    (a, D).

    Every token keeps the position it has without pruning (RTPrune section 4, rule 6 in docs/how-it-works.md).
    """
    end = len(before)
    positions = [torch.arange(end)]
    for page in pages:
        positions.append(end + page.keep)
        end += page.total
    positions.append(torch.arange(end, end + len(after)))
    embeds = torch.cat([before, *(page.tokens for page in pages), after])
    return DecoderInput(embeds, torch.cat(positions), end + len(after))


def normalise(pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Bytes (B, H, W, 3) -> float32 (B, 3, H, W) in [-1, 1], with the official order of operations."""
    channels_first = send(torch.from_numpy(pixels), device).permute(0, 3, 1, 2)
    return channels_first.to(torch.float32, memory_format=torch.contiguous_format).div_(255).sub_(0.5).div_(0.5)


def _newlines(views: Views) -> Tensor:
    return torch.from_numpy(token_grid(views).newlines())
