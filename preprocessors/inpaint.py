"""The hint for an inpainting ControlNet: the image, with masked pixels set to a value outside the image's range."""

from __future__ import annotations

from .pixels import Array, as_rgb_float

FILLS = {"minus_one": -1.0, "black": 0.0}


def inpaint(image: Array, mask: Array, threshold: float = 0.5, fill: str = "minus_one") -> Array:
    """The image as float32 with the masked pixels replaced; all other pixels keep their exact values.

    Source: ControlNet 1.1 "inpaint".

    Args:
        image: see `as_rgb8`; not quantized.
        mask: [H, W] in 0..1, the image's size; 1 where the image will be repainted.
        threshold: a pixel is masked if its mask value is above this.
        fill: "minus_one" (-1, for ControlNet 1.1 inpaint) or "black" (0, for xinsir's union ControlNet).

    Returns:
        [H, W, 3] float32.

    Raises:
        ValueError: if the sizes differ, the threshold is outside 0..1, or the fill is unknown.
    """
    if fill not in FILLS:
        raise ValueError(f"fill is {fill!r}; it must be one of {', '.join(FILLS)}.")
    if not 0.0 <= threshold <= 1.0:
        raise ValueError(f"threshold is {threshold}; it must lie between 0 and 1.")
    if mask.shape != image.shape[:2]:
        raise ValueError(
            f"the mask has shape {mask.shape} and the image {image.shape[:2]}; give a mask of the image's size."
        )
    hint = as_rgb_float(image).copy()
    hint[mask > threshold] = FILLS[fill]
    return hint
