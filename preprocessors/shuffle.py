"""Content shuffle: the image's colours and textures moved about by smooth noise, its layout lost."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from .pixels import Array, as_rgb8


def shuffle(image: Array, seed: int = 0, scale: int = 256) -> Array:
    """The image resampled along a random smooth flow.

    Args:
        image: see `as_rgb8`.
        seed: 0 or more; one seed gives one flow, for every image of that size.
        scale: pixels between two independent values of the flow; smaller tears the image into smaller pieces.

    Returns:
        [H, W, 3] uint8.

    Raises:
        ValueError: a negative seed, or a scale outside 2..4096.

    Source:
        ControlNet 1.1 "shuffle" (content shuffle), with NumPy's seeded generator in place of the global one.
    """
    return shuffler(seed, scale)(image)


def shuffler(seed: int = 0, scale: int = 256) -> Callable[[Array], Array]:
    """`shuffle` for many images: the flow of one size is made once, which costs more than to follow it."""
    import cv2

    if seed < 0 or not 2 <= scale <= 4096:
        raise ValueError(f"seed is {seed} and scale is {scale}; seed must be 0 or more, scale 2 to 4096.")

    @lru_cache(maxsize=1)
    def flow(height: int, width: int) -> tuple[Array, Array]:
        rng = np.random.default_rng(seed)
        across = _smooth_noise(rng, height, width, scale)
        down = _smooth_noise(rng, height, width, scale)
        np.multiply(across, width - 1.0, out=across)
        np.multiply(down, height - 1.0, out=down)
        return across, down

    def shuffled(image: Array) -> Array:
        rgb = as_rgb8(image)
        across, down = flow(*rgb.shape[:2])
        return cv2.remap(rgb, across, down, cv2.INTER_LINEAR)

    return shuffled


def _smooth_noise(rng: np.random.Generator, height: int, width: int, scale: int) -> Array:
    """[height, width] float32 in 0..1: uniform noise every `scale` pixels, bicubic in between, stretched to 0 and 1."""
    import cv2

    coarse = rng.random((height // scale + 2, width // scale + 2), np.float32)
    fine = cv2.resize(coarse, (width + 2 * scale, height + 2 * scale), interpolation=cv2.INTER_CUBIC)
    crop = fine[scale : scale + height, scale : scale + width]
    low, high, _, _ = cv2.minMaxLoc(crop)
    if high <= low:
        return np.zeros((height, width), np.float32)
    return np.multiply(np.subtract(crop, np.float32(low)), np.float32(1.0 / (high - low))).clip(0.0, 1.0)
