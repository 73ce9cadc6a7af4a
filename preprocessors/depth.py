"""Convert a depth network's output to the depth map that ControlNets were trained on: near is white, far is black."""

from __future__ import annotations

import numpy as np

from .pixels import Array

# Distances below this many meters are clamped, because a metric network may predict zero.
NEAREST_METRES = 1e-3


def nearness(depth: Array, metric: bool) -> Array:
    """Nearness from depth: larger values are nearer.

    Args:
        depth: [H, W] float, as the network predicts it.
        metric: True for distances in meters; False for relative inverse depth, which already is nearness.

    Returns:
        [H, W] float32.

    Raises:
        ValueError: if a value is not finite.
    """
    depth = depth.astype(np.float32, copy=False)
    if not np.isfinite(depth).all():
        raise ValueError("the depth model returned NaN or infinite values; run it in float32 and try again.")
    return 1.0 / np.maximum(depth, NEAREST_METRES) if metric else depth


def stretch_depths(depths: Array, together: bool) -> None:
    """Stretch nearness to 0..1, in place.

    Args:
        depths: [B, H, W, 3] float32, nearness in channel 0; overwritten with the gray depth map in all three channels.
        together: use one range for the whole batch, so that a video does not flicker; False stretches each image by itself.
            An image or batch of constant depth becomes black.
    """
    frames = depths[..., 0]
    lows = frames.min(axis=(1, 2))
    highs = frames.max(axis=(1, 2))
    if together:
        lows[:], highs[:] = lows.min(), highs.max()
    for frame, low, high in zip(depths, lows, highs, strict=True):
        gray = np.zeros_like(frame[..., 0]) if high <= low else (frame[..., 0] - low) * np.float32(1.0 / (high - low))
        frame[...] = np.clip(gray, 0.0, 1.0)[..., None]
