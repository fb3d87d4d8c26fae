"""DeepSeek-OCR: https://huggingface.co/deepseek-ai/DeepSeek-OCR, and the bundled model.

transformers has no class for it, but its ``UnlimitedOcr*`` classes hold the same parts; only the decoder's sliding
window differs, and ``layer_types`` turns it off (see docs/how-it-works.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rtprune_cli.model.adapters.adapter import Adapter
from rtprune_cli.model.adapters.translate import clip_section, sam_section, shared, text_section
from rtprune_cli.options import MODES, Recommended
from rtprune_cli.records import ViewLayout

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import UnlimitedOcrConfig

# Text before and after the image in the official "plain" template, by task, as the official README has them.
PROMPTS = {
    "markdown": ("", "\n<|grounding|>Convert the document to markdown."),
    "ocr": ("", "\n<|grounding|>OCR this image."),
    "free": ("", "\nFree OCR."),
    "figure": ("", "\nParse the figure."),
    "describe": ("", "\nDescribe this image in detail."),
}
# Table tokens repeat lawfully: the official no-repeat rule lets them through.
NGRAM_EXEMPT = ("<td>", "</td>")


def build_config(raw: dict[str, Any]) -> UnlimitedOcrConfig:
    """Translate an official ``config.json``.

    Raises:
        KeyError: a section or size is missing.
    """
    from transformers import UnlimitedOcrConfig

    text = text_section(raw)
    text["layer_types"] = ["full_attention"] * text["num_hidden_layers"]
    text["sliding_window"] = text["max_position_embeddings"]
    vision = {"sam_config": sam_section(raw), "encoder_config": clip_section(raw)}
    return UnlimitedOcrConfig(vision_config=vision, text_config=text, **shared(raw, text))


def image_features(
    network: Any, views: Tensor, tiles: Tensor | None, counts: Sequence[int], grids: Sequence[tuple[int, int]]
) -> list[Tensor]:
    """As :class:`Adapter` says."""
    output = network.get_image_features(
        pixel_values=views,
        pixel_values_local=tiles,
        num_local_patches=list(counts),
        patches_grid=[list(grid) for grid in grids],
    )
    found: list[Tensor] = output.pooler_output
    return found


ADAPTER = Adapter(
    name="DeepSeek-OCR",
    repository="deepseek-ai/DeepSeek-OCR",
    architectures=("DeepseekOCRForCausalLM",),
    network="UnlimitedOcrForConditionalGeneration",
    build_config=build_config,
    image_features=image_features,
    layout=ViewLayout(tile=640, most_tiles=9),
    modes=MODES,
    tasks=None,
    prompts=PROMPTS,
    joint="\n",
    recommended=Recommended(),
    ngram_exempt=NGRAM_EXEMPT,
    tower="clip",
)
