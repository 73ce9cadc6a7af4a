"""Soft edges that look like HED's: a multi-scale color gradient, thinned to its ridges and blurred."""

from __future__ import annotations

import math

import numpy as np

from .pixels import Array, as_rgb8

MAX_SCALES = 6


def soft_edge(
    image: Array,
    low: float = 10.0,
    high: float = 60.0,
    sigma: float = 1.0,
    scales: int = 3,
    softness: float = 1.2,
    thin: bool = True,
) -> Array:
    """Soft white lines on black, without a network: an approximation of the hints that HED and PiDiNet make.

    The structure tensor of the RGB image (Di Zenzo) is averaged over `scales` Gaussian scales, each twice as coarse as the
    previous one, with scale-normalized derivatives (Lindeberg). The square root of its larger eigenvalue is the edge
    strength: the height, in gray levels, of an ideal step edge with the same response. Canny's non-maximum suppression (four
    directions) thins the edges, which are then drawn as Gaussian lines.

    Source: Di Zenzo, "A note on the gradient of a multi-image", CVGIP 1986; Lindeberg, "Edge detection and ridge detection
    with automatic scale selection", IJCV 1998.

    Args:
        image: see `as_rgb8`.
        low, high: edge strengths in gray levels (0..255) that become black and white; linear in between.
        sigma: the finest scale in pixels.
        scales: number of scales, 1..6.
        softness: standard deviation of a drawn line in pixels; 0 leaves lines one pixel wide.
        thin: False skips the suppression and draws the gradient itself, with wide edges.

    Returns:
        [H, W] uint8.

    Raises:
        ValueError: if a parameter is outside its range.
    """
    import cv2

    if not 0.0 <= low < high:
        raise ValueError(f"low is {low} and high is {high}; low must be 0 or more and below high.")
    if not sigma > 0.0 or not 1 <= scales <= MAX_SCALES or softness < 0.0:
        raise ValueError(
            f"sigma is {sigma}, scales is {scales} and softness is {softness}; sigma must be above 0, scales 1 to "
            f"{MAX_SCALES} and softness 0 or more."
        )
    rgb = as_rgb8(image)
    xx, yy, xy = _structure_tensor(rgb, [sigma * 2**k for k in range(scales)])
    half = cv2.addWeighted(xx, 0.5, yy, -0.5, 0.0)
    strength = cv2.addWeighted(xx, 0.5, yy, 0.5, 0.0)
    strength = cv2.sqrt(cv2.add(strength, cv2.magnitude(half, xy)))
    if thin:
        strength = _thinned(strength, half, xy)
    np.subtract(strength, low, out=strength)
    cv2.threshold(strength, 0.0, 0.0, cv2.THRESH_TOZERO, strength)
    cv2.threshold(strength, high - low, 0.0, cv2.THRESH_TRUNC, strength)
    gain = 255.0 / (high - low)
    if softness > 0.0:
        strength = cv2.GaussianBlur(strength, (0, 0), softness)
        if thin:
            # The blur lowers a one-pixel line to the peak of a Gaussian of unit mass; scale it back up.
            gain *= max(1.0, math.sqrt(2.0 * math.pi) * softness)
    return cv2.convertScaleAbs(strength, alpha=gain)


def _structure_tensor(rgb: Array, sigmas: list[float]) -> tuple[Array, Array, Array]:
    """Mean over channels and scales of dx*dx, dy*dy and dx*dy; a step of s gray levels has eigenvalue s * s."""
    import cv2

    tensor = tuple(np.zeros(rgb.shape[:2], np.float32) for _ in range(3))
    xx, yy, xy = tensor
    # A blurred step of height s has slope s / (sqrt(2 pi) sigma); Sobel's kernel sums to 8.
    unit = math.sqrt(2.0 * math.pi / (3 * len(sigmas))) / 8.0
    for plane in cv2.split(rgb):
        plane = plane.astype(np.float32)
        for sigma in sigmas:
            smooth = cv2.GaussianBlur(plane, (0, 0), sigma)
            dx = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=unit * sigma)
            dy = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=unit * sigma)
            cv2.accumulateSquare(dx, xx)
            cv2.accumulateSquare(dy, yy)
            cv2.accumulateProduct(dx, dy, xy)
    return xx, yy, xy


def _thinned(strength: Array, half: Array, xy: Array) -> Array:
    """The strength, set to zero where a neighbor across the edge is stronger."""
    import cv2

    # (half, xy) points along twice the gradient's angle, so its quadrants are the four directions of a 3x3 window.
    diagonal = cv2.compare(np.abs(xy), np.abs(half), cv2.CMP_GT)
    larger = cv2.copyTo(xy, diagonal, half.copy())
    positive = cv2.compare(larger, np.zeros_like(larger), cv2.CMP_GE)
    kept = np.zeros_like(strength)
    for is_diagonal, is_positive, kernel in (
        (False, True, [[0, 0, 0], [1, 1, 1], [0, 0, 0]]),
        (False, False, [[0, 1, 0], [0, 1, 0], [0, 1, 0]]),
        (True, True, [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        (True, False, [[0, 0, 1], [0, 1, 0], [1, 0, 0]]),
    ):
        highest = cv2.dilate(strength, np.array(kernel, np.uint8))
        chosen = cv2.compare(strength, highest, cv2.CMP_EQ)
        cv2.bitwise_and(chosen, diagonal if is_diagonal else cv2.bitwise_not(diagonal), chosen)
        cv2.bitwise_and(chosen, positive if is_positive else cv2.bitwise_not(positive), chosen)
        cv2.copyTo(strength, chosen, kept)
    return kept
