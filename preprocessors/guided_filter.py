"""The fast guided filter of a color image that is its own guide: smooths detail, keeps edges."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np

from .pixels import Array

PAIRS = tuple(combinations_with_replacement(range(3), 2))


def guided_filter(rgb: Array, radius: int, eps: float, subsample: float = 1.0) -> Array:
    """Edge-preserving smoothing.

    In a window with mean m and covariance S, a pixel p becomes m + A (p - m) with A = S (S + eps I)^-1; A and m - A m
    are then averaged over all windows that contain the pixel. The image is its own guide, so A is symmetric: six planes.

    Source: He, Sun and Tang, "Guided Image Filtering", PAMI 2013, section 3.5; He and Sun, "Fast Guided Filter", 2015.

    Args:
        rgb: [H, W, 3] uint8.
        radius: radius of the square window in pixels of `rgb`.
        eps: variance (of values in 0..1) below which a window is smoothed.
        subsample: factor by which the image is downsampled to compute the windows' statistics.

    Returns:
        [H, W, 3] uint8.

    Raises:
        ValueError: if radius or subsample is below 1, or eps is not positive.
    """
    import cv2

    if radius < 1 or not eps > 0.0 or not subsample >= 1.0:
        raise ValueError(
            f"radius is {radius}, eps is {eps} and subsample is {subsample}; radius must be 1 or more, eps above 0 and "
            "subsample 1 or more."
        )
    height, width = rgb.shape[:2]
    small = (max(1, int(width / subsample)), max(1, int(height / subsample)))
    guide = cv2.resize(rgb, small, interpolation=cv2.INTER_NEAREST) if small != (width, height) else rgb
    window = 2 * max(1, int(radius / subsample)) + 1

    def mean(plane: Array) -> Array:
        return cv2.blur(plane, (window, window))

    def grown(plane: Array) -> Array:
        return plane if small == (width, height) else cv2.resize(plane, (width, height))

    planes = [np.multiply(plane, np.float32(1 / 255)) for plane in cv2.split(guide)]
    means = [mean(plane) for plane in planes]
    covariance = {}
    for i, j in PAIRS:
        covariance[i, j] = mean(planes[i] * planes[j])
        covariance[i, j] -= means[i] * means[j]
    gain = _gain(covariance, np.float32(eps))
    offsets = []
    for i in range(3):
        offset = means[i].copy()
        for j in range(3):
            offset -= gain[min(i, j), max(i, j)] * means[j]
        offsets.append(grown(mean(offset)))
    gain = {pair: grown(mean(plane)) for pair, plane in gain.items()}

    values = planes if guide is rgb else [np.multiply(plane, np.float32(1 / 255)) for plane in cv2.split(rgb)]
    result = np.empty_like(rgb)
    for i, plane in enumerate(offsets):
        for j in range(3):
            plane += gain[min(i, j), max(i, j)] * values[j]
        cv2.insertChannel(_levels(plane), result, i)
    return result


def _gain(covariance: dict[tuple[int, int], Array], eps: np.float32) -> dict[tuple[int, int], Array]:
    """A = I - eps (S + eps I)^-1, by cofactors; the upper triangle of the symmetric 3x3 matrix at each pixel."""
    a, b, c = covariance[0, 0] + eps, covariance[0, 1], covariance[0, 2]
    d, e, f = covariance[1, 1] + eps, covariance[1, 2], covariance[2, 2] + eps
    cofactors = {
        (0, 0): d * f - e * e,
        (0, 1): c * e - b * f,
        (0, 2): b * e - c * d,
        (1, 1): a * f - c * c,
        (1, 2): b * c - a * e,
        (2, 2): a * d - b * b,
    }
    scale = -eps / (a * cofactors[0, 0] + b * cofactors[0, 1] + c * cofactors[0, 2])
    for (i, j), plane in cofactors.items():
        plane *= scale
        if i == j:
            plane += 1
    return cofactors


def _levels(plane: Array) -> Array:
    import cv2

    return cv2.convertScaleAbs(np.maximum(plane, 0, out=plane), alpha=255.0)
