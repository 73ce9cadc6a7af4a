"""Black and white by a threshold: fixed, chosen by Otsu's rule, or following the surroundings of each pixel."""

from __future__ import annotations

from .pixels import Array, as_gray8


def binary(image: Array, threshold: int = 127, invert: bool = False) -> Array:
    """White where luma is above `threshold` (0..255), or with `invert` where it is not.

    Args:
        image: see `as_rgb8`.

    Returns:
        [H, W] uint8, 0 or 255.

    Raises:
        ValueError: a threshold outside 0..255.
    """
    import cv2

    if not 0 <= threshold <= 255:
        raise ValueError(f"threshold is {threshold}; it must lie between 0 and 255.")
    return cv2.threshold(as_gray8(image), threshold, 255, _kind(invert))[1]


def binary_otsu(image: Array, invert: bool = False) -> Array:
    """As `binary`, with the threshold that parts the histogram into its two most different halves.

    Source:
        Otsu, "A Threshold Selection Method from Gray-Level Histograms", 1979.
    """
    import cv2

    return cv2.threshold(as_gray8(image), 0, 255, _kind(invert) | cv2.THRESH_OTSU)[1]


def binary_adaptive(
    image: Array, block_size: int = 31, offset: float = 5.0, gaussian: bool = True, invert: bool = False
) -> Array:
    """White where luma is above the mean of its surroundings less `offset`: uneven light does not matter.

    Args:
        image: see `as_rgb8`.
        block_size: side of the square of surroundings in pixels: odd, 3 or more.
        offset: gray levels by which a pixel must be darker than its surroundings to be black.
        gaussian: weigh the surroundings by a Gaussian; False weighs them equally (faster).
        invert: swap black and white.

    Returns:
        [H, W] uint8, 0 or 255.

    Raises:
        ValueError: a block size that is even or below 3.
    """
    import cv2

    if block_size < 3 or block_size % 2 == 0:
        raise ValueError(f"block_size is {block_size}; it must be an odd number, 3 or more.")
    weights = cv2.ADAPTIVE_THRESH_GAUSSIAN_C if gaussian else cv2.ADAPTIVE_THRESH_MEAN_C
    return cv2.adaptiveThreshold(as_gray8(image), 255, weights, _kind(invert), block_size, offset)


def _kind(invert: bool) -> int:
    import cv2

    return cv2.THRESH_BINARY_INV if invert else cv2.THRESH_BINARY
