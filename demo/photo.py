"""Resize a photo to the resolution of a checkpoint."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

from PIL import Image, ImageOps

# Prefixes of tensor names that identify a checkpoint's family -> the side of the square it was trained on.
_SIDES = {"conditioner.embedders.1.": 1024, "cond_stage_model.model.": 768}
_SIDE_SD1 = 512


def native_side(checkpoint: Path) -> int:
    """The side of the square that an SD 1.x, 2.x or SDXL checkpoint was trained on, judging by its tensor names."""
    names = tensor_names(checkpoint)
    return next((side for prefix, side in _SIDES.items() if any(n.startswith(prefix) for n in names)), _SIDE_SD1)


def tensor_names(checkpoint: Path) -> list[str]:
    """The tensor names in a .safetensors header; empty for older formats, which would have to be unpickled."""
    if checkpoint.suffix != ".safetensors":
        return []
    with checkpoint.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return list(json.loads(file.read(length)))


def fitted_size(width: int, height: int, side: int) -> tuple[int, int]:
    """A size of about side * side pixels with nearly the same aspect ratio, in multiples of 64 (16 below 256 pixels)."""
    step = 64 if side >= 256 else 16
    scale = side / math.sqrt(width * height)
    return max(step, round(width * scale / step) * step), max(step, round(height * scale / step) * step)


def save_fitted(source: Path, target: Path, side: int) -> tuple[int, int]:
    """Save the image upright, scaled, and cropped at the edges to `fitted_size`; returns its new size."""
    with Image.open(source) as opened:
        image = ImageOps.exif_transpose(opened)
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        size = fitted_size(*image.size, side)
        if image.size != size:
            image = ImageOps.fit(image, size, Image.Resampling.LANCZOS)
        image.save(target)
    return size
