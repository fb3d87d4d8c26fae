"""A checkpoint in the official DeepSeek-OCR layout on transformers' own classes: loading, visual tokens, prompts.

The hub checkpoint's remote code is never run. transformers' ``UnlimitedOcr*`` classes hold the same parts; only the
decoder's sliding window differs, and ``layer_types`` turns it off (see docs/how-it-works.md).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rtprune_cli import devices, experts
from rtprune_cli.errors import EnvironmentFault, ModelError
from rtprune_cli.failures import free_memory, is_out_of_memory
from rtprune_cli.graphs import Graphs, send
from rtprune_cli.hub import checkpoint_folder
from rtprune_cli.options import DEEPSEEK_OCR, Mode, ModelOptions, Prompt
from rtprune_cli.records import Views, VisualTokens
from rtprune_cli.views.grid import token_grid

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer
    from transformers import UnlimitedOcrConfig, UnlimitedOcrForConditionalGeneration

# Text before and after the image in the official "plain" template.
PROMPTS = {
    "markdown": ("", "\n<|grounding|>Convert the document to markdown."),
    "free": ("", "\nFree OCR."),
}
# Table tokens repeat lawfully: the official no-repeat rule lets them through.
NGRAM_EXEMPT = ("<td>", "</td>")
ATTENTION = "sdpa"
# The switch for the threads of transformers' loader, which reads it at each load; see _without_threads.
SYNCHRONOUS_LOAD = "HF_DEACTIVATE_ASYNC_LOAD"
SMALL_MODEL = 2**28  # bytes of weights; below, fixed costs rule: low precision and many threads gain nothing


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
    prompt: Prompt


# Keyed by config.json's first architecture: model_type "deepseek_vl_v2" is shared with DeepSeek-VL2.
ADAPTERS = {DEEPSEEK_OCR: Adapter(build_config, mode="gundam", prompt="markdown")}


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was found, not yet loaded: ``name`` and ``revision`` say which, ``mode`` and ``prompt`` what
    it is best at, ``device`` and ``dtype`` where and how it will run. ``config`` is its config.json."""

    name: str
    revision: str
    folder: Path
    mode: Mode
    prompt: Prompt
    device: torch.device
    dtype: torch.dtype
    config: dict[str, Any] = field(repr=False)

    @property
    def attention(self) -> str:
        return ATTENTION

    @property
    def experts(self) -> str:
        """How the experts of a layer are computed."""
        return experts.describe(self.device, self.dtype)

    @property
    def is_small(self) -> bool:
        """Whether the model is done with a page in about the time that it takes to make one."""
        return weights_size(self.folder) < SMALL_MODEL

    def load(self) -> OcrModel:
        """The model with its weights.

        Raises:
            ModelError: weights that cannot be read, tensors that do not fit their places.
            EnvironmentFault: the device has not enough memory for the weights.
        """
        devices.set_up(self.device, self.dtype)
        own = {each.name: getattr(self, each.name) for each in fields(Checkpoint)}
        return OcrModel(**own, network=_load_network(self))


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

        with _watched(self.network) if attention else nullcontext() as seen:
            if graphs is None or seen is not None or not graphs.recording(self.device):
                found = see(*inputs)
            else:
                found = [each.clone() for each in graphs.run((inputs[0].shape, *counts, *grids), see, *inputs)]
        pages = [VisualTokens(tokens, _newlines(v)) for tokens, v in zip(found, views, strict=True)]
        return pages if seen is None else _with_attention(pages, views, seen)


def normalise(pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Bytes (B, H, W, 3) -> float32 (B, 3, H, W) in [-1, 1], with the official order of operations."""
    channels_first = send(torch.from_numpy(pixels), device).permute(0, 3, 1, 2)
    return channels_first.to(torch.float32, memory_format=torch.contiguous_format).div_(255).sub_(0.5).div_(0.5)


def _newlines(views: Views) -> Tensor:
    return torch.from_numpy(token_grid(views).newlines())


@contextmanager
def _watched(network: UnlimitedOcrForConditionalGeneration) -> Iterator[list[Tensor]]:
    """What each pass through the penultimate CLIP layer shows: (V, T, 1 + K) float32, V views of T patches.

    First the class token's attention to each patch, then the patch's keys, both means over the heads. The layer's own
    way to compute (sdpa) returns no weights, so that one row of them is made again of its queries and keys.
    """
    attention = network.model.vision_tower.vision_encoder.encoder.layers[-2].self_attn
    seen: list[Tensor] = []
    queries: list[Tensor] = []

    def query(_module: Any, _inputs: Any, output: Tensor) -> None:
        queries.append(output[:, 0])

    def key(_module: Any, _inputs: Any, output: Tensor) -> None:
        keys = output.unflatten(-1, (-1, attention.head_dim)).float()  # (V, 1 + T, heads, K)
        row = queries.pop().unflatten(-1, (-1, attention.head_dim)).float()  # (V, heads, K)
        weights = torch.einsum("vhk,vthk->vht", row, keys).mul(attention.scale).softmax(-1)
        seen.append(torch.cat([weights.mean(1)[..., None], keys.mean(2)], dim=-1)[:, 1:])

    hooks = [attention.q_proj.register_forward_hook(query), attention.k_proj.register_forward_hook(key)]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _with_attention(
    pages: Sequence[VisualTokens], views: Sequence[Views], seen: Sequence[Tensor]
) -> list[VisualTokens]:
    """The pages with what :func:`_watched` saw of their global views, then of the tiles of all of them."""
    counts = [0 if v.tiles is None else len(v.tiles) for v in views]
    tiles = seen[1].split(counts) if sum(counts) else [None] * len(views)
    found = []
    for page, view, own, own_tiles in zip(pages, views, seen[0], tiles, strict=True):
        patches = own if own_tiles is None else torch.cat([own_tiles.flatten(0, 1), own])
        patches = patches[send(torch.from_numpy(token_grid(view).patch_order()), own.device)]
        places = send(page.prunable.nonzero().flatten(), own.device)
        table = own.new_zeros(len(page.tokens), own.shape[-1]).index_copy_(0, places, patches)
        found.append(replace(page, cls_attention=table[:, 0], keys=table[:, 1:]))
    return found


def weights_size(folder: Path) -> int:
    """Bytes of a checkpoint's weights."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


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


def locate(options: ModelOptions) -> Checkpoint:
    """Find a checkpoint: the bundled one, a local folder, or a hub id (downloaded once).

    Raises:
        ModelError: missing weights, pickle weights, an unknown family.
        EnvironmentFault: the device is not there.
    """
    device = devices.pick_device(options.device)
    origin = checkpoint_folder(options.model, options.revision, offline=options.offline)
    config, adapter = read_config(origin.folder)
    best = {"mode": adapter.mode, "prompt": adapter.prompt, **config.get("rtprune", {})}
    return Checkpoint(
        name=options.model,
        revision=origin.revision,
        folder=origin.folder,
        mode=best["mode"],
        prompt=best["prompt"],
        device=device,
        dtype=devices.pick_dtype(options.dtype, device, small=weights_size(origin.folder) < SMALL_MODEL),
        config=config,
    )


def load(options: ModelOptions) -> OcrModel:
    """:func:`locate` and load a checkpoint, with the errors of both."""
    return locate(options).load()


def _load_network(checkpoint: Checkpoint) -> UnlimitedOcrForConditionalGeneration:
    from safetensors import SafetensorError
    from transformers import UnlimitedOcrForConditionalGeneration
    from transformers.utils import logging

    config = ADAPTERS[checkpoint.config["architectures"][0]].build_config(checkpoint.config)
    logging.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # the loader logs a table for what is checked below
    try:
        with _without_threads():
            network, info = UnlimitedOcrForConditionalGeneration.from_pretrained(
                checkpoint.folder,
                config=config,
                dtype=checkpoint.dtype,
                attn_implementation=ATTENTION,
                experts_implementation=experts.implementation(checkpoint.device),
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                local_files_only=True,
            )
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise _no_room(checkpoint) from error
        raise ModelError(
            f"the weights of {checkpoint.name} cannot be loaded", "Pull the checkpoint again: rtprune models pull"
        ) from error
    finally:
        logging.set_verbosity(verbosity)
    wrong = sorted(info["missing_keys"]) + sorted(info["unexpected_keys"]) + [k[0] for k in info["mismatched_keys"]]
    if wrong:
        raise ModelError(
            f"{len(wrong)} tensors of {checkpoint.name} do not fit its config.json, {wrong[0]} for one",
            "Pull the checkpoint again, or use one in the official DeepSeek-OCR layout",
        )
    try:
        return finish(network.to(checkpoint.device))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        fault = _no_room(checkpoint)
    del network  # and no traceback holds it any more
    free_memory()
    raise fault


@contextmanager
def _without_threads() -> Iterator[None]:
    """transformers' loader converts a layer's tensors when it joins them, and not all of them ahead of it in threads.

    What the threads convert lies in the C library's heaps until it is joined, and those are not given back: of the 3B
    model in float32, 12.4 GiB, 19.2 GiB stayed taken (torch 2.13.0, transformers 5.23.0, glibc 2.36).
    """
    before = os.environ.get(SYNCHRONOUS_LOAD)
    os.environ[SYNCHRONOUS_LOAD] = "1"
    try:
        yield
    finally:
        os.environ.pop(SYNCHRONOUS_LOAD)
        if before is not None:
            os.environ[SYNCHRONOUS_LOAD] = before


def _no_room(checkpoint: Checkpoint) -> EnvironmentFault:
    """The weights do not fit into memory."""
    size = weights_size(checkpoint.folder) / 1e9
    return EnvironmentFault(
        f"the weights of {checkpoint.name}, {size:.1f} GB on disk, do not fit into the memory of {checkpoint.device}",
        "End what else uses it, or see with `rtprune info` what this machine is good for",
    )


def finish(network: UnlimitedOcrForConditionalGeneration) -> UnlimitedOcrForConditionalGeneration:
    """A network that is on its device, made ready to read.

    SAM's relative positions are worked out once for each size: transformers does it in every layer of every pass, by an
    index on the host, for which a GPU's queue would stop 24 times a pass.
    """
    for module in network.modules():
        if hasattr(module, "get_rel_pos"):
            module.get_rel_pos = _Kept(module.get_rel_pos)
    return network.eval()


class _Kept:
    """A function of two sizes and a weight that stays as it is, whose results are kept."""

    def __init__(self, function: Callable[[int, int, Tensor], Tensor]) -> None:
        self._function = function
        self._results: dict[Hashable, Tensor] = {}

    def __call__(self, queries: int, keys: int, weight: Tensor) -> Tensor:
        key = queries, keys, id(weight), weight.device, weight.dtype
        if key not in self._results:
            self._results[key] = self._function(queries, keys, weight)
        return self._results[key]
