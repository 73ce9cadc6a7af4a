"""Black-and-white thresholding: with a fixed threshold, with Otsu's method, or adaptively."""

from __future__ import annotations

from .pixels import Array, as_gray8


def binary(image: Array, threshold: int = 127, invert: bool = False) -> Array:
    """White where luma is above `threshold`.

    Args:
        image: see `as_rgb8`.
        threshold: 0..255.
        invert: swap black and white.

    Returns:
        [H, W] uint8, 0 or 255.

    Raises:
        ValueError: if the threshold is outside 0..255.
    """
    import cv2

    if not 0 <= threshold <= 255:
        raise ValueError(f"threshold is {threshold}; it must lie between 0 and 255.")
    return cv2.threshold(as_gray8(image), threshold, 255, _kind(invert))[1]


def binary_otsu(image: Array, invert: bool = False) -> Array:
    """`binary` with the threshold that best separates the image's histogram into two classes.

    Source: Otsu, "A Threshold Selection Method from Gray-Level Histograms", 1979.
    """
    import cv2

    return cv2.threshold(as_gray8(image), 0, 255, _kind(invert) | cv2.THRESH_OTSU)[1]


def binary_adaptive(
    image: Array, block_size: int = 31, offset: float = 5.0, gaussian: bool = True, invert: bool = False
) -> Array:
    """White where luma is above the local mean minus `offset`, which tolerates uneven lighting.

    Args:
        image: see `as_rgb8`.
        block_size: side of the square neighborhood in pixels: odd, 3 or more.
        offset: gray levels by which a pixel must be darker than the local mean to become black.
        gaussian: weight the neighborhood with a Gaussian; False weights it uniformly (faster).
        invert: swap black and white.

    Returns:
        [H, W] uint8, 0 or 255.

    Raises:
        ValueError: if the block size is even or below 3.
    """
    import cv2

    if block_size < 3 or block_size % 2 == 0:
        raise ValueError(f"block_size is {block_size}; it must be an odd number, 3 or more.")
    weights = cv2.ADAPTIVE_THRESH_GAUSSIAN_C if gaussian else cv2.ADAPTIVE_THRESH_MEAN_C
    return cv2.adaptiveThreshold(as_gray8(image), 255, weights, _kind(invert), block_size, offset)


def _kind(invert: bool) -> int:
    import cv2

    return cv2.THRESH_BINARY_INV if invert else cv2.THRESH_BINARY
