"""All pixel conversions: from any image array to what OpenCV expects, and from a hint back to float32 RGB."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

# OpenCV's stubs carry no dtypes, so the docstrings give shape and dtype.
Array: TypeAlias = NDArray[Any]

# A block of rows of this size stays in the CPU cache between the two passes over it.
BLOCK_ELEMENTS = 1 << 18
FLOAT32_BITS_OF_ONE = 0x3F800000


def as_rgb8(image: Array) -> Array:
    """The image as contiguous uint8 RGB.

    Args:
        image: [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]; uint8 in 0..255 or floating point in 0..1. Floats are rounded to the
            nearest of 256 levels and saturate outside 0..1, as when ComfyUI saves an image.

    Returns:
        [H, W, 3] uint8. An RGBA image is composited over white, as in the published preprocessors.

    Raises:
        ValueError: if the shape or dtype is another, if there are no pixels, or if a value is not finite.
    """
    import cv2

    pixels = _quantized(_opaque(image))
    return pixels if pixels.shape[2] == 3 else cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)


def as_gray8(image: Array) -> Array:
    """The image as contiguous uint8 [H, W]; a color image becomes its BT.601 luma. Arguments and errors: see `as_rgb8`."""
    import cv2

    pixels = _quantized(_opaque(image))
    return pixels[:, :, 0] if pixels.shape[2] == 1 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)


def as_rgb_float(image: Array) -> Array:
    """The image as float32 RGB [H, W, 3] in 0..1, neither quantized nor clipped. Arguments and errors: see `as_rgb8`.

    The result may share memory with the image, so do not write to it.
    """
    pixels = _as_float(_opaque(image))
    return pixels if pixels.shape[2] == 3 else np.repeat(pixels, 3, axis=2)


def as_gray_float(image: Array) -> Array:
    """The image as float32 [H, W] in 0..1, not quantized; a color image becomes its luma. Arguments and errors: see `as_rgb8`.

    The result may share memory with the image, so do not write to it.
    """
    import cv2

    pixels = _as_float(_opaque(image))
    return pixels[:, :, 0] if pixels.shape[2] == 1 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)


def write_hint(hint: Array, out: Array) -> None:
    """Write a hint, [H, W] or [H, W, 3], to `out`, contiguous float32 [H, W, 3]: uint8 scaled to 0..1, float32 as it is."""
    import cv2

    if hint.ndim == 3:
        if hint.dtype == np.uint8:
            np.divide(hint, np.float32(255), out=out)
        else:
            out[...] = hint
        return
    rows = max(1, BLOCK_ELEMENTS // hint.shape[1])
    for start in range(0, hint.shape[0], rows):
        block = hint[start : start + rows]
        gray = np.divide(block, np.float32(255)) if block.dtype == np.uint8 else np.ascontiguousarray(block)
        cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB, out[start : start + rows])


def _opaque(image: Array) -> Array:
    """[H, W, 1] or [H, W, 3], C-contiguous, uint8 or float32."""
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in image.shape:
        raise ValueError(
            f"an image of shape {image.shape} cannot be read; give [height, width] or [height, width, channels] with "
            "1 (gray), 3 (RGB) or 4 (RGBA) channels and at least one pixel."
        )
    if image.dtype != np.uint8:
        if not np.issubdtype(image.dtype, np.floating):
            raise ValueError(f"an image of dtype {image.dtype} cannot be read; give uint8 (0..255) or floats (0..1).")
        image = np.ascontiguousarray(image, dtype=np.float32)
    if image.shape[2] == 4:
        color, alpha = _as_float(image[:, :, :3]), _as_float(image[:, :, 3:])
        return np.ascontiguousarray(1.0 - (1.0 - color) * alpha)
    return np.ascontiguousarray(image)


def _as_float(image: Array) -> Array:
    if image.dtype == np.uint8:
        return np.divide(image, np.float32(255))
    # A single NaN or infinity makes the sum of squares non-finite: one fast pass without a temporary.
    flat = np.ascontiguousarray(image).reshape(-1)
    if not np.isfinite(np.dot(flat, flat)):
        _refuse_non_finite(flat)
    return image


def _quantized(image: Array) -> Array:
    import cv2

    if image.dtype == np.uint8:
        return image
    rows = image.reshape(image.shape[0], -1)
    out = np.empty(rows.shape, np.uint8)
    # Read as unsigned integers, the floats in 0..1 are exactly 0..FLOAT32_BITS_OF_ONE. NaN, infinity, negative numbers
    # and numbers above 1 all read larger, so one integer maximum detects them all.
    bits = rows.view(np.uint32)
    step = max(1, BLOCK_ELEMENTS // rows.shape[1])
    for start in range(0, len(rows), step):
        block = slice(start, start + step)
        values = rows[block]
        if bits[block].max() > FLOAT32_BITS_OF_ONE:
            _refuse_non_finite(values)
            values = np.clip(values, 0.0, 1.0)
        cv2.convertScaleAbs(values, out[block], 255.0)
    return out.reshape(image.shape)


def _refuse_non_finite(values: Array) -> None:
    bad = values.size - int(np.count_nonzero(np.isfinite(values)))
    if bad:
        raise ValueError(
            "the image has NaN or infinite values; check the upstream nodes (a VAE or a sampler in half "
            "precision is a common cause)."
        )
