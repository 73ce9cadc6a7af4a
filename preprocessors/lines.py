"""Straight lines, for ControlNets trained on M-LSD: OpenCV's line segment detector or the Hough transform."""

from __future__ import annotations

import math

import numpy as np

from .canny import check_thresholds
from .pixels import Array, as_gray8


def lines_lsd(image: Array, min_length: float = 0.03, thickness: int = 1) -> Array:
    """White straight lines on black, from the line segment detector LSD.

    Source: Grompone von Gioi et al., "LSD: a Line Segment Detector", IPOL 2012.

    Args:
        image: see `as_rgb8`.
        min_length: length of the shortest line to draw, as a fraction of the image's shorter side.
        thickness: line width in pixels.

    Returns:
        [H, W] uint8, 0 or 255.

    Raises:
        ValueError: if min_length is outside 0..1 or thickness outside 1..64.
    """
    import cv2

    gray = as_gray8(image)
    shortest = _check(min_length, thickness) * min(gray.shape)
    segments = cv2.createLineSegmentDetector(cv2.LSD_REFINE_STD).detect(gray)[0]
    return _drawn(gray.shape, segments, shortest, thickness)


def lines_hough(
    image: Array,
    low_threshold: float = 50.0,
    high_threshold: float = 150.0,
    votes: int = 50,
    min_length: float = 0.06,
    max_gap: float = 0.01,
    thickness: int = 1,
) -> Array:
    """White straight lines on black, from the probabilistic Hough transform of Canny edges.

    Source: Matas et al., "Robust Detection of Lines Using the Progressive Probabilistic Hough Transform", CVIU 2000.

    Args:
        image: see `as_rgb8`.
        low_threshold, high_threshold: Canny's thresholds, applied to the luma.
        votes: number of edge pixels that a line needs.
        min_length, max_gap: length of the shortest line, and of the longest gap to bridge, as fractions of the image's
            shorter side.
        thickness: line width in pixels.

    Returns:
        [H, W] uint8, 0 or 255.

    Raises:
        ValueError: unless 0 <= low_threshold <= high_threshold, votes >= 1, min_length and max_gap are in 0..1, and thickness
            is in 1..64.
    """
    import cv2

    check_thresholds(low_threshold, high_threshold)
    if votes < 1 or not 0.0 <= max_gap <= 1.0:
        raise ValueError(f"votes is {votes} and max_gap is {max_gap}; votes must be 1 or more, max_gap 0 to 1.")
    gray = as_gray8(image)
    side = min(gray.shape)
    shortest = _check(min_length, thickness) * side
    edges = cv2.Canny(gray, low_threshold, high_threshold)
    segments = cv2.HoughLinesP(edges, 1.0, math.pi / 180.0, votes, minLineLength=shortest, maxLineGap=max_gap * side)
    return _drawn(gray.shape, segments, shortest, thickness)


def _check(min_length: float, thickness: int) -> float:
    if not 0.0 <= min_length <= 1.0 or not 1 <= thickness <= 64:
        raise ValueError(
            f"min_length is {min_length} and thickness is {thickness}; min_length must lie between 0 and 1, thickness "
            "between 1 and 64."
        )
    return min_length


def _drawn(shape: tuple[int, ...], segments: Array | None, shortest: float, thickness: int) -> Array:
    import cv2

    canvas = np.zeros(shape, np.uint8)
    if segments is None:
        return canvas
    ends = np.asarray(segments, np.float64).reshape(-1, 2, 2)
    ends = ends[np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1) >= shortest]
    cv2.polylines(canvas, list(np.rint(ends).astype(np.int32)), False, (255,), thickness)
    return canvas
