"""Tile hints: the image without its fine detail, for a ControlNet that adds new detail. Three variants."""

from __future__ import annotations

from .guided_filter import guided_filter
from .pixels import Array, as_rgb8


def tile_pyramid(image: Array, levels: int = 3) -> Array:
    """Go `levels` steps down a Gaussian pyramid and back up.

    The result is aligned with the image at any size. (The published preprocessor shrinks by area and enlarges with
    `cv2.pyrUp`, which shifts the image by almost half of 2 ** levels pixels and makes its size a multiple of 64.)

    Source: ControlNet 1.1 "tile_resample"; Burt and Adelson, "The Laplacian Pyramid", 1983.

    Args:
        image: see `as_rgb8`.
        levels: 1..10.

    Returns:
        [H, W, 3] uint8.

    Raises:
        ValueError: if levels is outside 1..10.
    """
    import cv2

    if not 1 <= levels <= 10:
        raise ValueError(f"levels is {levels}; it must lie between 1 and 10.")
    pixels = as_rgb8(image)
    sizes = []
    for _ in range(levels):
        sizes.append((pixels.shape[1], pixels.shape[0]))
        pixels = cv2.pyrDown(pixels)
    for size in reversed(sizes):
        pixels = cv2.pyrUp(pixels, dstsize=size)
    return pixels


def tile_simple(image: Array, scale: float = 2.0, blur: float = 2.0) -> Array:
    """Shrink by `scale` (area), enlarge again (Lanczos), then blur.

    Source: TTPlanet's SDXL tile preprocessor, "simple".

    Args:
        image: see `as_rgb8`.
        scale: shrink factor, 1..16; 1 only blurs.
        blur: kernel width in pixels (rounded down, then up to odd) and twice the standard deviation; below 2 does nothing.

    Returns:
        [H, W, 3] uint8.

    Raises:
        ValueError: if scale is outside 1..16 or blur outside 1..99.
    """
    import cv2

    _check(scale, blur)
    return _blurred(_shrunk_and_grown(as_rgb8(image), scale, cv2.INTER_LANCZOS4), blur)


def tile_guided(image: Array, scale: float = 2.0, blur: float = 2.0, radius: int = 7, eps: float = 0.01) -> Array:
    """Blur, smooth with an edge-preserving guided filter, then shrink by `scale` (area) and enlarge again (bicubic).

    Source: TTPlanet's SDXL tile preprocessor, "GF"; He and Sun, "Fast Guided Filter", 2015.

    Args:
        image: see `as_rgb8`.
        scale, blur: see `tile_simple`.
        radius: radius of the guided filter's window in pixels.
        eps: squared contrast (of values in 0..1) below which detail is smoothed away.

    Returns:
        [H, W, 3] uint8.

    Raises:
        ValueError: if scale is outside 1..16, blur is outside 1..99, radius is below 1, or eps is not positive.
    """
    import cv2

    _check(scale, blur)
    smooth = guided_filter(_blurred(as_rgb8(image), blur), radius, eps, subsample=scale)
    return _shrunk_and_grown(smooth, scale, cv2.INTER_CUBIC)


def _check(scale: float, blur: float) -> None:
    if not 1.0 <= scale <= 16.0 or not 1.0 <= blur <= 99.0:
        raise ValueError(
            f"scale is {scale} and blur is {blur}; scale must lie between 1 and 16, blur between 1 and 99."
        )


def _blurred(rgb: Array, blur: float) -> Array:
    import cv2

    width = int(blur) | 1
    return rgb if width == 1 else cv2.GaussianBlur(rgb, (width, width), blur / 2.0)


def _shrunk_and_grown(rgb: Array, scale: float, interpolation: int) -> Array:
    import cv2

    height, width = rgb.shape[:2]
    small = (max(1, int(width / scale)), max(1, int(height / scale)))
    if small == (width, height):
        return rgb
    shrunk = cv2.resize(rgb, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(shrunk, (width, height), interpolation=interpolation)
