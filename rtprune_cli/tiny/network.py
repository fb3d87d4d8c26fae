"""The bundled model's shape: official-style config, initial weights, and saving in the official layout."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rtprune_cli.model.adapters import network_config
from rtprune_cli.tiny.attention import register
from rtprune_cli.tiny.charset import BOS, EOS, IMAGE, VOCAB_SIZE, write_tokenizer
from rtprune_cli.tiny.pages import RANGES

TRAINED_FOR = (
    "printed English in large Helvetica, Times or Courier, regular or bold, 1-8 lines a page, with titles, small "
    "tables and pictures, mode tiny; see docs/tiny-model.md"
)


def raw_config(sizes: dict[str, Any]) -> dict[str, Any]:
    """An official-style config.json for the sizes of train.json's ``model`` section."""
    sam, clip, text = sizes["sam"], sizes["clip"], sizes["text"]
    language = {
        "architectures": ["DeepseekV2ForCausalLM"],
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "first_k_dense_replace": 1,
        "kv_lora_rank": None,
        "lm_head": True,
        "max_position_embeddings": 8192,
        "n_group": 1,
        "num_key_value_heads": text["num_attention_heads"],
        "q_lora_rank": None,
        "qk_nope_head_dim": 0,
        "qk_rope_head_dim": 0,
        "rm_head": False,
        "topk_group": 1,
        "topk_method": "greedy",
        "torch_dtype": "bfloat16",
        "use_mla": False,
        "v_head_dim": 0,
        "vocab_size": VOCAB_SIZE,
        **text,
    }
    return {
        "architectures": ["DeepseekOCRForCausalLM"],
        "model_type": "deepseek_vl_v2",
        "candidate_resolutions": [[1024, 1024]],
        "global_view_pos": "head",
        "tile_tag": "2D",
        "torch_dtype": "bfloat16",
        "language_config": language,
        "projector_config": {
            "input_dim": clip["width"] + sam["downsample_channels"][1],
            "model_type": "mlp_projector",
            "n_embed": text["hidden_size"],
            "projector_type": "linear",
        },
        "vision_config": {
            "image_size": RANGES["tiny"].side,
            "model_name": "deeplip_b_l",
            "model_type": "vision",
            "width": {"clip-l-14-224": clip, "sam_vit_b": sam},
        },
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "rtprune": {
            "image_token_id": IMAGE,
            "mode": "tiny",
            "prompt": "free",
            "prompts": ["free", "markdown"],
            "trained_for": TRAINED_FOR,
        },
    }


def build(raw: dict[str, Any]) -> Any:
    """A model with fresh weights for training; the losses read from its decoder's attention."""
    from transformers import UnlimitedOcrForConditionalGeneration

    config = network_config(raw)
    network = UnlimitedOcrForConditionalGeneration(config)
    network.set_attn_implementation("sdpa")
    network.model.language_model.set_attn_implementation(register())
    initialise(network)
    return network


@torch.no_grad()
def initialise(network: nn.Module) -> None:
    """Weights to train from; the classes' own (SAM's deviation is 1e-10) are meant to be overwritten by a load."""
    for name, weight in network.named_parameters():
        if "norm" in name:
            nn.init.constant_(weight, 0.0 if name.endswith("bias") else 1.0)
        elif weight.dim() < 2 or "rel_pos" in name:
            nn.init.normal_(weight, std=0.02) if "image" in name or "separator" in name else nn.init.zeros_(weight)
        elif ("embed" in name and "projection" not in name) or name.endswith("gate.weight"):
            nn.init.normal_(weight, std=0.02)
        elif weight.dim() == 3:  # stacked experts
            for expert in weight:
                nn.init.xavier_uniform_(expert)
        else:
            nn.init.xavier_uniform_(weight)
        if "patch_embed" in name and weight.dim() == 4:
            # Training pages are gray and move the three channels alike: equal from the start, coloured paper reads
            # as the gray of its mean.
            weight.copy_(weight.mean(1, keepdim=True).expand_as(weight))


def patch_embedding(sam: Any, gray: Tensor) -> Tensor:
    """SAM's patch embedding of a gray image (B, SIDE, SIDE) in [-1, 1] -> (B, h, w, width).

    Three equal channels through the kernel are one channel through its sum: a third of the work.
    """
    projection = sam.patch_embed.projection
    size = projection.kernel_size[0]
    b, h, w = gray.shape
    patches = gray.reshape(b, h // size, size, w // size, size).transpose(2, 3).flatten(3)
    return nn.functional.linear(patches, projection.weight.sum(1).flatten(1), projection.bias)


def save(network: Any, raw: dict[str, Any], folder: Path) -> None:
    """Write the checkpoint in bfloat16 under the official names; the folder is replaced at once."""
    work = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    state = {k: v.detach().to("cpu", torch.bfloat16, copy=True) for k, v in network.state_dict().items()}
    network.save_pretrained(work, state_dict=state)
    for extra in work.glob("generation_config.json"):
        extra.unlink()
    text = json.dumps(raw, indent=1) + "\n"
    (work / "config.json").write_text(text, encoding="utf-8")
    write_tokenizer(work)
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    work.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
