"""What a family of checkpoints is: the one place where models are told apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rtprune_cli.options import LOCATE, Mode, Recommended
from rtprune_cli.records import ViewLayout

if TYPE_CHECKING:
    from torch import Tensor

IMAGE = "<image>"  # its place in a text of one's own

PromptTexts = tuple[str, str]  # before the image, and after it


@dataclass(frozen=True)
class ContextRules:
    """How a model reads many pages as one text: ``views`` and ``prompt`` of all, and what it writes before each.

    ``no_repeat_window`` takes the place of the recommended one; ``usual_text`` is the room in tokens that ``auto``
    leaves for a page's text.
    """

    mode: Mode
    prompt: PromptTexts
    page_break: str
    no_repeat_window: int
    usual_text: int


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """How a family of checkpoints becomes a transformers model, how it sees pages, and what it is best at.

    ``architectures`` are the first ones in config.json: that of the official checkpoint, and transformers' own class,
    which is ``network``. ``build_config`` translates an official config.json and raises KeyError for what is missing.
    ``image_features`` makes projected visual tokens (N, D) of B pages of: the network, views (B, 3, S, S), the tiles of
    all pages (T, 3, S', S') or None, how many of these each page has, and its grid of (columns, rows). ``modes`` and
    ``tasks`` are those that its authors publish (None: whatever it is asked); ``prompts`` has the texts of every task,
    ``joint`` stands between the image and a text of one's own. ``ngram_exempt`` tokens may repeat. ``tower`` is
    what sees a view's cells, of which some pruning methods take attention and features: CLIP, or nothing that has them.
    """

    name: str
    repository: str
    architectures: tuple[str, ...]
    network: str
    build_config: Callable[[dict[str, Any]], Any]
    image_features: Callable[[Any, Tensor, Tensor | None, Sequence[int], Sequence[tuple[int, int]]], list[Tensor]]
    layout: ViewLayout
    modes: tuple[Mode, ...]
    tasks: tuple[str, ...] | None
    prompts: Mapping[str, PromptTexts]
    joint: str
    recommended: Recommended
    ngram_exempt: tuple[str, ...]
    tower: Literal["clip", "queries"]
    contexts: ContextRules | None = None

    def prompt_texts(self, prompt: str) -> PromptTexts:
        """Text before and after the image: of a task, of ``locate WORDS``, or of a text of one's own, which stands
        after the image unless it says ``<image>`` itself."""
        if prompt in self.prompts:
            return self.prompts[prompt]
        if prompt.startswith(LOCATE):
            return "", f"\nLocate <|ref|>{prompt.removeprefix(LOCATE).strip()}<|/ref|> in the image."
        before, image, after = prompt.partition(IMAGE)
        return (before, after) if image else ("", f"{self.joint}{prompt}")


def gives_words(prompt: str) -> bool:
    """Whether what the model puts between the tags of a region is text of the page, and no word of layout."""
    return prompt == "ocr" or prompt.startswith(LOCATE)
