"""A synthetic page as a PDF, as an image with wear, as the model's view; and where on the view its parts lie."""

from __future__ import annotations

import io
import math
import random
from typing import Any

import numpy as np
import pymupdf
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from rtprune_cli.tiny.pages import RANGES, RULE, PrintedBlock, SyntheticPage
from rtprune_cli.views.preprocess import GRAY

EVALUATION_DPI = 200  # the tool's default

Point = tuple[float, float]


def document(page: SyntheticPage) -> Any:
    """The page as a one-page PyMuPDF document; skewed, but without the wear of pixels."""
    pdf = pymupdf.open()
    sheet = pdf.new_page(width=page.width, height=page.height)
    shape = sheet.new_shape()  # one content stream: one for each line takes longer to write than to draw
    shape.draw_rect(sheet.rect)
    shape.finish(color=None, fill=(page.paper, page.paper, page.paper * (1 - page.tint)))
    turn = (pymupdf.Point(page.width / 2, page.height / 2), pymupdf.Matrix(page.wear.angle))
    ink = (page.ink,) * 3
    for block in page.blocks:
        for left, top, right, bottom in block.rules:
            shape.draw_line((left, top), (right, bottom))
        if block.rules:
            shape.finish(color=ink, width=RULE * page.size, morph=turn)
        if block.kind == "image":
            _picture(shape, block, random.Random(page.seed), page.ink, turn)
        for line in block.lines:
            for run in line:
                place = (run.left, run.baseline)
                shape.insert_text(place, run.text, fontname=run.font, fontsize=run.size, color=ink, morph=turn)
    shape.commit()
    return pdf


def _picture(shape: Any, block: PrintedBlock, rng: random.Random, ink: float, turn: Any) -> None:
    """A frame with discs and a line in it, like a chart or a view."""
    left, top, right, bottom = block.box
    width, height = right - left, bottom - top
    shape.draw_rect(pymupdf.Rect(block.box))
    shape.finish(color=(ink,) * 3, fill=(rng.uniform(0.45, 0.95),) * 3, width=0.01 * height, morph=turn)
    for _ in range(rng.randint(1, 4)):
        radius = rng.uniform(0.08, 0.3) * min(width, height)
        x, y = rng.uniform(left + radius, right - radius), rng.uniform(top + radius, bottom - radius)
        shape.draw_circle((x, y), radius)
        shape.finish(color=None, fill=(rng.uniform(0.1, 0.9),) * 3, morph=turn)
    count = rng.randint(3, 7)
    heights = [bottom - rng.uniform(0.1, 0.9) * height for _ in range(count)]
    shape.draw_polyline([(left + (i + 0.5) * width / count, y) for i, y in enumerate(heights)])
    shape.finish(color=(ink,) * 3, width=rng.uniform(0.01, 0.03) * height, closePath=False, morph=turn)


def render(page: SyntheticPage, dpi: float = EVALUATION_DPI) -> Image.Image:
    """The page as the tool rasterises it: RGB at ``dpi``, worn, not yet resized."""
    pixmap = document(page)[0].get_pixmap(dpi=round(dpi))
    image = Image.frombytes("RGB", (pixmap.width, pixmap.height), pixmap.samples)
    return _worn(image, page, 1 / _scale(page)[1] * dpi / 72)


def quick_view(page: SyntheticPage, zoom: float = 1.0) -> NDArray[np.uint8]:
    """Gray (side, side) view, rendered at ``zoom`` times the view's size: cheap enough for training."""
    side, (sx, sy) = RANGES[page.mode].side, _scale(page)
    pixmap = document(page)[0].get_pixmap(matrix=pymupdf.Matrix(zoom * sx, zoom * sy), colorspace=pymupdf.csGRAY)
    image = Image.frombytes("L", (pixmap.width, pixmap.height), pixmap.samples)
    image = _worn(image, page, zoom)
    if RANGES[page.mode].stretched:
        if image.size != (side, side):
            image = image.resize((side, side), Image.Resampling.BICUBIC)
    else:
        image = ImageOps.pad(image, (side, side), method=Image.Resampling.BICUBIC, color=GRAY[0])
    return np.array(image)


def on_view(page: SyntheticPage, x: float, y: float) -> Point:
    """Where a point of the unskewed page (pt) lies on the view, px."""
    (x, y), (sx, sy) = on_page(page, x, y), _scale(page)
    side = RANGES[page.mode].side
    return x * sx + (side - page.width * sx) / 2, y * sy + (side - page.height * sy) / 2


def on_page(page: SyntheticPage, x: float, y: float) -> Point:
    """Where a point lies after skewing, pt."""
    turn = math.radians(page.wear.angle)
    cos, sin = math.cos(turn), math.sin(turn)
    x, y = x - page.width / 2, y - page.height / 2
    return x * cos + y * sin + page.width / 2, y * cos - x * sin + page.height / 2


def _scale(page: SyntheticPage) -> Point:
    """View px per pt, across and down."""
    spec = RANGES[page.mode]
    if spec.stretched:
        return spec.side / page.width, spec.side / page.height
    return (spec.side / max(page.width, page.height),) * 2


def _worn(image: Image.Image, page: SyntheticPage, zoom: float) -> Image.Image:
    """Blur, noise and JPEG at the image's own resolution; ``zoom``: its pixels per view px, down."""
    wear = page.wear
    if wear.blur:
        image = image.filter(ImageFilter.GaussianBlur(wear.blur * zoom))
    if wear.noise:
        noise = np.random.default_rng(page.seed).standard_normal((image.height, image.width), np.float32) * wear.noise
        values = np.asarray(image, np.float32) + (noise if image.mode == "L" else noise[..., None])
        image = Image.fromarray(np.clip(values + 0.5, 0, 255).astype(np.uint8))
    if wear.jpeg:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=wear.jpeg)
        image = Image.open(file)
        image.load()
    return image
