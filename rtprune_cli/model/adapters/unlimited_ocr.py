"""Unlimited-OCR: https://huggingface.co/baidu/Unlimited-OCR.

DeepSeek-OCR's parts with more tiles and more positions, and a decoder that sees the whole prompt but only the last
tokens of what it wrote itself, so that many pages fit into one context.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rtprune_cli.model.adapters.adapter import Adapter, ContextRules
from rtprune_cli.model.adapters.deepseek_ocr import PROMPTS, image_features
from rtprune_cli.model.adapters.translate import clip_section, sam_section, shared, text_section
from rtprune_cli.options import Recommended
from rtprune_cli.records import ViewLayout

if TYPE_CHECKING:
    from transformers import UnlimitedOcrConfig


def build_config(raw: dict[str, Any]) -> UnlimitedOcrConfig:
    """Translate an official ``config.json``. Without ``layer_types`` every layer has the window.

    Raises:
        KeyError: a section or size is missing.
    """
    from transformers import UnlimitedOcrConfig

    text = text_section(raw)
    # Left out, it would silently be 128.
    text["sliding_window"] = (
        raw["sliding_window"] if "sliding_window" in raw else raw["language_config"]["sliding_window_size"]
    )
    vision = {"sam_config": sam_section(raw), "encoder_config": clip_section(raw)}
    return UnlimitedOcrConfig(vision_config=vision, text_config=text, **shared(raw, text))


ADAPTER = Adapter(
    name="Unlimited-OCR",
    repository="baidu/Unlimited-OCR",
    architectures=("UnlimitedOCRForCausalLM", "UnlimitedOcrForConditionalGeneration"),
    network="UnlimitedOcrForConditionalGeneration",
    build_config=build_config,
    image_features=image_features,
    layout=ViewLayout(tile=640, most_tiles=32),
    modes=("base", "gundam"),
    tasks=("markdown",),
    prompts={**PROMPTS, "markdown": ("", "document parsing.")},
    joint="",
    recommended=Recommended(dpi=300, max_new_tokens=32_768, no_repeat_ngram=35, no_repeat_window=128),
    ngram_exempt=(),
    tower="clip",
    contexts=ContextRules(
        mode="base",
        prompt=("", "Multi page parsing."),
        page_break="<PAGE>",
        no_repeat_window=1024,
        usual_text=1024,
    ),
)
