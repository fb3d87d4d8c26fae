"""rtprune: document OCR with DeepSeek-OCR and RTPrune visual-token pruning.

The public names below are loaded on first use, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rtprune_cli.api import Reader, ReadPage, read
    from rtprune_cli.errors import ExitCode, RtpruneError
    from rtprune_cli.model import load, locate
    from rtprune_cli.options import (
        DecodeOptions,
        InputOptions,
        ModelOptions,
        OcrOptions,
        OutputOptions,
        PruneOptions,
        RunOptions,
    )
    from rtprune_cli.outputs import find_documents, open_output
    from rtprune_cli.pipeline import ocr, run
    from rtprune_cli.pruning import dynamic_ratio, prune, prune_pages, transport_plan

__version__ = "0.1.0"

__all__ = [
    "DecodeOptions",
    "ExitCode",
    "InputOptions",
    "ModelOptions",
    "OcrOptions",
    "OutputOptions",
    "PruneOptions",
    "ReadPage",
    "Reader",
    "RtpruneError",
    "RunOptions",
    "dynamic_ratio",
    "find_documents",
    "load",
    "locate",
    "ocr",
    "open_output",
    "prune",
    "prune_pages",
    "read",
    "run",
    "transport_plan",
]

_HOME = {
    "ExitCode": "errors",
    "ReadPage": "api",
    "Reader": "api",
    "RtpruneError": "errors",
    "dynamic_ratio": "pruning",
    "find_documents": "outputs",
    "load": "model",
    "locate": "model",
    "ocr": "pipeline",
    "open_output": "outputs",
    "prune": "pruning",
    "prune_pages": "pruning",
    "read": "api",
    "run": "pipeline",
    "transport_plan": "pruning",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME.get(name, 'options')}"), name)
