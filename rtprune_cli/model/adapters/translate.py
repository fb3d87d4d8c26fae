"""Sections of official config.json files, which the families share, as transformers' classes take them."""

from __future__ import annotations

from typing import Any

# These belong to the multi-head latent attention that the decoder switches off, or to the loader.
_LEFT_OUT = (
    "architectures", "auto_map", "torch_dtype", "use_mla", "kv_lora_rank", "q_lora_rank", "v_head_dim",
    "qk_nope_head_dim", "qk_rope_head_dim", "rm_head", "lm_head", "sliding_window_size",
)  # fmt: skip


def text_section(raw: dict[str, Any]) -> dict[str, Any]:
    """The decoder's sizes.

    Raises:
        KeyError: there are none.
    """
    return {name: value for name, value in raw["language_config"].items() if name not in _LEFT_OUT}


def sam_section(raw: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """SAM's sizes. Those that the official file leaves to its code take that code's values (``deepencoder.py``: ViT-B
    has 256 neck channels and windows of 14, MLPs are four times as wide as their layer).

    Raises:
        KeyError: a size is missing.
    """
    sam = raw["vision_config"]["width"]["sam_vit_b"]
    return {
        "hidden_size": sam["width"],
        "num_hidden_layers": sam["layers"],
        "num_attention_heads": sam["heads"],
        "global_attn_indexes": sam["global_attn_indexes"],
        "downsample_channels": sam["downsample_channels"],
        "output_channels": sam.get("output_channels", 256),
        "window_size": sam.get("window_size", 14),
        "mlp_dim": sam.get("mlp_dim", 4 * sam["width"]),
        "image_size": raw["vision_config"].get("image_size", 1024),
        **changed,
    }


def clip_section(raw: dict[str, Any]) -> dict[str, Any]:
    """CLIP's sizes.

    Raises:
        KeyError: a size is missing.
    """
    clip = raw["vision_config"]["width"]["clip-l-14-224"]
    return {
        "hidden_size": clip["width"],
        "num_hidden_layers": clip["layers"],
        "num_attention_heads": clip["heads"],
        "image_size": clip["image_size"],
        "patch_size": clip["patch_size"],
        "intermediate_size": clip.get("intermediate_size", 4 * clip["width"]),
        "hidden_act": "quick_gelu",
    }


def shared(raw: dict[str, Any], text: dict[str, Any]) -> dict[str, Any]:
    """What stands beside the sections."""
    extra = raw.get("rtprune", {})
    return {
        "image_token_id": int(extra.get("image_token_id", raw.get("image_token_id_for_tests", 128815))),
        "tie_word_embeddings": False,
        "bos_token_id": text.get("bos_token_id", 0),
        "eos_token_id": text.get("eos_token_id", 1),
    }
