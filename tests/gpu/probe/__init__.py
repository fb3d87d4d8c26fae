"""Measurements and drills for a machine with an NVIDIA GPU: `python -m probe STEP...`; see ../README.md.

Every line that begins with '>' goes into the summary.
"""

from __future__ import annotations

import os
from pathlib import Path

OUT = Path(os.environ.get("OUT", "."))
RESULT = OUT / "result.json"
