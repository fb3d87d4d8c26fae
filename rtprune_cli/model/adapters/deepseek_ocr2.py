"""DeepSeek-OCR-2: https://huggingface.co/deepseek-ai/DeepSeek-OCR-2.

Its encoder ends in a small language model (Qwen2) with as many learned queries as a view has cells; what these make of
the view is what the decoder reads, in their own order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rtprune_cli.model.adapters.adapter import Adapter
from rtprune_cli.model.adapters.deepseek_ocr import NGRAM_EXEMPT, PROMPTS
from rtprune_cli.model.adapters.translate import sam_section, shared, text_section
from rtprune_cli.options import Recommended
from rtprune_cli.records import ViewLayout

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import DeepseekOcr2Config

# What the official config.json leaves to its code (deepencoderv2.py); left out, the rotary base would silently be 10000
QWEN2 = {"layers": 24, "heads": 14, "kv_heads": 2, "intermediate_size": 4864}
QWEN2_ROPE = {"rope_type": "default", "rope_theta": 1_000_000.0}
QWEN2_POSITIONS = 131_072
TEXT_ROPE = {"rope_type": "default", "rope_theta": 10_000.0}


def build_config(raw: dict[str, Any]) -> DeepseekOcr2Config:
    """Translate an official ``config.json``.

    Raises:
        KeyError: a section or size is missing.
    """
    from transformers import DeepseekOcr2Config

    text, width = text_section(raw), raw["vision_config"]["width"]
    qwen = {**QWEN2, **width["qwen2-0-5b"]}
    dense = text.pop("first_k_dense_replace")
    text["mlp_layer_types"] = ["dense" if layer < dense else "sparse" for layer in range(text["num_hidden_layers"])]
    text["rope_parameters"] = TEXT_ROPE
    encoder = {
        "hidden_size": qwen["dim"],
        "num_hidden_layers": qwen["layers"],
        "num_attention_heads": qwen["heads"],
        "num_key_value_heads": qwen["kv_heads"],
        "intermediate_size": qwen["intermediate_size"],
        "rope_parameters": QWEN2_ROPE,
        "max_position_embeddings": QWEN2_POSITIONS,
    }
    # The second number in config.json is not that of the weights: the official code has the width of Qwen2 there.
    channels = [width["sam_vit_b"]["downsample_channels"][0], qwen["dim"]]
    vision = {"sam_config": sam_section(raw, downsample_channels=channels), "encoder_config": encoder}
    return DeepseekOcr2Config(vision_config=vision, text_config=text, **shared(raw, text))


def image_features(
    network: Any, views: Tensor, tiles: Tensor | None, counts: Sequence[int], _grids: Sequence[tuple[int, int]]
) -> list[Tensor]:
    """As :class:`Adapter` says; tiles come one after the other, whatever their grid."""
    output = network.get_image_features(pixel_values=views, pixel_values_local=tiles, num_local_patches=list(counts))
    found: list[Tensor] = output.pooler_output
    return found


ADAPTER = Adapter(
    name="DeepSeek-OCR-2",
    repository="deepseek-ai/DeepSeek-OCR-2",
    architectures=("DeepseekOCR2ForCausalLM", "DeepseekOcr2ForConditionalGeneration"),
    network="DeepseekOcr2ForConditionalGeneration",
    build_config=build_config,
    image_features=image_features,
    # It has 144 queries and 256, so that it can see no other sides.
    layout=ViewLayout(tile=768, most_tiles=6, newlines=False, placed=False, sides=(768, 1024)),
    modes=("gundam",),
    tasks=("markdown", "free"),
    prompts=PROMPTS,
    joint="\n",
    # No published result stands behind pruning its tokens at all ratios: 1083 -> 560 cost 7 points (docs/models.md).
    recommended=Recommended(ratio=1.0),
    ngram_exempt=NGRAM_EXEMPT,
    tower="queries",
)
