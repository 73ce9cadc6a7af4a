"""Gaussian blur, for ControlNets that restore detail."""

from __future__ import annotations

from .pixels import Array, as_rgb8


def blur(image: Array, sigma: float = 9.0) -> Array:
    """Gaussian blur.

    Args:
        image: see `as_rgb8`.
        sigma: standard deviation in pixels, above 0.

    Returns:
        [H, W, 3] uint8.

    Raises:
        ValueError: if sigma is not positive.
    """
    import cv2

    if not sigma > 0.0:
        raise ValueError(f"sigma is {sigma}; it must be above 0.")
    return cv2.GaussianBlur(as_rgb8(image), (0, 0), sigma)
