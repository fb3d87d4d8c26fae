"""Owns the model: checkpoints in the official DeepSeek-OCR layout on transformers' own classes.

adapters.py translates a config.json, checkpoint.py says what was found, loading.py
loads its weights, experts.py chooses how its experts are computed, network.py is the loaded model at work,
attention.py what its encoder looks at.
"""

from rtprune_cli.model.checkpoint import Checkpoint, load, locate
from rtprune_cli.model.network import OcrModel

__all__ = ["Checkpoint", "OcrModel", "load", "locate"]
