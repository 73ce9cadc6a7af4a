"""The skirting board at the foot of the wall."""

from __future__ import annotations

import numpy as np

TALL = 0.27
ROUND = 0.05
SOFT = 0.012
SLIT = 0.018


def board(y: np.ndarray) -> np.ndarray:
    """Which share of a point of the wall at height y is the board, float32 [n]; its upper edge is out of focus."""
    return np.clip((np.float32(TALL) - y) / np.float32(SOFT) + np.float32(0.5), 0, 1)


def slope(y: np.ndarray) -> np.ndarray:
    """How far the board's face leans upward at height y: rounded at the top, with a groove below, float32 [n]."""
    rounded = np.clip((y - np.float32(TALL - ROUND)) / np.float32(ROUND), 0, 1)
    groove = np.clip(1 - np.abs(y - np.float32(0.7 * TALL)) / np.float32(0.016), 0, 1)
    return np.where(y < np.float32(TALL), 1.2 * rounded * rounded - np.float32(0.6) * groove, 0).astype(np.float32)


def hidden(y: np.ndarray) -> np.ndarray:
    """How much of all light the slit under the board and the corner above it keep away, float32 [n]."""
    slit = np.clip(1 - y / np.float32(SLIT), 0, 1)
    above = np.clip(1 - np.abs(y - np.float32(TALL + 0.012)) / np.float32(0.02), 0, 1)
    return np.maximum(np.float32(0.75) * slit, np.float32(0.35) * above)
