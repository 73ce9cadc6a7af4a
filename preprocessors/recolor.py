"""Grayscale hints for recoloring ControlNets: lightness or intensity, with gamma correction."""

from __future__ import annotations

import numpy as np

from .pixels import Array, as_rgb8


def recolor_luminance(image: Array, gamma: float = 1.0) -> Array:
    """CIE L* (of OpenCV's 8-bit Lab) raised to `gamma`.

    Source: "recolor_luminance" of the ControlNet preprocessors, which read RGB as BGR; here red is red.

    Args:
        image: see `as_rgb8`.
        gamma: a positive number; below 1 brightens, above 1 darkens.

    Returns:
        [H, W] uint8.

    Raises:
        ValueError: if gamma is not positive.
    """
    import cv2

    _check(gamma)
    return _curved(cv2.extractChannel(cv2.cvtColor(as_rgb8(image), cv2.COLOR_RGB2LAB), 0), gamma)


def recolor_intensity(image: Array, gamma: float = 1.0) -> Array:
    """The largest color channel (V of HSV) raised to `gamma`. Arguments, result and errors: see `recolor_luminance`."""
    import cv2

    _check(gamma)
    red, green, blue = cv2.split(as_rgb8(image))
    return _curved(cv2.max(cv2.max(red, green), blue), gamma)


def _check(gamma: float) -> None:
    if not gamma > 0.0:
        raise ValueError(f"gamma is {gamma}; it must be above 0.")


def _curved(gray: Array, gamma: float) -> Array:
    import cv2

    if gamma == 1.0:
        return gray
    table = np.rint(255.0 * (np.arange(256) / 255.0) ** gamma).astype(np.uint8)
    return cv2.LUT(gray, table)
