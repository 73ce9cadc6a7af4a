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
    def flow(height: int, width: int) -> tuple[Array, ...]:
        rng = np.random.default_rng(seed)
        return tuple(_smooth_noise(rng, height, width, scale, length - 1.0) for length in (width, height))

    def shuffled(image: Array) -> Array:
        rgb = as_rgb8(image)
        across, down = flow(*rgb.shape[:2])
        return cv2.remap(rgb, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    return shuffled


def _smooth_noise(rng: np.random.Generator, height: int, width: int, scale: int, most: float) -> Array:
    """[height, width] float32: uniform noise every `scale` pixels, bicubic in between, stretched to 0..most."""
    import cv2

    coarse = rng.random((height // scale + 2, width // scale + 2), np.float32)
    fine = cv2.resize(coarse, (width + 2 * scale, height + 2 * scale), interpolation=cv2.INTER_CUBIC)
    crop = fine[scale : scale + height, scale : scale + width]
    return cv2.normalize(crop, np.empty_like(crop), 0.0, most, cv2.NORM_MINMAX)
