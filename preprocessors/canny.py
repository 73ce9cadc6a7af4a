"""Canny edges: as OpenCV finds them, with thresholds taken from the image, and over a pyramid of sizes."""

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
    """`cv2.Canny` of the RGB image, bit for bit (OpenCV takes the strongest channel of each pixel).

    Args:
        image: see `as_rgb8`.
        low_threshold, high_threshold: gradient at which an edge is kept beside a sure one, and at which it is sure.
            With aperture 3 a step of one gray level has gradient 4; larger apertures have far larger gradients.
        aperture: 3, 5 or 7, the size of the Sobel kernel.
        l2_gradient: Euclidean length of the gradient instead of |dx| + |dy|.

    Returns:
        [H, W] uint8, 0 or 255.

    Raises:
        ValueError: thresholds that are negative or in the wrong order, or another aperture.

    Source:
        Canny, "A Computational Approach to Edge Detection", PAMI 1986.
    """
    import cv2

    check_thresholds(low_threshold, high_threshold)
    if aperture not in (3, 5, 7):
        raise ValueError(f"aperture is {aperture}; it must be 3, 5 or 7.")
    return cv2.Canny(as_rgb8(image), low_threshold, high_threshold, apertureSize=aperture, L2gradient=l2_gradient)


def canny_auto(image: Array, spread: float = 0.33) -> Array:
    """Canny with its thresholds `spread` below and above the median luma of the image.

    Args:
        image: see `as_rgb8`.
        spread: 0..1. The thresholds are (1 - spread) * median and (1 + spread) * median, the latter at most 255.
            A mostly black image has median 0: use `canny` there.

    Returns:
        [H, W] uint8, 0 or 255.

    Raises:
        ValueError: a spread outside 0..1.

    Source:
        the rule made popular by Rosebrock, "Zero-parameter, automatic Canny edge detection", 2015.
    """
    import cv2

    if not 0.0 <= spread <= 1.0:
        raise ValueError(f"spread is {spread}; it must lie between 0 and 1.")
    rgb = as_rgb8(image)
    median = median8(as_gray8(rgb))
    return cv2.Canny(rgb, (1.0 - spread) * median, min(255.0, (1.0 + spread) * median))


def pyramid_canny(image: Array, low_threshold: float = 64.0, high_threshold: float = 128.0) -> Array:
    """Canny of each color channel at nine sizes from 0.2 to 1, blended: soft lines, strongest where sizes agree.

    Args:
        image: see `as_rgb8`.
        low_threshold, high_threshold: as in `canny`.

    Returns:
        [H, W] uint8, stretched so that the 1st percentile is black and the 99th white.

    Raises:
        ValueError: as `canny`.

    Source:
        the "CPDS/PyraCanny" preprocessor of Fooocus.
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
    """`np.median` of a uint8 image, from its histogram (one pass, however large the image is)."""
    import cv2

    counts = cv2.calcHist([gray], [0], None, [256], [0, 256]).ravel()
    return float(_rank(counts, (gray.size - 1) // 2) + _rank(counts, gray.size // 2)) / 2


def _rank(counts: Array, index: int) -> int:
    return int(np.searchsorted(np.cumsum(counts, dtype=np.float64), index, side="right"))


def _percentiles(values: Array, *percents: float) -> list[float]:
    """Percentiles of a float image in 0..765, to within 1/4096 of that range."""
    import cv2

    counts = cv2.calcHist([values], [0], None, [4096], [0.0, 766.0]).ravel()
    return [_rank(counts, round((values.size - 1) * percent / 100)) * (766.0 / 4096) for percent in percents]


def check_thresholds(low: float, high: float) -> None:
    """Refuse thresholds that are negative or in the wrong order, which `cv2.Canny` would swap silently."""
    if not 0.0 <= low <= high:
        raise ValueError(
            f"low_threshold is {low} and high_threshold is {high}; they must be 0 or more, low not above high."
        )
