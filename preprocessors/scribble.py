"""Scribbles: white lines on black, from a drawing by a threshold or from a photo by a difference of Gaussians."""

from __future__ import annotations

import numpy as np

from .pixels import Array, as_rgb8


def scribble(image: Array, threshold: int = 127, invert: bool = False) -> Array:
    """White where the darkest color channel is below `threshold`: dark ink on light paper becomes white on black.

    Source: ControlNet's scribble demo (Zhang et al., 2023).

    Args:
        image: see `as_rgb8`.
        threshold: 0..255.
        invert: for drawings that already are white on black: white where every channel is at or above the threshold.

    Returns:
        [H, W] uint8, 0 or 255.

    Raises:
        ValueError: if the threshold is outside 0..255.
    """
    import cv2

    if not 0 <= threshold <= 255:
        raise ValueError(f"threshold is {threshold}; it must lie between 0 and 255.")
    kind = cv2.THRESH_BINARY if invert else cv2.THRESH_BINARY_INV
    return cv2.threshold(channel_minimum(as_rgb8(image)), threshold - 1, 255, kind)[1]


def xdog(image: Array, threshold: float = 32.0, sigma: float = 0.5, wide_sigma: float = 5.0) -> Array:
    """White where the image is darker than its surroundings in every channel.

    Source: Winnemoeller, "XDoG", NPAR 2011, in the thresholded form of ControlNet's scribble_xdog.

    Args:
        image: see `as_rgb8`.
        threshold: twice the darkness, in gray levels, at which a line is drawn; lower values draw more.
        sigma, wide_sigma: standard deviations, in pixels, of the two blurs that are subtracted.

    Returns:
        [H, W] uint8, 0 or 255.

    Raises:
        ValueError: unless threshold >= 0 and 0 < sigma < wide_sigma.
    """

    if threshold < 0.0:
        raise ValueError(f"threshold is {threshold}; it must be 0 or more.")
    if not 0.0 < sigma < wide_sigma:
        raise ValueError(
            f"sigma is {sigma} and wide_sigma is {wide_sigma}; sigma must be above 0 and below wide_sigma."
        )
    darkness = local_darkness(as_rgb8(image), sigma, wide_sigma)
    return np.greater(darkness, threshold / 2.0).view(np.uint8) * np.uint8(255)


def local_darkness(rgb: Array, sigma: float, wide_sigma: float) -> Array:
    """Minimum over the channels of blur(wide_sigma) - blur(sigma), [H, W] float32 in gray levels; sigma 0 does not blur.

    Takes one channel at a time, so that three float planes of a large image are never in memory at once.
    """
    import cv2

    darkness = np.full(rgb.shape[:2], np.inf, np.float32)
    for plane in cv2.split(rgb):
        values = plane.astype(np.float32)
        difference = cv2.GaussianBlur(values, (0, 0), wide_sigma)
        narrow = cv2.GaussianBlur(values, (0, 0), sigma) if sigma > 0.0 else values
        cv2.subtract(difference, narrow, difference)
        cv2.min(darkness, difference, darkness)
    return darkness


def channel_minimum(rgb: Array) -> Array:
    """The smallest channel of each pixel, [H, W] uint8."""
    import cv2

    red, green, blue = cv2.split(rgb)
    return cv2.min(cv2.min(red, green), blue)
