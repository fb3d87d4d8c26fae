"""Owns what a device is and can do: which one, in which precision, and how torch is set for it."""

from __future__ import annotations

from functools import cache

import torch

from rtprune_cli.errors import EnvironmentFault

Capability = tuple[int, int]

BFLOAT16_SINCE: Capability = (8, 0)  # Ampere; before, torch computes in float32 and rounds
FLOAT16_SINCE: Capability = (7, 0)  # Volta; Pascal's consumer cards have a 64th of float32's rate


def pick_device(name: str) -> torch.device:
    """``auto`` is the first CUDA device, else the CPU.

    Raises:
        EnvironmentFault: the device was asked for by name and is not there.
    """
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise EnvironmentFault(f"unknown device {name!r}", "Use --device auto, cpu, cuda or cuda:1") from None
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise EnvironmentFault(f"no GPU answers to --device {name}", "Check `rtprune info`, or run with --device cpu")
    if device.type not in ("cpu", "cuda"):
        raise EnvironmentFault(f"device {name!r} is not supported", "Use --device auto, cpu, cuda or cuda:1")
    return torch.device("cuda:0") if name == "cuda" else device


@cache
def capability(device: torch.device) -> Capability | None:
    """The CUDA compute capability; None of what is no NVIDIA GPU. AMD's numbers would read like NVIDIA's."""
    if device.type != "cuda" or torch.version.hip is not None:
        return None
    return torch.cuda.get_device_capability(device)


def pick_dtype(name: str, device: torch.device, *, small: bool = False) -> torch.dtype:
    """``auto`` is what the device computes fast in, of bfloat16, float16 and float32 the first.

    A CPU takes bfloat16 where it has instructions for it and the model is not ``small``. A T4 or V100 takes float16:
    it has no unit for bfloat16 (``is_bf16_supported`` says yes there, and means emulation), and 3.3 billion weights
    in float32 leave no room. Whether DeepSeek-OCR stays within float16's range is not measured; a page whose numbers
    overflow fails and says so.
    """
    if name != "auto":
        return getattr(torch, name)
    if device.type != "cuda":
        return torch.bfloat16 if not small and _cpu_has_bfloat16() else torch.float32
    found = capability(device)
    if found is None or found >= BFLOAT16_SINCE:
        return torch.bfloat16
    return torch.float16 if found >= FLOAT16_SINCE else torch.float32


def _cpu_has_bfloat16() -> bool:
    # torch has no public question for it; without these it computes in float32 and rounds, which takes longer.
    questions = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(question() for question in questions if question is not None)


def set_up(device: torch.device, dtype: torch.dtype) -> None:
    """Set torch for work on a GPU in this process; on a CPU there is nothing to set.

    Of attention's backends cuDNN's is left out. Since torch 2.9 it comes first on Hopper and Blackwell where cuDNN is
    new enough (``check_prefer_cudnn_attention`` in sdp_utils.cpp), and it builds a plan for every new shape, of which
    pages have many; 0.4 s each was reported. Flash attention and the memory-efficient one have no plans.

    In float32 products are exact: TF32, torch's default for convolutions, keeps 10 bits.
    """
    if device.type != "cuda":
        return
    torch.cuda.set_device(device)  # events and recordings belong to the current one
    torch.backends.cuda.enable_cudnn_sdp(False)
    if dtype == torch.float32:
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
