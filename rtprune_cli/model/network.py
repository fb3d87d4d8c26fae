"""A loaded checkpoint: pages' views to visual tokens, tokens and text to prompts, token ids to text."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rtprune_cli.device.graphs import Graphs, send
from rtprune_cli.errors import ModelError
from rtprune_cli.model.adapters import NGRAM_EXEMPT, PROMPTS
from rtprune_cli.model.attention import watched, with_attention
from rtprune_cli.model.checkpoint import SMALL_MODEL, Checkpoint
from rtprune_cli.records import DecoderInput, PrunedTokens, Views, VisualTokens
from rtprune_cli.views.grid import token_grid

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer
    from transformers import UnlimitedOcrForConditionalGeneration


@dataclass(frozen=True)
class OcrModel(Checkpoint):
    """A loaded checkpoint."""

    network: UnlimitedOcrForConditionalGeneration = field(repr=False)

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
        ids = (self.tokenizer.token_to_id(token) for token in NGRAM_EXEMPT)
        return frozenset(i for i in ids if i is not None)

    def prompt_ids(self, prompt: str) -> tuple[list[int], list[int]]:
        """Token ids before the image (bos first) and after it."""
        before, after = (self.tokenizer.encode(text, add_special_tokens=False).ids for text in PROMPTS[prompt])
        return [int(self.network.config.bos_token_id), *before], after

    def prompt_embeds(self, prompt: str) -> tuple[Tensor, Tensor]:
        """Embeddings of a prompt's text before the image, (b, D), and after it, (a, D); made once for each prompt."""
        if prompt not in self._prompts:
            before, after = (self.embed(ids) for ids in self.prompt_ids(prompt))
            self._prompts[prompt] = before, after
        return self._prompts[prompt]

    def make_prompt(self, visual: PrunedTokens, prompt: str) -> DecoderInput:
        """The prompt of one page: its kept visual tokens between the texts of a prompt."""
        before, after = self.prompt_embeds(prompt)
        return assemble(before, visual, after)

    def instruction(self, prompt: str) -> Tensor:
        """Embeddings (M, D) of a prompt's text, without its bos."""
        before, after = self.prompt_embeds(prompt)
        return torch.cat([before[1:], after])

    @cached_property
    def _prompts(self) -> dict[str, tuple[Tensor, Tensor]]:
        return {}

    def decode_text(self, token_ids: Sequence[int]) -> str:
        """Text of generated ids; grounding and table tokens stay, since the markdown stage reads them."""
        return str(self.tokenizer.decode(list(token_ids), skip_special_tokens=False))

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
        graphs: Graphs | None = None,
    ) -> list[VisualTokens]:
        """Projected visual tokens of each page. All pages must have global views of one side (one mode).

        ``pixels``: what :meth:`pixels` gives for them, where it is at hand. ``attention``: with the class token's
        attention and the patches' keys, which are taken beside the ordinary work. ``graphs``: record the work where it
        can be; the work that ``attention`` watches is not.
        """
        tiles = [v.tiles for v in views if v.tiles is not None]
        inputs = [(self.pixels(views) if pixels is None else pixels).to(self.dtype)]
        if tiles:
            inputs.append(normalise(np.concatenate(tiles), self.device).to(self.dtype))
        counts, grids = [0 if v.tiles is None else len(v.tiles) for v in views], [v.grid for v in views]

        def see(own: Tensor, own_tiles: Tensor | None = None) -> list[Tensor]:
            features: list[Tensor] = self.network.get_image_features(
                pixel_values=own,
                pixel_values_local=own_tiles,
                num_local_patches=counts,
                patches_grid=[list(grid) for grid in grids],
            ).pooler_output
            return features

        with watched(self.network) if attention else nullcontext() as seen:
            if graphs is None or seen is not None or not graphs.recording(self.device):
                found = see(*inputs)
            else:
                found = [each.clone() for each in graphs.run((inputs[0].shape, *counts, *grids), see, *inputs)]
        pages = [VisualTokens(tokens, _newlines(v)) for tokens, v in zip(found, views, strict=True)]
        return pages if seen is None else with_attention(pages, views, seen)


def assemble(before: Tensor, visual: PrunedTokens, after: Tensor) -> DecoderInput:
    """Prompt of one page: text before the image (b, D), the kept visual tokens, text after it (a, D).

    Every token keeps the position it has without pruning (RTPrune section 4, rule 6 in docs/how-it-works.md).
    """
    start, end = len(before), len(before) + visual.total
    positions = torch.cat([torch.arange(start), start + visual.keep, torch.arange(end, end + len(after))])
    return DecoderInput(torch.cat([before, visual.tokens, after]), positions, end + len(after))


def normalise(pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Bytes (B, H, W, 3) -> float32 (B, 3, H, W) in [-1, 1], with the official order of operations."""
    channels_first = send(torch.from_numpy(pixels), device).permute(0, 3, 1, 2)
    return channels_first.to(torch.float32, memory_format=torch.contiguous_format).div_(255).sub_(0.5).div_(0.5)


def _newlines(views: Views) -> Tensor:
    return torch.from_numpy(token_grid(views).newlines())
