"""How a checkpoint's weights become a network on its device, and what is said when they do not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rtprune_cli import stopping
from rtprune_cli.errors import EnvironmentFault, ModelError
from rtprune_cli.failures import free_memory, is_out_of_memory
from rtprune_cli.libraries import network_class, without_compiler
from rtprune_cli.model import experts
from rtprune_cli.model.adapters import network_config
from rtprune_cli.model.sam import RelativeAttention

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from rtprune_cli.model.checkpoint import Checkpoint

ATTENTION = "sdpa"
# The switch for the threads of transformers' loader, which reads it at each load; see _without_threads.
SYNCHRONOUS_LOAD = "HF_DEACTIVATE_ASYNC_LOAD"


def weights_size(folder: Path) -> int:
    """Bytes of a checkpoint's weights."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def load_network(checkpoint: Checkpoint) -> PreTrainedModel:
    """The network of a checkpoint with its weights, on its device.

    Raises:
        ModelError: weights that cannot be read, tensors that do not fit their places.
        EnvironmentFault: the device has not enough memory for the weights.
    """
    network_kind = network_class(checkpoint.adapter.network)
    from safetensors import SafetensorError
    from transformers.utils import logging

    config, adapter = network_config(checkpoint.config), checkpoint.adapter
    logging.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # the loader logs a table for what is checked below
    try:
        with _without_threads(), without_compiler():
            network, info = network_kind.from_pretrained(
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
            f"the weights of {checkpoint.name} cannot be loaded",
            f"Pull the checkpoint again: rtprune models pull {checkpoint.name}",
        ) from error
    finally:
        logging.set_verbosity(verbosity)
    wrong = sorted(info["missing_keys"]) + sorted(info["unexpected_keys"]) + [k[0] for k in info["mismatched_keys"]]
    if wrong:
        raise ModelError(
            f"{len(wrong)} tensors of {checkpoint.name} do not fit its config.json, {wrong[0]} for one",
            f"Pull the checkpoint again, or use one in the official layout of {adapter.name}",
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


def finish(network: PreTrainedModel) -> PreTrainedModel:
    """A network that is on its device, made ready to read."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    on_cpu = next(network.parameters()).device.type == "cpu"
    for module in network.modules():
        if hasattr(module, "rel_pos_h"):
            module.forward = RelativeAttention(module)
        if on_cpu and isinstance(module, GradientCheckpointingLayer):  # a layer; a pass may take a minute
            module.register_forward_pre_hook(_look_up)
    return network.eval()


def _look_up(*_: object) -> None:
    stopping.check()
