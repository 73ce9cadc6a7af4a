"""Tile hints: the image with its detail taken away, for a ControlNet that is to invent new detail. Three forms."""

from __future__ import annotations

from .guided_filter import guided_filter
from .pixels import Array, as_rgb8


def tile_pyramid(image: Array, levels: int = 3) -> Array:
    """`levels` steps down a Gaussian pyramid and the same steps up again.

    The result lies exactly on the image, at any size. (The published form shrinks by area and grows by `cv2.pyrUp`:
    that moves the picture by almost half of 2 ** levels pixels, and the size becomes a multiple of 64.)

    Args:
        image: see `as_rgb8`.
        levels: 1..10.

    Returns:
        [H, W, 3] uint8.

    Raises:
        ValueError: levels outside 1..10.

    Source:
        ControlNet 1.1 "tile_resample"; Burt and Adelson, "The Laplacian Pyramid", 1983.
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
    """Shrunk by `scale` (area), grown again (Lanczos), then blurred.

    Args:
        image: see `as_rgb8`.
        scale: 1..16, how many times smaller the image is made; 1 only blurs.
        blur: kernel width in pixels (its whole part, made odd) and twice the standard deviation; below 2 does nothing.

    Returns:
        [H, W, 3] uint8.

    Raises:
        ValueError: a scale outside 1..16 or a blur outside 1..99.

    Source:
        TTPlanet's SDXL tile preprocessor, "simple".
    """
    import cv2

    _check(scale, blur)
    return _blurred(_shrunk_and_grown(as_rgb8(image), scale, cv2.INTER_LANCZOS4), blur)


def tile_guided(image: Array, scale: float = 2.0, blur: float = 2.0, radius: int = 7, eps: float = 0.01) -> Array:
    """Blurred, smoothed by a guided filter that keeps strong edges, then shrunk by `scale` (area) and grown (bicubic).

    Args:
        image: see `as_rgb8`.
        scale, blur: as in `tile_simple`.
        radius: of the guided filter's window, in pixels.
        eps: squared contrast (of an image in 0..1) below which detail is smoothed away.

    Returns:
        [H, W, 3] uint8.

    Raises:
        ValueError: a scale outside 1..16, a blur outside 1..99, a radius below 1 or an eps that is not positive.

    Source:
        TTPlanet's SDXL tile preprocessor, "GF"; He and Sun, "Fast Guided Filter", 2015.
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
