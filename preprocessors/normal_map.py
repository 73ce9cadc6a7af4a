"""A normal map from a depth map."""

from __future__ import annotations

import numpy as np

from .pixels import Array, as_gray_float

# Signs of the red and green axes; blue always points to the viewer.
CONVENTIONS = {"controlnet": (1.0, 1.0), "opengl": (-1.0, 1.0), "directx": (-1.0, -1.0)}


def normal_map(
    image: Array,
    relief: float = 0.5,
    smoothing: float = 1.0,
    background: float = 0.1,
    convention: str = "controlnet",
) -> Array:
    """Unit normals as colors: 0.5 + 0.5 * normal.

    Source: the MiDaS normals of ControlNet 1.0, with the gradient in the image's own units; axes as in ControlNet
    1.1.

    Args:
        image: a depth map, near is bright; see `as_rgb8`, but floats are not quantized.
        relief: depth of the full range from black to white, as a fraction of the image's shorter side.
        smoothing: standard deviation in pixels of a Gaussian blur that is applied to the depth first, because 8-bit depth
            has steps; 0 for none.
        background: depth (0..1) below which normals point to the viewer; 0 for none.
        convention: "controlnet" (red left, green up: ControlNet 1.0 and 1.1), "opengl" (red right, green up) or
            "directx" (red right, green down).

    Returns:
        [H, W, 3] float32 in 0..1.

    Raises:
        ValueError: if relief is not positive, smoothing is negative, background is outside 0..1, or the convention is
            unknown.
    """
    import cv2

    if not relief > 0.0 or smoothing < 0.0 or not 0.0 <= background <= 1.0:
        raise ValueError(
            f"relief is {relief}, smoothing is {smoothing} and background is {background}; relief must be above 0, "
            "smoothing 0 or more, background 0 to 1."
        )
    if convention not in CONVENTIONS:
        raise ValueError(f"convention is {convention!r}; it must be one of {', '.join(CONVENTIONS)}.")
    depth = as_gray_float(image)
    smooth = cv2.GaussianBlur(depth, (0, 0), smoothing, borderType=cv2.BORDER_REPLICATE) if smoothing > 0.0 else depth
    red, green = CONVENTIONS[convention]
    # Sobel's kernel sums to 8. If the point to the right is nearer, the surface faces left.
    scale = relief * min(depth.shape) / 8.0
    border = cv2.BORDER_REPLICATE
    x = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=red * scale, borderType=border)
    y = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=green * scale, borderType=border)
    # At the border only one neighbor exists, so the difference spans one pixel instead of two.
    x[:, [0, -1]] *= 2.0
    y[[0, -1], :] *= 2.0
    if background > 0.0:
        far = depth < background
        x[far] = 0.0
        y[far] = 0.0
    half_over_length = cv2.magnitude(x, y)
    cv2.magnitude(half_over_length, np.ones_like(x), half_over_length)
    np.divide(0.5, half_over_length, out=half_over_length)
    cv2.multiply(x, half_over_length, x)
    cv2.multiply(y, half_over_length, y)
    normals = cv2.merge([x, y, half_over_length])
    return np.add(normals, np.float32(0.5), out=normals)
