"""Standard line art: pixels darker than their blurred surroundings, scaled to the contrast of the image's lines."""

from __future__ import annotations

import numpy as np

from .pixels import Array, as_rgb8
from .scribble import local_darkness

HISTOGRAM_BINS = 4096


def lineart(image: Array, sigma: float = 6.0, threshold: float = 8.0) -> Array:
    """Soft white lines on black.

    Source: "lineart_standard" of the ControlNet 1.1 preprocessors.

    Args:
        image: see `as_rgb8`.
        sigma: standard deviation in pixels of the blur that lines are compared with; larger values find wider lines.
        threshold: only pixels this many gray levels darker than the blur count toward the typical line; their median
            darkness (at least 16) is drawn at half brightness.

    Returns:
        [H, W] uint8.

    Raises:
        ValueError: if sigma is not positive or the threshold is outside 0..254.
    """
    import cv2

    if not sigma > 0.0 or not 0.0 <= threshold < 255.0:
        raise ValueError(
            f"sigma is {sigma} and threshold is {threshold}; sigma must be above 0 and threshold 0 to 254."
        )
    darkness = local_darkness(as_rgb8(image), 0.0, sigma)
    cv2.threshold(darkness, 0.0, 0.0, cv2.THRESH_TOZERO, darkness)
    return cv2.convertScaleAbs(darkness, alpha=127.0 / max(16.0, _median_above(darkness, threshold)))


def _median_above(values: Array, threshold: float) -> float:
    """Median of the values above the threshold, accurate to 1/16 of a gray level; 0 if there are none."""
    import cv2

    first = float(np.nextafter(np.float32(threshold), np.float32(256)))
    counts = cv2.calcHist([values], [0], None, [HISTOGRAM_BINS], [first, 256.0]).ravel()
    sums = np.cumsum(counts, dtype=np.float64)
    if sums[-1] == 0:
        return 0.0
    middle = int(np.searchsorted(sums, sums[-1] / 2, side="left")) + 0.5
    return first + middle * (256.0 - first) / HISTOGRAM_BINS
