"""Families of checkpoints: how each becomes a transformers model, what it is best at, and the texts it is asked with.

The hub checkpoint's remote code is never run. transformers' ``UnlimitedOcr*`` classes hold the same parts; only the
decoder's sliding window differs, and ``layer_types`` turns it off (see docs/how-it-works.md).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtprune_cli.errors import ModelError
from rtprune_cli.options import DEEPSEEK_OCR, LOCATE, Mode

if TYPE_CHECKING:
    from transformers import UnlimitedOcrConfig

# Text before and after the image in the official "plain" template, by task, as the official README has them.
PROMPTS = {
    "markdown": ("", "\n<|grounding|>Convert the document to markdown."),
    "ocr": ("", "\n<|grounding|>OCR this image."),
    "free": ("", "\nFree OCR."),
    "figure": ("", "\nParse the figure."),
    "describe": ("", "\nDescribe this image in detail."),
}
IMAGE = "<image>"  # its place in a text of one's own
# Table tokens repeat lawfully: the official no-repeat rule lets them through.
NGRAM_EXEMPT = ("<td>", "</td>")


def build_config(raw: dict[str, Any]) -> UnlimitedOcrConfig:
    """Translate an official ``config.json`` (DeepSeek-OCR) into transformers' configuration.

    Sizes that the official file leaves to its code take that code's values (``deepencoder.py``: SAM ViT-B has 256
    neck channels and windows of 14, MLPs are four times as wide as their layer).

    Raises:
        ModelError: a section or size is missing.
    """
    from transformers import UnlimitedOcrConfig

    try:
        text, width = dict(raw["language_config"]), raw["vision_config"]["width"]
        sam, clip = width["sam_vit_b"], width["clip-l-14-224"]
        vision = {
            "sam_config": {
                "hidden_size": sam["width"],
                "num_hidden_layers": sam["layers"],
                "num_attention_heads": sam["heads"],
                "global_attn_indexes": sam["global_attn_indexes"],
                "downsample_channels": sam["downsample_channels"],
                "output_channels": sam.get("output_channels", 256),
                "window_size": sam.get("window_size", 14),
                "mlp_dim": sam.get("mlp_dim", 4 * sam["width"]),
                "image_size": raw["vision_config"].get("image_size", 1024),
            },
            "encoder_config": {
                "hidden_size": clip["width"],
                "num_hidden_layers": clip["layers"],
                "num_attention_heads": clip["heads"],
                "image_size": clip["image_size"],
                "patch_size": clip["patch_size"],
                "intermediate_size": clip.get("intermediate_size", 4 * clip["width"]),
                "hidden_act": "quick_gelu",
            },
        }
        layers, positions = text["num_hidden_layers"], text["max_position_embeddings"]
    except (KeyError, TypeError) as error:
        raise ModelError(
            f"the checkpoint's config.json lacks {error}", "Use a checkpoint in the official DeepSeek-OCR layout"
        ) from error
    # These belong to the multi-head latent attention that DeepSeek-OCR switches off, or to the loader.
    for name in ("architectures", "auto_map", "torch_dtype", "use_mla", "kv_lora_rank", "q_lora_rank", "v_head_dim",
                 "qk_nope_head_dim", "qk_rope_head_dim", "rm_head", "lm_head"):  # fmt: skip
        text.pop(name, None)
    text["layer_types"] = ["full_attention"] * layers
    text["sliding_window"] = positions
    return UnlimitedOcrConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=_image_token_id(raw),
        tie_word_embeddings=False,
        bos_token_id=text.get("bos_token_id", 0),
        eos_token_id=text.get("eos_token_id", 1),
    )


def _image_token_id(raw: dict[str, Any]) -> int:
    extra = raw.get("rtprune", {})
    return int(extra.get("image_token_id", raw.get("image_token_id_for_tests", 128815)))


@dataclass(frozen=True)
class Adapter:
    """How a family of checkpoints becomes a transformers model, and what it is best at."""

    build_config: Callable[[dict[str, Any]], UnlimitedOcrConfig]
    mode: Mode
    prompt: str


# Keyed by config.json's first architecture: model_type "deepseek_vl_v2" is shared with DeepSeek-VL2.
ADAPTERS = {DEEPSEEK_OCR: Adapter(build_config, mode="gundam", prompt="markdown")}


def prompt_texts(prompt: str) -> tuple[str, str]:
    """Text before and after the image: of a task, of ``locate WORDS``, or of a text of one's own, which stands after
    the image unless it says ``<image>`` itself."""
    if prompt in PROMPTS:
        return PROMPTS[prompt]
    if prompt.startswith(LOCATE):
        return "", f"\nLocate <|ref|>{prompt.removeprefix(LOCATE).strip()}<|/ref|> in the image."
    before, image, after = prompt.partition(IMAGE)
    return (before, after) if image else ("", f"\n{prompt}")


def gives_words(prompt: str) -> bool:
    """Whether what the model puts between the tags of a region is text of the page, and no word of layout."""
    return prompt == "ocr" or prompt.startswith(LOCATE)


def read_config(folder: Path) -> tuple[dict[str, Any], Adapter]:
    """``config.json`` and the adapter for it.

    Raises:
        ModelError: no readable config, or a model family that is not known.
    """
    try:
        raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        architecture = raw["architectures"][0]
    except FileNotFoundError:
        raise ModelError(f"{folder} has no config.json", "Give a hub id or a folder in the official layout") from None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ModelError(f"{folder / 'config.json'} cannot be read", "Pull the checkpoint again") from error
    adapter = ADAPTERS.get(architecture)
    if adapter is None:
        raise ModelError(f"architecture {architecture} is not supported", f"Supported: {', '.join(ADAPTERS)}")
    return raw, adapter
