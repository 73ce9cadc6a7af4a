"""Content shuffle: a smooth random warp that keeps the image's colors and textures but not its layout."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from .pixels import Array, as_rgb8

LONGEST_SIDE = 32766
"""The limit of cv2.remap, whose pixel coordinates have 16 bits."""


def shuffle(image: Array, seed: int = 0, scale: int = 256) -> Array:
    """Warp the image by a smooth random flow.

    Source: ControlNet 1.1 "shuffle" (content shuffle), with NumPy's seeded generator in place of the global one.

    Args:
        image: see `as_rgb8`.
        seed: 0 or more; the same seed and image size give the same flow.
        scale: distance in pixels between independent values of the flow; smaller values break the image into smaller
            pieces.

    Returns:
        [H, W, 3] uint8.

    Raises:
        ValueError: if seed is negative, scale is outside 2..4096, or a side is longer than 32766 pixels.
    """
    return shuffler(seed, scale)(image)


def shuffler(seed: int = 0, scale: int = 256) -> Callable[[Array], Array]:
    """`shuffle` for many images: caches the flow of the last size, which takes longer to compute than to apply."""
    import cv2

    if seed < 0 or not 2 <= scale <= 4096:
        raise ValueError(f"seed is {seed} and scale is {scale}; seed must be 0 or more, scale 2 to 4096.")

    @lru_cache(maxsize=1)
    def flow(height: int, width: int) -> tuple[Array, ...]:
        rng = np.random.default_rng(seed)
        cells = (height // scale + 2, width // scale + 2)
        # Both noises in one array, because OpenCV enlarges two channels of float32 several times faster than one.
        noise = np.stack([rng.random(cells, np.float32) for _ in range(2)], axis=2)
        noise = cv2.resize(noise, (width + 2 * scale, height + 2 * scale), interpolation=cv2.INTER_CUBIC)
        planes = cv2.split(noise[scale : scale + height, scale : scale + width])
        for plane, length in zip(planes, (width, height), strict=True):
            cv2.normalize(plane, plane, 0.0, length - 1.0, cv2.NORM_MINMAX)
        return tuple(planes)

    def shuffled(image: Array) -> Array:
        rgb = as_rgb8(image)
        height, width = rgb.shape[:2]
        if max(height, width) > LONGEST_SIDE:
            raise ValueError(
                f"the image is {width} x {height} pixels, but shuffle handles at most {LONGEST_SIDE} per side; "
                "make the image smaller."
            )
        across, down = flow(height, width)
        return cv2.remap(rgb, across, down, cv2.INTER_LINEAR)

    return shuffled
