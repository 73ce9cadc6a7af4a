"""The hint of an inpainting ControlNet: the image, with the masked pixels marked by a value no pixel has."""

from __future__ import annotations

from .pixels import Array, as_rgb_float

FILLS = {"minus_one": -1.0, "black": 0.0}


def inpaint(image: Array, mask: Array, threshold: float = 0.5, fill: str = "minus_one") -> Array:
    """The image in float32, every other pixel bit for bit as it was, the masked ones set to -1.

    Args:
        image: see `as_rgb8`; not quantized here.
        mask: [H, W] in 0..1, 1 where the picture is to be repainted; the image's size.
        threshold: mask values above it are masked.
        fill: "minus_one" (ControlNet 1.1 inpaint), or "black" (0, what xinsir's union ControlNet was trained on).

    Returns:
        [H, W, 3] float32.

    Raises:
        ValueError: a mask of another size, a threshold outside 0..1, or another fill.

    Source:
        ControlNet 1.1 "inpaint".
    """
    if fill not in FILLS:
        raise ValueError(f"fill is {fill!r}; it must be one of {', '.join(FILLS)}.")
    if not 0.0 <= threshold <= 1.0:
        raise ValueError(f"threshold is {threshold}; it must lie between 0 and 1.")
    if mask.shape != image.shape[:2]:
        raise ValueError(f"the mask has shape {mask.shape} and the image {image.shape[:2]}; they must be equal.")
    hint = as_rgb_float(image).copy()
    hint[mask > threshold] = FILLS[fill]
    return hint
