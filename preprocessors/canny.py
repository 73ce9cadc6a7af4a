"""Canny edges: OpenCV's, with thresholds derived from the image, and over several scales."""

from __future__ import annotations

import numpy as np

from .pixels import Array, as_gray8, as_rgb8

PYRAMID_SCALES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def canny(
    image: Array,
    low_threshold: float = 100.0,
    high_threshold: float = 200.0,
    aperture: int = 3,
    l2_gradient: bool = False,
) -> Array:
    """`cv2.Canny` of the RGB image, bit for bit (OpenCV uses the channel with the strongest gradient at each pixel).

    Source: Canny, "A Computational Approach to Edge Detection", PAMI 1986.

    Args:
        image: see `as_rgb8`.
        low_threshold, high_threshold: gradients of the hysteresis: above the high one a pixel is an edge; between the two it
            is an edge if it connects to one. With aperture 3, a step of one gray level has gradient 4; larger apertures have
            far larger gradients.
        aperture: size of the Sobel kernel: 3, 5 or 7.
        l2_gradient: use the Euclidean norm of the gradient instead of |dx| + |dy|.

    Returns:
        [H, W] uint8, 0 or 255.

    Raises:
        ValueError: unless 0 <= low_threshold <= high_threshold and the aperture is 3, 5 or 7.
    """
    import cv2

    check_thresholds(low_threshold, high_threshold)
    if aperture not in (3, 5, 7):
        raise ValueError(f"aperture is {aperture}; it must be 3, 5 or 7.")
    return cv2.Canny(as_rgb8(image), low_threshold, high_threshold, apertureSize=aperture, L2gradient=l2_gradient)


def canny_auto(image: Array, spread: float = 0.33) -> Array:
    """Canny with thresholds below and above the image's median luma.

    Source: Rosebrock, "Zero-parameter, automatic Canny edge detection", 2015.

    Args:
        image: see `as_rgb8`.
        spread: 0..1. The thresholds are (1 - spread) * median and min(255, (1 + spread) * median). The median of a mostly
            black image is 0; use `canny` for such images.

    Returns:
        [H, W] uint8, 0 or 255.

    Raises:
        ValueError: if the spread is outside 0..1.
    """
    import cv2

    if not 0.0 <= spread <= 1.0:
        raise ValueError(f"spread is {spread}; it must lie between 0 and 1.")
    rgb = as_rgb8(image)
    median = median8(as_gray8(rgb))
    return cv2.Canny(rgb, (1.0 - spread) * median, min(255.0, (1.0 + spread) * median))


def pyramid_canny(image: Array, low_threshold: float = 64.0, high_threshold: float = 128.0) -> Array:
    """Canny of each color channel at nine scales from 0.2 to 1, blended: soft lines, strongest where the scales agree.

    Source: the preprocessor "CPDS/PyraCanny" of Fooocus.

    Args:
        image: see `as_rgb8`.
        low_threshold, high_threshold: see `canny`.

    Returns:
        [H, W] uint8, stretched so that the 1st percentile is black and the 99th white.

    Raises:
        ValueError: see `canny`.
    """
    import cv2

    check_thresholds(low_threshold, high_threshold)
    rgb = as_rgb8(image)
    height, width = rgb.shape[:2]
    blended = np.zeros((1, 1, 3), np.float32)
    for scale in PYRAMID_SCALES:
        size = (max(1, int(width * scale)), max(1, int(height * scale)))
        small = rgb if size == (width, height) else cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        edges = cv2.merge([cv2.Canny(plane, low_threshold, high_threshold) for plane in cv2.split(small)])
        weight = 1.0 if scale == PYRAMID_SCALES[0] else 0.25
        blended = cv2.resize(blended, size, interpolation=cv2.INTER_LINEAR)
        blended = cv2.addWeighted(blended, 1.0 - weight, edges, weight, 0.0, dtype=cv2.CV_32F)
    summed = cv2.transform(blended, np.ones((1, 3), np.float32))
    black, white = _percentiles(summed, 1.0, 99.0)
    if white <= black:
        return np.zeros((height, width), np.uint8)
    np.maximum(summed, black, out=summed)
    gain = 255.0 / (white - black)
    return cv2.convertScaleAbs(summed, alpha=gain, beta=-black * gain)


def median8(gray: Array) -> float:
    """`np.median` of a uint8 image, computed from its histogram in a single pass."""
    import cv2

    counts = cv2.calcHist([gray], [0], None, [256], [0, 256]).ravel()
    return float(_rank(counts, (gray.size - 1) // 2) + _rank(counts, gray.size // 2)) / 2


def _rank(counts: Array, index: int) -> int:
    return int(np.searchsorted(np.cumsum(counts, dtype=np.float64), index, side="right"))


def _percentiles(values: Array, *percents: float) -> list[float]:
    """Percentiles of a float image in 0..765, accurate to 1/4096 of that range."""
    import cv2

    counts = cv2.calcHist([values], [0], None, [4096], [0.0, 766.0]).ravel()
    return [_rank(counts, round((values.size - 1) * percent / 100)) * (766.0 / 4096) for percent in percents]


def check_thresholds(low: float, high: float) -> None:
    """Raise ValueError for negative thresholds, or for thresholds in the wrong order, which `cv2.Canny` swaps silently."""
    if not 0.0 <= low <= high:
        raise ValueError(
            f"low_threshold is {low} and high_threshold is {high}; both must be 0 or more, and low must not exceed high."
        )
