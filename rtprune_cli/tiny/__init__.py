"""The bundled model: where its checkpoint lies. Import is free of torch; the tools are sub-modules."""

from pathlib import Path

CHECKPOINT = Path(__file__).parent / "checkpoint"
"""Folder with config.json, model.safetensors and the tokenizer, in the official layout."""
