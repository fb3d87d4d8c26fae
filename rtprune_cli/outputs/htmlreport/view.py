"""What the report keeps of a page while it is read: small pictures, and its visual tokens in a compact form."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rtprune_cli.records import Box, PageView
from rtprune_cli.storage import to_json
from rtprune_cli.views.grid import KINDS, NEWLINE
from rtprune_cli.views.tokenmap import TokenMap

if TYPE_CHECKING:
    from PIL.Image import Image

TOKENS_VERSION = 1
PICTURE_SIDE = 1400  # pixels of the longer side, at most
THUMBNAIL_SIDE = 160
JPEG_QUALITY = 75


def page_view(image: Image, tokens: TokenMap, boxes: Sequence[Box]) -> PageView:
    """The files that the report shows of a page: what is drawn over ``image``, and it in two sizes."""
    picture = _smaller(image.convert("RGB"), PICTURE_SIDE)
    about = {
        "version": TOKENS_VERSION,
        "size": list(image.size),
        "picture": list(picture.size),
        **_encode(tokens),
        "boxes": list(dict.fromkeys((box.label, *box.box) for box in boxes)),
    }
    return PageView(_jpeg(picture), _jpeg(_smaller(picture, THUMBNAIL_SIDE)), to_json(about))


def _smaller(image: Image, side: int) -> Image:
    from PIL import Image as images

    scale = min(1.0, side / max(image.size))
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image if size == image.size else image.resize(size, images.Resampling.LANCZOS, reducing_gap=2.0)


def _jpeg(image: Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return buffer.getvalue()


def _encode(tokens: TokenMap) -> dict[str, Any]:
    """The tokens of a page as about 2 kB of JSON.

    ``stays``: base64 of a bit a token, in decoder order, first bit highest. ``norms``: base64 of a byte a token, from 0
    at the lowest of ``norm_range`` to 255 at the highest, over tile and global tokens. ``grids``: the views in decoder
    order, each with the edges of its columns ``x`` and rows ``y`` in page pixels; a row of tokens is its columns and
    the newline. There are none where tokens have no place on the page; then all but the last token, the separator, are
    tile and global ones.
    """
    cells = tokens.kind < NEWLINE
    low, high = float(tokens.norms[cells].min()), float(tokens.norms[cells].max())
    scaled = (tokens.norms - low) / max(high - low, 1e-9)
    seen = [kind for kind in ("tile", "global") if (tokens.kind == KINDS.index(kind)).any()]
    return {
        "stays": _base64(np.packbits(tokens.stays)),
        "norms": _base64(np.rint(scaled.clip(0, 1) * 255).astype(np.uint8)),
        "norm_range": [round(low, 4), round(high, 4)],
        "grids": [_grid(tokens, kind) for kind in seen] if tokens.placed else [],
    }


def _grid(tokens: TokenMap, kind: str) -> dict[str, Any]:
    own = tokens.kind == KINDS.index(kind)
    first = int(own.argmax())
    columns = int((tokens.kind[first:] != KINDS.index(kind)).argmax())  # the newline after the first row
    boxes = tokens.boxes[own].reshape(-1, columns, 4)
    return {
        "kind": kind,
        "x": np.round([*boxes[0, :, 0], boxes[0, -1, 2]], 1).tolist(),
        "y": np.round([*boxes[:, 0, 1], boxes[-1, 0, 3]], 1).tolist(),
    }


def _base64(values: np.ndarray[Any, np.dtype[np.uint8]]) -> str:
    return base64.b64encode(values.tobytes()).decode()
