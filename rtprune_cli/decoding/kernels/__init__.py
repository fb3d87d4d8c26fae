"""Owns the kernels of a decoding step, in Triton, each beside a twin in plain torch that defines what it computes.

Their modules import Triton, which comes with torch for NVIDIA cards on Linux: they are imported only where that is
there (chosen.py). In Triton's interpreter they run without a GPU, and so in the tests.
"""
