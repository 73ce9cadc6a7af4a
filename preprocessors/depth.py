"""From what a depth network says to the depth picture a ControlNet was trained on: near is white, far is black."""

from __future__ import annotations

import numpy as np

from .pixels import Array

# Nearer than this many meters is as near as it gets: a metric network may answer zero.
NEAREST_METRES = 1e-3


def nearness(depth: Array, metric: bool) -> Array:
    """Larger is nearer.

    Args:
        depth: [H, W] float, as the network gives it.
        metric: True for a distance (meters); False for a relative inverse depth, which is nearness already.

    Returns:
        [H, W] float32.

    Raises:
        ValueError: values that are not finite.
    """
    depth = depth.astype(np.float32, copy=False)
    if not np.isfinite(depth).all():
        raise ValueError("the depth model gave NaN or infinite values; start ComfyUI with --force-fp32 and try again.")
    return 1.0 / np.maximum(depth, NEAREST_METRES) if metric else depth


def stretch_depths(depths: Array, together: bool) -> None:
    """Stretch nearness to 0..1, in place.

    Args:
        depths: [B, H, W, 3] float32, the nearness in channel 0; overwritten by the gray picture in all three.
        together: one range for the whole batch (a video does not flicker); False gives every picture its own. A picture
            or batch without any difference in depth becomes black.
    """
    frames = depths[..., 0]
    lows = frames.min(axis=(1, 2))
    highs = frames.max(axis=(1, 2))
    if together:
        lows[:], highs[:] = lows.min(), highs.max()
    for frame, low, high in zip(depths, lows, highs, strict=True):
        gray = np.zeros_like(frame[..., 0]) if high <= low else (frame[..., 0] - low) * np.float32(1.0 / (high - low))
        frame[...] = np.clip(gray, 0.0, 1.0)[..., None]
